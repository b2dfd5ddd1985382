"""Writes a parsed Markdown text as MJML elements and as plain text, each piece with its origin in the source."""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from html import escape
from itertools import takewhile

from markdown_it.tree import SyntaxTreeNode

from gateway.templates.language.dialect import BLOCKS
from gateway.templates.language.source_positions import SourceError
from gateway.templates.translatable import translatable

HELD = re.compile(r"\ue000(\d+)\ue001")
_NAME = re.compile(r"\{%-?\s*(#|\w+)")
_SHARED = re.compile(r"\{%-?\s*render\s+['\"]([a-z0-9-]+)['\"]\s*-?%\}")
# Markdown that was meant, and is none by CommonMark's rules: its signs would be read by the borrower.
_LEFT_OVER = re.compile(r"\*\*|\]\(|^#{1,6}(?=[^\s#])")
_WIDE = re.compile(r"[\u3000-\u9fff\uff00-\uff60]$")
_SPECIAL = re.compile(r"([&<>\"])")
_STYLES = {"strong": "b", "em": "i"}
_BETWEEN = ("else", "elsif", "when")
_DEEPEST_HEADING = "h3"


@dataclass(frozen=True, slots=True)
class Piece:
    """A piece of made text. ``origin`` is its offset in the Markdown; ``verbatim``: it stands there as it is here."""

    text: str
    origin: int
    verbatim: bool = False


@dataclass(frozen=True, slots=True)
class Translated:
    """``html``: MJML elements for the layout's column. ``opt_out``: the text has the opt-out line."""

    html: tuple[Piece, ...]
    text: tuple[Piece, ...]
    opt_out: bool


class HeldText:
    """A text whose Liquid tags are held back: each is replaced by its number between two private-use characters.

    ``tags`` are the tags with their offsets in the source.
    """

    def __init__(self, held: str, tags: Sequence[tuple[int, str]]) -> None:
        self.held = held
        self.tags = tags
        self._ends = [found.end() for found in HELD.finditer(held)]
        self.lines = [0, *(found.end() for found in re.finditer("\n", held)), len(held)]

    def origin(self, at: int) -> int:
        """The offset in the source of the character at ``at`` of the held text, which is not within a held tag."""
        before = bisect_left(self._ends, at + 1)
        if not before:
            return at
        start, tag = self.tags[before - 1]
        return start + len(tag) + at - self._ends[before - 1]


def is_control(tag: str) -> bool:
    """Whether a tag writes nothing by itself: a condition, a loop, a remark."""
    return tag.startswith("{%") and _name(tag) not in ("render", "echo")


def _name(tag: str) -> str:
    found = _NAME.match(tag)
    return found[1] if found else ""


@dataclass(slots=True)
class _Made:
    html: list[Piece] = field(default_factory=list)
    text: list[Piece] = field(default_factory=list)

    def both(self, pieces: Sequence[Piece]) -> None:
        self.html += pieces
        self.text += pieces


