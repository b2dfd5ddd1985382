"""The request that a step makes of ``accept``: its key, its variables, its route. Pure."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime, timedelta
from decimal import ROUND_UP, Decimal
from typing import Any

from gateway.core.notifications import Borrower, Case, Step
from gateway.core.requests import NotificationRequest
from gateway.journeys.actions import Send
from gateway.journeys.cases.record import CaseRecord, minimum_due, open_promise, standing_plan, zone_of
from gateway.journeys.definitions.model import JourneyDefinition
from gateway.journeys.journey import Journey, JourneyFacts
from gateway.journeys.steps import next_message_at

CLIENT = "journeys"  # the actor of a journey's requests
# How long a route waits for delivery before its next channel, as in ops/mappings/card-portfolio.toml; our choice.
NEXT_CHANNEL = timedelta(hours=1)
NO_ADDRESS = "no_address"  # why a step is not accepted whose route has no channel that reaches the borrower
_CENT = Decimal("0.01")


def request_key(journey_id: str, key: str) -> str:
    """The idempotency key of a step's request: the same step is never accepted twice."""
    return f"jny:{journey_id}:{key}"


def journey_of(key: str) -> str:
    """The journey that such a key is of."""
    return key.split(":", 2)[1]


def reachable(route: Sequence[str], borrower: Borrower) -> tuple[str, ...]:
    """The channels of a step's route on which the borrower has an address: ``accept`` refuses a route with others."""
    return tuple(each for each in route if each in borrower.addresses)


def expires_at(definition: JourneyDefinition, after: Journey, facts: JourneyFacts, now: datetime) -> datetime:
    """When a message is given up that was not handed over: it must not meet the next one. ``after``: its step."""
    last = now + max(definition.pace.tolerance, timedelta(days=1))
    following = next_message_at(definition, after, facts, now)
    return min(last, following) if following is not None and following > now else last


def request_of(
    definition: JourneyDefinition,
    after: Journey,
    facts: JourneyFacts,
    send: Send,
    known: Collection[str],
    now: datetime,
) -> NotificationRequest:
    """The request for one message. ``after`` is the journey after its step.

    ``known`` are the variables that the template declares.
    """
    record = facts.case
    snapshot = record.snapshot
    assert snapshot is not None
    *others, last = reachable(send.route, snapshot.borrower) or send.route
    return NotificationRequest(
        idempotency_key=request_key(after.id, send.key),
        borrower=snapshot.borrower,
        # Requests of one meaning are duplicates: each instalment is its own due date's.
        case=Case(record.id, snapshot.product, send.instalment_due or snapshot.due_date, send.stage),
        template=send.template,
        template_version=None,
        variables={name: value for name, value in _variables(record, send, now).items() if name in known},
        route=(*(Step(each, NEXT_CHANNEL) for each in others), Step(last)),
        category=None,
        send_at=None,
        expires_at=expires_at(definition, after, facts, now),
        dedup_key=None,
        metadata={"journey": after.id, "definition": definition.name, "step": send.key},
        # The same for every try: what the case owes may have changed since a try whose answer was lost.
        raw={"journey": after.id, "step": send.key},
    )


def _variables(record: CaseRecord, send: Send, now: datetime) -> dict[str, Any]:
    """Values for templates: the case system's own, and those that are computed from the record."""
    snapshot = record.snapshot
    assert snapshot is not None
    due = max(minimum_due(record), Decimal(0)).quantize(_CENT)
    found: dict[str, Any] = {
        "amount": str(due),
        "currency": snapshot.currency,
        "due_date": snapshot.due_date.isoformat(),
        **snapshot.variables,
    }
    today = now.astimezone(zone_of(record)).date()
    offer, plan, promise = send.offer, standing_plan(record), open_promise(record, now)
    if offer is not None:
        part = (due / offer.instalments).quantize(_CENT, ROUND_UP)
        found |= {"instalment": str(part), "instalments": offer.instalments}
        found["first_date"] = (today + offer.first_after).isoformat()
    elif plan is not None:
        found |= {"instalment": str(plan.instalment.quantize(_CENT)), "instalments": plan.instalments}
        found["first_date"] = plan.first_date.isoformat()
        found |= {"amount": found["instalment"], "due_date": (send.instalment_due or plan.first_date).isoformat()}
    elif promise is not None:
        found |= {"amount": str(promise.amount.quantize(_CENT)), "due_date": promise.day.isoformat()}
    return found
