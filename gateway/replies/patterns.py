"""The small language of the rules' phrases, and the correction of misspelt words.

``a(b|c|)d`` gives alternatives, ``…`` stands for a few words (Latin script) or characters (Chinese) of the same clause,
``*`` at the end of a word for any ending, ``$`` for the end of the clause. A Latin phrase is whole words; a Chinese one
may stand anywhere.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Iterator

from gateway.replies.normalisation import CJK

# How far the parts of a phrase may be apart; our choice.
_WORDS_APART, _CHARACTERS_APART = 4, 6
# A shorter word has too many neighbours that are words, too, but for two letters that are swapped; our choice.
_SHORTEST_CORRECTED = 5
_SHORTEST_SWAPPED = 4

_SPECIAL = re.compile(r"([()|…*$])")
_CJK = re.compile(f"[{CJK}]")


def compile_phrases(phrases: Iterable[str], normalise: Callable[[str], str]) -> re.Pattern[str] | None:
    """One expression for all phrases; None for none. Raises ValueError for a phrase that can't be read."""
    parts = [_expression(phrase, normalise) for phrase in phrases]
    try:
        return re.compile("|".join(parts)) if parts else None
    except re.error as error:
        raise ValueError(f"the phrases can't be read: {error}") from None


def _expression(phrase: str, normalise: Callable[[str], str]) -> str:
    chinese = bool(_CJK.search(phrase))
    made = []
    parts = [part for part in _SPECIAL.split(re.sub(r"\s*…\s*", "…", phrase)) if part]
    for part, following in zip(parts, [*parts[1:], ""], strict=True):
        if part == "(":
            made.append("(?:")
        elif part == "…":
            # A group of its own: a negation in it counts.
            apart = rf"((?: [^|\s]+){{0,{_WORDS_APART}}})" + " " * (following not in ("", ")", "|"))
            made.append(f"([^|]{{0,{_CHARACTERS_APART}}})" if chinese else apart)
        elif part == "*":
            made.append(r"[^|\s]*")
        elif part == "$":
            made.append(r"(?= ?(?:\||$))")
        elif part in (")", "|"):
            made.append(part)
        else:
            before, after = " " * part.startswith(" "), " " * (part.endswith(" ") and bool(part.strip()))
            words = normalise(part)
            if chinese and words:  # the normal form has a space between scripts: "send 错"
                before, after = before or " ?" * words[0].isascii(), after or " ?" * words[-1].isascii()
            made.append(before + re.escape(words) + after)
    if made.count("(?:") != made.count(")") or not any(map(str.isalnum, phrase)):
        raise ValueError(f"the phrase {phrase!r} can't be read: its brackets don't match, or it has no words")
    return f"(?:{''.join(made)})" if chinese else rf"(?<!\S)(?:{''.join(made)})(?!\S)"


class SpellingCorrector:
    """Replaces words that are one slip away from a word of the rules: a letter left out, added, changed or swapped."""

    def __init__(self, words: Collection[str], correct: Collection[str]) -> None:
        """``words`` are those that matter; ``correct`` are others that are words themselves and stay as they are."""
        self._words = frozenset(each for each in words if len(each) >= _SHORTEST_CORRECTED)
        self._short = frozenset(each for each in words if len(each) == _SHORTEST_SWAPPED)
        self._known = self._words.union(correct, self._short)
        self._near: dict[str, list[str]] = {}
        for word in sorted(self._words):
            for shortened in {word, *_shortened(word)}:
                self._near.setdefault(shortened, []).append(word)

    def __call__(self, text: str) -> str:
        """``text`` in normal form, with the words of Latin letters corrected."""
        return " ".join(map(self._corrected, text.split(" ")))

    def _corrected(self, word: str) -> str:
        if len(word) < _SHORTEST_SWAPPED or word in self._known or not word.isascii() or not word.isalpha():
            return word
        if len(word) < _SHORTEST_CORRECTED:
            return next((each for each in _swapped(word) if each in self._short), word)
        for candidate in (word, *_shortened(word)):
            for near in self._near.get(candidate, ()):
                if near[0] == word[0] and is_one_slip(word, near):
                    return near
        return word


def _shortened(word: str) -> list[str]:
    return [word[:at] + word[at + 1 :] for at in range(len(word))]


def _swapped(word: str) -> Iterator[str]:
    """The word with two neighbouring letters swapped, but for the first one."""
    for at in range(1, len(word) - 1):
        yield word[:at] + word[at + 1] + word[at] + word[at + 2 :]


def is_one_slip(one: str, other: str) -> bool:
    """Whether the words differ by one letter left out, added, changed, or swapped with its neighbour."""
    if abs(len(one) - len(other)) > 1 or one == other:
        return False
    start = next((at for at, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))
    rest, others = one[start:], other[start:]
    swapped = len(rest) >= 2 and len(others) >= 2 and rest[:2] == others[1::-1] and rest[2:] == others[2:]
    return rest[1:] == others[1:] or rest[1:] == others or rest == others[1:] or swapped


def words_of(phrases: Iterable[str], normalise: Callable[[str], str]) -> set[str]:
    """The Latin words of the phrases."""
    joined = (re.sub(r"[()|…*$]", " ", phrase) for phrase in phrases)
    return {word for each in joined for word in normalise(each).split() if word.isascii() and word.isalpha()}
