"""What a reader gets of a rendered message: its links, its amounts, and a laid-out one as a screen reader reads it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from html.parser import HTMLParser
from itertools import product

from channels.content import Content
from gateway.templates.language.formats import MONEY_STYLES, money
from gateway.templates.language.variables import VariableSpec, values

_ADDRESS = re.compile(r"\b(?:https?://|mailto:|tel:)[^\s\"'<>）。，、]+", re.IGNORECASE)
_SILENT = frozenset({"head", "style", "script", "title"})
_BLOCKS = frozenset({"p", "div", "td", "th", "tr", "table", "ul", "ol", "blockquote", "br", "hr"})
_HEADINGS = ("h1", "h2", "h3", "h4", "h5", "h6")
_VOID = frozenset({"img", "br", "hr", "meta", "link", "input", "col"})


class SpokenKind(StrEnum):
    """What a screen reader announces before the words."""

    TEXT = "text"
    HEADING = "heading"
    LINK = "link"
    ITEM = "item"
    CELL = "cell"
    PICTURE = "picture"


@dataclass(frozen=True, slots=True)
class Spoken:
    """A piece that is read at once. ``detail``: a heading's level, or a link's address."""

    kind: SpokenKind
    words: str
    detail: str = ""


@dataclass(frozen=True, slots=True)
class SentLink:
    """A link as it is sent. ``words`` "": its address is what is read."""

    address: str
    words: str


def sent_links(content: Content) -> tuple[SentLink, ...]:
    """Every link of a message, each once: those of the HTML with their words, then those of the text."""
    found = {each.detail: each.words for each in spoken(content.html) if each.kind is SpokenKind.LINK}
    for address in _ADDRESS.findall(content.text):
        found.setdefault(address.rstrip(".,;:!?)"), "")
    return tuple(SentLink(address, "" if words == address else words) for address, words in found.items())


def sent_amounts(
    content: Content, variables: Mapping[str, VariableSpec], given: Mapping[str, object], locale: str
) -> tuple[str, ...]:
    """Every amount of the sample as it stands in a message, in the order of the variables."""
    try:
        known = values(variables, given)
    except (ValueError, TypeError, ArithmeticError):
        return ()
    currencies = [str(known[name]) for name, each in variables.items() if each.type == "currency" and known.get(name)]
    amounts = [known[name] for name, each in variables.items() if each.type == "money" and known.get(name) is not None]
    # An SMS has plain spaces in the place of no-break ones.
    plain = " ".join(f"{content.subject} {content.text}".split())
    written = [money(*each, locale, style) for each in product(amounts, currencies) for style in MONEY_STYLES]
    return tuple(dict.fromkeys(each for each in written if _stands_in(" ".join(each.split()), plain)))


def _stands_in(amount: str, text: str) -> bool:
    """Whether a text has the amount; "NT$3,913" is none of "NT$3,913.00"."""
    return re.search(rf"(?<![\d.,]){re.escape(amount)}(?!\d|[.,]\d)", text) is not None


def spoken(html: str) -> tuple[Spoken, ...]:
    """An HTML message as a screen reader goes through it; nothing of what is hidden, nor of tables for the layout."""
    if not html:
        return ()
    reader = _Reader()
    reader.feed(html)
    reader.close()
    return tuple(reader.done())


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self._found: list[Spoken] = []
        self._words: list[str] = []
        self._hidden: list[str] = []  # the open elements, from the outermost hidden one on
        self._link = ""
        self._kind, self._detail = SpokenKind.TEXT, ""
        self._data_tables: list[bool] = []

    def handle_starttag(self, tag: str, attrs: Sequence[tuple[str, str | None]]) -> None:
        own = {name: value or "" for name, value in attrs}
        gone = (
            tag in _SILENT
            or own.get("aria-hidden") == "true"
            or "display:none" in own.get("style", "").replace(" ", "")
        )
        if self._hidden or gone:
            if tag not in _VOID:
                self._hidden.append(tag)
            return
        if tag == "table":
            self._data_tables.append(own.get("role") not in ("presentation", "none"))
        if tag == "img" and own.get("alt"):
            self._flush()
            self._found.append(Spoken(SpokenKind.PICTURE, own["alt"]))
        elif tag == "a" and own.get("href"):
            self._flush()
            self._link = own["href"]
        elif tag in _BLOCKS or tag in _HEADINGS or tag == "li":
            self._flush()
            self._begin(tag)

    def _begin(self, tag: str) -> None:
        in_data = bool(self._data_tables) and self._data_tables[-1]
        if tag in _HEADINGS:
            self._kind, self._detail = SpokenKind.HEADING, tag[1:]
        elif tag == "li":
            self._kind, self._detail = SpokenKind.ITEM, ""
        elif tag in ("td", "th"):
            self._kind, self._detail = (SpokenKind.CELL if in_data else SpokenKind.TEXT), ""

    def handle_endtag(self, tag: str) -> None:
        if self._hidden:
            if tag in self._hidden:
                while self._hidden.pop() != tag:
                    pass
            return
        if tag == "table" and self._data_tables:
            self._data_tables.pop()
        if tag == "a" and self._link:
            words = self._take()
            if words:
                self._found.append(Spoken(SpokenKind.LINK, words, self._link))
            self._link = ""
        elif tag in _BLOCKS or tag in _HEADINGS or tag == "li":
            self._flush()
            if tag in _HEADINGS or tag in ("li", "td", "th"):
                self._kind, self._detail = SpokenKind.TEXT, ""

    def handle_data(self, data: str) -> None:
        if not self._hidden:
            self._words.append(data)

    def _take(self) -> str:
        words = " ".join("".join(self._words).split())
        self._words = []
        return words

    def _flush(self) -> None:
        if words := self._take():
            self._found.append(Spoken(self._kind, words, self._detail))

    def done(self) -> list[Spoken]:
        self._flush()
        return self._found
