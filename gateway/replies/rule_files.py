"""Reads the files of the reply rules: one for each language, and what follows from each intent."""

from __future__ import annotations

import hashlib
import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

from gateway.core.reasons import SAFETY, HoldKind, Intent
from gateway.core.understanding import Urgency
from gateway.replies.normalisation import Normaliser, load_normaliser
from gateway.replies.patterns import beginnings_of, compile_phrases, words_of
from gateway.replies.safety import PLAIN, IntentConsequence, PlainRule, RuleLanguage, SafetyRule, SafetyRules
from gateway.replies.spelling import SoundAlikes, SpellingCorrector

# What is no language: the consequences of the intents, and the characters.
_NO_LANGUAGE = frozenset({"intents.toml", "traditional.toml"})
# These take effect or are answered when they come, by templates/policies/replies.toml.
_ANSWERED = (Intent.START, Intent.HELP)
_RULE_KEYS = frozenset({"id", "intent", "hold", "reason", "source", "phrases", "unless", "always"})
_PLAIN_KEYS = frozenset({"id", "intent", "reason", "phrases", "never"})


def load_safety(folder: Path) -> SafetyRules:
    """Read ``intents.toml`` and a file for each language. Raises ValueError naming the file and what is wrong in it."""
    normalise = load_normaliser(folder)
    paths = sorted(folder.glob("*.toml"))
    files = {path.name: _read(path) for path in paths}
    languages: dict[str, RuleLanguage] = {}
    acknowledgements: dict[str, Mapping[Intent, str]] = {}
    vocabulary, known = _Vocabulary(normalise), set[str]()
    for name, content in files.items():
        if name in _NO_LANGUAGE:
            continue
        try:
            rules = [_rule(each, normalise) for each in content["rules"]]
            languages[content["language"]] = RuleLanguage(
                rules,
                [_plain(each, normalise) for each in content.get("plain", ())],
                _before(content.get("negations", ()), normalise),
                _phrases(content, "idioms", normalise),
                _phrases(content, "questions", normalise),
            )
            if texts := content.get("acknowledgements"):
                acknowledgements[content["language"]] = {Intent(intent): text for intent, text in texts.items()}
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"replies/{name}: {error}") from None
        if twice := known.intersection(each.id for each in rules):
            raise ValueError(f"replies/{name}: there is a rule {sorted(twice)[0]} already")
        known.update(each.id for each in rules)
        vocabulary.add(content)
    digest = hashlib.sha256(b"\0".join(path.read_bytes() for path in paths)).hexdigest()[:12]
    return SafetyRules(
        languages,
        _consequences(files),
        acknowledgements,
        files["intents.toml"]["help_lines"],
        {content["language"]: content["free_help"] for content in files.values() if "free_help" in content},
        normalise,
        vocabulary.corrector(),
        SoundAlikes(vocabulary.abbreviations, vocabulary.homophones),
        digest,
    )


@dataclass
class _Vocabulary:
    """The words of all languages' rules, and how else they are written."""

    normalise: Normaliser
    words: set[str] = field(default_factory=set)
    beginnings: set[str] = field(default_factory=set)
    correct: set[str] = field(default_factory=set)
    abbreviations: dict[str, str] = field(default_factory=dict)
    homophones: dict[str, str] = field(default_factory=dict)

    def add(self, content: Mapping[str, Any]) -> None:
        """Add what a language's file has."""
        every = (*content["rules"], *content.get("plain", ()))
        phrases = [phrase for each in every for phrase in each["phrases"]]
        self.words |= words_of(phrases, self.normalise)
        self.beginnings |= beginnings_of(phrases, self.normalise)
        self.correct |= words_of(content.get("correct", ()), self.normalise)
        self.abbreviations.update(content.get("abbreviations", {}))
        alike = content.get("homophones", {})
        self.homophones.update({self.normalise(one): self.normalise(other) for one, other in alike.items()})

    def corrector(self) -> SpellingCorrector:
        return SpellingCorrector(self.words, self.beginnings, self.correct.union(self.abbreviations))


def _consequences(files: Mapping[str, Mapping[str, Any]]) -> dict[Intent, IntentConsequence]:
    """What follows from each intent. Raises ValueError."""
    try:
        consequences = {Intent(name): _consequence(each) for name, each in files["intents.toml"]["intents"].items()}
        missing = set(Intent).difference(consequences, _ANSWERED)
        if missing:
            raise ValueError(f"nothing follows from {sorted(missing)[0]}: give it a table")
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"replies/intents.toml: {error}") from None
    return consequences


def _read(path: Path) -> dict[str, Any]:
    try:
        content = tomllib.loads(path.read_text("utf-8"))
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise ValueError(f"replies/{path.name}: {error}") from None
    sets = {f"{{{name}}}": words for name, words in content.pop("sets", {}).items()}
    return _filled(content, sets) if sets else content


def _filled(content: Any, sets: Mapping[str, str]) -> Any:
    """``content`` with the words of each set for its name in braces: ``({kin})``."""
    if isinstance(content, str):
        for name, words in sets.items():
            content = content.replace(name, words)
        return content
    if isinstance(content, list):
        return [_filled(each, sets) for each in content]
    return {key: _filled(each, sets) for key, each in content.items()} if isinstance(content, dict) else content


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
