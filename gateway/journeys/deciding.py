"""Deciding one claimed journey, so that a fault of one holds up no other; and what journeys use of the path."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import datetime

import structlog

from gateway.core.journey_events import JourneyReview
from gateway.core.requests import AcceptResult, NotificationRequest, RejectedRequest
from gateway.journeys.actions import Advance, CancelPending, EnterAnother
from gateway.journeys.advance import advance, set_aside, waiting_for_review
from gateway.journeys.claiming import ClaimedJourney
from gateway.journeys.history import JourneyEvent
from gateway.journeys.requests import CLIENT
from gateway.observability import logs

_log = structlog.get_logger("journeys")

Accept = Callable[[str, Sequence[NotificationRequest], str], Awaitable[Sequence[AcceptResult | RejectedRequest]]]
# (tenant, template) → the variables that its live version declares. Raises UnknownTemplate.
Variables = Callable[[str, str], Collection[str]]
Cancel = Callable[[str, str, str], Awaitable[str]]
# Is told of the events of what was written, to count them.
Observe = Callable[[Sequence[JourneyEvent]], None]


@dataclass(frozen=True, slots=True)
class PathServices:
    """What journeys use of the path: accepting, cancelling, and the variables of templates."""

    accept: Accept
    cancel: Cancel
    variables: Variables


def decide(claimed: ClaimedJourney, now: datetime) -> Advance:
    """What the journey does now; it waits for a person where that can't be decided."""
    if claimed.fault is not None:
        return set_aside(claimed.definition, claimed.journey, claimed.facts, claimed.fault, now)
    try:
        return advance(claimed.definition, claimed.journey, claimed.facts, now)
    except Exception as error:  # ``advance`` is total by its property test: whatever fails here is a fault of ours
        return failed(claimed, error)


def failed(claimed: ClaimedJourney, error: Exception) -> Advance:
    """A decision that raised an exception: logged, and for a person."""
    _log.error("journey_decision_failed", journey_id=claimed.journey.id, **logs.describe(error))
    return waiting_for_review(claimed.journey, JourneyReview.DECISION_FAILED)


async def cancel_pending_of(path: PathServices, claimed: ClaimedJourney, what: Advance) -> None:
    """Cancel what the journey gave to ``accept`` and was not handed over yet, where that was decided."""
    if any(isinstance(each, CancelPending) for each in what.actions):
        for notification_id in claimed.notifications.values():
            await path.cancel(claimed.tenant, notification_id, CLIENT)


def enters(what: Advance) -> tuple[str, ...]:
    """The names of the definitions that the case is to enter."""
    return tuple(each.definition for each in what.actions if isinstance(each, EnterAnother))
