"""Admit: may this borrower be contacted now, on this channel? Decided anew at hand-off, with fresh facts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from gateway.core.codec import verdict_view
from gateway.core.deliveries import ClaimedDelivery, Outgoing, Transition, unresolved
from gateway.core.facts import BorrowerFacts
from gateway.core.reasons import EndReason
from gateway.core.states import State
from gateway.core.verdicts import Verdict, VerdictKind
from gateway.stages.contact_policy import ContactPolicy
from gateway.stages.facts import facts_for, with_contact

_STATE = {
    VerdictKind.DEFER: State.DEFERRED,
    VerdictKind.SUPPRESS: State.SUPPRESSED,
    VerdictKind.REVIEW: State.REVIEW,
}


@dataclass(frozen=True, slots=True)
class Admission:
    """How a batch was divided: messages that may go, and transitions of those that may not."""

    permitted: tuple[Outgoing, ...]
    transitions: tuple[Transition, ...]
    verdicts: tuple[tuple[str, Verdict], ...]  # each with its tenant


def admit(outgoing: Sequence[Outgoing], decide: ContactPolicy, now: datetime) -> Admission:
    """Decide each message, oldest first; one borrower's messages see each other's contacts."""
    known: dict[tuple[str, str], BorrowerFacts] = {}
    permitted: list[Outgoing] = []
    transitions: list[Transition] = []
    verdicts: list[tuple[str, Verdict]] = []
    for message in sorted(outgoing, key=lambda each: each.work.notification.id):
        work = message.work
        notification, delivery = work.notification, work.delivery
        key = (notification.tenant, notification.borrower.id)
        facts = known.setdefault(key, work.borrower)
        if notification.expires_at is not None and notification.expires_at <= now:
            transitions.append(
                Transition(delivery.id, "expired", now, to=State.EXPIRED, reason=EndReason.EXPIRED, next_step=False)
            )
            continue
        verdict = decide(
            notification,
            delivery.channel,
            facts_for(notification, facts),
            now,
            address_digest=delivery.address_digest,
            text=message.content.text,
            approved=delivery.approved,
        )
        verdicts.append((notification.tenant, verdict))
        if verdict.kind is VerdictKind.SEND:
            permitted.append(replace(message, verdict=verdict))
            known[key] = with_contact(facts, notification, delivery.channel, delivery.address_digest, now)
        else:
            transitions.append(refusal(work, verdict, now))
    return Admission(tuple(permitted), tuple(transitions), tuple(verdicts))


def reevaluate_expired_review(work: ClaimedDelivery, now: datetime) -> Transition:
    """The reason for a review has ended by itself while it waited: it is decided anew."""
    return Transition(work.delivery.id, "looked_at_again", now, to=State.ACCEPTED, due_at=now)


def refusal(work: ClaimedDelivery, verdict: Verdict, now: datetime) -> Transition:
    """The transition of a message that may not go now: deferred, suppressed on this channel, or sent to review."""
    if work.delivery.repeats_unknown_outcome and verdict.kind is not VerdictKind.REVIEW:
        # Later, the provider may take it for another message; on the next channel, it would be a second copy.
        return unresolved(work.delivery, now)
    return Transition(
        work.delivery.id,
        "decided",
        now,
        to=_STATE[verdict.kind],
        reason=verdict.reason,
        due_at=verdict.until if verdict.kind is VerdictKind.DEFER else verdict.valid_until,
        detail={"when": "handoff", "verdict": verdict_view(verdict)},
        next_step=verdict.kind is VerdictKind.SUPPRESS,
    )
