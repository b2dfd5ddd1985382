"""The safety rules: what a reply says that a person must read, found by phrases of each language.

The rules are data (``templates/policies/replies``), each with its reason and source. All rules of all languages are
asked, because a borrower may mix them; a hit is never taken back by what follows. Pure.
"""

from __future__ import annotations

import hashlib
import re
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from string import ascii_lowercase
from typing import Any

from gateway.core.reasons import SAFETY, HoldKind, Intent
from gateway.core.understanding import Urgency
from gateway.replies.normalisation import Normaliser, load_normaliser
from gateway.replies.patterns import SpellingCorrector, compile_phrases, words_of

# What is no language: the consequences of the intents, and the characters.
_NO_LANGUAGE = frozenset({"intents.toml", "traditional.toml"})
# These take effect or are answered when they come, by templates/policies/replies.toml.
_ANSWERED = (Intent.START, Intent.HELP)
_RULE_KEYS = frozenset({"id", "intent", "hold", "reason", "source", "phrases", "unless", "always"})
_PLAIN_KEYS = frozenset({"id", "intent", "reason", "phrases", "never"})
# What plain words may say: its answers are read back and confirmed, or a person reads the reply.
PLAIN = frozenset({Intent.PAID, Intent.PLAN})
# Characters before a phrase in which a negation of it is looked for: its own and two words, with room. All that stands
# before made a reply of 4,000 characters with 570 negated phrases cost 1.6 s of processor time. Our choice.
_NEGATED_WITHIN = 200
_EITHER_OR = re.compile(r"(.)[不没唔冇]\1")
_DISGUISED = re.compile(r"\b(?=[a-z]*\d)(?=\d*[a-z])[a-z\d]{4,}\b")  # letters as digits: wr0ng, su1c1de
_AS_LETTERS = str.maketrans("013457", "oieast")
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


@dataclass(frozen=True, slots=True)
class _Language:
    rules: Sequence[SafetyRule]
    plain: Sequence[PlainRule]
    negations: re.Pattern[str] | None  # that end where the words begin
    idioms: re.Pattern[str] | None  # that mean nothing of what their words say


@dataclass(frozen=True, slots=True)
class SafetyRules:
    """All languages. ``version`` is a digest of the files."""

    languages: Mapping[str, _Language]
    consequences: Mapping[Intent, IntentConsequence]
    acknowledgements: Mapping[str, Mapping[Intent, str]]
    help_lines: Mapping[str, str]  # by country: whom to call in danger
    free_help: Mapping[str, str]  # by language: the sentence that names {helpers}
    normalise: Normaliser
    correct: SpellingCorrector
    version: str

    @property
    def negations(self) -> Sequence[re.Pattern[str]]:
        """Those of all languages: a borrower may mix them, and languages share words."""
        return [each.negations for each in self.languages.values() if each.negations is not None]

    def hits(self, text: str) -> tuple[list[SafetyHit], list[SafetyHit]]:
        """The hits, in the order of their intents, and those that are only mentioned: negated or quoted."""
        whole = self._readings(self.normalise(text))
        outside = self._readings(self.normalise.outside_quotes(text))
        found: dict[str, SafetyHit] = {}
        mentioned: dict[str, SafetyHit] = {}
        negations = self.negations
        for language in self.languages.values():
            for rule in language.rules:
                for reading in whole:
                    match = _search(rule, language, reading)
                    if match is None:
                        continue
                    hit = SafetyHit(rule, match)
                    stated = rule.always or any(_search(rule, language, each, negations) for each in outside)
                    (found if stated else mentioned).setdefault(rule.id, hit)
        return _ordered(found.values()), _ordered(mentioned.values())

    def plain(self, text: str) -> PlainRule | None:
        """The rule of plain words that holds; None where none does, or several intents are said."""
        words = self.normalise(text)
        if len(words) > _LONGEST_PLAIN:
            return None
        readings, negations = self._readings(words), self.negations
        found = [
            rule
            for language in self.languages.values()
            for rule in language.plain
            if any(_says(rule, each, negations) for each in readings)
        ]
        return found[0] if len({each.intent for each in found}) == 1 else None

    def _readings(self, words: str) -> list[str]:
        """The text as written, with its misspellings corrected, and without its marks."""
        readings = [words, self.correct(words)]
        if _DISGUISED.search(words):
            readings.append(self.correct(_DISGUISED.sub(lambda each: each.group().translate(_AS_LETTERS), words)))
        if "|" in words:
            readings.append(self.normalise(words.replace("|", " ")))
        return list(dict.fromkeys(readings))


def _search(rule: SafetyRule, language: _Language, text: str, negations: Sequence[re.Pattern[str]] = ()) -> str | None:
    """What ``rule`` finds in ``text``; with ``negations`` only what isn't negated."""
    if rule.unless is not None:
        text = rule.unless.sub(" | ", text)
    if not rule.always and language.idioms is not None:
        text = language.idioms.sub(" | ", text)
    for match in rule.phrases.finditer(text):
        if not _negated(match, negations):
            return match.group()
    return None


