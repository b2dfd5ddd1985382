"""Compiles e-mail bodies from checked MJML to HTML.

Liquid tags are replaced by placeholders while MJML is compiled and restored afterwards, so that the layout is compiled
once and not for every borrower.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from html import unescape
from itertools import count

import css_inline
import mrml

from gateway.templates.language.source_positions import SourceError
from gateway.templates.rendering.markup import HELD, LIQUID, TOKEN, elements
from gateway.templates.translatable import translatable

_INLINER = css_inline.CSSInliner(load_remote_stylesheets=False, keep_style_tags=True, keep_at_rules=True)


@dataclass(frozen=True, slots=True)
class Html:
    """``html`` contains Liquid tags; ``tags`` has the offset of each in it, and its offset in the source."""

    html: str
    tags: tuple[tuple[int, int], ...]


def compiled(source: str, addresses: frozenset[str]) -> Html:
    """Compile MJML to HTML. ``addresses`` are the variables with https URLs. Raises SourceError with the offset."""
    for _ in elements(source, addresses):
        pass
    tags = LIQUID.findall(source)
    mark = _unused(source)
    try:
        made = mrml.to_html(_without_tags(source, mark, tags), *_options()).content
    except BaseException as error:
        if (
            not isinstance(error, OSError) and type(error).__name__ != "PanicException"
        ):  # pyo3's panic is a BaseException
            raise
        detail = translatable("the layout can't be built: check for a missing quote or bracket")
        raise SourceError(detail) from None
    html = _INLINER.inline(made)
    if "prefers-color-scheme" in source:
        html = html.replace("<head>", '<head><meta name="color-scheme" content="light dark">', 1)
    return _with_tags(html, mark, tags, [found.start() for found in LIQUID.finditer(source)])


def _options() -> tuple[mrml.ParserOptions, mrml.RenderOptions]:
    """Disable includes and web fonts: by default MJML links fonts that mail programs fetch from a third party."""
    return mrml.ParserOptions(include_loader=mrml.noop_loader()), mrml.RenderOptions(fonts={})


def _unused(source: str) -> str:
    """A placeholder for a tag, which does not occur in the source: letters, valid in texts and in attributes."""
    return next(mark for number in count() if (mark := f"liquid{number}x") not in source)


def _without_tags(source: str, mark: str, tags: Sequence[str]) -> str:
    """The source with each Liquid tag replaced: control tags between elements by comments, others by placeholders.

    A bare > is escaped as &gt;: the compiler panics at one that follows certain letters.
    """
    numbers = iter(range(len(tags)))
    held = LIQUID.sub(lambda found: f"\ue000{next(numbers)}\ue001", source)
    texts, done, inside = [], 0, ""
    for found in TOKEN.finditer(held):
        before = held[done : found.start()]
        texts.append(before if inside == "mj-style" else before.replace(">", "&gt;"))
        if found["name"]:
            inside = "" if found["close"] else found["name"]
            texts.append(f"{found[0][:-1].replace('>', '&gt;')}>")
        elif tags[int(found["tag"])].startswith("{%") and inside not in ("mj-title", "mj-preview"):
            texts.append(f"<!--{found[0]}-->")
        else:
            texts.append(found[0])
        done = found.end()
    return HELD.sub(lambda found: f"{mark}{found[0][1:-1]}z", "".join([*texts, held[done:]]))


def _with_tags(html: str, mark: str, tags: Sequence[str], starts: Sequence[int]) -> Html:
    texts: list[str] = []
    places: list[tuple[int, int]] = []
    done = length = 0
    for found in re.finditer(rf"(?:<!--)?{mark}(\d+)z(?:-->)?", html):
        before = html[done : found.start()]
        number = int(found[1])
        texts += [before, tags[number]]
        places.append((length + len(before), starts[number]))
        length += len(before) + len(tags[number])
        done = found.end()
    return Html("".join([*texts, html[done:]]), tuple(places))


def preview(html: str) -> str:
    """The preview line that a mail program shows beside the subject, "" where the e-mail has none."""
    found = re.search(r"<body\b[^>]*>\s*<div style=\"display:\s*none[^\"]*\">(.*?)</div>", html, re.DOTALL)
    return " ".join(unescape(re.sub(r"<[^>]*>", "", found[1])).split()) if found else ""
