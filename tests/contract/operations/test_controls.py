"""Pauses and dead letters in the ledger: what waits, what comes back, and what a person may have tried again."""

from __future__ import annotations

import asyncio
from concurrent.futures import Future
from datetime import datetime
from typing import Any

import pytest
from sqlalchemy import text, update

from channels.base import Accepted, PermanentFailure, ProviderReason
from gateway.core.controls import SwitchKind, SwitchScope
from gateway.core.deliveries import ClaimedDelivery
from gateway.core.reasons import PolicyReason
from gateway.core.states import State
from gateway.core.verdicts import Verdict, VerdictKind
from gateway.operations.controls import Controls
from gateway.operations.dead_letters import DeadLetterFilter, DeadLetters
from gateway.stages.schedule import RetrySchedule
from gateway.stages.settle import OutcomeRecorder
from gateway.storage.database import Database
from gateway.storage.reads import Reads
from gateway.storage.store import Store
from gateway.storage.tables.path import deliveries
from gateway.storage.unit_of_work import UnitOfWork
from tests.support.storage.ledgers import NOW, digest, draft, ended, later, outgoing, people_on, store_on
from tests.support.waiting import eventually_blocking

RECORDER = OutcomeRecorder(RetrySchedule(later(72 * 3600) - NOW, later(30) - NOW, 6), {})
Pause = tuple[SwitchScope, str, str]


async def _pause(database: Database, scope: SwitchScope, value: str = "", tenant: str = "", **named: Any) -> str:
    switches = Controls(database, lambda: NOW)
    answer = await switches.set(SwitchKind.PAUSE, scope, value, tenant, "a test", "key:x", named.get("until"))
    return str(answer["id"])


async def _claimed(store: Store, key: str, now: datetime = NOW, **named: Any) -> ClaimedDelivery:
    [answer] = await store.accept([draft(key, borrower=key, **named)], NOW)
    [work] = await store.claim([answer.first_delivery or ""], now, 60)
    return work


@pytest.mark.parametrize(
    ("scope", "value", "tenant", "stops"),
    [
        (SwitchScope.ALL, "", "", True),
        (SwitchScope.ALL, "", "acme", True),
        (SwitchScope.ALL, "", "other", False),
        (SwitchScope.TENANT, "acme", "acme", True),
        (SwitchScope.TENANT, "other", "other", False),
        (SwitchScope.TEMPLATE, "overdue-first", "", True),
        (SwitchScope.TEMPLATE, "final-notice", "", False),
        (SwitchScope.CHANNEL, "sms", "acme", True),
        (SwitchScope.CHANNEL, "email", "acme", False),
        (SwitchScope.PROVIDER, "twilio", "", True),
        (SwitchScope.PROVIDER, "another", "", False),
    ],
)
async def test_a_pause_stops_what_it_names(
    database: Database, scope: SwitchScope, value: str, tenant: str, stops: bool
) -> None:
    """A pause by tenant, template, channel, provider or of everything holds up that, and nothing else."""
    store = store_on(database)
    work = await _claimed(store, "k")
    await _pause(database, scope, value, tenant)
    started = await store.start([outgoing(work)], NOW, 60)
    assert started == (set() if stops else {work.delivery.id})
    assert (await store.ages(NOW)).paused == stops


async def test_what_a_pause_holds_up_is_due_at_its_end(database: Database) -> None:
    """Nothing looks at it meanwhile; resuming makes it due at once, with who and why in the switch's record."""
    store = store_on(database)
    work = await _claimed(store, "k")
    pause = await _pause(database, SwitchScope.CHANNEL, "sms")
    await store.start([outgoing(work)], NOW, 60)
    assert await store.due(later(1_000_000), 10) == []
    switches = Controls(database, lambda: later(60))
    assert await switches.end(pause, "key:y") == 1
    assert await switches.end(pause, "key:y") is None
    assert await store.due(later(60), 10) == [work.delivery.id]
    [work] = await store.claim([work.delivery.id], later(60), 60)
    assert await store.start([outgoing(work)], later(60), 60) == {work.delivery.id}
    [found] = await switches.listed("acme", ended=True)
    assert (found["reason"], found["actor"], found["ended_by"]) == ("a test", "key:x", "key:y")


async def test_a_pause_that_ends_by_itself_gives_back_by_itself(database: Database) -> None:
    """With a time in it nobody has to remember the pause."""
    store = store_on(database)
    work = await _claimed(store, "k")
    await _pause(database, SwitchScope.ALL, until=later(3600))
    await store.start([outgoing(work)], NOW, 60)
    assert await store.due(later(3599), 10) == []
    assert await store.due(later(3600), 10) == [work.delivery.id]
    [work] = await store.claim([work.delivery.id], later(3600), 60)
    assert await store.start([outgoing(work)], later(3600), 60) == {work.delivery.id}


async def test_what_expires_under_a_pause_is_looked_at_then(database: Database) -> None:
    """A pause without an end does not keep a message beyond its own."""
    store = store_on(database)
    work = await _claimed(store, "k", expires_at=later(600))
    await _pause(database, SwitchScope.ALL)
    await store.start([outgoing(work)], NOW, 60)
    assert await store.due(later(600), 10) == [work.delivery.id]


