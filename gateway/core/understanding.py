"""What a reply was understood to say: its intents, what follows from them, and by which rules."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from enum import IntEnum

from gateway.core.reasons import STOPS, HoldKind, Intent


class Urgency(IntEnum):
    """How soon a person has to read a reply; 0: not at all. The higher number is the more urgent."""

    NONE = 0
    ROUTINE = 1
    TODAY = 2
    NOW = 3


@dataclass(frozen=True, slots=True)
class OpenReviews:
    """Reviews of one urgency: how many wait, and how long the first of them is past its clock; 0.0: none is."""

    waiting: int = 0
    overdue_seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Understanding:
    """``intents`` are all that the reply says, the most serious first. ``version`` names the rules and weights."""

    intents: tuple[Intent, ...]
    holds: tuple[HoldKind, ...] = ()
    urgency: Urgency = Urgency.NONE
    review_within: timedelta = timedelta()
    rules: tuple[str, ...] = ()
    version: str = ""
    confidence: float = 1.0
    slots: Mapping[str, str] = field(default_factory=dict)

    @property
    def intent(self) -> Intent:
        """The most serious of the intents."""
        return self.intents[0]

    @property
    def stops(self) -> bool:
        """Whether a message that is about to start may have been forbidden by this reply."""
        return bool(self.holds) or not STOPS.isdisjoint(self.intents)
