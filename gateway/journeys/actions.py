"""What ``advance`` answers: the journey as it stands now, and the actions that follow from it. Values only."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import date

from gateway.journeys.definitions.model import OfferRules
from gateway.journeys.journey import Journey, JourneyState


@dataclass(frozen=True, slots=True)
class Send:
    """Give this message to ``accept``, under the key of the step."""

    key: str
    template: str
    route: tuple[str, ...]
    stage: str
    offer: OfferRules | None = None
    instalment_due: date | None = None  # of a step that reminds of one


@dataclass(frozen=True, slots=True)
class CancelPending:
    """Cancel what the journey gave to ``accept`` and was not handed over yet."""

    reason: str


@dataclass(frozen=True, slots=True)
class Emit:
    """Announce this to the case system."""

    name: str
    step: str


@dataclass(frozen=True, slots=True)
class EnterAnother:
    """Have the case enter this definition."""

    definition: str


Action = Send | CancelPending | Emit | EnterAnother


@dataclass(frozen=True, slots=True)
class Advance:
    """The journey as it stands now, and what is to be done for that."""

    journey: Journey
    actions: tuple[Action, ...] = ()


def step_key(step: str, *, promise: str = "") -> str:
    """What a step's notification is known by within its journey."""
    return f"promise-{promise}" if promise else step


def exited(journey: Journey, reason: str) -> Advance:
    """The journey ended for a reason of a person's; what is pending of it is cancelled."""
    ended = replace(journey, state=JourneyState.EXITED, reason=reason, due_at=None, gate=None, paused_at=None)
    return Advance(ended, (CancelPending(reason),))