def _says(rule: PlainRule, text: str, negations: Sequence[re.Pattern[str]]) -> bool:
    """Whether a rule of plain words holds for a text."""
    if rule.never is not None and rule.never.search(text):
        return False
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


def load_safety(folder: Path) -> SafetyRules:
    """Read ``intents.toml`` and a file for each language. Raises ValueError naming the file and what is wrong in it."""
    normalise = load_normaliser(folder)
    paths = sorted(folder.glob("*.toml"))
    files = {path.name: _read(path) for path in paths}
    languages: dict[str, _Language] = {}
    acknowledgements: dict[str, Mapping[Intent, str]] = {}
    words: set[str] = set()
    correct: set[str] = set()
    known: set[str] = set()
    for name, content in files.items():
        if name in _NO_LANGUAGE:
            continue
        try:
            rules = [_rule(each, normalise) for each in content["rules"]]
            languages[content["language"]] = _Language(
                rules,
                [_plain(each, normalise) for each in content.get("plain", ())],
                _before(content.get("negations", ()), normalise),
                _phrases(content, "idioms", normalise),
            )
            if texts := content.get("acknowledgements"):
                acknowledgements[content["language"]] = {Intent(intent): text for intent, text in texts.items()}
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"replies/{name}: {error}") from None
        if twice := known.intersection(each.id for each in rules):
            raise ValueError(f"replies/{name}: there is a rule {sorted(twice)[0]} already")
        known.update(each.id for each in rules)
        every = (*content["rules"], *content.get("plain", ()))
        words |= words_of((phrase for each in every for phrase in each["phrases"]), normalise)
        correct |= words_of(content.get("correct", ()), normalise)
    try:
        intents = files["intents.toml"]
        consequences = {Intent(name): _consequence(each) for name, each in intents["intents"].items()}
        missing = set(Intent).difference(consequences, _ANSWERED)
        if missing:
            raise ValueError(f"nothing follows from {sorted(missing)[0]}: give it a table")
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"replies/intents.toml: {error}") from None
    digest = hashlib.sha256(b"\0".join(path.read_bytes() for path in paths)).hexdigest()[:12]
    return SafetyRules(
        languages,
        consequences,
        acknowledgements,
        intents["help_lines"],
        {content["language"]: content["free_help"] for content in files.values() if "free_help" in content},
        normalise,
        SpellingCorrector(words, correct),
        digest,
    )


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text("utf-8"))
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise ValueError(f"replies/{path.name}: {error}") from None


def _rule(content: Mapping[str, Any], normalise: Normaliser) -> SafetyRule:
    name = content["id"]
    if unknown := set(content) - _RULE_KEYS:
        raise ValueError(f"rule {name}: {sorted(unknown)[0]} is not a key of a rule")
    intent, phrases = Intent(content["intent"]), compile_phrases(content["phrases"], normalise)
    if intent not in SAFETY or phrases is None:
        raise ValueError(f"rule {name}: {intent} is no intent of safety, or it has no phrases")
    hold = HoldKind(content["hold"]) if "hold" in content else None
    unless = _phrases(content, "unless", normalise)
    always = bool(content.get("always"))
    return SafetyRule(name, intent, hold, content["reason"], content["source"], phrases, unless, always)


def _plain(content: Mapping[str, Any], normalise: Normaliser) -> PlainRule:
    name = content["id"]
    if unknown := set(content) - _PLAIN_KEYS:
        raise ValueError(f"rule {name}: {sorted(unknown)[0]} is not a key of a rule of plain words")
    intent, phrases = Intent(content["intent"]), compile_phrases(content["phrases"], normalise)
    if intent not in PLAIN or phrases is None:
        raise ValueError(f"rule {name}: plain words may say {', '.join(sorted(PLAIN))}, and need phrases")
    return PlainRule(name, intent, phrases, _phrases(content, "never", normalise))


def _phrases(content: Mapping[str, Any], key: str, normalise: Normaliser) -> re.Pattern[str] | None:
    return compile_phrases(content.get(key, ()), normalise)


def _before(negations: Iterable[str], normalise: Normaliser) -> re.Pattern[str] | None:
    """An expression for a text that ends in a negation, with at most two words or one character after it."""
    found = compile_phrases(negations, normalise)
    return re.compile(rf"(?:{found.pattern})(?: ?[^\s|a-z]|(?: [^\s|]+){{0,2}} )?$") if found is not None else None


def _consequence(content: Mapping[str, Any]) -> IntentConsequence:
    return IntentConsequence(
        Urgency[content["urgency"].upper()],
        timedelta(minutes=content["review_within_minutes"]),
        HoldKind(content["hold"]) if content.get("hold") else None,
        content["reason"],
        content["source"],
    )
