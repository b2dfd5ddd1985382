"""Which of a borrower's facts a decision on one notification may look at."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime

from gateway.core.model import Contact, Facts, Notification
from gateway.core.ports import BorrowerFacts, Ledger


async def known_of(
    notifications: Sequence[Notification],
    ledger: Ledger,
    digests: Callable[[Notification], Sequence[str]],
    now: datetime,
) -> list[BorrowerFacts]:
    """What the ledger knows of each one's borrower, case and addresses, in one round trip."""
    keys = [(each.tenant, each.borrower.id) for each in notifications]
    cases = [(each.tenant, each.case.id) for each in notifications]
    addresses = [
        (each.tenant, step.channel, digest)
        for each in notifications
        for step, digest in zip(each.route, digests(each), strict=True)
    ]
    known = await ledger.facts(keys, cases, addresses, now)
    return [known[key] for key in keys]


def facts_for(notification: Notification, known: BorrowerFacts) -> Facts:
    """The borrower's facts, with the state of this notification's own case."""
    return replace(known.facts, case_closed=notification.case.id in known.closed_cases)


def with_contact(
    known: BorrowerFacts, notification: Notification, channel: str, address_digest: str, now: datetime
) -> BorrowerFacts:
    """The facts after a contact that is about to be made: the next decision of the same batch must count it."""
    contact = Contact(now, channel, notification.case.id, address_digest, notification.id)
    return replace(known, facts=replace(known.facts, contacts=(*known.facts.contacts, contact)))
