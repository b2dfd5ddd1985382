"""What a reply is understood to say: keywords, safety rules, weights of what is serious and no rule found, plain words,
then weights of what is harmless, that abstain when unsure.

What an earlier step finds is never taken back.

A pure function of the text, the borrower's packs and the files; gateway/replies/store.py makes it take effect.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from gateway.core.reasons import SAFETY, HoldKind, Intent
from gateway.core.understanding import Understanding
from gateway.replies.rule_files import load_safety
from gateway.replies.rules import ReplyLexicon, language_of, load_words
from gateway.replies.safety import SafetyHit, SafetyRules
from gateway.replies.weights import Weights, load_weights

_STOPPING = frozenset({Intent.STOP, Intent.MAYBE_STOP})
# Stands among the rules of a reply that none of them found, but the weights of what is serious.
BY_WEIGHTS = "weights"
# What is only said, never asked: a question about it is a person's.
_STATEMENTS = frozenset({Intent.PAID, Intent.PROMISE})


@dataclass(frozen=True, slots=True)
class ReplyInterpreter:
    """The keywords, the safety rules and the weights of all languages together."""

    lexicon: ReplyLexicon
    safety: SafetyRules
    weights: Weights
    serious: Weights  # the fallback: what may be serious though no rule finds it
    free_help: Callable[[str], str]  # who helps free of charge in a jurisdiction, as replies name them

    def understand(self, text: str, packs: Iterable[str], keyword: Intent | None = None) -> Understanding:
        """What ``text`` says, of a borrower under ``packs``. ``keyword`` is what the provider took it for."""
        word = keyword or self._keyword(text, tuple(packs))
        hits, mentions = self.safety.hits(text)
        serious = {each.rule.intent for each in hits} | ({word} & set(SAFETY))
        if serious:
            return self._safety(sorted(serious, key=SAFETY.index), hits)
        if word in (Intent.START, Intent.HELP):
            return Understanding((word,), version=self.version)
        if mentions:
            return self._follow(Intent.OTHER, tuple(f"mentioned:{each.rule.id}" for each in mentions))
        words = self.safety.normalise(text)
        if not words.strip("| "):
            return self._follow(Intent.OTHER, ())  # marks and emoji alone: a thumb may be a yes, or anything
        if likely := self.serious.serious(self.safety.without_idioms(words)):
            # Unsure between kinds: the holds of each, the shortest clock, and the most careful one first.
            return replace(self._safety(sorted(likely, key=SAFETY.index), ()), rules=(BY_WEIGHTS,))
        if plain := self.safety.plain(text):
            unsure = self.weights.says_otherwise(words, plain.intent)
            return self._follow(Intent.OTHER if unsure else plain.intent, (plain.id,))
        intent, confidence = self.weights.classify(words)
        if (intent in _STATEMENTS and self.safety.asks(text)) or self.safety.doubts(intent, text):
            intent = Intent.OTHER
        return self._follow(intent, (), confidence)

    def _keyword(self, text: str, packs: Sequence[str]) -> Intent:
        """What the keywords say of ``text``; a stop that is found only as abbreviated or misspelt is a possible one."""
        word = self.lexicon.classify(text, packs)
        if word is not Intent.OTHER:
            return word
        _, *others = self.safety.readings(text)
        if not _STOPPING.isdisjoint(self.lexicon.classify(each, packs) for each in others):
            return Intent.MAYBE_STOP
        return word

    @property
    def version(self) -> str:
        """Digests of the rules' files and of the weights."""
        return "+".join(each.version for each in (self.safety, self.weights, self.serious))

    def answer(self, intent: Intent, locale: str, jurisdiction: str, packs: Iterable[str]) -> str:
        """The text to answer with, unfilled but for whom to call; "" where nothing is to be answered."""
        if text := self.lexicon.answer(intent, locale, packs):
            return text
        texts = self.safety.acknowledgements
        language = language_of(locale, texts)
        text = texts.get(language, {}).get(intent, "")
        helpers = self.free_help(jurisdiction)
        sentence = self.safety.free_help.get(language, "").replace("{helpers}", helpers) if helpers else ""
        text = text.replace("{free_help}", sentence)
        if "{help_lines}" not in text:
            return text
        lines = self.safety.help_lines.get(jurisdiction.casefold().replace("_", "-").partition("-")[0], "{phone}")
        return text.replace("{help_lines}", lines)

    def _safety(self, intents: Sequence[Intent], hits: Sequence[SafetyHit]) -> Understanding:
        follows = [self.safety.consequences[each] for each in intents]
        urgency = max(each.urgency for each in follows)
        clocks = [each.review_within for each in follows if each.urgency is urgency]
        return Understanding(
            tuple(intents),
            tuple(sorted(self._holds(intents, hits))),
            urgency,
            min(clocks),
            tuple(each.rule.id for each in hits),
            self.version,
        )

    def _holds(self, intents: Sequence[Intent], hits: Sequence[SafetyHit]) -> set[HoldKind]:
        """The holds of the rules that have their own, else that of the intent."""
        found = set()
        for intent in intents:
            own = {each.rule.hold for each in hits if each.rule.intent is intent and each.rule.hold is not None}
            default = self.safety.consequences[intent].hold
            found |= own or ({default} if default is not None else set())
        return found

    def _follow(self, intent: Intent, rules: tuple[str, ...], confidence: float = 1.0) -> Understanding:
        """What follows from an intent that no safety rule finds: a review with a clock, or nothing."""
        follows = self.safety.consequences[intent]
        within = follows.review_within
        return Understanding((intent,), (), follows.urgency, within, rules, self.version, confidence)


def load_interpreter(policies: Path, free_help: Callable[[str], str] = lambda _: "") -> ReplyInterpreter:
    """Read the files of the policies' folder. Raises ValueError naming what is wrong in which."""
    rules = policies / "replies"
    return ReplyInterpreter(
        load_words(policies / "replies.toml"),
        load_safety(rules),
        load_weights(rules / "weights.msgpack"),
        load_weights(rules / "serious.msgpack"),
        free_help,
    )
