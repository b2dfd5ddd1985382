"""The safety rules: what a reply says that a person must read, found by phrases of each language.

The rules are data (``templates/policies/replies``), each with its reason and source. All rules of all languages are
asked, because a borrower may mix them; a hit is never taken back by what follows. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from string import ascii_lowercase

from gateway.core.reasons import SAFETY, HoldKind, Intent
from gateway.core.understanding import Urgency
from gateway.replies.normalisation import Normaliser
from gateway.replies.spelling import SoundAlikes, SpellingCorrector

# What plain words may say: its answers are read back and confirmed, or a person reads the reply.
PLAIN = frozenset({Intent.PAID, Intent.PLAN})
# Characters before a phrase in which a negation of it is looked for: its own and two words, with room. All that stands
# before made a reply of 4,000 characters with 570 negated phrases cost 1.6 s of processor time. Our choice.
_NEGATED_WITHIN = 200
_EITHER_OR = re.compile(r"(.)[不没唔冇]\1")
_QUESTION_MARKS = ("?", "？", "؟")
_LONGEST_PLAIN = 160  # characters; longer replies say several things. Our choice, as of the weights


@dataclass(frozen=True, slots=True)
class SafetyRule:
    """One rule. ``always``: it holds in negations and quotations too."""

    id: str
    intent: Intent
    hold: HoldKind | None
    reason: str
    source: str
    phrases: re.Pattern[str]
    unless: re.Pattern[str] | None
    always: bool


@dataclass(frozen=True, slots=True)
class SafetyHit:
    """A rule that holds, and the words that it found, in normal form."""

    rule: SafetyRule
    words: str


@dataclass(frozen=True, slots=True)
class IntentConsequence:
    """What follows from an intent: how soon a person reads it, and what is answered in which language."""

    urgency: Urgency
    review_within: timedelta
    hold: HoldKind | None
    reason: str
    source: str


@dataclass(frozen=True, slots=True)
class PlainRule:
    """Plain words for a harmless intent. With a word of ``never`` anywhere in the reply it doesn't hold."""

    id: str
    intent: Intent
    phrases: re.Pattern[str]
    never: re.Pattern[str] | None

    def doubts(self, text: str) -> bool:
        return self.never is not None and bool(self.never.search(text))


@dataclass(frozen=True, slots=True)
class RuleLanguage:
    rules: Sequence[SafetyRule]
    plain: Sequence[PlainRule]
    negations: re.Pattern[str] | None  # that end where the words begin
    idioms: re.Pattern[str] | None  # that mean nothing of what their words say
    questions: re.Pattern[str] | None  # that make the whole reply one


