"""Checks of e-mails: contrast, alternative texts, the preview line, dark mode, and the targets of links."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from html import unescape
from ipaddress import ip_address
from itertools import islice
from urllib.parse import urlsplit

from gateway.templates.rendering import markup
from gateway.templates.translatable import translatable

_LEAST_CONTRAST = 4.5  # WCAG 2.2, success criterion 1.4.3
_LEAST_LARGE = 3.0  # the same criterion, for text of 24 pixels and more
_LARGE_PIXELS = 24.0
_SHORTENERS = ("bit.ly", "tinyurl.com", "t.co", "goo.gl", "ow.ly", "is.gd", "t.cn", "reurl.cc", "lihi.io", "url.cn")
_LINK = re.compile(r"\b(?:https?|ftp)://[^\s\x00\"'<>）。，、]+", re.IGNORECASE)
# Premium-rate numbers: CONC 7.9 forbids them in the UK; 900 numbers are their North American form.
_DEAR_NUMBER = re.compile(r"(?<!\d)(?:\+44\s?|0)(?:9\d|8[47]\d)[\d\s]{6,}|(?<!\d)(?:\+?1[-. ])?900[-. ]\d{3}[-. ]\d{4}")
_VAGUE = re.compile(r"(click here|here|link|点击这里|點擊這裡|点此|點此)", re.IGNORECASE)
# Words that people take for the place where a link leads; not "e.g." and the like, since a name's end has two letters.
_ADDRESS = re.compile(
    r"(?:[a-z]+:(?://)?)?(?:[^\s@/]+@)?(?P<site>(?:[\w-]+\.)+[^\W\d_]{2,})(?::\d+)?(?:[/?#]\S*)?", re.I
)
_RULE = re.compile(r"\{(?P<what>[^{}]*)\}")
_COLOUR = re.compile(r"#(?:[0-9a-f]{6}|[0-9a-f]{3})\b", re.IGNORECASE)
_DEFAULTS: Mapping[str, Mapping[str, str]] = {
    # MJML's default colours.
    "mj-text": {"color": "#000000", "font-size": "13px"},
    "mj-button": {"color": "#ffffff", "background-color": "#414141", "font-size": "13px"},
    "mj-table": {"color": "#000000", "font-size": "13px"},
}
_BACKGROUNDS = ("mj-body", "mj-wrapper", "mj-section", "mj-column")


@dataclass(frozen=True, slots=True)
class Issue:
    """``offset`` is in the expanded text."""

    level: str
    rule: str
    offset: int
    detail: str
    remedy: str


def links(source: str, words: str) -> Iterator[Issue]:
    """Links and telephone numbers that a message must not have. ``words`` is ``source`` with its tags blanked out."""
    hrefs = [] if "<" not in source else [found.span(1) for found in re.finditer(r"href\s*=\s*[\"']([^\"']*)", source)]
    for start, end in hrefs:
        if re.search(r"\{\{[^}]*(?:borrower|\|\s*(?:money|date))", source[start:end]):
            detail, remedy = translatable("a link contains personal data"), translatable("Remove it from the address.")
            yield Issue("error", "personal_link", start, detail, remedy)
    spans = [found.span() for found in _LINK.finditer(words)] + hrefs
    for start, end in spans:
        yield from _link(source[start:end], start)
    for number in _DEAR_NUMBER.finditer(words):
        detail = translatable("calls to {number} are charged at a premium rate", number=number[0].strip())
        remedy = translatable("Use a standard-rate number.")
        yield Issue("error", "dear_number", number.start(), detail, remedy)


def _link(address: str, offset: int) -> Iterator[Issue]:
    parts = urlsplit(address)
    host = (parts.hostname or "") if "{{" not in address.split("/")[0:3][-1] else ""
    if parts.scheme.lower() in ("http", "ftp"):
        yield Issue(
            "error",
            "plain_link",
            offset,
            translatable("the link to {host} is not encrypted", host=host),
            translatable("Use https."),
        )
    if host.removeprefix("www.") in _SHORTENERS:
        detail = translatable("{host} hides the link's destination, and carriers block it", host=host)
        yield Issue("error", "short_link", offset, detail, translatable("Link to the lender's own site."))
    if parts.username or _is_number(host) or host.startswith("xn--") or ".xn--" in host:
        detail = translatable("{host} looks like a phishing address", host=host)
        yield Issue("error", "odd_link", offset, detail, translatable("Link to the lender's own site, by its name."))


def _is_number(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


def issues(source: str, most: int) -> Iterator[Issue]:
    """Problems of an e-mail's layout, at most ``most`` of a kind. ``source`` has passed ``markup.elements``."""
    if not re.search(r"<mj-preview>\s*\S", source):
        detail = translatable(
            "there is no preview text, so inboxes show the beginning of the message beside the subject"
        )
        yield Issue(
            "warning",
            "no_preview",
            0,
            detail,
            translatable("Write the line beside the subject; in a source <mj-preview>…</mj-preview> in <mj-head>."),
        )
    if "prefers-color-scheme" not in source:
        detail = translatable("there are no styles for dark mode")
        yield Issue("hint", "no_dark_mode", 0, detail, translatable("Use {% render 'mail-style' %}."))
    for check in (_pictures, _link_words, _element_contrast, _style_contrast):
        yield from islice(check(source), most)


