"""The answer sets: which template answers which intent. Data (``templates/policies/replies/answers``); pure."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gateway.conversations.requests import PERSONS_TEMPLATE
from gateway.core.conversations import FOR_PERSONS
from gateway.core.reasons import Intent
from gateway.replies.normalisation import Normaliser

_KEYS = frozenset(
    {"intent", "template", "verified", "step", "jurisdictions", "channels", "link", "code", "asks", "person"}
)


@dataclass(frozen=True, slots=True)
class PublishedAnswer:
    """One answer and its conditions; see the file. ``verified`` and ``step`` None, empty sets: whatever it is."""

    intent: Intent
    template: str
    verified: bool | None
    step: bool | None
    jurisdictions: frozenset[str]
    channels: frozenset[str]
    link: bool
    code: bool
    asks: bool
    person: bool

    def fits(self, intent: Intent, jurisdiction: str, channel: str, *, verified: bool, step: bool) -> bool:
        """Whether it may be given."""
        return (
            intent is self.intent
            and self.verified in (None, verified)
            and self.step in (None, step)
            and (not self.jurisdictions or jurisdiction in self.jurisdictions)
            and (not self.channels or channel in self.channels)
        )

    @property
    def conditions(self) -> int:
        """How many it names."""
        return (self.verified is not None) + (self.step is not None) + bool(self.jurisdictions) + bool(self.channels)


@dataclass(frozen=True, slots=True)
class AnswerBook:
    """All answer sets. ``yes`` and ``undo`` are whole replies in normal form."""

    answers: Sequence[PublishedAnswer]
    confirmed: str
    undone: str
    yes: frozenset[str]
    undo: frozenset[str]
    normalise: Normaliser

    def find(
        self, intent: Intent, jurisdiction: str, channel: str, *, verified: bool, step: bool = False
    ) -> PublishedAnswer | None:
        """The answer that fits and names most conditions; None: a person answers."""
        country = jurisdiction.casefold().replace("_", "-").partition("-")[0]
        given = {"verified": verified, "step": step}
        fitting = [each for each in self.answers if each.fits(intent, country, channel, **given)]
        return max(fitting, key=lambda each: each.conditions, default=None)

    def says_yes(self, text: str) -> bool:
        """Whether the whole reply is a yes."""
        return self._words(text) in self.yes or text.strip() in self.yes

    def says_undo(self, text: str) -> bool:
        """Whether the whole reply takes back what was confirmed."""
        return self._words(text) in self.undo

    def _words(self, text: str) -> str:
        return self.normalise(text).strip("| ") if len(text) < 100 else ""

    @property
    def templates(self) -> frozenset[str]:
        """Those that the assistant may send."""
        return frozenset({each.template for each in self.answers} | {self.confirmed, self.undone})


def load_answers(folder: Path, normalise: Normaliser) -> AnswerBook:
    """Read the files of the folder. Raises ValueError naming the file and what is wrong in it."""
    answers: list[PublishedAnswer] = []
    found: dict[str, Any] = {}
    for path in sorted(folder.glob("*.toml")):
        try:
            content = tomllib.loads(path.read_text("utf-8"))
            answers += [_answer(each) for each in content.pop("answer", ())]
            found |= content
        except (OSError, KeyError, TypeError, AttributeError, ValueError) as error:
            raise ValueError(f"answers/{path.name}: {error}") from None
    try:
        yes, undo = (frozenset(found["words"][name]) for name in ("yes", "undo"))
        confirmed, undone = found["confirmed"]["template"], found["undone"]["template"]
    except KeyError as error:
        raise ValueError(f"answers: {error} is missing") from None
    both = [frozenset({*words, *(normalise(each).strip("| ") for each in words)} - {""}) for words in (yes, undo)]
    return AnswerBook(tuple(answers), str(confirmed), str(undone), both[0], both[1], normalise)


def _answer(raw: Mapping[str, Any]) -> PublishedAnswer:
    if unknown := raw.keys() - _KEYS:
        raise ValueError(f"unknown keys: {', '.join(sorted(unknown))}")
    intent, template = Intent(raw["intent"]), str(raw["template"])
    if intent in FOR_PERSONS or template == PERSONS_TEMPLATE:
        raise ValueError(f"{intent} with {template}: a person answers that")
    return PublishedAnswer(
        intent,
        template,
        raw.get("verified"),
        raw.get("step"),
        frozenset(raw.get("jurisdictions", ())),
        frozenset(raw.get("channels", ())),
        bool(raw.get("link") or raw.get("code")),
        bool(raw.get("code")),
        bool(raw.get("asks")),
        bool(raw.get("person")),
    )
