"""The texts of a message that its parts are compiled from; those of a written e-mail are made from its Markdown.

The layout is a shared text of the lender, ``mail-layout``: MJML in which ``{% title %}``, ``{% preview %}``,
``{% content %}`` and ``{% foot %}`` mark where the subject, the line beside it, the message and its foot stand.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from html import escape
from itertools import accumulate

from channels.profile import ChannelProfile, PartKind
from gateway.templates.language.markdown import translate
from gateway.templates.language.markdown_writer import Piece
from gateway.templates.language.source_positions import SourceError, SourcePosition, line_and_column
from gateway.templates.translatable import translatable

LAYOUT = "mail-layout"
_FOOT, _FOOT_OPT_OUT = "{% render 'mail-foot' %}", "{% render 'mail-foot-opt-out' %}"
# The shared text of the plain e-mail that the layout has in its foot.
_OPT_OUT = "opt-out-email"
# For a language without shared texts.
_PLAIN_LAYOUT = """\
<mjml lang="{{ locale }}">
<mj-head>
<mj-title>{% title %}</mj-title>
<mj-preview>{% preview %}</mj-preview>
</mj-head>
<mj-body>
<mj-section>
<mj-column>
{% content %}
</mj-column>
</mj-section>
</mj-body>
</mjml>
"""
_SLOT = re.compile(r"\{%-?\s*(title|preview|content|foot)\s*-?%\}")
_LIQUID = re.compile(r"(\{\{.*?\}\}|\{%.*?%\})", re.DOTALL)


@dataclass(frozen=True, slots=True)
class ComposedText:
    """The text that fills ``field``. None: its file is missing, or it can't be made, by the ``error`` at ``place``.

    ``locate``: see ExpandedSource.
    """

    field: str
    file: str
    text: str | None
    is_mail: bool = False
    locate: Callable[[int], SourcePosition] | None = None
    error: str = ""
    place: SourcePosition | None = None


def texts(
    profile: ChannelProfile,
    parts: Mapping[str, str],
    locale: str,
    fragments: Mapping[str, str],
    broken: Container[str] = (),
) -> Iterator[ComposedText]:
    """The texts of a message.

    ``broken``: the fields that turned out not to compile, looked at as each text is made: such a subject is left out of
    the layout, since its error is known by its own file.
    """
    form = profile.form(parts, f"{locale}/")
    found = {part.field: parts.get(f"{locale}/{part.file}") for part in form}
    for part in form:
        text = found[part.field]
        if part.kind is not PartKind.MARKDOWN:
            missing = text is None and part.field == "preview"  # nobody has to write one
            yield ComposedText(part.field, part.file, "" if missing else text, part.kind is PartKind.MJML)
            continue
        others = [each.file for each in profile.parts if each not in form and f"{locale}/{each.file}" in parts]
        if others:
            detail = translatable("has the same message as {files}: keep one form", files=", ".join(others))
            yield ComposedText(part.field, part.file, None, error=detail)
        subject, preview = ("" if name in broken else found.get(name) or "" for name in ("subject", "preview"))
        try:
            html, plain = _composed(text or "", subject, preview, fragments)
        except SourceError as error:
            place = error.place or SourcePosition(*line_and_column(text or "", max(error.offset, 0)))
            yield ComposedText(part.field, part.file, None, error=error.detail, place=place)
        else:
            yield ComposedText("text", part.file, plain.text, locate=plain.locate)
            yield ComposedText("html", part.file, html.text, is_mail=True, locate=html.locate)


class _PlacedText:
    """A text made of pieces, which knows where each of its characters comes from: the Markdown, or the layout."""

    def __init__(self, markdown: str, pieces: Sequence[Piece], layout: str = "", inside: Container[int] = ()) -> None:
        """``inside``: the numbers of the pieces whose origins are in the layout."""
        self._markdown, self._layout, self._inside, self._pieces = markdown, layout, inside, pieces
        self._starts = list(accumulate((len(each.text) for each in pieces), initial=0))
        self.text = "".join([each.text for each in pieces])

    def locate(self, offset: int) -> SourcePosition:
        index = min(bisect_right(self._starts, offset), len(self._pieces)) - 1
        if index < 0:
            return SourcePosition(1, 1)
        piece = self._pieces[index]
        origin = piece.origin + (offset - self._starts[index]) * piece.verbatim
        if index not in self._inside:
            return SourcePosition(*line_and_column(self._markdown, origin))
        line, column = line_and_column(self._layout, origin)
        return SourcePosition(1, 1, f"{LAYOUT}:{line}:{column}")


def _composed(
    markdown: str, subject: str, preview: str, fragments: Mapping[str, str]
) -> tuple[_PlacedText, _PlacedText]:
    """The laid-out message and the plain text. Raises SourceError."""
    layout = fragments.get(LAYOUT, _PLAIN_LAYOUT)
    has_foot = {"mail-foot", "mail-foot-opt-out"} <= fragments.keys() and "{% foot %}" in layout
    laid_out = frozenset(name.removesuffix("-mail") for name in fragments if name.endswith("-mail"))
    made = compose(markdown, subject, preview, layout, laid_out, has_foot)
    if isinstance(made, SourceError):
        raise made.with_traceback(None)
    return made


# The same for all jurisdictions: what differs are the shared texts, which are filled in later. And the editor's preview
# compiles all locales after each keystroke, of which one has changed.
@lru_cache(maxsize=256)
def compose(
    markdown: str, subject: str, preview: str, layout: str, laid_out: frozenset[str], has_foot: bool
) -> tuple[_PlacedText, _PlacedText] | SourceError:
    """The same of a layout, or why it can't be made. ``laid_out``: see ``translate``; ``has_foot``: it has one."""
    try:
        made = translate(markdown, laid_out, _OPT_OUT if has_foot else "")
    except SourceError as error:
        return error
    foot = "" if not has_foot else _FOOT_OPT_OUT if made.opt_out else _FOOT
    slots = {"title": _escaped(subject), "preview": _escaped(preview), "foot": foot}
    pieces: list[Piece] = []
    inside: set[int] = set()
    done = 0
    for slot in _SLOT.finditer(layout):
        inside.add(len(pieces))
        pieces.append(Piece(layout[done : slot.start()], done, True))
        done = slot.end()
        pieces += made.html if slot[1] == "content" else [Piece(slots[slot[1]], 0)]
    inside.add(len(pieces))
    pieces.append(Piece(layout[done:], done, True))
    return _PlacedText(markdown, pieces, layout, inside), _PlacedText(markdown, made.text)


def _escaped(text: str) -> str:
    """A line of plain text as HTML, with its tags."""
    parts = _LIQUID.split(text.strip())
    return "".join(each if number % 2 else escape(each, quote=False) for number, each in enumerate(parts))
