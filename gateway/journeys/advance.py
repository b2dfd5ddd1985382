"""``advance``: what a journey does next. Pure and total: no clock, no I/O, and no input on which it fails.

The order of its questions is the order of importance: an exit beats a pause, a pause beats a step. At most one step is
done at a time, so that an outage is never followed by a burst. A journey only moves forward through its steps, so it
ends: branches lead to later steps only (whatever a definition says).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time, timedelta

from gateway.core.facts import Hold
from gateway.core.reasons import HoldKind
from gateway.journeys import conditions
from gateway.journeys.arms import arm_of, fraction, in_holdout
from gateway.journeys.cases import (
    broken_promises,
    ended_by,
    facts_of,
    latest_promise_broken,
    open_promise,
    standing_plan,
    zone_of,
)
from gateway.journeys.definition import JourneyDefinition, MessageRules, OfferRules, PauseWord, StepRules
from gateway.journeys.journey import (
    ExitReason,
    Gate,
    Journey,
    JourneyFacts,
    JourneyState,
    SentStep,
    StepRecord,
    StepResult,
)

# These end every journey, whether its definition says so or not: nobody is reminded of what is paid, or of what is
# another one's, and nobody who has died (contact-rules: wrong party, deceased).
ALWAYS_EXIT = ("closed", "paid", "deceased", "wrong_party")
_DAY = timedelta(days=1)
_TINY = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class Send:
    """Give this message to ``accept``, under the key of the step."""

    key: str
    template: str
    route: tuple[str, ...]
    stage: str
    offer: OfferRules | None = None


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


def enter(definition: JourneyDefinition, journey_id: str, case_id: str, now: datetime) -> Journey:
    """A new journey of a case. It is due at once; its first step may be later."""
    journey = Journey(journey_id, case_id, now, arm_of(definition, case_id), due_at=now)
    holdout = definition.holdout
    if holdout is None or not in_holdout(definition, case_id):
        return journey
    days = -(-holdout.longest // _DAY)
    return replace(journey, state=JourneyState.HOLDOUT, due_at=now + holdout.longest, shift=days)


def advance(definition: JourneyDefinition, journey: Journey, facts: JourneyFacts, now: datetime) -> Advance:
    """What the journey does at ``now``. Called again at its ``due_at``, and whenever a fact has changed."""
    if journey.ended:
        return Advance(journey)
    if reason := exit_reason(definition, facts, now):
        return _exit(definition, journey, reason)
    if facts.case.snapshot is None:  # nothing is known of the case yet
        return Advance(replace(journey, due_at=None))
    if pauses := _pauses(definition, journey, facts, now):
        return _paused(definition, journey, facts, pauses, now)
    if journey.paused_at is None:
        return _go_on(definition, journey, facts, now)
    done = _go_on(definition, _resumed(definition, journey, now), facts, now)
    if journey.reason == HoldKind.PROMISE_TO_PAY and latest_promise_broken(facts.case, now):
        return replace(done, actions=(Emit("case.promise_broken", ""), *done.actions))
    return done


def _go_on(definition: JourneyDefinition, journey: Journey, facts: JourneyFacts, now: datetime) -> Advance:
    """What a journey does that neither ends nor is paused."""
    holdout = definition.holdout
    if holdout is not None and in_holdout(definition, journey.case_id) and now < journey.entered_at + holdout.longest:
        return Advance(replace(journey, state=JourneyState.HOLDOUT, due_at=journey.entered_at + holdout.longest))
    if journey.state is JourneyState.REVIEW:
        return Advance(replace(journey, due_at=None))
    if journey.gate is not None:
        return _at_gate(definition, journey, journey.gate, now)
    return _next(definition, journey, facts, now)


def exit_reason(definition: JourneyDefinition, facts: JourneyFacts, now: datetime) -> str:
    """Why the journey ends now; "" where it goes on."""
    words = {*ALWAYS_EXIT, *definition.exit.on}
    if facts.stopped:
        return ExitReason.STOPPED
    holds = {str(each.kind) for each in _standing(facts, now)}
    if HoldKind.DECEASED in holds:
        return str(HoldKind.DECEASED)
    ended = ended_by(facts.case)
    if ended is not None:
        return str(ended)
    for kind in sorted(holds & words):
        return kind
    # A journey that begins with a plan is not ended by it, but by the plan's own end.
    plan = standing_plan(facts.case)
    if definition.enter.counts_from == "first_instalment":
        if plan is None:
            return "plan_ended"
    elif plan is not None and ExitReason.PLAN_AGREED in words:
        return ExitReason.PLAN_AGREED
    return "opted_out" if facts.opted_out and "opted_out" in words else ""


def exited(journey: Journey, reason: str) -> Advance:
    """The journey ended for a reason of a person's; what is pending of it is cancelled."""
    ended = replace(journey, state=JourneyState.EXITED, reason=reason, due_at=None, gate=None, paused_at=None)
    return Advance(ended, (CancelPending(reason),))


