"""Word lists of the lint: words that a message must not use, by language, each with its reason and its remedy.

The words are data (``templates/_lint``), to which writers of messages can add.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

LEVELS = ("error", "warning", "hint")


@dataclass(frozen=True, slots=True)
class WordListEntry:
    """Words of one kind. ``instead`` maps words in lower case to a suggested wording."""

    kind: str
    level: str
    pattern: re.Pattern[str]
    why: str
    remedy: str
    instead: Mapping[str, str]
    except_in: frozenset[str]  # template categories in which they are allowed
    law: Mapping[str, str]  # the source, by jurisdiction


@dataclass(frozen=True, slots=True)
class WordList:
    """The words of one language. ``lock_screen`` matches words that reveal a debt to a bystander."""

    entries: Sequence[WordListEntry]
    lock_screen: re.Pattern[str]


def load_words(folder: Path) -> dict[str, WordList]:
    """The word lists by language. Raises ValueError naming the file."""
    found: dict[str, WordList] = {}
    for path in sorted(folder.glob("*.toml")):
        try:
            raw = tomllib.loads(path.read_text("utf-8"))
            entries = [_entry(each) for each in raw["words"]]
            words = WordList(entries, any_of(raw["lock_screen"]))
            found |= dict.fromkeys(raw["languages"], words)
        except (tomllib.TOMLDecodeError, KeyError) as error:
            raise ValueError(f"{path.name}: {error}") from None
    return found


def reveals_debt(words: Mapping[str, WordList], text: str) -> bool:
    """Whether a text has a word of any language that reveals a debt to a bystander."""
    return any(each.lock_screen.search(text) for each in words.values())


def _entry(raw: Mapping[str, Any]) -> WordListEntry:
    if raw["level"] not in LEVELS:
        raise KeyError(f"level {raw['level']!r}")
    kinder = {words.lower(): better for words, better in raw.get("kinder", {}).items()}
    matched = [*raw.get("match", ()), *kinder]
    return WordListEntry(
        raw["kind"],
        raw["level"],
        any_of(matched),
        raw["why"],
        raw["instead"],
        kinder,
        frozenset(raw.get("except_in", ())),
        raw.get("law", {}),
    )


def any_of(words: Sequence[str]) -> re.Pattern[str]:
    """A pattern for any of the words, longest first; whole words in scripts with spaces, also across line ends."""
    longest_first = sorted(words, key=len, reverse=True)
    return re.compile("|".join(_one(each) for each in longest_first) or r"(?!)", re.IGNORECASE)


def _one(words: str) -> str:
    found = r"\s+".join(re.escape(each) for each in words.split())
    # Indic vowel signs don't match \w, and Thai and Chinese have no spaces: \b is no word boundary there.
    spaced = all(ord(each) < 0x0900 for each in words)
    return rf"\b{found}\b" if spaced else found
