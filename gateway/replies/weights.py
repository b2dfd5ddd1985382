"""The classifiers of replies: linear models over pieces of words.

The one of what is harmless abstains where it isn't sure. The other one gives what may be serious and no rule found.
Trained by ops/replies/train; at run time it is a sum over a dictionary. Pure.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import msgspec

from gateway.core.reasons import Intent
from gateway.replies.normalisation import CJK

_CJK_RUN = re.compile(f"[{CJK}]+")
_DIGITS = re.compile(r"\d+")
# Longer replies say several things; our choice.
_LONGEST = 160
# Fewer pieces are a word or two characters (是, "yes", "undo"), of which the rules know the serious ones; our choice.
_LEAST_SERIOUS = 10
# How probable another kind of what is serious must be against the likeliest one to count as well. Measured on two
# rounds of fresh sentences (ops/replies.md).
_AS_LIKELY = 0.25
_MOST_KINDS = 3  # with more, each of them is improbable; our choice


def features_of(words: str) -> list[str]:
    """The pieces of a text in normal form, each once: one to three Chinese characters, words, pairs, four letters."""
    words = _DIGITS.sub("0", words.replace("|", " "))[:_LONGEST]
    found: dict[str, None] = {}
    latin = []
    for word in words.split():
        run = _CJK_RUN.fullmatch(word)
        if run is None:
            latin.append(word)
            padded = f"^{word}$"
            found.update(dict.fromkeys(padded[at : at + 4] for at in range(max(len(padded) - 3, 1))))
        else:
            padded = f"^{word}$"
            for size in (1, 2, 3):
                found.update(dict.fromkeys(padded[at : at + size] for at in range(len(padded) - size + 1)))
    found.update(dict.fromkeys(f" {word}" for word in latin))
    found.update(dict.fromkeys(f" {one} {other}" for one, other in pairwise(latin)))
    return list(found)


class Weights(msgspec.Struct, frozen=True):
    """``features`` gives for each piece its weight by class, in thousandths.

    ``threshold`` is the least confidence that is answered, ``scale`` makes the confidence a calibrated probability, and
    ``known`` is the least share of known pieces. ``trained_on`` is the digest of what they were made from.
    """

    version: str
    intents: tuple[str, ...]
    bias: tuple[float, ...]
    features: dict[str, tuple[int, ...]]
    scale: float
    threshold: float
    known: float
    trained_on: str

    def classify(self, words: str) -> tuple[Intent, float]:
        """The intent of a text in normal form and its probability; OTHER where the classifier abstains."""
        intent, confidence, known = self.scores(features_of(words))
        sure = confidence >= self.threshold and known >= self.known
        return (Intent(intent) if sure else Intent.OTHER), confidence

    def says_otherwise(self, words: str, intent: Intent) -> bool:
        """Whether the classifier is sure that a text says something else, be it nothing that it knows."""
        likeliest, confidence, _ = self.scores(features_of(words))
        return likeliest != intent and confidence >= self.threshold

    def serious(self, words: str) -> list[Intent]:
        """What a text in normal form may say that a person must read: the likeliest intent but OTHER, and those about
        as likely, the likeliest first.

        Empty where all of them together are less probable than ``threshold`` in each stretch, where training has seen
        too few of its pieces (another language), and for a single word.
        """
        found: list[Intent] = []
        most = self.threshold
        beyond = self.intents.index(Intent.OTHER)
        for start in range(0, max(len(words) - _LONGEST // 2, 1), _LONGEST // 2):
            features = features_of(words[start : start + _LONGEST])
            if len(features) < _LEAST_SERIOUS:
                continue
            shares, known = self._shares(features)
            if known >= self.known and 1 - shares[beyond] >= most:
                most = 1 - shares[beyond]
                found = self._kinds(shares, beyond)
        return found

    def _kinds(self, shares: Sequence[float], beyond: int) -> list[Intent]:
        ordered = sorted((-share, at) for at, share in enumerate(shares) if at != beyond)[:_MOST_KINDS]
        return [Intent(self.intents[at]) for share, at in ordered if share <= _AS_LIKELY * ordered[0][0]]

    def scores(self, features: Sequence[str]) -> tuple[str, float, float]:
        """The likeliest intent, its probability, and the share of the pieces that training has seen."""
        shares, known = self._shares(features)
        best = shares.index(max(shares))
        return self.intents[best], shares[best], known

    def _shares(self, features: Sequence[str]) -> tuple[list[float], float]:
        """The probability of each intent, and the share of the pieces that training has seen."""
        sums = [0.0] * len(self.intents)
        known = 0
        for feature in features:
            weights = self.features.get(feature)
            if weights is not None:
                known += 1
                for at, weight in enumerate(weights):
                    sums[at] += weight
        length = 1000 * math.sqrt(len(features) or 1)
        scores = [(each / length + bias) * self.scale for each, bias in zip(sums, self.bias, strict=True)]
        highest = max(scores)
        odds = [math.exp(each - highest) for each in scores]
        return [each / sum(odds) for each in odds], known / (len(features) or 1)

    def reasons(self, words: str, intent: Intent, limit: int = 5) -> list[tuple[str, float]]:
        """The pieces that speak most for ``intent``, with their weights."""
        if intent not in self.intents:
            return []
        at = self.intents.index(intent)
        known = [(each, self.features[each][at] / 1000) for each in features_of(words) if each in self.features]
        return sorted(known, key=lambda each: -each[1])[:limit]


def load_weights(path: Path) -> Weights:
    """Read the file. Raises ValueError where it isn't one of weights."""
    try:
        return msgspec.msgpack.decode(path.read_bytes(), type=Weights)
    except (OSError, msgspec.DecodeError) as error:
        raise ValueError(f"replies/{path.name}: {error}") from None
