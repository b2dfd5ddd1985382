"""``advance``: what a journey does next. Pure and total: no clock, no I/O, and no input on which it fails.

The order of its questions is the order of importance: an exit beats a pause, a pause beats a step. At most one step is
done at a time, so that an outage is never followed by a burst. A journey only moves forward through its steps, so it
ends: branches lead to later steps only (whatever a definition says).
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

from gateway.core.journey_events import ExitReason, JourneyReview, StepResult
from gateway.core.reasons import HoldKind
from gateway.journeys.actions import Action, Advance, Emit, EnterAnother, exited
from gateway.journeys.arms import arm_of, in_holdout
from gateway.journeys.cases.instalments import for_plan
from gateway.journeys.cases.record import ended_by, promise_broken_since, standing_plan
from gateway.journeys.definitions.model import JourneyDefinition
from gateway.journeys.journey import Gate, Journey, JourneyFacts, JourneyState
from gateway.journeys.pauses import pause_causes, paused, resumed, standing_holds
from gateway.journeys.steps import SOON, next_step, recorded, send_of

# These end every journey, whether its definition says so or not: nobody is reminded of what is paid, or of what is
# another one's, and nobody who has died (contact-rules: wrong party, deceased).
ALWAYS_EXIT = (ExitReason.CLOSED, ExitReason.PAID, ExitReason.DECEASED, ExitReason.WRONG_PARTY)
_DAY = timedelta(days=1)


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
    definition = for_plan(definition, facts.case)
    if journey.ended:
        return Advance(journey)
    if reason := exit_reason(definition, facts, now):
        return _exit(definition, journey, reason)
    if facts.case.snapshot is None:  # nothing is known of the case yet
        return Advance(replace(journey, due_at=None))
    if pauses := pause_causes(definition, journey, facts, now):
        return paused(definition, journey, facts, pauses, now)
    if journey.paused_at is None:
        return _go_on(definition, journey, facts, now)
    done = _go_on(definition, resumed(definition, journey, now), facts, now)
    # Whatever else paused it meanwhile.
    if "promise_to_pay" in definition.pause.on and promise_broken_since(facts.case, journey.paused_at, now):
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
    return next_step(definition, journey, facts, now)


def set_aside(
    definition: JourneyDefinition, journey: Journey, facts: JourneyFacts, why: JourneyReview, now: datetime
) -> Advance:
    """The journey waits for a person, for it can't be decided; what ends it ends it all the same.

    Approvals of an open gate are void, as after a hold.
    """
    if not journey.ended and (reason := exit_reason(definition, facts, now)):
        return _exit(definition, journey, reason)
    return waiting_for_review(journey, why)


def waiting_for_review(journey: Journey, why: JourneyReview) -> Advance:
    """The journey with nothing due until a person has looked at it."""
    if journey.ended:
        return Advance(journey)
    return Advance(replace(journey, state=JourneyState.REVIEW, reason=why, gate=None, due_at=None))


def exit_reason(definition: JourneyDefinition, facts: JourneyFacts, now: datetime) -> str:
    """Why the journey ends now; "" where it goes on."""
    words = {*ALWAYS_EXIT, *definition.exit.on}
    if facts.stopped:
        return ExitReason.STOPPED
    holds = {str(each.kind) for each in standing_holds(facts, now)}
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
            return ExitReason.PLAN_ENDED
    elif plan is not None and ExitReason.PLAN_AGREED in words:
        return ExitReason.PLAN_AGREED
    return ExitReason.OPTED_OUT if facts.opted_out and ExitReason.OPTED_OUT in words else ""


def _exit(definition: JourneyDefinition, journey: Journey, reason: str) -> Advance:
    ended = exited(journey, reason)
    if reason == ExitReason.PLAN_AGREED and definition.plan is not None:
        return replace(ended, actions=(*ended.actions, EnterAnother(definition.plan.enter)))
    return ended


# ── gates ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def _at_gate(definition: JourneyDefinition, journey: Journey, gate: Gate, now: datetime) -> Advance:
    index = definition.index_of(gate.step)
    step = definition.steps[index] if index >= 0 else None
    if step is None or step.gate is None:  # a version without this gate
        return Advance(replace(journey, state=JourneyState.ACTIVE, gate=None, due_at=now + SOON))
    if gate.refused:
        return exited(journey, ExitReason.REFUSED)
    if len({each.actor for each in gate.approvals}) >= step.gate.approvals:
        passed = replace(recorded(journey, step, now, StepResult.APPROVED), gate=None, state=JourneyState.ACTIVE)
        actions: list[Action] = [Emit(step.emits, step.id)] if step.emits else []
        template = step.message(gentler=False)
        if template:
            actions.append(send_of(step, template))
        return Advance(replace(passed, due_at=now + SOON), tuple(actions))
    lapses = gate.opened_at + step.gate.expires
    if now >= lapses:
        lapsed = waiting_for_review(journey, JourneyReview.GATE_LAPSED)
        return replace(lapsed, actions=(Emit("case.gate_lapsed", step.id),))
    return Advance(replace(journey, state=JourneyState.GATE, due_at=lapses))
