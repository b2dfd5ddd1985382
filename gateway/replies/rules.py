"""Classifies a borrower's reply by rules. A doubtful reply is a possible stop, which a person reviews.

The words are data (``templates/policies/replies.toml``), so that a language is added there. Pure; knows no channel.
"""

from __future__ import annotations

import tomllib
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from gateway.core.reasons import Intent

_LISTS = ("exact", "phrases", "hints", "curt", "negations", "start", "help", "wrong_party")
_NEARLY = 0.75  # four letters of which two are swapped; our choice


@dataclass(frozen=True, slots=True)
class ReplyLexicon:
    """The words of all languages together: a borrower may answer in any."""

    lists: Mapping[str, frozenset[str]]
    refusing: Sequence[tuple[frozenset[str], frozenset[str]]]  # by language: a word of each together may be a stop
    of_packs: Mapping[str, frozenset[str]]  # exact words that mean stop only under that pack
    confirming: frozenset[str]  # the packs that want a stop confirmed
    answers: Mapping[str, Mapping[str, str]]  # language and script: what is answered

    def classify(self, text: str, packs: Iterable[str]) -> Intent:
        """What ``text`` is taken for, for a borrower under these packs. Empty words of courtesy are ``other``."""
        words = normalise(text)
        exact = self.lists["exact"].union(*(self.of_packs.get(pack, frozenset()) for pack in packs))
        if words in exact or words.replace(" ", "") in exact:
            return Intent.STOP
        if words in self.lists["start"]:
            return Intent.START
        if words in self.lists["help"]:
            return Intent.HELP
        if _contains(words, self.lists["wrong_party"]):
            return Intent.WRONG_PARTY
        if _contains(words, self.lists["negations"]):
            return Intent.MAYBE_STOP
        if _contains(words, self.lists["phrases"]):
            return Intent.STOP
        return Intent.MAYBE_STOP if self._is_possible_stop(words) else Intent.OTHER

    def _is_possible_stop(self, words: str) -> bool:
        return (
            words in self.lists["curt"]
            or _contains(words, self.lists["hints"])
            or any(_contains(words, refusals) and _contains(words, contacts) for refusals, contacts in self.refusing)
            or (len(words.split()) <= 2 and bool(get_close_matches(words, self.lists["exact"], 1, _NEARLY)))
        )

    def answer(self, intent: Intent, locale: str, packs: Iterable[str]) -> str:
        """The text to answer with, unfilled; "" where nothing is to be answered."""
        if intent is Intent.STOP and not self.confirming.isdisjoint(packs):
            return self.answers[language_of(locale, self.answers)]["stopped"]
        if intent is Intent.HELP:
            return self.answers[language_of(locale, self.answers)]["help"]
        return ""


def normalise(text: str) -> str:
    """The words alone: compatibility forms folded, no case, no punctuation or emoji, single spaces."""
    folded = unicodedata.normalize("NFKC", text).casefold()
    # Letters, numbers, and the marks that are vowels in Indic scripts.
    words = "".join(each if unicodedata.category(each)[0] in "LMN" else " " for each in folded)
    return " ".join(words.split())


def _contains(words: str, phrases: Iterable[str]) -> bool:
    # Chinese is written without spaces: there a phrase may stand anywhere; elsewhere only as whole words.
    return any(phrase in words if not phrase.isascii() else f" {phrase} " in f" {words} " for phrase in phrases)


def language_of(locale: str, known: Mapping[str, Any]) -> str:
    """The language, and the script of Chinese, of ``known`` that a locale is answered in; English for others."""
    tongue, _, region = locale.replace("_", "-").partition("-")
    if tongue.casefold() == "zh":
        return "zh-Hant" if region.casefold() in ("tw", "hk", "mo", "hant") else "zh-Hans"
    return tongue.casefold() if tongue.casefold() in known else "en"


def _words(section: Mapping[str, Any], name: str) -> frozenset[str]:
    return frozenset(normalise(word) for word in section.get(name, ()))


def load_words(path: Path) -> ReplyLexicon:
    """Read the file. Raises ValueError naming what is wrong in it."""
    try:
        content = tomllib.loads(path.read_text("utf-8"))
        languages = content["languages"].values()
        return ReplyLexicon(
            lists={
                name: frozenset(word for language in languages for word in _words(language, name)) for name in _LISTS
            },
            refusing=[
                (_words(language, "refusals"), _words(language, "contacts"))
                for language in languages
                if "refusals" in language
            ],
            of_packs={name: _words(pack, "exact") for name, pack in content["packs"].items()},
            confirming=frozenset(name for name, pack in content["packs"].items() if pack.get("confirms")),
            answers=content["answers"],
        )
    except (KeyError, AttributeError, OSError, tomllib.TOMLDecodeError) as error:
        raise ValueError(f"{path.name}: {error}") from None
