"""Draws plots as SVG on the server: no scripts, and readable without colour.

Colours are CSS classes (``series-0`` …), so that the style sheet has the light and dark schemes. Each plot has an
equivalent text (WCAG 2.2, success criterion 1.1.1).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import floor, log10

from markupsafe import Markup, escape

_WIDTH, _HEIGHT = 640, 200  # in units of the SVG's viewBox
_LEFT, _RIGHT, _TOP, _BOTTOM = 60, 8, 14, 30


@dataclass(frozen=True, slots=True)
class PlotSeries:
    """A series: a name, and a number for each step."""

    name: str
    values: Sequence[float]


def columns(title: str, series: Sequence[PlotSeries], labels: Sequence[str]) -> Markup:
    """Columns, the series side by side in each step. ``labels`` names the steps; some are written below."""
    top = _round_up(max((value for each in series for value in each.values), default=0))
    step = (_WIDTH - _LEFT - _RIGHT) / max(1, len(labels))
    width = 0.8 * step / max(1, len(series))
    drawn = _scale(top)
    for number, each in enumerate(series):
        for place, value in enumerate(each.values):
            if value:
                x, y = _LEFT + (place + 0.1) * step + number * width, _y(value, top)
                drawn.append(_rectangle(x, y, width, _y(0, top) - y, f"series-{number}"))
    drawn += _below(labels, step)
    spoken = "; ".join(f"{each.name}: {sum(each.values):,.0f}" for each in series)
    return _picture(f"{title}. {spoken}.", drawn)


def _picture(spoken: str, drawn: Sequence[Markup]) -> Markup:
    return Markup('<svg class="plot" viewBox="0 0 {} {}" role="img" aria-label="{}">{}</svg>').format(
        _WIDTH, _HEIGHT, spoken, Markup("").join(drawn)
    )


def _rectangle(x: float, y: float, width: float, height: float, kind: str) -> Markup:
    return Markup('<rect class="{}" x="{:.1f}" y="{:.1f}" width="{:.1f}" height="{:.1f}"/>').format(
        kind, x, y, width, height
    )


def _scale(top: float) -> list[Markup]:
    lines = []
    parts = _parts(top)
    for part in range(parts + 1):
        value = top * part / parts
        y = _y(value, top)
        line = Markup('<line class="scale" x1="{}" x2="{}" y1="{:.1f}" y2="{:.1f}"/>')
        text = Markup('<text class="scale" x="{}" y="{:.1f}" text-anchor="end">{}</text>')
        lines += [
            line.format(_LEFT, _WIDTH - _RIGHT, y, y),
            text.format(_LEFT - 6, y + 5, _short(value)),
        ]
    return lines


def _below(labels: Sequence[str], width: float) -> list[Markup]:
    every = max(1, len(labels) // 4)
    text = '<text class="scale" x="{:.1f}" y="{}" text-anchor="middle">{}</text>'
    return [
        Markup(text).format(_LEFT + (place + 0.5) * width, _HEIGHT - 6, escape(label))
        for place, label in enumerate(labels)
        if place % every == every // 2
    ]


def _y(value: float, top: float) -> float:
    return _HEIGHT - _BOTTOM - (_HEIGHT - _TOP - _BOTTOM) * value / top


def _parts(top: float) -> int:
    """How many steps the scale has, so that each ends at a whole number: what is drawn is counted."""
    return int(top) if top < 10 else 4 if f"{top:.0f}"[0] in "24" else 5


def _short(value: float) -> str:
    """A number in at most four letters: 800, 1.5k, 20k, 3M."""
    for unit, size in (("M", 1_000_000), ("k", 1_000)):
        if value >= size:
            return f"{value / size:.3g}{unit}"
    return f"{value:.0f}"


def _round_up(value: float) -> float:
    """The end of the scale: 1, 2, 4 or 5 times a power of ten, at or above ``value``; 1 at least."""
    if value <= 1:
        return 1.0
    power = 10.0 ** floor(log10(value))
    return next(step * power for step in (1, 2, 4, 5, 10) if step * power >= value - 1e-9)
