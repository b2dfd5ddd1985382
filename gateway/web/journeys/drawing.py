"""Draws a definition as SVG: its steps from top to bottom, branches beside them, and how many journeys are at each.

Colours are CSS classes, as of plots.py; the picture has an equivalent text.
"""

from __future__ import annotations

from collections.abc import Mapping

from markupsafe import Markup, escape

from gateway.journeys.definitions.model import JourneyDefinition, StepRules

_WIDTH, _ROW, _BOX = 640, 76, 52  # in units of the SVG's viewBox
_LEFT, _RIGHT = 90, 90
_MOST_LETTERS = 46  # of a line in a box of this width


def draw(definition: JourneyDefinition, counts: Mapping[str, int], spoken: str) -> Markup:
    """The picture. ``counts``: open journeys by the last step that is done, "" for none; ``spoken``: its text."""
    height = _ROW * (len(definition.steps) + 1)
    parts = [_start(definition, counts.get("", 0))]
    for at, step in enumerate(definition.steps, start=1):
        parts.append(_line(at))
        parts.append(_step(step, at, counts.get(step.id, 0)))
        parts += [_branch(at, definition.index_of(each.to) + 1) for each in step.branch]
    text = '<svg class="drawing" viewBox="0 0 {} {}" role="img" aria-label="{}">{}</svg>'
    return Markup(text).format(_WIDTH, height, spoken, Markup("").join(parts))


def _start(definition: JourneyDefinition, number: int) -> Markup:
    text = '<rect class="step start" x="{}" y="8" width="{}" height="{}" rx="26"/>' + _words(16 + _BOX / 2, bold=True)
    return Markup(text).format(
        _LEFT, _WIDTH - _LEFT - _RIGHT, _BOX, _LEFT + 20, escape(_short(definition.title or definition.name))
    ) + _count(0, number)


def _step(step: StepRules, at: int, number: int) -> Markup:
    y = at * _ROW + 8
    kind = "gate" if step.gate is not None else "message" if step.template else "event"
    text = '<rect class="step {}" x="{}" y="{}" width="{}" height="{}" rx="6"/>' + _words(y + 21, bold=True)
    drawn = Markup(text).format(kind, _LEFT, y, _WIDTH - _LEFT - _RIGHT, _BOX, _LEFT + 20, escape(_short(step.id)))
    what = f"{step.template} · {' → '.join(step.route)}" if step.template else step.emits or ""
    if step.gate is not None:
        what = f"{step.gate.approvals} × ✓ · {step.emits or ''}"
    drawn += Markup(_words(y + 40)).format(_LEFT + 20, escape(_short(what)))
    after = step.after.days if step.after else 0
    day = (f"{step.day}" if step.day is not None else f"+{after}") + (" ↻" if step.each else "")
    mark = '<text class="day" x="{}" y="{}" text-anchor="end">{}</text>'
    return drawn + Markup(mark).format(_LEFT - 14, y + 31, day) + _count(at, number)


def _words(y: float, *, bold: bool = False) -> str:
    return f'<text class="{"name" if bold else "what"}" x="{{}}" y="{y:.0f}">{{}}</text>'


def _line(at: int) -> Markup:
    text = '<line class="way" x1="{0}" x2="{0}" y1="{1}" y2="{2}"/>'
    return Markup(text).format(_WIDTH // 2, (at - 1) * _ROW + 8 + _BOX, at * _ROW + 8)


def _branch(at: int, to: int) -> Markup:
    """A curve on the right from a step to a later one."""
    x, begin, end = _WIDTH - _RIGHT, at * _ROW + 8 + _BOX - 12, to * _ROW + 8 + 12
    text = '<path class="way branch" d="M{0} {1} C{2} {1} {2} {3} {0} {3}"/>'
    return Markup(text).format(x, begin, x + 44, end)


def _count(at: int, number: int) -> Markup:
    if not number:
        return Markup("")
    text = '<text class="count" x="{}" y="{}" text-anchor="start">{}</text>'
    return Markup(text).format(_WIDTH - _RIGHT + 14, at * _ROW + 8 + 32, f"{number:,}")


def _short(text: str) -> str:
    return text if len(text) <= _MOST_LETTERS else text[: _MOST_LETTERS - 1] + "…"