class MessageWriter:
    """Writes one text. ``laid_out``, ``opt_out``: see ``markdown.translate``."""

    def __init__(self, source: HeldText, laid_out: frozenset[str], opt_out: str) -> None:
        self._source = source
        self._laid_out = laid_out
        self._opt_out = opt_out
        self._has_opt_out = False
        self._made = _Made()
        self._at = 0  # in the held text: what has been written so far comes before
        self._end = 0  # of the block that is being written
        self._moved: frozenset[int] = frozenset()  # tags that were written around the block

    def write(self, tree: SyntaxTreeNode) -> Translated:
        """Raises SourceError with the offset in the source."""
        for node in tree.children:
            self._begin(node)
            if self._made.text:
                self._plain("\n\n")
            self._block(node)
        return Translated(tuple(self._made.html), tuple(self._made.text), self._has_opt_out)

    # ── blocks ──

    def _begin(self, node: SyntaxTreeNode) -> None:
        if node.map:
            self._at = max(self._at, self._source.lines[node.map[0]])
            self._end = self._source.lines[min(node.map[1], len(self._source.lines) - 1)]

    def _block(self, node: SyntaxTreeNode) -> None:
        """A block of the message itself: an MJML element of its own."""
        if node.type == "liquid":
            self._made.both(self._tags(HELD.findall(node.content)))
        elif node.type == "hr":
            self._both_markup("<mj-divider />", "----")
        elif node.type == "table":
            self._table(node)
        elif node.type == "paragraph":
            self._paragraph(node.children[0])
        else:
            before, after = self._around(node.children[0]) if node.type == "heading" else ([], [])
            self._made.both(before)
            self._html("<mj-text>")
            self._flow(node, "")
            self._html("</mj-text>")
            self._made.both(after)
        self._html("\n")

    def _paragraph(self, inline: SyntaxTreeNode) -> None:
        before, after = self._around(inline)
        numbers = [each for each in HELD.findall(inline.content) if int(each) not in self._moved]
        shared = [_SHARED.fullmatch(self._tag(each)) for each in numbers]
        alone = not HELD.sub("", inline.content).strip() and shared and all(shared)
        names = {found[1] for found in shared if found} if alone else set()
        at_foot = names == {self._opt_out}
        self._has_opt_out |= at_foot
        self._made.both(before)
        html = len(self._made.html)
        if (link := self._button(inline)) is not None:
            self._html("<mj-button")
            self._href(link)
            starts = len(self._made.html), len(self._made.text)
            self._inlines(link)
            _trim(self._made.html, starts[0])
            _trim(self._made.text, starts[1])
            self._html("</mj-button>")
            self._plain(_colon(_words_of(link).removesuffix("]")))
            self._address(link)
        else:
            self._html("<mj-text>")
            self._inlines(inline)
            self._html("</mj-text>")
        if at_foot:
            del self._made.html[html:]
        elif len(names) == 1 and names <= self._laid_out:
            self._made.html[html:] = [replace(self._tags(numbers)[0], text=f"{{% render '{names.pop()}-mail' %}}")]
        self._made.both(after)

    def _button(self, inline: SyntaxTreeNode) -> SyntaxTreeNode | None:
        """The link of a paragraph that is one link in double brackets: ``[[Pay online]](https://…)``."""
        links = [each for each in inline.children if each.type == "link"]
        rest = "".join(each.content for each in inline.children if each.type != "link")
        kept = [each for each in HELD.findall(rest) if int(each) not in self._moved]
        if len(links) != 1 or kept or HELD.sub("", rest).strip():
            return None
        words = [each.content for each in links[0].children]
        return links[0] if words and words[0].startswith("[") and words[-1].endswith("]") else None

    def _flow(self, node: SyntaxTreeNode, indent: str) -> None:
        """A block within an element: HTML, and lines of plain text that begin with ``indent``."""
        self._begin(node)
        if node.type == "liquid":
            self._made.both(self._tags(HELD.findall(node.content)))
        elif node.type == "heading":
            if node.tag > _DEEPEST_HEADING:
                raise self._error(translatable("headings have at most three #"))
            self._html(f"<{node.tag}>")
            self._inlines(node.children[0], indent)
            self._html(f"</{node.tag}>")
        elif node.type == "paragraph":
            inside = "" if node.hidden else "p"
            self._html(f"<{inside}>" if inside else "")
            self._inlines(node.children[0], indent)
            self._html(f"</{inside}>" if inside else "")
        elif node.type in ("bullet_list", "ordered_list"):
            self._list(node, indent)
        elif node.type == "blockquote":
            self._html("<blockquote>")
            self._flows(node.children, indent)
            self._html("</blockquote>")
        elif node.type == "hr":
            self._both_markup("<hr />", "----")
        else:
            raise self._error(translatable("a table stands by itself, not in a list or a call-out"))

    def _flows(self, nodes: Sequence[SyntaxTreeNode], indent: str) -> None:
        for count, node in enumerate(nodes):
            if count:
                tight = node.type.endswith("_list") or node.type == "liquid"
                self._plain(("\n" if tight else "\n\n") + indent)
            self._flow(node, indent)

    def _list(self, node: SyntaxTreeNode, indent: str) -> None:
        self._html(f"<{node.tag}>")
        first = int(node.attrs.get("start", 1))
        for number, item in enumerate(node.children):
            self._begin(item)
            only = item.children[0] if len(item.children) == 1 else None
            before, after = self._around(only.children[0]) if only and only.type == "paragraph" else ([], [])
            self._made.both(before)
            mark = f"{first + number}. " if node.type == "ordered_list" else "- "
            self._plain(f"\n{indent}{mark}" if number else mark)
            self._html("<li>")
            self._flows(item.children, indent + " " * len(mark))
            self._html("</li>")
            self._made.both(after)
        self._html(f"</{node.tag}>")

    def _table(self, node: SyntaxTreeNode) -> None:
        """A table; as plain text a line for each row: "Fee: 12.00", or with the columns' names where they are more."""
        heads, *bodies = node.children
        columns = heads.children[0].children
        if len(columns) < 2:
            raise self._error(translatable("a table has two columns at least"))
        self._html("<mj-table>")
        text = len(self._made.text)
        self._row(heads.children[0], ())
        del self._made.text[text:]  # a column's name stands beside each of its values, where there are several
        for number, row in enumerate(row for body in bodies for row in body.children):
            self._plain("\n" if number else "")
            self._row(row, columns)
        self._html("</mj-table>")

    def _row(self, row: SyntaxTreeNode, columns: Sequence[SyntaxTreeNode]) -> None:
        self._begin(row)
        self._html("<tr>")
        for number, cell in enumerate(row.children):
            side = str(cell.attrs.get("style", "")).removeprefix("text-align:") or "left"
            self._html(f'<{cell.tag} align="{side}">')
            if number:
                self._plain(_colon(_words_of(row.children[0])) if number == 1 else ", ")
            if number and len(columns) > 2 and columns[number].children:
                self._name_column(columns[number].children[0])
            for inline in cell.children:
                self._inlines(inline)
            self._html(f"</{cell.tag}>")
        self._html("</tr>")

    def _name_column(self, head: SyntaxTreeNode) -> None:
        """The column's name before its value, in the plain text only."""
        html, at = len(self._made.html), self._at
        self._at = self._source.lines[head.map[0]] if head.map else 0
        self._inlines(head)
        del self._made.html[html:]
        self._at = at
        self._plain(" ")

    # ── words ──

    def _inlines(self, node: SyntaxTreeNode, indent: str = "") -> None:
        for each in node.children:
            if each.type in ("text", "text_special"):
                self._words(each)
            elif each.type in ("softbreak", "hardbreak"):
                self._both_markup("<br />", f"\n{indent}")
            elif each.type == "link":
                self._link(each)
            else:
                self._html(f"<{_STYLES[each.type]}>")
                self._inlines(each, indent)
                self._html(f"</{_STYLES[each.type]}>")

    def _link(self, node: SyntaxTreeNode) -> None:
        self._html("<a")
        self._href(node)
        self._inlines(node)
        self._html("</a>")
        label = _words_of(node)
        if label != _bare(str(node.attrs["href"])) and label != node.attrs["href"]:
            self._plain(" (")
            self._address(node)
            self._plain(")")

    def _href(self, node: SyntaxTreeNode) -> None:
        """The attribute and the end of the tag."""
        self._html(' href="')
        self._made.html += self._held(str(node.attrs["href"]), html=True, advance=False)
        self._html('">')

    def _address(self, node: SyntaxTreeNode) -> None:
        self._made.text += self._held(_bare(str(node.attrs["href"])), html=False, advance=False)

    def _words(self, node: SyntaxTreeNode) -> None:
        if node.type == "text" and (found := _LEFT_OVER.search(node.content)):
            remedy = translatable("put spaces and punctuation outside of **bold**, and a space after #")
            detail = translatable("the reader will see {sign}: {remedy}", sign=repr(found[0]), remedy=remedy)
            raise self._error(detail, found[0])
        at = self._at
        self._made.text += self._held(node.content, html=False)
        self._at = at
        self._made.html += self._held(node.content, html=True)

    def _held(self, content: str, *, html: bool, advance: bool = True) -> list[Piece]:
        """Words with their tags put back, and their origins: a text's words stand in its source in the same order."""
        found, begun = [], self._at
        for number, words in enumerate(HELD.split(content)):
            if number % 2:
                if int(words) not in self._moved:
                    found += self._tags([words])
                at = self._source.held.find(f"\ue000{words}\ue001", self._at)
                self._at = at + len(words) + 2 if at >= 0 else self._at
            elif words:
                found += self._located(words, html=html)
        if not advance:
            self._at = begun
        return found

    def _located(self, words: str, *, html: bool) -> Iterator[Piece]:
        at = self._source.held.find(words, self._at, self._end or None)
        start = self._at if at < 0 else at
        origin, exact = self._source.origin(start), at >= 0
        for each in _SPECIAL.split(words) if html else [words]:
            safe = escape(each) if html else each
            if each:
                yield Piece(safe, origin, exact and safe == each)
                origin += len(each) if exact else 0
        if exact:
            self._at = at + len(words)

    # ── tags ──

    def _tag(self, number: str | int) -> str:
        return self._source.tags[int(number)][1]

    def _tags(self, numbers: Sequence[str | int]) -> list[Piece]:
        held = [self._source.tags[int(each)] for each in numbers]
        return [Piece(tag, offset, True) for offset, tag in held if _name(tag) not in ("comment", "#")]

    def _around(self, inline: SyntaxTreeNode) -> tuple[list[Piece], list[Piece]]:
        """The conditions at a block's edges that are about all of it: they are written around its element."""
        leading, trailing = _edges(inline.content, lambda number: is_control(self._tag(number)))
        numbers = [int(each) for each in HELD.findall(inline.content)]
        partners, split = _partners([(each, _name(self._tag(each))) for each in numbers])
        whole = [each for each in partners if partners[each] in trailing and each not in split]
        ahead = list(takewhile(lambda each: each not in partners or each in whole, leading))
        behind = [each for each in trailing if each not in partners or partners[each] in ahead]
        self._moved = frozenset((*ahead, *behind))
        return self._tags(ahead), self._tags(behind)

    # ── output ──

    def _html(self, markup: str) -> None:
        if markup:
            self._made.html.append(Piece(markup, self._source.origin(self._at)))

    def _plain(self, text: str) -> None:
        if text:
            self._made.text.append(Piece(text, self._source.origin(self._at)))

    def _both_markup(self, html: str, text: str) -> None:
        self._html(html)
        self._plain(text)

    def _error(self, detail: str, sign: str = "") -> SourceError:
        at = self._source.held.find(sign, self._at, self._end or None) if sign else self._at
        return SourceError(detail, self._source.origin(max(at, self._at)))


