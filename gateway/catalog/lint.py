"""What an editor should know before a template is published: unlawful, unkind, costly or broken words.

Each part is rendered with the examples of its variables, in every locale, by the one render function. Owns the
checks; the words themselves are data (``templates/_lint``), and what the policy packs want of a text is asked of them.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from channels.base import Content
from gateway.catalog.segments import segments
from gateway.catalog.source import BadTemplate
from gateway.catalog.version import PARTS, TemplateVersion
from gateway.ports import RenderFailed

# (locale, category, channel, text) → the policy's reason for refusing this text, "" where it has none
Refuses = Callable[[str, str, str, str], str]

LEVELS = ("error", "warning", "hint")
_MOST_SEGMENTS = 3  # our choice: four cost as much as a letter's postage in many countries, and are rarely read
_LONGEST_SUBJECT = 78  # characters, RFC 5322 section 2.1.1
_SHORTENERS = ("bit.ly", "tinyurl.com", "t.co", "goo.gl", "ow.ly", "is.gd", "t.cn", "reurl.cc", "lihi.io")
_LINK = re.compile(r"\b(https?)://([^\s/\"'<>）]+)", re.IGNORECASE)
_COLOURS = re.compile(r"\{[^{}]*?(?<![-\w])color:\s*(#[0-9a-f]{6})[^{}]*?background:\s*(#[0-9a-f]{6})", re.IGNORECASE)
_LEAST_CONTRAST = 4.5  # WCAG 2.2, success criterion 1.4.3
_NAME = "Alexandra Example"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing to mend. ``line`` counts from 1 in the part, 0 where it has no place; ``remedy`` says what to do."""

    level: str
    rule: str
    where: str  # template/locale/part
    line: int
    detail: str
    remedy: str
    column: int = 0  # counts from 1; 0 where it has no place
    instead: str = ""  # words that say it better, ready to be put in


@dataclass(frozen=True, slots=True)
class Entry:
    """Words of one kind."""

    kind: str
    level: str
    pattern: re.Pattern[str]
    why: str
    instead: str


@dataclass(frozen=True, slots=True)
class WordList:
    """One language's words."""

    entries: Sequence[Entry]
    lock_screen: re.Pattern[str]


def load_words(folder: Path) -> dict[str, WordList]:
    """The word lists by language. Raises ValueError naming the file."""
    found: dict[str, WordList] = {}
    for path in sorted(folder.glob("*.toml")):
        try:
            raw = tomllib.loads(path.read_text("utf-8"))
            entries = [_entry(each) for each in raw["words"]]
            words = WordList(entries, _any(raw["lock_screen"]))
            found |= dict.fromkeys(raw["languages"], words)
        except (tomllib.TOMLDecodeError, KeyError) as error:
            raise ValueError(f"{path.name}: {error}") from None
    return found


def _entry(raw: Mapping[str, Any]) -> Entry:
    if raw["level"] not in LEVELS:
        raise KeyError(f"level {raw['level']!r}")
    return Entry(raw["kind"], raw["level"], _any(raw["match"]), raw["why"], raw["instead"])


def _any(words: Sequence[str]) -> re.Pattern[str]:
    """Any of these: whole words where the script has spaces between them."""
    alternatives = [rf"\b{re.escape(each)}\b" if each.isascii() else re.escape(each) for each in words]
    return re.compile("|".join(alternatives), re.IGNORECASE)


def findings_of(error: BadTemplate) -> list[Finding]:
    """What keeps a text from being compiled, as findings with their places."""
    if not error.problems:
        where, _, detail = str(error).partition(": ")
        return [Finding("error", "does_not_compile", where, 0, detail or str(error), "Mend it there.")]
    return [
        Finding("error", "does_not_compile", each.where, each.line, each.detail, "Mend it there.", each.column)
        for each in error.problems
    ]


def lint(version: TemplateVersion, words: Mapping[str, WordList], lender: str, refuses: Refuses) -> list[Finding]:
    """Everything that is to be said of one version, the worst first."""
    found = [each for locale in version.locales for each in _locale(version, locale, words, lender, refuses)]
    return sorted(found, key=lambda each: (LEVELS.index(each.level), each.where, each.line))


def _locale(
    version: TemplateVersion, locale: str, words: Mapping[str, WordList], lender: str, refuses: Refuses
) -> Iterator[Finding]:
    examples = {name: each.example for name, each in version.variables.items()}
    for channel in version.channels:
        where = f"{version.id}/{locale}/{next(iter(PARTS[channel]))}"
        if version.locale_for(locale, channel) != locale:
            yield Finding("warning", "missing_locale", where, 0, "has no text in this locale", "Write it.")
            continue
        try:
            content = version.render(channel, locale, examples, _NAME)
        except RenderFailed as error:
            yield Finding("error", "does_not_render", where, 0, str(error), "Mend the example or the text.")
            continue
        if reason := refuses(locale, version.category, channel, content.text):
            yield Finding("error", reason, where, 0, "the policy refuses this text", "See templates/policies.")
        if channel != "inapp" and lender not in content.text:
            yield Finding("error", "no_identity", where, 0, "does not say who writes", "Use {{ lender.name }}.")
        if channel == "sms":
            yield from _sms(where, content)
        yield from _words(version, locale, channel, content, words.get(locale.split("-")[0]))
        yield from _links(version, locale, channel, content)
        yield from _shape(version, locale, channel, content)


