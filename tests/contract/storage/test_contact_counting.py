"""What counts as a contact: a hand-over does, until something shows that it reached nobody; silence shows nothing."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import timedelta

import pytest

from channels.base import (
    Accepted,
    LookupAnswer,
    LookupResult,
    PermanentFailure,
    ProviderReason,
    Receipt,
    ReceiptStatus,
    SendFailure,
    TransientFailure,
    UnknownOutcome,
)
from gateway.core.deliveries import ReceiptFor
from gateway.core.notifications import Step
from gateway.operations.reviews import Reviews
from gateway.storage.database import Database
from tests.support.storage.ledgers import NOW, close_case, digest, draft, ended, later, outgoing, store_on
from tests.support.storage.settling import RECORDER

DEADLINE = 72 * 3600
KEY = ("acme", "B-1")


async def test_contacts_are_known_as_far_back_as_the_packs_count(database: Database) -> None:
    """With packs that count over ninety days, a contact of 89 days ago is among the facts; older ones are not."""
    store = store_on(database, contact_horizon=timedelta(days=90))
    for key, days in (("older", 91), ("recent", 89)):
        then = NOW - timedelta(days=days)
        [answer] = await store.accept([draft(key, now=then)], then)
        [work] = await store.claim([answer.first_delivery or ""], then, 60)
        await store.start([outgoing(work)], then, 60)
    [answer] = await store.accept([draft("now")], NOW)
    known = (await store.facts([KEY], [], [], NOW))[KEY].facts
    [claimed] = await store.claim([answer.first_delivery or ""], NOW, 60)
    for facts in (known, claimed.borrower.facts):
        assert [each.at for each in facts.contacts] == [NOW - timedelta(days=89)]


class _Message:
    """One message on its way, by the recorder's and the ledger's own hands. ``at`` counts seconds from now on."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.store = store_on(database)
        self.id = ""

    async def accepted(self, *, must_arrive: bool = False) -> None:
        made = draft("k", route=(Step("sms"),))
        made = replace(made, notification=replace(made.notification, must_arrive=must_arrive))
        [answer] = await self.store.accept([made], NOW)
        self.id = answer.first_delivery or ""

    async def attempted(self, at: float, result: Accepted | SendFailure) -> None:
        [work] = await self.store.claim([self.id], later(at), 60)
        assert await self.store.start([outgoing(work)], later(at), 60)
        await self.store.settle([ended(work, result, later(at))], RECORDER.after_attempt, RECORDER.after_receipt)

    async def looked_up(self, at: float, answer: LookupAnswer) -> None:
        [work] = await self.store.claim([self.id], later(at), 60)
        await self.store.apply([RECORDER.after_lookup(work.delivery, work.notification, answer, later(at))])

    async def reported(self, at: float, status: ReceiptStatus) -> None:
        await self.store.receive([ReceiptFor(Receipt("twilio", status, "SM1"), self.id, 1)], later(at), _RECEIPT)

    async def decided(self, verb: str) -> None:
        reviews = Reviews(self.database, digest, lambda: later(100))
        assert await getattr(reviews, verb)("acme", self.id, "looked into the log", "ops")

    async def counts(self) -> bool:
        """Whether a decision on the borrower's next message sees this one."""
        facts = await self.store.facts([KEY], [], [], later(DEADLINE + 60))
        return bool(facts[KEY].facts.contacts)


_RECEIPT = RECORDER.after_receipt
_FOUND = LookupAnswer(LookupResult.FOUND, Receipt("twilio", ReceiptStatus.SENT, "SM1"))
_ABSENT = LookupAnswer(LookupResult.ABSENT)
_NOBODY_KNOWS = LookupAnswer(LookupResult.UNSUPPORTED)
_TIMEOUT = UnknownOutcome(ProviderReason.TIMEOUT)


async def _silent(message: _Message) -> None:
    """The provider has it, and says no more of it than that."""
    await message.accepted()
    await message.attempted(0, Accepted("SM1"))
    await message.looked_up(DEADLINE + 1, _FOUND)


async def _silent_and_gone(message: _Message) -> None:
    """The provider took it, and knows nothing of it at the deadline."""
    await message.accepted()
    await message.attempted(0, Accepted("SM1"))
    await message.looked_up(DEADLINE + 1, _ABSENT)


async def _reported_late(message: _Message) -> None:
    """Silence first, and then the word that it did not arrive."""
    await _silent(message)
    await message.reported(DEADLINE + 30, ReceiptStatus.UNDELIVERED)


async def _undelivered(message: _Message) -> None:
    await message.accepted()
    await message.attempted(0, Accepted("SM1"))
    await message.reported(5, ReceiptStatus.UNDELIVERED)


async def _refused_by_provider(message: _Message) -> None:
    await message.accepted()
    await message.attempted(0, PermanentFailure(ProviderReason.INVALID_ADDRESS))


async def _put_off_by_provider(message: _Message) -> None:
    await message.accepted()
    await message.attempted(0, TransientFailure(ProviderReason.RATE_LIMITED))


async def _unknown(message: _Message) -> None:
    await message.accepted()
    await message.attempted(0, _TIMEOUT)


async def _absent(message: _Message) -> None:
    await _unknown(message)
    await message.looked_up(60, _ABSENT)


async def _turned_up(message: _Message) -> None:
    """The look-up was too early."""
    await _absent(message)
    await message.reported(70, ReceiptStatus.SENT)


async def _in_review(message: _Message) -> None:
    await _unknown(message)
    await message.looked_up(60, _NOBODY_KNOWS)


async def _review_approved(message: _Message) -> None:
    await _in_review(message)
    await message.decided("approve")


async def _review_refused(message: _Message) -> None:
    await _in_review(message)
    await message.decided("refuse")


async def _case_closed_in_review(message: _Message) -> None:
    await _in_review(message)
    await close_case(message.database, "C-1", later(90))


async def _resent_and_refused(message: _Message) -> None:
    """A copy may have arrived; the second was refused."""
    await message.accepted(must_arrive=True)
    await message.attempted(0, _TIMEOUT)
    await message.looked_up(60, _NOBODY_KNOWS)
    await message.attempted(61, PermanentFailure(ProviderReason.INVALID_ADDRESS))


@pytest.mark.parametrize(
    ("story", "counts"),
    [
        (_silent, True),
        (_silent_and_gone, True),
        (_reported_late, False),
        (_undelivered, False),
        (_refused_by_provider, False),
        (_put_off_by_provider, False),
        (_unknown, True),
        (_absent, False),
        (_turned_up, True),
        (_in_review, True),
        (_review_approved, False),
        (_review_refused, True),
        (_case_closed_in_review, True),
        (_resent_and_refused, True),
    ],
)
async def test_a_contact_counts_until_something_shows_that_it_reached_nobody(
    database: Database, story: Callable[[_Message], Awaitable[None]], counts: bool
) -> None:
    """Whatever became of a hand-over, the decision on the borrower's next message sees it unless it is disproved."""
    message = _Message(database)
    await story(message)
    assert await message.counts() == counts


async def test_silence_counts_from_the_hand_over(database: Database) -> None:
    """A message without a receipt is a contact of when it was handed over, not of when the wait for it ended."""
    message = _Message(database)
    await _silent(message)
    [contact] = (await message.store.facts([KEY], [], [], later(DEADLINE)))[KEY].facts.contacts
    assert contact.at == NOW
