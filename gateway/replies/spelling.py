"""Reads misspelt and abbreviated words as the words of the rules: wrng, jbo, harrasment, u, 想4.

A reading is tried beside the text as it was written, and only finds more. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

from gateway.replies.normalisation import CJK

# A shorter word has too many neighbours that are words, too, but for two letters that are swapped; our choice.
_SHORTEST_CORRECTED = 5
_SHORTEST_SWAPPED = 3
_SHORTEST_BEGINNING = 6
_DOUBLED = re.compile(r"(.)\1+")
_VOWELS = str.maketrans("", "", "aeiou")
_DISGUISED = re.compile(r"\b(?=[a-z]*\d)(?=\d*[a-z])[a-z\d]{3,}\b")  # letters as digits: wr0ng, su1c1de, d1e
_AS_LETTERS = str.maketrans("013457", "oieast")
# A token of its own, which is no number of something: 4月, 4期.
_TOKEN = re.compile(r"(?<![^\s|])[a-z\d]+(?![^\s|])(?! ?[月号日期点时千百万块元个天年次张笔周星分成折季小多])")
_CJK_CHARACTER = re.compile(f"[{CJK}]")
_BETWEEN_CJK = re.compile(rf"(?<=[{CJK}]) +(?=[{CJK}])")


class SpellingCorrector:
    """Replaces words that are a slip away from a word of the rules.

    A slip: a letter left out, added, changed, doubled or swapped with its neighbour, ``in`` for ``ing``, or all vowels
    left out; of a word with any ending (``incarcerat*``) it is one of its beginning.
    """

    def __init__(self, words: Collection[str], beginnings: Collection[str], correct: Collection[str]) -> None:
        """``words`` are those that matter; ``correct`` are others that are words themselves and stay as they are."""
        self._words = frozenset(each for each in words if len(each) >= _SHORTEST_CORRECTED)
        self._short = frozenset(each for each in words if _SHORTEST_SWAPPED <= len(each) < _SHORTEST_CORRECTED)
        self._known = frozenset(words).union(correct)
        self._near: dict[str, list[str]] = {}
        for word in sorted(self._words):
            for shortened in {word, *_shortened(word)}:
                self._near.setdefault(shortened, []).append(word)
        self._single = {_single(word): word for word in sorted(words) if len(_single(word)) >= _SHORTEST_SWAPPED}
        bare: dict[str, list[str]] = {}
        for word in words:
            bare.setdefault(word.translate(_VOWELS), []).append(word)
        self._bare = {letters: found[0] for letters, found in bare.items() if len(found) == 1}
        self._beginnings = sorted(each for each in beginnings if len(each) >= _SHORTEST_BEGINNING)

    def __call__(self, text: str) -> str:
        """``text`` in normal form, with the words of Latin letters corrected."""
        return " ".join(map(self._corrected, text.split(" ")))

    def _corrected(self, word: str) -> str:
        if len(word) < _SHORTEST_SWAPPED or word in self._known or not word.isascii() or not word.isalpha():
            return word
        if word == word.translate(_VOWELS):
            return self._bare.get(word, word)
        if word.endswith("in") and f"{word}g" in self._known:
            return f"{word}g"
        if len(word) >= _SHORTEST_CORRECTED and (near := self._slipped(word)):
            return near
        if len(word) < _SHORTEST_CORRECTED:
            word = next((each for each in _swapped(word) if each in self._short), word)
        return self._single.get(_single(word), word) if len(word) > _SHORTEST_SWAPPED else word

    def _slipped(self, word: str) -> str:
        """The word of the rules that is one slip away, or has its beginning so; "" for none."""
        for candidate in (word, *_shortened(word)):
            for near in self._near.get(candidate, ()):
                if near[0] == word[0] and is_one_slip(word, near):
                    return near
        for each in self._beginnings:
            if each[0] != word[0] or len(word) < len(each):
                continue
            if _single(word).startswith(_single(each)):
                return each + _single(word)[len(_single(each)) :]
            for end in (len(each), len(each) - 1, len(each) + 1):
                if is_one_slip(word[:end], each):
                    return each + word[end:]
        return ""


@dataclass(frozen=True, slots=True)
class SoundAlikes:
    """What is written for how it sounds: abbreviations (``u``), and digits, letters and characters (``4`` for 死)."""

    abbreviations: Mapping[str, str]
    homophones: Mapping[str, str]

    def readings(self, words: str) -> list[str]:
        """The texts that ``words``, in normal form, may stand for; [] where nothing in it does."""
        found = [" ".join(self.abbreviations.get(word, word) for word in words.split(" "))]
        if _DISGUISED.search(words):
            found.append(_DISGUISED.sub(lambda each: each.group().translate(_AS_LETTERS), words))
        if _CJK_CHARACTER.search(words) or words in self.homophones:
            sounded = _TOKEN.sub(lambda each: self.homophones.get(each.group(), each.group()), words)
            for written, meant in self.homophones.items():
                if not written.isascii():
                    sounded = sounded.replace(written, meant)
            found.append(_BETWEEN_CJK.sub("", sounded))
        return [each for each in dict.fromkeys(found) if each != words]


def _single(word: str) -> str:
    """The word with no letter twice in a row."""
    return _DOUBLED.sub(r"\1", word)


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