def _words_of(node: SyntaxTreeNode) -> str:
    return "".join(each.content for each in node.walk() if each.type in ("text", "text_special"))


def _colon(words: str) -> str:
    """A colon as it is written after ``words``: Chinese has a wide one, without a space."""
    return "：" if _WIDE.search(words) else ": "


def _bare(address: str) -> str:
    """An address as people write it: without the scheme of mail and telephone links."""
    return re.sub(r"^(?:mailto|tel):", "", address)


def _trim(pieces: list[Piece], first: int) -> None:
    """Remove the brackets of a button's label, which begins at ``first``."""
    begin = pieces[first]
    pieces[first] = Piece(begin.text[1:], begin.origin + begin.verbatim, begin.verbatim)
    end = pieces[-1]
    pieces[-1] = Piece(end.text[:-1], end.origin, end.verbatim)


def _edges(content: str, is_moved: Callable[[int], bool]) -> tuple[list[int], list[int]]:
    """The numbers of the tags at the beginning and at the end of a block for which ``is_moved``."""
    leading, trailing = re.match(r"(?:\s*\ue000\d+\ue001)*", content), re.search(r"(?:\ue000\d+\ue001\s*)*$", content)
    first = [int(each) for each in HELD.findall(leading[0] if leading else "")]
    last = [int(each) for each in HELD.findall(trailing[0] if trailing else "")]
    return list(takewhile(is_moved, first)), list(takewhile(is_moved, reversed(last)))[::-1]


def _partners(tags: Sequence[tuple[int, str]]) -> tuple[dict[int, int], set[int]]:
    """Opening and closing tags of the same condition, by number; and those conditions that have an ``else``."""
    found: dict[int, int] = {}
    split: set[int] = set()
    open_blocks: list[int] = []
    for number, name in tags:
        if name in BLOCKS:
            open_blocks.append(number)
        elif name.startswith("end") and open_blocks:
            begun = open_blocks.pop()
            found |= {begun: number, number: begun}
        elif name in _BETWEEN and open_blocks:
            split.add(open_blocks[-1])
    return found, split