def _sms(where: str, content: Content) -> Iterator[Finding]:
    counted = segments(content.text)
    if counted.segments > _MOST_SEGMENTS:
        detail = f"takes {counted.segments} segments with the examples"
        yield Finding("warning", "long", where, 0, detail, f"Shorten it to {_MOST_SEGMENTS}.")
    for character, instead in counted.forcing:
        if instead:
            detail = f"{character!r} makes the whole text UCS-2, which is twice as dear"
            yield Finding("warning", "dear_character", where, 0, detail, f"Write {instead!r}.")


def _words(
    version: TemplateVersion, locale: str, channel: str, content: Content, words: WordList | None
) -> Iterator[Finding]:
    if words is None:
        where = f"{version.id}/{locale}"
        yield Finding(
            "warning", "no_word_list", where, 0, "nobody checks this language's words", "Add a list to _lint."
        )
        return
    for part, field in PARTS[channel].items():
        where, text = f"{version.id}/{locale}/{part}", str(getattr(content, field))
        for entry in words.entries:
            for match in entry.pattern.finditer(text):
                detail = f"{match[0]!r}: {entry.why}"
                line = _line(version, locale, part, match[0])
                yield Finding(entry.level, entry.kind, where, line, detail, entry.instead)
        if field == "subject" and (seen := words.lock_screen.search(text)):
            detail = f"{seen[0]!r} can be read by whoever sees the screen or the inbox"
            line = _line(version, locale, part, seen[0])
            yield Finding("error", "lock_screen", where, line, detail, "Say that there is a message about the account.")


def _links(version: TemplateVersion, locale: str, channel: str, content: Content) -> Iterator[Finding]:
    for part, field in PARTS[channel].items():
        where = f"{version.id}/{locale}/{part}"
        for match in _LINK.finditer(str(getattr(content, field))):
            scheme, host = match[1].lower(), match[2].lower().partition(":")[0]
            line = _line(version, locale, part, match[0])
            if scheme == "http":
                yield Finding("error", "plain_link", where, line, f"{host} is linked without TLS", "Use https.")
            if host.removeprefix("www.") in _SHORTENERS:
                detail = f"{host} hides where the link goes, and carriers filter it"
                yield Finding("error", "short_link", where, line, detail, "Link to the lender's own site.")


def _shape(version: TemplateVersion, locale: str, channel: str, content: Content) -> Iterator[Finding]:
    for part, field in PARTS[channel].items():
        where, text = f"{version.id}/{locale}/{part}", str(getattr(content, field))
        if field != "html" and (match := re.search(r"\{\{|\}\}|\{%|%\}|[{}]", text)):
            line = _line(version, locale, part, match[0])
            yield Finding("error", "leftover_braces", where, line, f"{match[0]!r} reaches the reader", "Remove it.")
        if field == "subject" and len(text) > _LONGEST_SUBJECT:
            yield Finding("warning", "long_subject", where, 0, f"has {len(text)} characters", "Shorten it to 78.")
        if field == "html":
            for image in re.finditer(r"<img\b(?![^>]*\balt=)[^>]*>", text, re.IGNORECASE):
                line = _line(version, locale, part, image[0])
                yield Finding(
                    "error", "no_alt_text", where, line, "an image says nothing to who can't see it", "Add alt."
                )
            for colours in _COLOURS.finditer(text):
                if (ratio := contrast(colours[1], colours[2])) < _LEAST_CONTRAST:
                    detail = f"{colours[1]} on {colours[2]} has a contrast of {ratio:.1f}"
                    yield Finding("error", "contrast", where, 0, detail, f"WCAG wants at least {_LEAST_CONTRAST}.")


def contrast(first: str, second: str) -> float:
    """The contrast ratio of two colours ``#rrggbb``, from 1 to 21 (WCAG 2.2)."""
    bright, dark = sorted((_luminance(first), _luminance(second)), reverse=True)
    return (bright + 0.05) / (dark + 0.05)


def _luminance(colour: str) -> float:
    channels = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [each / 12.92 if each <= 0.04045 else ((each + 0.055) / 1.055) ** 2.4 for each in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def _line(version: TemplateVersion, locale: str, part: str, text: str) -> int:
    """The line of the part's source in which the text stands; 0 where it comes from a fragment or a variable."""
    source = version.source.parts.get(f"{locale}/{part}", "")
    at = source.lower().find(text.lower())
    return source.count("\n", 0, at) + 1 if at >= 0 else 0
