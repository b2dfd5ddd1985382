"""The gate before a legal step: what it needs, and who may approve. Pure.

The gateway files nothing: an approved gate is an event, a webhook and, where the definition has one, a notice.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from gateway.core.states import State
from gateway.journeys.actions import step_key
from gateway.journeys.definitions.model import JourneyDefinition, NeedWord, StepRules
from gateway.journeys.journey import Approval, Gate, Journey, JourneyFacts, JourneyState, SentStep
from gateway.journeys.pauses import standing_holds

_TWO = 2
_PERSON = "user:"  # how the actor of a person begins (gateway/identity/users.py)
_WITH_BORROWER = (State.SENT, State.DELIVERED)


@dataclass(frozen=True, slots=True)
class GateView:
    """An open gate as it is shown: how many approvals it takes, when it lapses, and whether each need is met."""

    approvals: int
    lapses_at: datetime
    needs: Mapping[NeedWord, bool]


class GateClosed(Exception):
    """There is no gate that waits for approvals."""


class SameApprover(Exception):
    """This person has approved already: another one has to."""


class NotAPerson(Exception):
    """A gate takes persons: a system's key approves nothing."""


class UnmetNeeds(Exception):
    """What the gate needs is not there; ``needs`` names it."""

    def __init__(self, needs: list[str]) -> None:
        super().__init__(", ".join(needs))
        self.needs = needs


def gate_step(definition: JourneyDefinition, journey: Journey) -> StepRules:
    """The step whose gate is open. Raises GateClosed."""
    index = definition.index_of(journey.gate.step) if journey.gate is not None else -1
    if index < 0 or definition.steps[index].gate is None:
        raise GateClosed
    return definition.steps[index]


def unmet(
    definition: JourneyDefinition,
    step: StepRules,
    journey: Journey,
    facts: JourneyFacts,
    now: datetime,
    pack_notice: timedelta,
) -> list[str]:
    """The needs of a gate that are not met. ``pack_notice`` is the notice period of the packs in force."""
    assert step.gate is not None
    snapshot = facts.case.snapshot
    asked = snapshot is not None and bool(snapshot.facts.get("hardship_asked"))
    offers, asks = _steps_with(definition, "offer"), _steps_with(definition, "asks")
    met = {
        "plan_offered": any(_reached(facts.sent.get(step_key(each))) for each in offers),
        "two_delivered": sum(each.delivered for each in facts.sent.values()) >= _TWO,
        "no_hold": not standing_holds(facts, now),
        "hardship_asked": asked or any(_reached(facts.sent.get(step_key(each))) for each in asks),
        "notice_over": _notice_over(definition, facts, now, max(step.gate.notice, pack_notice)),
    }
    return [need for need in dict.fromkeys(step.gate.needs) if not met[need]]


def _steps_with(definition: JourneyDefinition, name: str) -> list[str]:
    return [each.id for each in definition.steps if getattr(each, name) is not None]


def _reached(sent: SentStep | None) -> bool:
    return sent is not None and (sent.delivered or sent.state in _WITH_BORROWER)


def _notice_over(definition: JourneyDefinition, facts: JourneyFacts, now: datetime, period: timedelta) -> bool:
    notices = [
        sent
        for each in definition.steps
        if each.gives_notice and _reached(sent := facts.sent.get(step_key(each.id))) and sent is not None
    ]
    return bool(notices) and now >= min(each.at for each in notices) + period


def view(
    definition: JourneyDefinition, journey: Journey, facts: JourneyFacts, now: datetime, pack_notice: timedelta
) -> GateView:
    """The open gate. Raises GateClosed."""
    step = gate_step(definition, journey)
    assert journey.gate is not None
    assert step.gate is not None
    missing = unmet(definition, step, journey, facts, now, pack_notice)
    needs = {need: need not in missing for need in step.gate.needs}
    return GateView(step.gate.approvals, journey.gate.opened_at + step.gate.expires, needs)


def approved(
    definition: JourneyDefinition,
    journey: Journey,
    facts: JourneyFacts,
    approval: Approval,
    pack_notice: timedelta,
) -> Journey:
    """The journey with one more approval. Raises NotAPerson, GateClosed, SameApprover, UnmetNeeds."""
    if not approval.actor.startswith(_PERSON):
        raise NotAPerson
    step = gate_step(definition, journey)
    gate = journey.gate
    assert gate is not None
    assert step.gate is not None
    if approval.at >= gate.opened_at + step.gate.expires:
        raise GateClosed
    if any(each.actor == approval.actor for each in gate.approvals):
        raise SameApprover
    if needs := unmet(definition, step, journey, facts, approval.at, pack_notice):
        raise UnmetNeeds(needs)
    return replace(journey, gate=replace(gate, approvals=(*gate.approvals, approval)), due_at=approval.at)


def refused(definition: JourneyDefinition, journey: Journey, actor: str, now: datetime) -> Journey:
    """The journey with a gate that somebody refused. Raises GateClosed."""
    gate_step(definition, journey)
    assert journey.gate is not None
    return replace(journey, gate=replace(journey.gate, refused=actor), due_at=now)


def reopened(journey: Journey, step: str, now: datetime) -> Journey:
    """The journey with its lapsed gate open again, without approvals."""
    return replace(journey, state=JourneyState.GATE, gate=Gate(step, now), reason="", due_at=now)
