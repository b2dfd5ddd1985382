"""A part's text with shared texts and the lender's constants inserted, and the source position of each character.

The compiler, the e-mail check and the lint report offsets in the expanded text; editors see line and column in their
own text.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from html import escape

from gateway.templates.translatable import translatable

_NESTING = 4  # depth of shared texts in shared texts; our choice; also ends a cycle
_MOST_CHARACTERS = 100_000  # of an expanded part; Gmail clips messages beyond 102 kB
_INSERTED = re.compile(
    r"""\{%\s*render\s+(?P<quote>['"])(?P<fragment>[a-z0-9-]+)(?P=quote)\s*%\}|\{\{\s*(?P<constant>[a-z]+(?:\.[a-z_]+)?)\s*\}\}"""
)


@dataclass(frozen=True, slots=True)
class SourcePosition:
    """Line and column in the part, from 1; ``inside`` is the position in a shared text, "" outside of one."""

    line: int
    column: int
    inside: str = ""

    def sentence(self, detail: str) -> str:
        """``detail``, with the name of the shared text if the position is in one."""
        return (
            translatable("{detail} (in the shared text {place})", detail=detail, place=self.inside)
            if self.inside
            else detail
        )


class SourceError(Exception):
    """The text can't be expanded or parsed; ``offset`` is in the expanded text, -1 where it is unknown."""

    def __init__(self, detail: str, offset: int = -1, place: SourcePosition | None = None) -> None:
        super().__init__(detail)
        self.detail = detail
        self.offset = offset
        self.place = place


@dataclass(frozen=True, slots=True)
class _Chunk:
    start: int  # in the expanded text
    origin: int  # in the part: of this text, or of the tag that was replaced
    verbatim: bool
    fragment: str
    within: int  # offset in the fragment


class ExpandedSource:
    """The expanded text (``text``), and a map from its offsets to source positions."""

    def __init__(
        self,
        part: str,
        fragments: Mapping[str, str],
        constants: Mapping[str, str],
        *,
        html: bool,
        locate: Callable[[int], SourcePosition] | None = None,
    ) -> None:
        """Raises SourceError for an unknown or too deeply nested shared text, and for a text that is too long.

        ``locate``: the editor's position of an offset in ``part``, where ``part`` was made from another text.
        """
        self._locate = locate or (lambda offset: SourcePosition(*line_and_column(part, offset)))
        self.is_made = locate is not None
        self._fragments = fragments
        self._constants = constants
        self._html = html
        self._chunks: list[_Chunk] = []
        self._texts: list[str] = []
        self._length = 0
        self._add(part, "", 0, 0)
        self.text = "".join(self._texts)

    def place(self, offset: int) -> SourcePosition:
        """The source position of the character at ``offset`` of the expanded text."""
        chunk = (
            self._chunks[bisect_right(self._chunks, offset, key=lambda each: each.start) - 1] if self._chunks else None
        )
        if chunk is None:
            return SourcePosition(1, 1)
        moved = offset - chunk.start if chunk.verbatim else 0
        if not chunk.fragment:
            return self._locate(chunk.origin + moved)
        line, column = line_and_column(self._fragments[chunk.fragment], chunk.within + moved)
        return replace(self._locate(chunk.origin), inside=f"{chunk.fragment}:{line}:{column}")

    def _add(self, text: str, fragment: str, origin: int, depth: int) -> None:
        done = 0
        for found in _INSERTED.finditer(text):
            at = origin if fragment else found.start()
            if name := found["fragment"]:
                self._put(text[done : found.start()], fragment, origin if fragment else done, done)
                self._include(name, at, depth)
            else:
                value = self._constants.get(found["constant"])
                if value is None or "{" in value:
                    continue  # a variable, or a constant that would be parsed as a tag
                self._put(text[done : found.start()], fragment, origin if fragment else done, done)
                self._put(escape(value) if self._html else value, fragment, at, found.start(), verbatim=False)
            done = found.end()
        self._put(text[done:], fragment, origin if fragment else done, done)

    def _include(self, name: str, at: int, depth: int) -> None:
        place = self._locate(at)
        if name not in self._fragments:
            known = ", ".join(sorted(self._fragments)) or "none"
            words = translatable("unknown shared text {name}; this language has: {known}", name=repr(name), known=known)
            raise SourceError(words, place=place)
        if depth == _NESTING:
            words = translatable(
                "the shared text {name} includes others more than {most} levels deep", name=repr(name), most=_NESTING
            )
            raise SourceError(words, place=place)
        self._add(self._fragments[name], name, at, depth + 1)

    def _put(self, text: str, fragment: str, origin: int, within: int, *, verbatim: bool = True) -> None:
        if not text:
            return
        if self._length + len(text) > _MOST_CHARACTERS:
            raise SourceError(
                translatable("is longer than {most} characters, shared texts included", most=_MOST_CHARACTERS)
            )
        self._chunks.append(_Chunk(self._length, origin, verbatim, fragment, within))
        self._texts.append(text)
        self._length += len(text)


def line_and_column(text: str, offset: int) -> tuple[int, int]:
    """Line and column of an offset, from 1."""
    offset = min(offset, len(text))
    return text.count("\n", 0, offset) + 1, offset - text.rfind("\n", 0, offset)
