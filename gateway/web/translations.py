"""The texts of the pages: one file for each language (``texts/``), and the choice of a reader's language.

The locales of messages to borrowers are independent of these languages.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import cache
from importlib import resources
from types import MappingProxyType
from zoneinfo import ZoneInfo

from babel.dates import format_datetime

from channels.profile import Profiles
from gateway.templates.translatable import Translatable

LANGUAGES: Mapping[str, str] = {"en": "English", "zh": "中文"}
COOKIE = "gateway_language"
_WRITTEN = {"en": ("en_GB", "d MMM y, HH:mm"), "zh": ("zh_Hans", "y年M月d日 HH:mm")}


@dataclass(frozen=True, slots=True)
class PageTexts:
    """The texts of a language. A call with a key and its values returns the text; an unknown key is an error."""

    language: str
    texts: Mapping[str, str]
    sentences: Mapping[str, str] = field(default_factory=dict)  # translations of sentences, by the English pattern
    channels: Mapping[str, str] = field(default_factory=dict)  # what the installed channels call themselves

    def __call__(self, key: str, **values: object) -> str:
        text = self.texts[key]
        return text.format(**values) if values else text

    def maybe(self, key: str, otherwise: str) -> str:
        """The text of ``key``, where this language has one, else ``otherwise``."""
        return self.texts.get(key, otherwise)

    def channel(self, name: str) -> str:
        """What a channel is called. One that is not installed any more has its name; "": any channel."""
        return self.channels.get(name, name) if name else self("channel_any")

    def translate(self, sentence: str) -> str:
        """The translation of a translatable sentence. Other strings are returned unchanged."""
        if not isinstance(sentence, Translatable):
            return sentence
        own = sentence.translations.get(self.language)
        words = own or self.sentences.get(sentence.pattern, sentence.pattern)
        values = {
            name: self.translate(value) if isinstance(value, str) else value for name, value in sentence.values.items()
        }
        return words.format(**values) if values else words

    def when(self, instant: datetime | None) -> str:
        """An instant in UTC for display; "" for None."""
        if instant is None:
            return ""
        locale, pattern = _WRITTEN[self.language]
        return f"{format_datetime(instant, pattern, locale=locale)} UTC"

    def local(self, instant: datetime, zone: str) -> str:
        """An instant by the clock of a time zone, with the day of the week; in UTC where the zone is unknown."""
        if not zone:
            return self.when(instant)
        locale, pattern = _WRITTEN[self.language]
        return str(format_datetime(instant.astimezone(ZoneInfo(zone)), f"EEEE {pattern}", locale=locale))


def load(profiles: Profiles) -> dict[str, PageTexts]:
    """All languages, with the channels' own names."""
    titles = {
        each: {name: str(getattr(profile.title, each)) for name, profile in profiles.items()} for each in LANGUAGES
    }
    return {each: PageTexts(each, *_words(each), titles[each]) for each in LANGUAGES}


@cache  # it is read for the pages and for the evidence, and takes 25 ms
def _words(language: str) -> tuple[Mapping[str, str], Mapping[str, str]]:
    """The words of a language by their names, and its sentences: English has none, as the code's are English."""
    folder = resources.files("gateway.web").joinpath("texts")
    words = tomllib.loads(folder.joinpath(f"{language}.toml").read_text("utf-8"))
    sentences = words.pop("sentences", {})
    return MappingProxyType(words), MappingProxyType(sentences)


def choose(cookie: str, accepted: str) -> str:
    """The selected language, or the first of Accept-Language that is available (RFC 9110 section 12.5.4)."""
    if cookie in LANGUAGES:
        return cookie
    weighted = []
    for position, each in enumerate(accepted[:200].split(",")):
        name, _, weight = each.strip().partition(";q=")
        try:
            quality = float(weight or 1)
        except ValueError:
            quality = 0.0
        weighted.append((-quality, position, name.split("-")[0].lower()))
    return next((name for quality, _, name in sorted(weighted) if name in LANGUAGES and quality < 0), "en")
