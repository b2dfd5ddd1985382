"""The steps of a journey: which one comes next, when it is due, and doing it. Pure; a part of ``advance``."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, time, timedelta

from gateway.core.journey_events import ExitReason, StepResult
from gateway.journeys.actions import Action, Advance, Emit, Send, exited, step_key
from gateway.journeys.arms import fraction
from gateway.journeys.cases.instalments import InstalmentStep, for_plan, is_paid, rule_id
from gateway.journeys.cases.record import broken_promises, facts_of, standing_plan, zone_of
from gateway.journeys.definitions import conditions
from gateway.journeys.definitions.model import JourneyDefinition, StepRules
from gateway.journeys.journey import Gate, Journey, JourneyFacts, JourneyState, SentStep, StepRecord

_DAY = timedelta(days=1)
# Messages of different days stay so far apart, whatever ``pace.least`` says: after an outage the first one is late, and
# the next one on time. Our choice: no burst, and no drift where a step is some minutes late.
_APART = timedelta(hours=12)
# The least time until a journey that is not over is looked at again.
SOON = timedelta(microseconds=1)


def next_step(definition: JourneyDefinition, journey: Journey, facts: JourneyFacts, now: datetime) -> Advance:
    """Go through the steps that are over or don't apply, to the one that is done now or is due later."""
    if journey.plan_asked_at is not None:
        return _offer_now(definition, journey, facts, now)
    until = _wait_ends(definition, journey, facts)
    if until is not None and now < until:
        return Advance(replace(journey, state=JourneyState.WAITING, due_at=until))
    index = _following(definition, journey, facts, now)
    for step in definition.steps[index:]:
        if not _applies(step, journey, facts, now):
            journey = recorded(journey, step, now, StepResult.SKIPPED)
            continue
        planned, earliest = _due(definition, journey, facts, step)
        if now < earliest:
            return Advance(replace(journey, state=JourneyState.ACTIVE, due_at=earliest))
        late = now - max(planned, journey.not_before or planned)
        if late > definition.pace.tolerance:
            # A reminder of an instalment is of no use later.
            skips = isinstance(step, InstalmentStep) or (step.late or definition.pace.late) == "skip"
            if step.gate is None and skips:
                journey = recorded(journey, step, now, StepResult.MISSED)
                continue
            journey = replace(journey, shift=journey.shift + late // _DAY)
        return _do(definition, journey, facts, step, now)
    # What the last step sent goes its way.
    return Advance(exited(journey, ExitReason.COMPLETED).journey)


def plan_step(definition: JourneyDefinition, journey: Journey, facts: JourneyFacts, now: datetime) -> StepRules | None:
    """The next step that offers a plan; None where none is ahead, or a gate is before it, which nobody jumps over."""
    for step in definition.steps[_following(definition, journey, facts, now) :]:
        if step.gate is not None:
            return None
        if step.offer is not None and step.template and _applies(step, journey, facts, now):
            return step
    return None


def _offer_now(definition: JourneyDefinition, journey: Journey, facts: JourneyFacts, now: datetime) -> Advance:
    """The borrower asked for a plan: the offer comes now, and the steps before it don't come any more."""
    offer = plan_step(definition, journey, facts, now)
    asked, journey = journey, replace(journey, plan_asked_at=None)
    if offer is None:
        return next_step(definition, journey, facts, now)
    if journey.not_before is not None and now < journey.not_before:  # what was paused rests a while
        return Advance(replace(asked, state=JourneyState.ACTIVE, due_at=journey.not_before))
    ahead = definition.steps[_following(definition, journey, facts, now) : definition.index_of(offer.id)]
    for step in ahead:
        journey = recorded(journey, step, now, StepResult.SKIPPED)
    return _do(definition, journey, facts, offer, now)


def _do(
    definition: JourneyDefinition, journey: Journey, facts: JourneyFacts, step: StepRules, now: datetime
) -> Advance:
    """Do one step, and say when the journey is looked at again."""
    if step.gate is not None:
        gate = Gate(step.id, now)
        return Advance(replace(journey, state=JourneyState.GATE, gate=gate, due_at=now + max(step.gate.expires, SOON)))
    gentler = definition.promise.broken == "gentler" and broken_promises(facts.case, now) > 0
    template = step.message(gentler=gentler)
    actions: list[Action] = [Emit(step.emits, step.id)] if step.emits else []
    result = StepResult.SENT if template else StepResult.EMITTED
    already = facts.sent.get(step_key(step.id))
    if template and already is None:
        actions.insert(0, send_of(step, template))
    done = recorded(journey, step, already.at if already is not None else now, result, gentler=gentler)
    return Advance(_scheduled(definition, done, facts, now), tuple(actions))


def send_of(step: StepRules, template: str) -> Send:
    """The message of a step."""
    due = step.due if isinstance(step, InstalmentStep) else None
    return Send(step_key(step.id), template, step.route, step.stage or rule_id(step.id), step.offer, due)


def _scheduled(definition: JourneyDefinition, journey: Journey, facts: JourneyFacts, now: datetime) -> Journey:
    """The journey after a step, due when its wait is over or its next step may come; always later than now."""
    until = _wait_ends(definition, journey, facts)
    if until is not None and now < until:
        return replace(journey, state=JourneyState.WAITING, due_at=until)
    index = _following(definition, journey, facts, now)
    if index >= len(definition.steps):
        return replace(journey, state=JourneyState.ACTIVE, due_at=now + SOON)
    due = _due(definition, journey, facts, definition.steps[index])[1]
    return replace(journey, state=JourneyState.ACTIVE, due_at=max(due, now + SOON))


def recorded(journey: Journey, step: StepRules, at: datetime, result: StepResult, *, gentler: bool = False) -> Journey:
    """The journey with one more step that is done with."""
    return replace(journey, steps=(*journey.steps, StepRecord(step.id, at, result, gentler=gentler)))


def _applies(step: StepRules, journey: Journey, facts: JourneyFacts, now: datetime) -> bool:
    if step.arm and journey.arm not in step.arm:
        return False
    if isinstance(step, InstalmentStep) and is_paid(step, facts.case):
        return False
    return step.when is None or conditions.hold(step.when, facts_of(facts.case, now), _happened(journey, facts))


def _happened(journey: Journey, facts: JourneyFacts) -> frozenset[str]:
    """What happened with the last step that sent something."""
    last = _last_sent(journey)
    sent = facts.sent.get(step_key(last.step)) if last is not None else None
    return frozenset() if sent is None else sent.happened()


def _last_sent(journey: Journey) -> StepRecord | None:
    return next((each for each in reversed(journey.steps) if each.result is StepResult.SENT), None)


def _following(definition: JourneyDefinition, journey: Journey, facts: JourneyFacts, now: datetime) -> int:
    """The index of the step that comes next: after the last one, or where its branch leads."""
    index = max((definition.index_of(each.step) for each in journey.steps), default=-1)
    if index < 0 or definition.steps[index].id != journey.steps[-1].step:
        return index + 1
    if journey.steps[-1].result is StepResult.SKIPPED:
        return index + 1
    for branch in definition.steps[index].branch:
        target = definition.index_of(branch.to)
        if target > index and conditions.hold(branch.when, facts_of(facts.case, now), _happened(journey, facts)):
            return target
    return index + 1


def _wait_ends(definition: JourneyDefinition, journey: Journey, facts: JourneyFacts) -> datetime | None:
    """When the wait of the last step is over at the latest; None where there is none, or it is over already."""
    last = _last_sent(journey)
    if last is None or last is not journey.steps[-1]:
        return None
    index = definition.index_of(last.step)
    wait = definition.steps[index].wait if index >= 0 else None
    if wait is None:
        return None
    sent: SentStep | None = facts.sent.get(step_key(last.step))
    if sent is not None and sent.happened() & set(wait.until):
        return None
    return last.at + wait.longest


def _due(
    definition: JourneyDefinition, journey: Journey, facts: JourneyFacts, step: StepRules
) -> tuple[datetime, datetime]:
    """When the step is planned by its day, and when it may be done at the earliest."""
    done = [each for each in journey.steps if each.result not in (StepResult.SKIPPED, StepResult.MISSED)]
    if isinstance(step, InstalmentStep):  # its date stands, whatever pauses there were
        planned = at_time(definition, facts, journey, step.due + (step.day or 0) * _DAY)
    elif step.day is not None:
        planned = at_time(definition, facts, journey, _base(definition, journey, facts) + step.day * _DAY)
        planned += journey.shift * _DAY
    else:
        last = max((each.at for each in done), default=journey.entered_at)
        planned = last + (step.after or timedelta(0))
    sent = max((each for each in done if each.result is StepResult.SENT), key=lambda each: each.at, default=None)
    apart = sent.at + _least_between(definition, sent.step, step) if sent is not None else None
    bounds = [planned, journey.entered_at, journey.not_before, apart]
    return planned, max(each for each in bounds if each is not None)


def _least_between(definition: JourneyDefinition, before: str, step: StepRules) -> timedelta:
    """The least time between the message before and this step."""
    index = definition.index_of(before)
    day = definition.steps[index].day if index >= 0 else None
    other_day = day is not None and step.day is not None and day != step.day
    return max(definition.pace.least, _APART) if other_day else definition.pace.least


def _base(definition: JourneyDefinition, journey: Journey, facts: JourneyFacts) -> date:
    """Day 0 of the steps."""
    assert facts.case.snapshot is not None
    match definition.enter.counts_from:
        case "due_date":
            return facts.case.snapshot.due_date
        case "first_instalment":
            plan = standing_plan(facts.case)
            if plan is not None:
                return plan.first_date
    return journey.entered_at.astimezone(zone_of(facts.case)).date() - _DAY


def at_time(definition: JourneyDefinition, facts: JourneyFacts, journey: Journey, day: date) -> datetime:
    """The instant of the case's own within the day's spread, in UTC."""
    at = datetime.combine(day, time.fromisoformat(definition.pace.at), zone_of(facts.case)).astimezone(UTC)
    return at + definition.pace.spread * fraction(journey.case_id, "spread")


def next_message_at(
    definition: JourneyDefinition, journey: Journey, facts: JourneyFacts, now: datetime
) -> datetime | None:
    """When the next message may follow at the earliest; None where none does, or a gate comes first."""
    definition = for_plan(definition, facts.case)
    for step in definition.steps[_following(definition, journey, facts, now) :]:
        if step.gate is not None:
            return None
        if step.template and _applies(step, journey, facts, now):
            return _due(definition, journey, facts, step)[1]
    return None


def upcoming(
    definition: JourneyDefinition, journey: Journey, facts: JourneyFacts, now: datetime
) -> tuple[str, datetime | None]:
    """The step that comes next by what is known now, and when at the earliest; ("", None) where none is left."""
    if journey.gate is not None:
        return journey.gate.step, None
    if journey.ended or facts.case.snapshot is None:
        return "", None
    definition = for_plan(definition, facts.case)
    for step in definition.steps[_following(definition, journey, facts, now) :]:
        if _applies(step, journey, facts, now):
            return step.id, _due(definition, journey, facts, step)[1]
    return "", None