def _exit(definition: JourneyDefinition, journey: Journey, reason: str) -> Advance:
    ended = exited(journey, reason)
    if reason == ExitReason.PLAN_AGREED and definition.plan is not None:
        return replace(ended, actions=(*ended.actions, EnterAnother(definition.plan.enter)))
    return ended


def _standing(facts: JourneyFacts, now: datetime) -> list[Hold]:
    """The holds on this case that are in effect."""
    return [
        each
        for each in facts.holds
        if each.case_id in (None, facts.case.id) and each.start <= now and (each.end is None or now < each.end)
    ]


# ── pauses and promises ─────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class _PauseCause:
    """One thing that pauses the journey; ``until`` None: until a person ends it."""

    reason: str
    until: datetime | None


def _pauses(definition: JourneyDefinition, journey: Journey, facts: JourneyFacts, now: datetime) -> list[_PauseCause]:
    on: Sequence[PauseWord] = definition.pause.on
    found = [_PauseCause("person", None)] if journey.held_by else []
    standing = _standing(facts, now)
    if "promise_to_pay" in on:
        promised = [each for each in standing if each.kind is HoldKind.PROMISE_TO_PAY]
        found += [_PauseCause("promise_to_pay", each.end) for each in promised]
    if "hold" in on:
        others = [each for each in standing if each.kind is not HoldKind.PROMISE_TO_PAY]
        # A plan in place holds collections, and not the reminders of the plan itself.
        of_plan = definition.enter.counts_from == "first_instalment"
        found += [
            _PauseCause(str(each.kind), each.end)
            for each in others
            if not (of_plan and each.kind is HoldKind.PLAN_IN_PLACE)
        ]
    return found