async def test_nothing_is_forgotten_where_pausing_and_resuming_race_with_hand_overs(database: Database) -> None:
    """Hand-overs begin while a pause is set and ended again and again: each is started or due, never lost."""
    store, switches = store_on(database), Controls(database, lambda: NOW)
    works = [await _claimed(store, f"k{number}") for number in range(30)]

    async def operate() -> None:
        for _ in range(5):
            await switches.end(await _pause(database, SwitchScope.ALL), "key:x")

    async def start(work: ClaimedDelivery) -> set[str]:
        return await store.start([outgoing(work)], NOW, 60)

    *started, _ = await asyncio.gather(*(start(work) for work in works), operate())
    going = set().union(*(each for each in started if each))
    assert going | set(await store.due(NOW, 100)) == {work.delivery.id for work in works}
    assert (await store.ages(NOW)).paused == 0


def _waits_for_the_switches(database: Database) -> bool:
    """Whether somebody waits for the lock on them. SQLite has one writer, who is here."""
    if database.is_sqlite:
        return True
    waiting = text("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted")
    with database.engine.connect() as connection:
        return bool(connection.execute(waiting).scalar())


async def test_a_switch_does_not_end_between_reading_it_and_obeying_it(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A hand-over that has read a pause writes that it waits for the pause's end before the pause can end."""
    store, switches = store_on(database), Controls(database, lambda: NOW)
    work = await _claimed(store, "k")
    paused, loop = await _pause(database, SwitchScope.ALL), asyncio.get_running_loop()
    write: Any = UnitOfWork.write
    ending: list[Future[int | None]] = []

    def write_late(*given: Any, **named: Any) -> None:
        ending.append(asyncio.run_coroutine_threadsafe(switches.end(paused, "key:x"), loop))
        eventually_blocking(lambda: ending[0].done() or _waits_for_the_switches(database))
        write(*given, **named)

    monkeypatch.setattr(UnitOfWork, "write", write_late)
    assert await store.start([outgoing(work)], NOW, 60) == set()
    assert await asyncio.wrap_future(ending[0]) == 1
    assert await store.due(NOW, 10) == [work.delivery.id]


async def _failed(store: Store, key: str, **named: Any) -> ClaimedDelivery:
    work = await _claimed(store, key, route=draft("x").notification.route[:1], **named)
    await store.start([outgoing(work)], NOW, 60)
    failure = PermanentFailure(ProviderReason.PROVIDER_CONFIG, "20003")
    await store.settle([ended(work, failure)], RECORDER.after_attempt, _never)
    return work


def _never(*_arguments: Any) -> Any:
    raise AssertionError


async def test_a_dead_letter_is_tried_again_on_a_persons_word(database: Database) -> None:
    """What failed is listed with its reason, and due again after a redrive, through everything as before."""
    store, letters = store_on(database), DeadLetters(database, digest, lambda: later(60))
    work = await _failed(store, "k")
    [listed] = await letters.listed("acme", DeadLetterFilter(), 10)
    assert (listed["notification_id"], listed["reason"]) == (work.notification.id, "provider_config")
    which = DeadLetterFilter(reason="provider_config", channel="sms")
    [would] = await letters.redrive("acme", which, "credentials mended", "key:x", dry_run=True)
    assert (would["outcome"], await store.due(later(60), 10)) == ("redriven", [])
    [done] = await letters.redrive("acme", which, "credentials mended", "key:x", dry_run=False)
    assert (done["outcome"], await store.due(later(60), 10)) == ("redriven", [work.delivery.id])
    [again] = await store.claim([work.delivery.id], later(60), 60)
    assert await store.start([outgoing(again)], later(60), 60) == {work.delivery.id}
    found = await Reads(database).notification("acme", work.notification.id)
    assert found is not None
    [event] = [each for each in found["events"] if each["kind"] == "redriven"]
    assert (event["actor"], event["detail"]["why"]) == ("key:x", "credentials mended")


async def test_a_dead_letter_whose_place_is_taken_stays_dead(database: Database) -> None:
    """Another request with the same meaning came after it failed: both would be a repetition."""
    store, letters = store_on(database), DeadLetters(database, digest, lambda: NOW)
    work = await _failed(store, "k", dedup="meaning")
    [second] = await store.accept([draft("k2", borrower="k", dedup="meaning")], NOW)
    assert second.duplicate_of is None
    [found] = await letters.redrive("acme", DeadLetterFilter(ids=[work.notification.id]), "try", "key:x", dry_run=False)
    assert found["outcome"] == "replaced_by_another_request"
    assert (await store.accept([draft("k3", borrower="k", dedup="meaning")], NOW))[0].duplicate_of == second.id


async def test_a_dead_letter_that_its_client_cancelled_stays_dead(database: Database) -> None:
    """It had failed before the cancellation came, which is remembered: nobody brings it back by a filter."""
    store, letters = store_on(database), DeadLetters(database, digest, lambda: later(120))
    work = await _failed(store, "k")
    assert await people_on(database, later(60)).cancel("acme", work.notification.id, "key:x") == "too_late"
    found = await Reads(database).notification("acme", work.notification.id)
    assert found is not None
    assert found["updated_at"] == "2026-11-24T10:01:00.000Z"
    [letter] = await letters.redrive("acme", DeadLetterFilter(reason="provider_config"), "try", "key:x", dry_run=False)
    assert letter["outcome"] == "cancelled"
    assert await store.due(later(120), 10) == []


async def test_a_redriven_delivery_has_all_its_tries_again(database: Database) -> None:
    """What used up its tries before is counted from the start."""
    store, letters = store_on(database), DeadLetters(database, digest, lambda: NOW)
    work = await _failed(store, "k")
    used = update(deliveries).values(tries=6)
    await database.write(lambda connection: connection.execute(used))
    await letters.redrive("acme", DeadLetterFilter(ids=[work.notification.id]), "try", "key:x", dry_run=False)
    [again] = await store.claim([work.delivery.id], NOW, 60)
    assert again.delivery.tries == 0


async def test_what_is_sent_or_another_tenants_is_no_dead_letter(database: Database) -> None:
    """Only what surely reached nobody can be tried again, and only by its own tenant."""
    store, letters = store_on(database), DeadLetters(database, digest, lambda: NOW)
    work = await _claimed(store, "k")
    await store.start([outgoing(work)], NOW, 60)
    await store.settle([ended(work, Accepted("SM1"))], RECORDER.after_attempt, _never)
    await _failed(store, "f")
    assert (
        await letters.redrive("acme", DeadLetterFilter(ids=[work.notification.id]), "try", "key:x", dry_run=False) == []
    )
    assert await letters.listed("other", DeadLetterFilter(), 10) == []


async def test_what_waits_for_review_is_no_dead_letter(database: Database) -> None:
    """A review is decided by approving or refusing it: a redrive by its id or its reason finds nothing."""
    store, letters = store_on(database), DeadLetters(database, digest, lambda: NOW)
    review = Verdict(VerdictKind.REVIEW, PolicyReason.HOLD)
    [made] = await store.accept([draft("k", verdict=review)], NOW)
    for which in (DeadLetterFilter(ids=[made.id]), DeadLetterFilter(reason=PolicyReason.HOLD)):
        assert await letters.redrive("acme", which, "try", "key:x", dry_run=False) == []
    assert await letters.listed("acme", DeadLetterFilter(), 10) == []
    assert await store.due(NOW, 10) == []


async def test_redriving_twice_at_once_is_redriving_once(database: Database) -> None:
    """Two people press the button together: one attempt follows."""
    store, letters = store_on(database), DeadLetters(database, digest, lambda: NOW)
    work = await _failed(store, "k")
    which = DeadLetterFilter(ids=[work.notification.id])
    await asyncio.gather(*(letters.redrive("acme", which, "try", "key:x", dry_run=False) for _ in range(2)))
    found = await Reads(database).notification("acme", work.notification.id)
    assert found is not None
    kinds = [each["kind"] for each in found["events"]]
    assert (kinds.count("redriven"), found["state"]) == (1, State.ACCEPTED)


async def test_what_is_given_up_is_not_tried_again(database: Database) -> None:
    """It leaves the list with who and why in its events, keeps its state and reason, and no redrive finds it."""
    store, letters = store_on(database), DeadLetters(database, digest, lambda: later(60))
    work = await _failed(store, "k")
    ids = [work.notification.id]
    assert await letters.give_up("other", ids, "moved abroad", "user:x") == []
    [found] = await letters.give_up("acme", ids, "moved abroad", "user:x")
    assert found["outcome"] == "given_up"
    assert await letters.give_up("acme", ids, "again", "user:x") == []
    assert await letters.listed("acme", DeadLetterFilter(), 10) == []
    for which in (DeadLetterFilter(ids=ids), DeadLetterFilter(channel="sms")):
        assert await letters.redrive("acme", which, "try", "key:x", dry_run=False) == []
    shown = await Reads(database).notification("acme", ids[0])
    assert shown is not None
    assert (shown["state"], shown["reason"]) == ("failed", "provider_config")
    [event] = [each for each in shown["events"] if each["kind"] == "given_up"]
    assert (event["actor"], event["detail"]["why"]) == ("user:x", "moved abroad")


async def test_giving_up_and_redriving_at_once_is_one_of_them(database: Database) -> None:
    """Two people decide together: who comes second finds that it has moved on."""
    store, letters = store_on(database), DeadLetters(database, digest, lambda: NOW)
    work = await _failed(store, "k")
    which = DeadLetterFilter(ids=[work.notification.id])
    await asyncio.gather(
        letters.redrive("acme", which, "try", "key:x", dry_run=False),
        letters.give_up("acme", which.ids, "leave it", "key:y"),
    )
    found = await Reads(database).notification("acme", work.notification.id)
    assert found is not None
    assert len({"redriven", "given_up"} & {each["kind"] for each in found["events"]}) == 1
