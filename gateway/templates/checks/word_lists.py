"""The word lists: what a message must not say, in which language, why, and what says it better.

The words themselves are data (``templates/_lint``), for people who write messages to add to.
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
    """Words of one kind. ``instead`` has kinder words for some of them, by the words in lower case."""

    kind: str
    level: str
    pattern: re.Pattern[str]
    why: str
    remedy: str
    instead: Mapping[str, str]
    except_in: frozenset[str]  # categories of templates in which they are in place


@dataclass(frozen=True, slots=True)
class WordList:
    """One language's words. ``lock_screen`` are those that tell a bystander of a debt."""

    entries: Sequence[WordListEntry]
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


def _entry(raw: Mapping[str, Any]) -> WordListEntry:
    if raw["level"] not in LEVELS:
        raise KeyError(f"level {raw['level']!r}")
    kinder = {words.lower(): better for words, better in raw.get("kinder", {}).items()}
    matched = [*raw.get("match", ()), *kinder]
    return WordListEntry(
        raw["kind"],
        raw["level"],
        _any(matched),
        raw["why"],
        raw["instead"],
        kinder,
        frozenset(raw.get("except_in", ())),
    )


def _any(words: Sequence[str]) -> re.Pattern[str]:
    """Any of these, the longest first: whole words where the script has spaces between them, over line ends too."""
    longest_first = sorted(words, key=len, reverse=True)
    return re.compile("|".join(_one(each) for each in longest_first) or r"(?!)", re.IGNORECASE)


def _one(words: str) -> str:
    found = r"\s+".join(re.escape(each) for each in words.split())
    # Indian scripts end words in signs that patterns don't count as letters; Thai and Chinese don't part words at all.
    spaced = all(ord(each) < 0x0900 for each in words)
    return rf"\b{found}\b" if spaced else found
