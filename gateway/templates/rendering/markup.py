"""The permitted markup of e-mails: a closed list of elements and attributes, https links, no scripts, no remote styles.

The MJML compiler drops unknown elements silently, and its "unable to parse" has no position; so the source is checked
here first, with its Liquid tags. Must not know the layout.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import unescape

from gateway.templates.language.dialect import BLOCKS
from gateway.templates.language.source_positions import SourceError
from gateway.templates.translatable import joined, translatable

LIQUID = re.compile(r"\{\{.*?\}\}|\{%.*?%\}", re.DOTALL)
TOKEN = re.compile(
    r"<(?P<close>/)?(?P<name>[A-Za-z][A-Za-z0-9-]*)(?P<attributes>(?:[^<>\"']|\"[^\"]*\"|'[^']*')*)>|<|\ue000(?P<tag>\d+)\ue001"
)
_ATTRIBUTE = re.compile(r"\s*(?P<name>[A-Za-z][A-Za-z0-9-]*)(?:\s*=\s*(?:\"(?P<double>[^\"]*)\"|'(?P<single>[^']*)'))?")
HELD = re.compile(r"\ue000\d+\ue001")

_INLINE = frozenset(("a", "b", "br", "em", "i", "img", "small", "span", "strong", "sub", "sup", "u"))
_FLOW = _INLINE | {"p", "h1", "h2", "h3", "ul", "ol", "li", "blockquote", "hr", "table", "tbody", "tr", "td", "th"}
_VOID = frozenset(("br", "hr", "img"))
# The permitted children of each MJML element; elements with text permit the HTML of the list above.
_CHILDREN: Mapping[str, frozenset[str]] = {
    "": frozenset(("mjml",)),
    "mjml": frozenset(("mj-head", "mj-body")),
    "mj-head": frozenset(("mj-title", "mj-preview", "mj-attributes", "mj-style")),
    "mj-attributes": frozenset(
        (
            "mj-all",
            "mj-class",
            "mj-body",
            "mj-section",
            "mj-column",
            "mj-text",
            "mj-button",
            "mj-image",
            "mj-divider",
            "mj-table",
        )
    ),
    "mj-body": frozenset(("mj-wrapper", "mj-section")),
    "mj-wrapper": frozenset(("mj-section",)),
    "mj-section": frozenset(("mj-column", "mj-group")),
    "mj-group": frozenset(("mj-column",)),
    "mj-column": frozenset(("mj-text", "mj-button", "mj-image", "mj-divider", "mj-spacer", "mj-table")),
    "mj-text": _FLOW,
    "mj-button": _INLINE - {"a", "img"},
    "mj-table": frozenset(("tr", "tbody")),
    "mj-title": frozenset(),
    "mj-preview": frozenset(),
    "mj-style": frozenset(),
}
_WITH_TEXT = ("mj-text", "mj-button", "mj-title", "mj-preview", "mj-style")
_NO_TEXT_IN_HTML = ("table", "tbody", "tr", "ul", "ol")
_LINKS = ("href", "src", "background-url")
_SIDES = ("", "-top", "-right", "-bottom", "-left")
_HTML_ATTRIBUTES = frozenset(
    ("href", "src", "alt", "title", "class", "style", "lang", "dir", "width", "height", "align", "colspan", "rowspan")
)
_MJML_ATTRIBUTES = (
    _HTML_ATTRIBUTES - {"class", "style"}
    | frozenset(f"{kind}{side}" for kind in ("padding", "border", "inner-padding", "inner-border") for side in _SIDES)
    | frozenset(
        (
            "css-class",
            "mj-class",
            "name",
            "color",
            "background-color",
            "container-background-color",
            "inner-background-color",
            "background-url",
            "background-size",
            "background-repeat",
            "background-position",
            "border-radius",
            "font-family",
            "font-size",
            "font-style",
            "font-weight",
            "letter-spacing",
            "line-height",
            "text-align",
            "text-decoration",
            "text-transform",
            "vertical-align",
            "direction",
            "full-width",
            "inline",
            "cellpadding",
            "cellspacing",
            "border-width",
            "border-style",
            "border-color",
            "target",
            "rel",
        )
    )
)
_MOST_ELEMENTS = 500  # our choice: a long e-mail has fifty
_DEEPEST = 40  # depth of nested elements; our choice: the MJML compiler recurses for each
_LINK = re.compile(r"(https://|mailto:|tel:)", re.IGNORECASE)
_SITE = re.compile(r"https://[^/\s]+/|mailto:|tel:", re.IGNORECASE)
_WORDS_ONLY = ("alt", "title", "href", "src")  # attributes that may have a variable
_BAD_STYLE = re.compile(r"url\s*\(|@import|expression\s*\(|behavior\s*:|-moz-binding|javascript:|\\|<", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Element:
    """An opening tag, for the lint. ``offset`` is in the source."""

    name: str
    attributes: Mapping[str, str]
    offset: int


def elements(source: str, addresses: frozenset[str]) -> Iterator[Element]:
    """Yield the opening tags in order; checks that all elements are permitted and closed. Raises SourceError."""
    if any(each in source for each in "\ue000\ue001"):
        raise SourceError(translatable("contains a private-use character, which can't be displayed"), 0)
    masked, tags = _masked(source)
    stack: list[tuple[str, int]] = []  # open elements, and Liquid's blocks as "{% if"
    done = opened = 0
    for found in TOKEN.finditer(masked):
        _text(masked, done, found.start(), stack)
        done = found.end()
        if found["tag"]:
            _control(tags[found.start()], found.start(), stack)
        elif found["name"] is None:
            raise SourceError(
                translatable("unexpected <: write &lt; for the sign, {% comment %} for a comment"), found.start()
            )
        elif found["close"]:
            _close(found["name"].lower(), found.start(), stack)
        else:
            opened += 1
            if opened > _MOST_ELEMENTS:
                raise SourceError(
                    translatable("there are more than {most} elements", most=_MOST_ELEMENTS), found.start()
                )
            yield _open(found, masked, tags, stack, addresses)
    _text(masked, done, len(masked), stack)
    if stack:
        raise SourceError(translatable("{element} is not closed", element=_shown(stack[-1][0])), stack[-1][1])


def _masked(source: str) -> tuple[str, dict[int, str]]:
    """The source with each Liquid tag blanked out at the same length, and the tags by offset."""
    tags: dict[int, str] = {}

    def mask(found: re.Match[str]) -> str:
        tags[found.start()] = found[0]
        return "\ue000" + "0" * (len(found[0]) - 2) + "\ue001"

    return LIQUID.sub(mask, source), tags


def _parent(stack: list[tuple[str, int]]) -> str:
    return next((name for name, _ in reversed(stack) if not name.startswith("{%")), "")


def _text(masked: str, start: int, end: int, stack: list[tuple[str, int]]) -> None:
    text = masked[start:end]
    if not text.strip():
        return
    parent, at = _parent(stack), start + len(text) - len(text.lstrip())
    if parent == "mj-style":
        if bad := _BAD_STYLE.search(text):
            detail = translatable(
                "{what} is not allowed in a style: an e-mail must not load anything", what=repr(bad[0])
            )
            raise SourceError(detail, start + bad.start())
    elif parent in _NO_TEXT_IN_HTML or (parent in _CHILDREN and parent not in _WITH_TEXT):
        raise _bare_text(parent, at)


def _bare_text(parent: str, offset: int) -> SourceError:
    where = _shown(parent) or translatable("an e-mail")
    return SourceError(
        translatable("text is not allowed directly in {where}: put it in <mj-text>", where=where), offset
    )


def _control(tag: str, offset: int, stack: list[tuple[str, int]]) -> None:
    if tag.startswith("{{"):
        parent = _parent(stack)
        if parent == "mj-style":
            raise SourceError(translatable("variables are not allowed in a style"), offset)
        if parent in _NO_TEXT_IN_HTML or (parent in _CHILDREN and parent not in _WITH_TEXT):
            raise _bare_text(parent, offset)
        return
    name = tag.strip("{%-} \n").split(maxsplit=1)[0] if tag.strip("{%-} \n") else ""
    if name in BLOCKS:
        stack.append((f"{{% {name}", offset))
    elif name.startswith("end"):
        if not stack or stack[-1][0] != f"{{% {name.removeprefix('end')}":
            what = _shown(stack[-1][0]) if stack else translatable("nothing")
            detail = translatable(
                "{tag} closes {what}: elements and conditions must not overlap", tag=f"{{% {name} %}}", what=what
            )
            raise SourceError(detail, offset)
        stack.pop()
    elif name in ("else", "elsif", "when") and stack and not stack[-1][0].startswith("{%"):
        names = {"tag": f"{{% {name} %}}", "element": _shown(stack[-1][0])}
        raise SourceError(
            translatable("{tag} is inside {element}, which was opened before the condition", **names), offset
        )


def _open(
    found: re.Match[str], masked: str, tags: Mapping[int, str], stack: list[tuple[str, int]], addresses: frozenset[str]
) -> Element:
    name, parent = found["name"].lower(), _parent(stack)
    allowed = _CHILDREN.get(parent, _FLOW if parent != "table" else frozenset(("tr", "tbody")))
    if name not in allowed:
        known = ", ".join(sorted(allowed)) or translatable("text only")
        where = translatable("in {element}", element=_shown(parent)) if parent else translatable("at the top level")
        detail = translatable("<{name}> is not allowed {where}; allowed: {known}", name=name, where=where, known=known)
        raise SourceError(detail, found.start())
    attributes = _attributes(found, masked, tags, addresses, html=name in _FLOW)
    if not found["attributes"].rstrip().endswith("/") and name not in _VOID:
        stack.append((name, found.start()))
        if len(stack) > _DEEPEST:
            raise SourceError(translatable("elements are nested more than {most} deep", most=_DEEPEST), found.start())
    return Element(name, attributes, found.start())


def _close(name: str, offset: int, stack: list[tuple[str, int]]) -> None:
    if not stack or stack[-1][0] != name:
        detail = translatable("</{name}> has no matching opening tag", name=name)
        if stack:
            open_ = translatable("{element} is still open", element=_shown(stack[-1][0]))
            detail = joined([detail, open_])
        raise SourceError(detail, offset)
    stack.pop()


def _attributes(
    found: re.Match[str], masked: str, tags: Mapping[int, str], addresses: frozenset[str], *, html: bool
) -> dict[str, str]:
    attributes: dict[str, str] = {}
    at, end = found.start("attributes"), found.end("attributes")
    while masked[at:end].strip(" \t\r\n/"):
        each = _ATTRIBUTE.match(masked, at, end)
        if each is None or each.end() == at:
            raise SourceError(translatable('write an attribute like name="value"'), at)
        name, place = each["name"].lower(), each.start("name")
        group = "double" if each["double"] is not None else "single"
        value = each[group] or ""
        if name not in (_HTML_ATTRIBUTES if html else _MJML_ATTRIBUTES):
            raise SourceError(translatable("the attribute {name} is not allowed here", name=repr(name[:40])), place)
        if name in attributes:
            raise SourceError(translatable("the attribute {name} occurs twice", name=repr(name)), place)
        _value(name, value, each.start(group) if value else place, tags, addresses)
        attributes[name] = value
        at = each.end()
    return attributes


def _value(name: str, value: str, offset: int, tags: Mapping[int, str], addresses: frozenset[str]) -> None:
    held = [(found.start(), tags[offset + found.start()]) for found in HELD.finditer(value)]
    for at, tag in held:
        if tag.startswith("{%"):
            detail = translatable(
                "{tag} is not allowed in an attribute: put the condition around the element", tag=tag[:40]
            )
            raise SourceError(detail, offset + at)
        if name not in _WORDS_ONLY:
            raise SourceError(translatable("variables are not allowed in {name}", name=repr(name)), offset + at)
    if name in _LINKS and value.strip():
        _link(value, held, offset, addresses)
    plain = unescape(value)
    if name not in _LINKS and (bad := _BAD_STYLE.search(plain)):
        raise SourceError(translatable("{what} is not allowed in an attribute", what=repr(bad[0])), offset)


def _link(value: str, held: Sequence[tuple[int, str]], offset: int, addresses: frozenset[str]) -> None:
    """Check that a link begins with https or a URL variable; other variables are permitted after the host name."""
    before = value[: held[0][0]].strip() if held else value.strip()
    if held and not before:
        if variable(held[0][1]) not in addresses:
            name = repr(variable(held[0][1]))
            raise SourceError(translatable("{name} is not a web address: declare it with type url", name=name), offset)
    elif not _LINK.match(unescape(before)):
        raise SourceError(translatable("a link must start with https://, mailto: or tel:"), offset)
    elif held and not _SITE.match(before):
        detail = translatable("put variables after the site's name, like https://example.com/{{ … }}")
        raise SourceError(detail, offset)


def variable(tag: str) -> str:
    """The variable of an output tag without filters."""
    return tag.strip("{}- \n")


def _shown(name: str) -> str:
    return f"{name} … %}}" if name.startswith("{%") else f"<{name}>" if name else ""


def words(source: str) -> str:
    """The words that a reader sees, at the same offsets: elements, styles and Liquid tags are blanked out."""
    hidden = re.compile(
        r"<mj-style(?:[^<>]*[^<>/])?>[^<]*</mj-style>|\{\{.*?\}\}|\{%.*?%\}|<[^<>]*>", re.DOTALL | re.IGNORECASE
    )
    return hidden.sub(lambda found: "\x00" * len(found[0]), source)