def _paused(
    definition: JourneyDefinition, journey: Journey, facts: JourneyFacts, pauses: Sequence[_PauseCause], now: datetime
) -> Advance:
    ends = [each.until for each in pauses]
    until = None if None in ends else max(each for each in ends if each is not None)
    paused = replace(
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
        return Advance(paused)
    key = step_key("", promise=promise.id)
    if promise.id in journey.promises_reminded:
        return Advance(paused)
    at = _at_time(definition, facts, journey, promise.day - _DAY)
    if at <= promise.made_at or now >= at + _DAY:  # promised for today or tomorrow, or too late for a reminder before
        return Advance(paused)
    if now < at:
        return Advance(replace(paused, due_at=at if until is None else min(at, until)))
    reminded = replace(paused, promises_reminded=(*paused.promises_reminded, promise.id))
    send = _message(reminder, key, f"promise:{promise.id}")
    return Advance(reminded, () if key in facts.sent else (send,))


def _message(message: MessageRules, key: str, stage: str) -> Send:
    return Send(key, message.template, message.route, stage[:64])


def _resumed(definition: JourneyDefinition, journey: Journey, now: datetime) -> Journey:
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


# ── steps ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def _next(definition: JourneyDefinition, journey: Journey, facts: JourneyFacts, now: datetime) -> Advance:
    """Go through the steps that are over or don't apply, to the one that is done now or is due later."""
    until = _wait_ends(definition, journey, facts)
    if until is not None and now < until:
        return Advance(replace(journey, state=JourneyState.WAITING, due_at=until))
    index = _following(definition, journey, facts, now)
    for step in definition.steps[index:]:
        if not _applies(step, journey, facts, now):
            journey = _recorded(journey, step, now, StepResult.SKIPPED)
            continue
        planned, earliest = _due(definition, journey, facts, step)
        if now < earliest:
            return Advance(replace(journey, state=JourneyState.ACTIVE, due_at=earliest))
        late = now - max(planned, journey.not_before or planned)
        if late > definition.pace.tolerance:
            if step.gate is None and (step.late or definition.pace.late) == "skip":
                journey = _recorded(journey, step, now, StepResult.MISSED)
                continue
            journey = replace(journey, shift=journey.shift + late // _DAY)
        return _do(definition, journey, facts, step, now)
    # What the last step sent goes its way.
    return Advance(exited(journey, ExitReason.COMPLETED).journey)


def _do(
    definition: JourneyDefinition, journey: Journey, facts: JourneyFacts, step: StepRules, now: datetime
) -> Advance:
    """Do one step, and say when the journey is looked at again."""
    if step.gate is not None:
        gate = Gate(step.id, now)
        return Advance(replace(journey, state=JourneyState.GATE, gate=gate, due_at=now + max(step.gate.expires, _TINY)))
    gentler = definition.promise.broken == "gentler" and broken_promises(facts.case, now) > 0
    template = step.message(gentler=gentler)
    actions: list[Action] = [Emit(step.emits, step.id)] if step.emits else []
    result = StepResult.SENT if template else StepResult.EMITTED
    already = facts.sent.get(step_key(step.id))
    if template and already is None:
        actions.insert(0, _send(step, template))
    done = _recorded(journey, step, already.at if already is not None else now, result, gentler=gentler)
    return Advance(_scheduled(definition, done, facts, now), tuple(actions))


def _send(step: StepRules, template: str) -> Send:
    return Send(step_key(step.id), template, step.route, step.stage or step.id, step.offer)


def _scheduled(definition: JourneyDefinition, journey: Journey, facts: JourneyFacts, now: datetime) -> Journey:
    """The journey after a step, due when its wait is over or its next step may come; always later than now."""
    until = _wait_ends(definition, journey, facts)
    if until is not None and now < until:
        return replace(journey, state=JourneyState.WAITING, due_at=until)
    index = _following(definition, journey, facts, now)
    if index >= len(definition.steps):
        return replace(journey, state=JourneyState.ACTIVE, due_at=now + _TINY)
    due = _due(definition, journey, facts, definition.steps[index])[1]
    return replace(journey, state=JourneyState.ACTIVE, due_at=max(due, now + _TINY))


def _recorded(journey: Journey, step: StepRules, at: datetime, result: StepResult, *, gentler: bool = False) -> Journey:
    return replace(journey, steps=(*journey.steps, StepRecord(step.id, at, result, gentler=gentler)))


def _applies(step: StepRules, journey: Journey, facts: JourneyFacts, now: datetime) -> bool:
    if step.arm and journey.arm not in step.arm:
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
    if step.day is not None:
        planned = _at_time(definition, facts, journey, _base(definition, journey, facts) + step.day * _DAY)
        planned += journey.shift * _DAY
    else:
        last = max((each.at for each in done), default=journey.entered_at)
        planned = last + (step.after or timedelta(0))
    sent = max((each.at for each in done if each.result is StepResult.SENT), default=None)
    bounds = [planned, journey.entered_at, journey.not_before, sent + definition.pace.least if sent else None]
    return planned, max(each for each in bounds if each is not None)


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


def _at_time(definition: JourneyDefinition, facts: JourneyFacts, journey: Journey, day: date) -> datetime:
    """The instant of the case's own within the day's spread, in UTC."""
    at = datetime.combine(day, time.fromisoformat(definition.pace.at), zone_of(facts.case)).astimezone(UTC)
    return at + definition.pace.spread * fraction(journey.case_id, "spread")


def upcoming(
    definition: JourneyDefinition, journey: Journey, facts: JourneyFacts, now: datetime
) -> tuple[str, datetime | None]:
    """The step that comes next by what is known now, and when at the earliest; ("", None) where none is left."""
    if journey.gate is not None:
        return journey.gate.step, None
    if journey.ended or facts.case.snapshot is None:
        return "", None
    for step in definition.steps[_following(definition, journey, facts, now) :]:
        if _applies(step, journey, facts, now):
            return step.id, _due(definition, journey, facts, step)[1]
    return "", None


# ── gates ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def _at_gate(definition: JourneyDefinition, journey: Journey, gate: Gate, now: datetime) -> Advance:
    index = definition.index_of(gate.step)
    step = definition.steps[index] if index >= 0 else None
    if step is None or step.gate is None:  # a version without this gate
        return Advance(replace(journey, state=JourneyState.ACTIVE, gate=None, due_at=now + _TINY))
    if gate.refused:
        return exited(journey, ExitReason.REFUSED)
    if len({each.actor for each in gate.approvals}) >= step.gate.approvals:
        passed = replace(_recorded(journey, step, now, StepResult.APPROVED), gate=None, state=JourneyState.ACTIVE)
        actions: list[Action] = [Emit(step.emits, step.id)] if step.emits else []
        template = step.message(gentler=False)
        if template:
            actions.append(_send(step, template))
        return Advance(replace(passed, due_at=now + _TINY), tuple(actions))
    lapses = gate.opened_at + step.gate.expires
    if now >= lapses:
        lapsed = replace(journey, state=JourneyState.REVIEW, reason="gate_lapsed", gate=None, due_at=None)
        return Advance(lapsed, (Emit("case.gate_lapsed", step.id),))
    return Advance(replace(journey, state=JourneyState.GATE, due_at=lapses))
