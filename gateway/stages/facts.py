"""Which of a borrower's facts a decision on one notification may look at."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime

from gateway.core.facts import BorrowerFacts, Contact, Facts
from gateway.core.notifications import Notification

Key = tuple[str, str]  # (tenant, borrower id), or (tenant, case id)
AddressKey = tuple[str, str, str]  # (tenant, channel, address digest)

# Store.facts: what is known of these borrowers, which of the cases are closed, and what is known of the addresses.
ReadFacts = Callable[
    [Sequence[Key], Sequence[Key], Sequence[AddressKey], datetime], Awaitable[Mapping[Key, BorrowerFacts]]
]


async def known_of(
    notifications: Sequence[Notification],
    read: ReadFacts,
    digests: Callable[[Notification], Sequence[str]],
    now: datetime,
) -> list[BorrowerFacts]:
    """What the ledger knows of each one's borrower, case and addresses, in one round trip of ``read``."""
    keys = [(each.tenant, each.borrower.id) for each in notifications]
    cases = [(each.tenant, each.case.id) for each in notifications]
    addresses = [
        (each.tenant, step.channel, digest)
        for each in notifications
        for step, digest in zip(each.route, digests(each), strict=True)
    ]
    known = await read(keys, cases, addresses, now)
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
