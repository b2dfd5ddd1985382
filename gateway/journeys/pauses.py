"""What pauses a journey, the reminder of a promise meanwhile, and going on afterwards. Pure; a part of ``advance``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from gateway.core.facts import Hold
from gateway.core.reasons import HoldKind
from gateway.journeys.actions import Advance, Send, step_key
from gateway.journeys.cases.record import open_promise
from gateway.journeys.definitions.model import JourneyDefinition, MessageRules, PauseWord
from gateway.journeys.journey import Journey, JourneyFacts, JourneyState
from gateway.journeys.steps import at_time

_DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class PauseCause:
    """One thing that pauses the journey; ``until`` None: until a person ends it."""

    reason: str
    until: datetime | None


def pause_causes(
    definition: JourneyDefinition, journey: Journey, facts: JourneyFacts, now: datetime
) -> list[PauseCause]:
    on: Sequence[PauseWord] = definition.pause.on
    found = [PauseCause("person", None)] if journey.held_by else []
    standing = standing_holds(facts, now)
    if "promise_to_pay" in on:
        promised = [each for each in standing if each.kind is HoldKind.PROMISE_TO_PAY]
        found += [PauseCause("promise_to_pay", each.end) for each in promised]
    if "hold" in on:
        others = [each for each in standing if each.kind is not HoldKind.PROMISE_TO_PAY]
        # A plan in place holds collections, and not the reminders of the plan itself.
        of_plan = definition.enter.counts_from == "first_instalment"
        found += [
            PauseCause(str(each.kind), each.end)
            for each in others
            if not (of_plan and each.kind is HoldKind.PLAN_IN_PLACE)
        ]
    return found


def paused(
    definition: JourneyDefinition, journey: Journey, facts: JourneyFacts, pauses: Sequence[PauseCause], now: datetime
) -> Advance:
    """The journey while it is paused, until the last cause ends; a promise may have its reminder meanwhile."""
    ends = [each.until for each in pauses]
    until = None if None in ends else max(each for each in ends if each is not None)
    after = replace(
        journey,
        state=JourneyState.PAUSED,
        reason=pauses[0].reason,
        due_at=until,
        paused_at=journey.paused_at or now,
        gate=None,  # approvals given before a hold are not approvals after it
    )
    reminder = definition.promise.remind
    promise = open_promise(facts.case, now)
    if reminder is None or promise is None or any(each.reason != "promise_to_pay" for each in pauses):
        return Advance(after)
    key = step_key("", promise=promise.id)
    if promise.id in journey.promises_reminded:
        return Advance(after)
    at = at_time(definition, facts, journey, promise.day - _DAY)
    if at <= promise.made_at or now >= at + _DAY:  # promised for today or tomorrow, or too late for a reminder before
        return Advance(after)
    if now < at:
        return Advance(replace(after, due_at=at if until is None else min(at, until)))
    reminded = replace(after, promises_reminded=(*after.promises_reminded, promise.id))
    send = _message(reminder, key, f"promise:{promise.id}")
    return Advance(reminded, () if key in facts.sent else (send,))


def _message(message: MessageRules, key: str, stage: str) -> Send:
    return Send(key, message.template, message.route, stage[:64])


def resumed(definition: JourneyDefinition, journey: Journey, now: datetime) -> Journey:
    """The journey after a pause: the days of its steps are moved by as much as it lasted."""
    assert journey.paused_at is not None
    days = -(-(now - journey.paused_at) // _DAY)
    return replace(
        journey,
        state=JourneyState.ACTIVE,
        reason="",
        shift=journey.shift + max(0, days),
        not_before=now + definition.pause.resume_after,
        paused_at=None,
    )


def standing_holds(facts: JourneyFacts, now: datetime) -> list[Hold]:
    """The holds on this case that are in effect."""
    return [
        each
        for each in facts.holds
        if each.case_id in (None, facts.case.id) and each.start <= now and (each.end is None or now < each.end)
    ]
