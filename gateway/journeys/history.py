"""The events that one move of a journey leaves, for its chain and for webhooks. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from gateway.core.journey_events import JourneyReview, StepResult
from gateway.journeys.actions import Action, Emit, Send
from gateway.journeys.journey import Journey, JourneyState, StepRecord

_TOLD = frozenset({StepResult.SENT, StepResult.REJECTED, StepResult.APPROVED, StepResult.EMITTED})


@dataclass(frozen=True, slots=True)
class JourneyEvent:
    """One event. A kind with a dot is a webhook's type; the others are recorded only."""

    kind: str
    reason: str = ""
    detail: Mapping[str, Any] = field(default_factory=dict)


def events_of(
    before: Journey, after: Journey, actions: Sequence[Action], notifications: Mapping[str, str]
) -> Iterator[JourneyEvent]:
    """What happened between the two. ``notifications`` are the ids of what was accepted, by the step's key."""
    if before.state is JourneyState.PAUSED and after.state is not JourneyState.PAUSED:
        yield JourneyEvent("journey.resumed", after.reason)
    for record in after.steps[len(before.steps) :]:
        yield _step(record, notifications)
    for action in actions:
        if isinstance(action, Send) and after.record_of(action.key) is None and action.key in notifications:
            detail = {"step": action.key[:40], "notification_id": notifications[action.key]}
            yield JourneyEvent("journey.step", "", detail)
        if isinstance(action, Emit):
            yield JourneyEvent(action.name, "", {"step": action.step})
    if after.state is JourneyState.PAUSED and (
        before.state is not JourneyState.PAUSED or before.reason != after.reason
    ):
        yield JourneyEvent("journey.paused", after.reason)
    begins_review = after.state is JourneyState.REVIEW and before.state is not JourneyState.REVIEW
    if begins_review and after.reason != JourneyReview.GATE_LAPSED:  # that is an event of the case
        yield JourneyEvent("journey_set_aside", after.reason)
    if after.gate is not None and (before.gate is None or before.gate.opened_at != after.gate.opened_at):
        yield JourneyEvent("journey.gate_opened", "", {"step": after.gate.step})
    if after.ended and not before.ended:
        yield JourneyEvent("journey.exited", after.reason)


def _step(record: StepRecord, notifications: Mapping[str, str]) -> JourneyEvent:
    detail = {"step": record.step, "result": record.result}
    if record.step in notifications:
        detail["notification_id"] = notifications[record.step]
    return JourneyEvent("journey.step" if record.result in _TOLD else "journey_step", record.reason, detail)
