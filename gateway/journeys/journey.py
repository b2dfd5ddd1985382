"""A journey: where one case stands in one version of a definition. Immutable, and stored as it is.

Owns the closed list of states. Must not know how a journey moves (advance.py) or SQL.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum

from gateway.core.facts import Hold
from gateway.core.journey_events import StepResult
from gateway.core.states import State
from gateway.journeys.cases.record import CaseRecord


class JourneyState(StrEnum):
    """Where a journey stands. ``exited`` is the end; the reason says why."""

    HOLDOUT = "holdout"
    ACTIVE = "active"  # until the next step's day
    WAITING = "waiting"  # for what the last step waits for
    PAUSED = "paused"
    GATE = "gate"  # for persons' approvals
    REVIEW = "review"  # for a person; JourneyReview says why
    EXITED = "exited"


@dataclass(frozen=True, slots=True)
class StepRecord:
    """One step that is done with. ``gentler``: with the message for after a broken promise."""

    step: str
    at: datetime
    result: StepResult
    reason: str = ""
    gentler: bool = False


@dataclass(frozen=True, slots=True)
class Approval:
    """A person's yes to a gate, with the reason."""

    actor: str
    at: datetime
    reason: str


@dataclass(frozen=True, slots=True)
class Gate:
    """An open gate, until it lapses. ``refused`` is the actor who said no."""

    step: str
    opened_at: datetime
    approvals: tuple[Approval, ...] = ()
    refused: str = ""


@dataclass(frozen=True, slots=True)
class Journey:
    """The state of one journey. ``shift`` moves the days of the steps to come; ``not_before`` is after a pause."""

    id: str
    case_id: str
    entered_at: datetime
    arm: str = ""
    state: JourneyState = JourneyState.ACTIVE
    reason: str = ""  # of an exit, a pause or a review
    due_at: datetime | None = None
    steps: tuple[StepRecord, ...] = ()
    shift: int = 0  # days
    not_before: datetime | None = None
    paused_at: datetime | None = None
    held_by: str = ""  # the actor who paused it; "": nobody
    gate: Gate | None = None
    promises_reminded: tuple[str, ...] = ()
    plan_asked_at: datetime | None = None  # the borrower asked for a plan: the next step that offers one comes now

    @property
    def ended(self) -> bool:
        return self.state is JourneyState.EXITED

    def record_of(self, step: str) -> StepRecord | None:
        """What became of a step; None where it is still to come."""
        return next((each for each in self.steps if each.step == step), None)


def answered(journey: Journey, key: str, result: StepResult, reason: str) -> Journey:
    """The journey with what ``accept`` said to a step's message in the step's record."""
    changed = [replace(each, result=result, reason=reason[:40]) if each.step == key else each for each in journey.steps]
    return replace(journey, steps=tuple(changed))


@dataclass(frozen=True, slots=True)
class SentStep:
    """What the path knows of a step's notification."""

    notification_id: str
    at: datetime
    state: State
    reason: str = ""
    delivered: bool = False
    read: bool = False
    replied: bool = False

    def happened(self) -> frozenset[str]:
        """The words for what happened, as conditions and waits name them."""
        words = {str(self.state), "sent"}
        words |= {word for word in ("delivered", "read", "replied") if getattr(self, word)}
        if self.state in _NOT_REACHED:
            words.add("failed")
        return frozenset(words)


# The borrower did not get it, and will not by this notification.
_NOT_REACHED = (State.UNDELIVERED, State.FAILED, State.SUPPRESSED, State.EXPIRED, State.CANCELLED)


@dataclass(frozen=True, slots=True)
class JourneyFacts:
    """All that ``advance`` may look at besides the definition, the journey and the instant."""

    case: CaseRecord
    holds: tuple[Hold, ...] = ()
    sent: Mapping[str, SentStep] = field(default_factory=dict)  # by the step's key, see ``actions.step_key``
    opted_out: bool = False  # of everything
    stopped: bool = False  # an operator stopped the definition
