"""An e-mail written in Markdown: one text, from which the laid-out message (MJML) and the plain text are made.

Liquid's tags are held back while Markdown is parsed, and put back into the result. So a variable's value is never read
as Markdown: it is inserted when a message is rendered, escaped in HTML and as it is in plain text. Must not know the
look, which is the shared text ``mail-layout``. Names of the language: CommonMark 0.31, tables of GitHub's Markdown.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache

from markdown_it import MarkdownIt
from markdown_it.rules_block import StateBlock
from markdown_it.tree import SyntaxTreeNode

from gateway.templates.language.markdown_writer import HELD, HeldText, MessageWriter, Translated, is_control
from gateway.templates.language.source_positions import SourceError
from gateway.templates.translatable import translatable

# The limits are our choice: many times what the longest letter has. Whatever the text is, they bound what is made of
# it, and so the time until its finding (tests/unit/templates/test_hostile_markdown.py).
MOST_CHARACTERS = 20_000
_MOST_SIGNS: Mapping[str, int] = {
    "{{": 250, "{%": 250, "[": 100, "<": 100, "&": 300, "*": 400, "_": 400, "|": 400, "\\": 300, "\n": 400
}  # fmt: skip
_MOST_SHARED = 40  # shared texts: each is as long as they are
_MOST_COLUMNS = 12  # of a table: the parser fills the rows that have fewer
_MOST_CELLS = 300
_MOST_ITEMS = 300
_MOST_DEEP = 6  # lists and call-outs within each other

_TAG = re.compile(
    r"\{%-?\s*comment\s*-?%\}.{0,4000}?\{%-?\s*endcomment\s*-?%\}|\{\{.{0,400}?\}\}|\{%.{0,400}?%\}", re.DOTALL
)
_SHARED = re.compile(r"\{%-?\s*render\b")
_CONTROL_LINE = re.compile(r"[ \t]*(?:\ue000\d+\ue001[ \t]*)+")
_HTML = re.compile(r"<(?!https?://|mailto:)[A-Za-z/!?]")
_MARKERS = re.compile(r"(?:[ \t]*(?:>|[-*+](?=[ \t])|\d{1,9}[.)](?=[ \t])))*")


def translate(source: str, laid_out: frozenset[str], opt_out: str) -> Translated:
    """Translate a text. Raises SourceError with the offset in ``source``.

    ``laid_out`` are the shared texts that have another form for the layout, named ``<name>-mail``, which is MJML.
    ``opt_out`` is the shared text that stands at the foot of a laid-out message.
    """
    _bound(source)
    tags = [(found.start(), found[0]) for found in _TAG.finditer(source)]
    numbers = iter(range(len(tags)))
    held = _TAG.sub(lambda _: f"\ue000{next(numbers)}\ue001", source)
    origin = HeldText(held, tags).origin
    if found := _HTML.search(held):
        detail = translatable("HTML is not read here: write **bold** and [words](https://…), or \\< for the sign")
        raise SourceError(detail, origin(found.start()))
    if (at := held.find("![")) >= 0:
        raise SourceError(translatable("a picture needs the layout: open the source"), origin(at))
    controls = frozenset(str(number) for number, (_, tag) in enumerate(tags) if is_control(tag))
    tree = SyntaxTreeNode(_parser().parse(held, {"controls": controls}))
    return MessageWriter(HeldText(held, tags), laid_out, opt_out).write(tree)


def _bound(source: str) -> None:
    """Refuse what would take long to parse, before it is parsed."""
    if len(source) > MOST_CHARACTERS:
        raise SourceError(translatable("is longer than {most} characters", most=MOST_CHARACTERS), MOST_CHARACTERS)
    if found := re.search("[\ue000\ue001]", source):
        detail = translatable("contains a private-use character, which can't be displayed")
        raise SourceError(detail, found.start())
    for sign, most in _MOST_SIGNS.items():
        if source.count(sign) > most:
            shown = translatable("line ends") if sign == "\n" else repr(sign)
            detail = translatable("there are more than {most} of {sign}: shorten it", most=most, sign=shown)
            raise SourceError(detail, _nth(source, sign, most))
    shared = list(_SHARED.finditer(source))
    if len(shared) > _MOST_SHARED:
        detail = translatable("there are more than {most} shared texts: shorten it", most=_MOST_SHARED)
        raise SourceError(detail, shared[_MOST_SHARED].start())
    offset = items = columns = cells = 0
    for line in source.split("\n"):
        markers = _MARKERS.match(line)
        depth = len(re.findall(r"\S+", markers[0].replace(">", "> "))) if markers else 0
        indented = (len(line) - len(line.lstrip(" \t"))) // 2 if depth else 0
        items += depth
        if max(depth, indented) > _MOST_DEEP:
            raise SourceError(translatable("lists are nested more than {most} deep", most=_MOST_DEEP), offset)
        if items > _MOST_ITEMS:
            raise SourceError(translatable("lists have more than {most} items", most=_MOST_ITEMS), offset)
        if line.count("|") > _MOST_COLUMNS + 1:
            raise SourceError(translatable("a table has more than {most} columns", most=_MOST_COLUMNS), offset)
        # The parser fills rows that have fewer cells than the line below the heads.
        columns = len(line.strip(" |>").split("|")) if _ends_heads(line) else columns * bool(line.strip())
        cells += columns
        if cells > _MOST_CELLS:
            raise SourceError(translatable("tables have more than {most} cells", most=_MOST_CELLS), offset)
        offset += len(line) + 1


def _ends_heads(line: str) -> bool:
    """Whether a line may be the one below a table's heads, such as ``|---|---:|``."""
    return "-" in line and "|" in line and set(line) <= set(" \t>|:-")


def _nth(source: str, sign: str, number: int) -> int:
    at = -1
    for _ in range(number + 1):
        at = source.find(sign, at + 1)
    return at


@lru_cache(maxsize=1)
def _parser() -> MarkdownIt:
    made = MarkdownIt("zero", {"breaks": True, "maxNesting": 40})
    made.enable(["heading", "list", "blockquote", "hr", "table", "emphasis", "link", "autolink", "escape", "newline"])
    made.enable(["entity"])
    made.disable(["text_join"])
    made.block.ruler.before("table", "liquid", _liquid_line, {"alt": ["paragraph", "blockquote", "list"]})
    # The links are checked in what is made, with their positions (rendering/markup.py); the default would escape tags.
    made.normalizeLink = lambda url: url  # type: ignore[method-assign]
    made.validateLink = lambda url: True  # type: ignore[method-assign]
    return made


def _liquid_line(state: StateBlock, start: int, end: int, silent: bool) -> bool:
    """A line of tags alone stands between blocks, and ends the paragraph or list before it."""
    line = state.src[state.bMarks[start] + state.tShift[start] : state.eMarks[start]]
    if not _CONTROL_LINE.fullmatch(line) or not state.env["controls"].issuperset(HELD.findall(line)):
        return False
    if not silent:
        token = state.push("liquid", "", 0)
        token.content, token.map = line, [start, start + 1]
        state.line = start + 1
    return True
