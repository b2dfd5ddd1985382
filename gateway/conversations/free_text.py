"""The checks of what a person writes to a borrower: the words that no message may use, and its length. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from gateway.templates.checks.word_lists import WordList

# Six parts of an SMS in Chinese characters (3GPP TS 23.040: 67 in each); our choice: more is read on no phone.
LONGEST = 402


@dataclass(frozen=True, slots=True)
class WordFinding:
    """Words of an answer that stop it (``error``), or that a person may want to change."""

    level: str
    found: str
    why: str
    remedy: str


class FreeTextLint:
    """Looks for the words of the templates' lint, of the language that is written and of English."""

    def __init__(self, words: Mapping[str, WordList]) -> None:
        self._words = words

    def __call__(self, text: str, locale: str) -> Sequence[WordFinding]:
        """What is wrong with a text; the errors first."""
        found = []
        for language in dict.fromkeys((locale.replace("_", "-").partition("-")[0].lower(), "en")):
            if (words := self._words.get(language)) is None:
                continue
            for entry in words.entries:
                found += [
                    WordFinding(entry.level, match[0], entry.why, entry.remedy)
                    for match in entry.pattern.finditer(text)
                    if "service" not in entry.except_in
                ]
        return sorted(dict.fromkeys(found), key=lambda each: each.level != "error")
