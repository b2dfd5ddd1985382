"""How well replies are understood: recall, precision and errors on labelled texts, with Wilson intervals."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from gateway.core.reasons import SAFETY, Intent
from gateway.core.shares import wilson
from gateway.replies.corpus import LabelledReply
from gateway.replies.understanding import ReplyInterpreter


@dataclass(frozen=True, slots=True)
class Proportion:
    """``hits`` of ``of``, with the 95 % interval of Wilson (1927); (0, 1) where there is nothing to count."""

    hits: int
    of: int

    @property
    def value(self) -> float | None:
        """The share; None where there is nothing to count."""
        return self.hits / self.of if self.of else None

    @property
    def interval(self) -> tuple[float, float]:
        """The bounds, each from 0 to 1."""
        return wilson(self.hits, self.of)

    def as_dict(self) -> dict[str, Any]:
        """For JSON output."""
        low, high = self.interval
        return {"hits": self.hits, "of": self.of, "value": self.value, "low": round(low, 4), "high": round(high, 4)}


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Shares of the texts.

    ``safety_recall``: of what a person must read, what a safety rule found, whichever. ``false_hand_over``: of what is
    harmless, what a safety rule found. What is recognised as harmless counts as answered, though a person still reads
    it while no answers are published. ``wrong_answered``: of what is answered, what has another intent.
    ``out_of_scope_answered``: of what is out of scope, what is answered. ``answered``: of what is harmless.
    """

    safety_recall: Proportion
    false_hand_over: Proportion
    wrong_answered: Proportion
    out_of_scope_answered: Proportion
    answered: Proportion
    recall: dict[Intent, Proportion]
    precision: dict[Intent, Proportion]
    confusion: Counter[tuple[Intent, Intent]]
    version: str

    def as_dict(self) -> dict[str, Any]:
        """For JSON output."""
        shares = ("safety_recall", "false_hand_over", "wrong_answered", "out_of_scope_answered", "answered")
        return {
            **{name: getattr(self, name).as_dict() for name in shares},
            "recall": {intent: each.as_dict() for intent, each in self.recall.items()},
            "precision": {intent: each.as_dict() for intent, each in self.precision.items()},
            "confusion": [[*pair, number] for pair, number in sorted(self.confusion.items())],
            "version": self.version,
        }


def evaluate(corpus: Sequence[LabelledReply], interpreter: ReplyInterpreter, packs: Sequence[str]) -> Evaluation:
    """Understand every text, and count. An intent counts as found where it is among those of the reply."""
    safety = frozenset(SAFETY)
    rows = [(each.intent, interpreter.understand(each.text, packs)) for each in corpus]
    handed = [(truth, not safety.isdisjoint(said.intents)) for truth, said in rows]
    answered = [
        (truth, said.intent) for truth, said in rows if said.intent not in safety and said.intent is not Intent.OTHER
    ]
    harmless = [found for truth, found in handed if truth not in safety]
    dangerous = [found for truth, found in handed if truth in safety]
    beyond = sum(truth is Intent.OTHER for truth, _ in rows)
    intents = sorted({truth for truth, _ in rows}, key=list(Intent).index)
    return Evaluation(
        Proportion(sum(dangerous), len(dangerous)),
        Proportion(sum(harmless), len(harmless)),
        Proportion(sum(truth is not said for truth, said in answered), len(answered)),
        Proportion(sum(truth is Intent.OTHER for truth, _ in answered), beyond),
        Proportion(sum(truth not in safety | {Intent.OTHER} for truth, _ in answered), len(harmless) - beyond),
        {
            intent: Proportion(
                sum(truth is intent and intent in said.intents for truth, said in rows),
                sum(truth is intent for truth, _ in rows),
            )
            for intent in intents
        },
        {
            intent: Proportion(
                sum(truth is intent and said.intent is intent for truth, said in rows),
                sum(said.intent is intent for _, said in rows),
            )
            for intent in intents
        },
        Counter((truth, said.intent) for truth, said in rows),
        interpreter.version,
    )