@dataclass(frozen=True, slots=True)
class SafetyRules:
    """All languages. ``version`` is a digest of the files."""

    languages: Mapping[str, RuleLanguage]
    consequences: Mapping[Intent, IntentConsequence]
    acknowledgements: Mapping[str, Mapping[Intent, str]]
    help_lines: Mapping[str, str]  # by country: whom to call in danger
    free_help: Mapping[str, str]  # by language: the sentence that names {helpers}
    normalise: Normaliser
    correct: SpellingCorrector
    sounds: SoundAlikes
    version: str

    @property
    def negations(self) -> Sequence[re.Pattern[str]]:
        """Those of all languages: a borrower may mix them, and languages share words."""
        return [each.negations for each in self.languages.values() if each.negations is not None]

    def without_idioms(self, text: str) -> str:
        """``text`` without the idioms of any language: languages share words ("police" is French, too)."""
        for language in self.languages.values():
            if language.idioms is not None:
                text = language.idioms.sub(" | ", text)
        return text

    def hits(self, text: str) -> tuple[list[SafetyHit], list[SafetyHit]]:
        """The hits, in the order of their intents, and those that are only mentioned: negated or quoted."""
        words, unquoted = self.normalise(text), self.normalise.outside_quotes(text)
        whole = self._readings(words)
        outside = whole if unquoted == words else self._readings(unquoted)
        found: dict[str, SafetyHit] = {}
        mentioned: dict[str, SafetyHit] = {}
        negations = self.negations
        plain = {each: self.without_idioms(each) for each in {*whole, *outside}}
        for language in self.languages.values():
            for rule in language.rules:
                match = next(filter(None, (_search(rule, each, plain) for each in whole)), None)
                if match is None:
                    continue
                stated = rule.always or any(_search(rule, each, plain, negations) for each in outside)
                (found if stated else mentioned)[rule.id] = SafetyHit(rule, match)
        return _ordered(found.values()), _ordered(mentioned.values())

    def plain(self, text: str) -> PlainRule | None:
        """The rule of plain words that holds; None where none does, or several intents are said."""
        words = self.normalise(text)
        if len(words) > _LONGEST_PLAIN:
            return None
        readings, negations = self._readings(words), self.negations
        rules = [rule for language in self.languages.values() for rule in language.plain]
        # Of any language: a borrower may mix them.
        doubted = {rule.intent for rule in rules if any(map(rule.doubts, readings))}
        found = [
            rule
            for rule in rules
            if rule.intent not in doubted and any(_says(rule, each, negations) for each in readings)
        ]
        return found[0] if len({each.intent for each in found}) == 1 else None

    def doubts(self, intent: Intent, text: str) -> bool:
        """Whether words of the reply leave a doubt of an intent that plain words may say: a part, another bill."""
        readings = self.readings(text)
        rules = (rule for language in self.languages.values() for rule in language.plain)
        return any(rule.doubts(each) for rule in rules if rule.intent is intent for each in readings)

    def asks(self, text: str) -> bool:
        """Whether the reply ends in a question: "is it paid?" does not say that it is."""
        if text.rstrip().endswith(_QUESTION_MARKS):
            return True
        words = self.normalise(text)
        return any(each.questions is not None and each.questions.search(words) for each in self.languages.values())

    def readings(self, text: str) -> list[str]:
        """The text in normal form, and what it may stand for."""
        return self._readings(self.normalise(text))

    def _readings(self, words: str) -> list[str]:
        """The text as written, with its misspellings corrected, as it sounds, and without its marks."""
        readings = [words, self.correct(words), *map(self.correct, self.sounds.readings(words))]
        if "|" in words:
            readings.append(self.normalise(words.replace("|", " ")))
        return list(dict.fromkeys(readings))


def _search(
    rule: SafetyRule,
    text: str,
    plain: Mapping[str, str],
    negations: Sequence[re.Pattern[str]] = (),
) -> str | None:
    """What ``rule`` finds in ``text``; with ``negations`` only what isn't negated. ``plain``: texts without idioms."""
    if not rule.always:
        text = plain[text]
    if rule.unless is not None:
        text = rule.unless.sub(" | ", text)
    for match in rule.phrases.finditer(text):
        if not _negated(match, negations):
            return match.group()
    return None


def _says(rule: PlainRule, text: str, negations: Sequence[re.Pattern[str]]) -> bool:
    """Whether a text has the plain words of a rule."""
    return any(not _negated(each, negations) for each in rule.phrases.finditer(text))


def _negated(match: re.Match[str], negations: Sequence[re.Pattern[str]]) -> bool:
    """Whether a negation ends right before what was found, or where one of its gaps ends: 我老公 没有 去世."""
    text = match.string
    for start, end in ((0, match.start()), *(match.span(at) for at in range(1, match.re.groups + 1))):
        near = max(start, end - _NEGATED_WITHIN)
        # A word that is cut off is none: "cannot" has no "not".
        words = text[near:end].lstrip(ascii_lowercase) if near > start else text[start:end]
        # Of "is it or isn't it" (是不是, 有没有) nothing is negated.
        before = _EITHER_OR.sub("|", words)
        if before and any(each.search(before) for each in negations):
            return True
    return False


def _ordered(hits: Iterable[SafetyHit]) -> list[SafetyHit]:
    return sorted(hits, key=lambda each: SAFETY.index(each.rule.intent))
