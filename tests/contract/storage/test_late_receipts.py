"""News that comes late: from a worker that was taken for lost, from a claim that is over, from a provider."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import select, update

from channels.base import (
    Accepted,
    LookupAnswer,
    LookupResult,
    PermanentFailure,
    ProviderReason,
    Receipt,
    ReceiptStatus,
    TransientFailure,
)
from gateway.core.deliveries import ClaimedDelivery, ReceiptFor, Transition
from gateway.core.notifications import Step
from gateway.core.states import State
from gateway.storage.database import Database
from gateway.storage.tables.path import deliveries, events
from tests.support.storage.ledgers import NOW, draft, ended, later, outgoing, store_on
from tests.support.storage.settling import RECORDER

pytestmark = pytest.mark.oldest_postgresql

ROUTE = (Step("sms", timedelta(minutes=30)), Step("email"))


async def _claimed(database: Database, now: Any = NOW) -> ClaimedDelivery:
    rows = await database.read(lambda connection: connection.execute(select(deliveries.c.id)).all())
    [work] = await store_on(database).claim([row.id for row in rows], now, 60)
    return work


async def _started(database: Database) -> ClaimedDelivery:
    """A first attempt that is under way."""
    await store_on(database).accept([draft("k", route=ROUTE)], NOW)
    work = await _claimed(database)
    assert await store_on(database).start([outgoing(work)], NOW, 60)
    return work


async def _settled(database: Database, work: ClaimedDelivery, result: Any, now: Any) -> None:
    await store_on(database).settle(
        [ended(work, result, now, began=NOW)], RECORDER.after_attempt, RECORDER.after_receipt
    )


async def _heard(database: Database, work: ClaimedDelivery, status: ReceiptStatus, now: Any) -> None:
    arrived = ReceiptFor(Receipt("twilio", status, "SM1"), work.delivery.id, 1)
    await store_on(database).receive([arrived], now, RECORDER.after_receipt)


async def _states(database: Database) -> list[str]:
    query = select(deliveries.c.state).order_by(deliveries.c.step)
    return list(await database.read(lambda connection: list(connection.execute(query).scalars())))


async def _kinds(database: Database) -> list[str]:
    query = select(events.c.kind).order_by(events.c.seq)
    return list(await database.read(lambda connection: list(connection.execute(query).scalars())))


async def _lost(database: Database, *answers: LookupResult) -> ClaimedDelivery:
    """The attempt's worker is taken for lost, and the provider is asked as often as there are answers."""
    first = await _started(database)
    work = await _claimed(database, later(61))
    await store_on(database).apply([RECORDER.lost_worker(work.delivery, later(61))])
    for number, answer in enumerate(answers, start=1):
        now = later(61 + 40 * number)
        work = await _claimed(database, now)
        move = RECORDER.after_lookup(work.delivery, work.notification, LookupAnswer(answer), now)
        await store_on(database).apply([move])
    return first


async def test_a_move_decided_under_an_older_claim_is_void(database: Database) -> None:
    """Two workers look the same unknown outcome up; the slow one's answer comes when the other has resent already."""
    await _lost(database)
    slow = await _claimed(database, later(100))
    fast = await _claimed(database, later(161))
    absent = LookupAnswer(LookupResult.ABSENT)
    for work, now in ((fast, later(162)), (slow, later(163))):
        move = RECORDER.after_lookup(work.delivery, work.notification, absent, now)
        await store_on(database).apply([Transition(**{**_fields(move), "fence": work.delivery.fence})])
    assert (await _kinds(database)).count("resolved") == 1
    assert await _states(database) == ["retrying"]


def _fields(move: Transition) -> dict[str, Any]:
    return {name: getattr(move, name) for name in Transition.__dataclass_fields__}


@pytest.mark.parametrize(
    "answers",
    [(), (LookupResult.ABSENT,), (LookupResult.UNSUPPORTED,)],
    ids=["unknown", "given up for lost", "in review"],
)
@pytest.mark.parametrize(
    ("result", "expected"),
    [
        (Accepted("SM1"), ["sent"]),
        (TransientFailure(ProviderReason.RATE_LIMITED), ["retrying"]),
        (PermanentFailure(ProviderReason.CONTENT_REJECTED), ["failed", "accepted"]),
    ],
)
async def test_a_worker_that_was_taken_for_lost_settles_what_it_knows(
    database: Database, answers: tuple[LookupResult, ...], result: Any, expected: list[str]
) -> None:
    """Its answer comes after the lease: nothing else was tried meanwhile, so it is the truth about this attempt."""
    work = await _lost(database, *answers)
    await _settled(database, work, result, later(150))
    assert await _states(database) == expected


@pytest.mark.parametrize("answer", [LookupResult.ABSENT, LookupResult.UNSUPPORTED])
@pytest.mark.parametrize("status", [ReceiptStatus.SENT, ReceiptStatus.DELIVERED])
async def test_a_message_that_turns_up_is_not_sent_again(
    database: Database, answer: LookupResult, status: ReceiptStatus
) -> None:
    """Given up for lost or left to a person, and then the provider speaks of it: there is no second attempt."""
    work = await _lost(database, answer)
    await _heard(database, work, status, later(120))
    assert await _states(database) == [status]
    assert await store_on(database).due(later(130), 10) == []


async def test_an_escalation_that_a_receipt_overtook_opens_nothing(database: Database) -> None:
    """The wait is over, a worker decides to go on, and "delivered" is written before its move is."""
    first = await _started(database)
    await _settled(database, first, Accepted("SM1"), later(1))
    work = await _claimed(database, later(1802))
    move = RECORDER.overdue(work.delivery, work.notification, later(1802))
    assert move is not None
    assert move.next_step
    await _heard(database, work, ReceiptStatus.DELIVERED, later(1803))
    await store_on(database).apply([move])
    assert await _states(database) == ["delivered"]


async def test_two_workers_and_a_late_receipt_open_one_step(database: Database) -> None:
    """Both decide to go on, and the message is reported as undelivered besides: the next step is opened once."""
    first = await _started(database)
    await _settled(database, first, Accepted("SM1"), later(1))
    one = await _claimed(database, later(1802))
    two = await _claimed(database, later(1863))
    moves = [RECORDER.overdue(work.delivery, work.notification, later(1864)) for work in (one, two)]
    await _heard(database, one, ReceiptStatus.UNDELIVERED, later(1864))
    for move in moves:
        assert move is not None
        await store_on(database).apply([move])
    assert await _states(database) == [State.UNDELIVERED, State.ACCEPTED]


async def test_a_receipt_by_the_id_of_an_attempt_is_not_about_the_next_one(database: Database) -> None:
    """It has no signed reference, and the next attempt is under way: that is not ended by it, and it is taken once."""
    work = await _started(database)
    await _settled(database, work, Accepted("SM1"), later(1))
    await database.write(lambda each: each.execute(update(deliveries).values(state=State.RETRYING, due_at=later(2))))
    again = await _claimed(database, later(2))
    assert await store_on(database).start([outgoing(again)], later(2), 60)
    arrived = [ReceiptFor(Receipt("twilio", ReceiptStatus.UNDELIVERED, "SM1"))] * 2
    for expected in (["recorded", "duplicate"], ["duplicate", "duplicate"]):
        assert (await store_on(database).receive(arrived, later(3), RECORDER.after_receipt))[0] == expected
    assert await _states(database) == [State.SENDING]