def _pictures(source: str) -> Iterator[Issue]:
    for found in re.finditer(r"<(?:mj-image|img)\b[^<>]*>", source):
        if not re.search(r"\balt\s*=", found[0]):
            detail = translatable("an image has no description for people who can't see it")
            yield Issue(
                "error", "no_alt_text", found.start(), detail, translatable('Add alt="…", or alt="" for decoration.')
            )


def _link_words(source: str) -> Iterator[Issue]:
    for found in re.finditer(r"<a\b[^<>]*?href\s*=\s*[\"']([^\"']*)[\"'][^<>]*>(.*?)</a>", source, re.DOTALL):
        shown = re.sub(r"<[^<>]*>", "", found[2]).strip()
        if _VAGUE.fullmatch(shown):
            detail = translatable("{words} does not say where the link goes", words=repr(shown))
            yield Issue(
                "warning",
                "vague_link",
                found.start(2),
                detail,
                translatable("Say what the link does, for example: Pay online."),
            )
        named, real = _named_site(unescape(shown)), _site(unescape(found[1]))
        if named and named.removeprefix("www.") != real.removeprefix("www."):
            detail = translatable("the link shows {named} but opens {real}", named=named, real=real)
            yield Issue(
                "error", "misleading_link", found.start(2), detail, translatable("Use the same address in both.")
            )


def _named_site(words: str) -> str:
    """The site or address that a link's words are, "" where they are other words."""
    found = _ADDRESS.fullmatch(words)
    return found["site"].lower() if found else ""


def _site(target: str) -> str:
    """Where a link leads: a site's name, the mailbox's, or a variable's name in braces."""
    if held := markup.LIQUID.match(target):
        return f"{{{{ {markup.variable(held[0])} }}}}"
    parts = urlsplit(target)
    return (parts.hostname or parts.path.rpartition("@")[2]).lower()


def _element_contrast(source: str) -> Iterator[Issue]:
    """The contrast of text and background, by the elements' attributes."""
    defaults: dict[str, dict[str, str]] = {name: dict(values) for name, values in _DEFAULTS.items()}
    everywhere: dict[str, str] = {}
    background: dict[str, str] = {}
    in_head = False
    for element in markup.elements(source, frozenset(map(markup.variable, markup.LIQUID.findall(source)))):
        if element.name in ("mj-attributes", "mj-body"):
            in_head = element.name == "mj-attributes"
        if in_head and element.name == "mj-all":
            everywhere = dict(element.attributes)
        elif in_head:
            defaults.setdefault(element.name, {}).update(element.attributes)
        elif element.name in _BACKGROUNDS:
            for inner in _BACKGROUNDS[_BACKGROUNDS.index(element.name) :]:
                background.pop(inner, None)
            if colour := element.attributes.get("background-color"):
                background[element.name] = colour
        elif element.name in _DEFAULTS:
            own = everywhere | defaults[element.name] | dict(element.attributes)
            behind = own.get("background-color") or own.get("container-background-color") or _innermost(background)
            yield from _too_faint(own.get("color", ""), behind, element.offset, own.get("font-size", ""))


def _innermost(background: Mapping[str, str]) -> str:
    return next((background[each] for each in reversed(_BACKGROUNDS) if each in background), "#ffffff")


def _style_contrast(source: str) -> Iterator[Issue]:
    for style in re.finditer(r"<mj-style[^>]*>(.*?)</mj-style>", source, re.DOTALL):
        for rule in _RULE.finditer(style[1]):
            declared = {
                name.strip().lower(): value
                for name, _, value in (each.partition(":") for each in rule["what"].split(";"))
            }
            front, behind = (
                declared.get("color", ""),
                declared.get("background-color") or declared.get("background") or "",
            )
            yield from _too_faint(front, behind, style.start(1) + rule.start("what"), declared.get("font-size", ""))


def _too_faint(front: str, behind: str, offset: int, size: str) -> Iterator[Issue]:
    colours = [found[0] for each in (front, behind) if (found := _COLOUR.search(each))]
    if len(colours) < 2:
        return
    pixels = float(found[1]) if (found := re.match(r"\s*(\d{1,3}(?:\.\d+)?)px", size)) else 0.0
    least = _LEAST_LARGE if pixels >= _LARGE_PIXELS else _LEAST_CONTRAST
    if (ratio := contrast(*colours)) < least:
        pair = {"front": colours[0], "behind": colours[1], "ratio": f"{ratio:.1f}"}
        detail = translatable("the contrast of {front} on {behind} is {ratio}", **pair)
        yield Issue("error", "contrast", offset, detail, translatable("WCAG requires at least {least}.", least=least))


def contrast(first: str, second: str) -> float:
    """The contrast ratio of two colours ``#rrggbb`` or ``#rgb``, from 1 to 21 (WCAG 2.2)."""
    bright, dark = sorted((_luminance(first), _luminance(second)), reverse=True)
    return (bright + 0.05) / (dark + 0.05)


def _luminance(colour: str) -> float:
    digits = colour[1:] if len(colour) == 7 else "".join(each * 2 for each in colour[1:])
    channels = [int(digits[at : at + 2], 16) / 255 for at in (0, 2, 4)]
    linear = [each / 12.92 if each <= 0.04045 else ((each + 0.055) / 1.055) ** 2.4 for each in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
