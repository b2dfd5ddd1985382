"""A backup is whole, a restore is checked, and nothing is sent twice after one; on SQLite and on PostgreSQL."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import Engine, create_engine, select, text, update

from channels.base import Accepted
from gateway.cli.ledger.evidence import verify
from gateway.core.controls import SwitchKind, SwitchScope
from gateway.core.notifications import Step
from gateway.core.reasons import PolicyReason
from gateway.core.verdicts import Verdict, VerdictKind
from gateway.operations.controls import Controls
from gateway.operations.quarantine import Quarantine
from gateway.operations.reviews import Reviews
from gateway.retention.backup import BackupFailed, back_up, read_manifest, restore
from gateway.storage.database import Database
from gateway.storage.tables.path import deliveries, events
from tests.support.storage.ledgers import NOW, digest, draft, ended, later, outgoing, store_on
from tests.support.storage.postgresql import programs
from tests.support.storage.settling import RECORDER

SMS_THEN_MAIL = (Step("sms", timedelta(minutes=30)), Step("email"))


@pytest.fixture
def empty(database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The URL of an empty place of the same kind."""
    if database.is_sqlite:
        yield f"sqlite:///{tmp_path}/restored.db"
        return
    # The programs of the server's own version: an older pg_dump refuses a newer server.
    monkeypatch.setenv("PATH", f"{programs()}{os.pathsep}{os.environ['PATH']}")
    with database.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("DROP DATABASE IF EXISTS restored"))
        connection.execute(text("CREATE DATABASE restored"))
    yield database.engine.url.set(database="restored").render_as_string(hide_password=False)
    with database.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("DROP DATABASE restored WITH (FORCE)"))


async def sent(database: Database, key: str, at_seconds: float = 0) -> None:
    """A reminder that is with its provider since then, and goes on by e-mail if no receipt comes."""
    store, now = store_on(database), later(at_seconds)
    [answer] = await store.accept([draft(key, now=now, borrower=f"B-{key}", case=f"C-{key}", route=SMS_THEN_MAIL)], now)
    [work] = await store.claim([answer.first_delivery or ""], now, 60)
    await store.start([outgoing(work)], now, 60)
    await store.settle([ended(work, Accepted(f"SM-{key}"), now)], RECORDER.after_attempt, RECORDER.after_receipt)


async def waiting(database: Database, key: str) -> None:
    await store_on(database).accept([draft(key, borrower=f"B-{key}", case=f"C-{key}", route=SMS_THEN_MAIL)], NOW)


async def copied(engine: Engine, folder: Path) -> None:
    await asyncio.to_thread(back_up, engine, folder, "key", NOW)


def made_of(url: str, folder: Path, key: str = "key") -> None:
    engine = create_engine(url)
    try:
        restore(engine, folder, read_manifest(folder), key)
    finally:
        engine.dispose()


async def test_a_backup_is_the_whole_ledger(database: Database, empty: str, tmp_path: Path) -> None:
    """Every row and every chain is there again; who must not read it can't."""
    await sent(database, "a")
    await waiting(database, "b")
    await copied(database.engine, tmp_path / "backup")
    await asyncio.to_thread(made_of, empty, tmp_path / "backup")
    restored = Database(empty)
    for table in (events, deliveries):
        rows = [
            await each.read(lambda connection, t=table: connection.execute(select(t)).all())
            for each in (database, restored)
        ]
        assert sorted(map(tuple, rows[0])) == sorted(map(tuple, rows[1]))
    found = await verify(restored)
    assert (found.broken, found.subjects) == ([], 2)
    await restored.close()
    assert all(each.stat().st_mode & 0o077 == 0 for each in (tmp_path / "backup").glob("ledger*"))


async def test_a_backup_can_be_taken_while_requests_come_in(database: Database, empty: str, tmp_path: Path) -> None:
    """Nobody waits for it, and what it has is whole: every chain holds."""
    for number in range(20):
        await waiting(database, f"before-{number}")
    copying = asyncio.create_task(copied(database.engine, tmp_path / "backup"))
    number = 0
    while not copying.done():
        await waiting(database, f"while-{number}")
        number += 1
    await copying
    await asyncio.to_thread(made_of, empty, tmp_path / "backup")
    restored = Database(empty)
    found = await verify(restored)
    await restored.close()
    assert found.broken == []
    assert 20 <= found.subjects <= 20 + number


async def test_a_bad_backup_is_refused(database: Database, empty: str, tmp_path: Path) -> None:
    """One that was changed, of another key, into a place that is in use, over an older backup: nothing is restored."""
    await waiting(database, "a")
    folder = tmp_path / "backup"
    await copied(database.engine, folder)
    with pytest.raises(BackupFailed, match="there already"):
        await copied(database.engine, folder)
    with pytest.raises(BackupFailed, match="GATEWAY_SECRET_KEY"):
        await asyncio.to_thread(made_of, empty, folder, "another key")
    with pytest.raises(BackupFailed, match="not empty"):
        await asyncio.to_thread(made_of, database.engine.url.render_as_string(hide_password=False), folder)
    dump = folder / str(read_manifest(folder)["file"])
    dump.write_bytes(dump.read_bytes()[:-1] + b"x")
    with pytest.raises(BackupFailed, match="changed"):
        await asyncio.to_thread(made_of, empty, folder)
    with pytest.raises(BackupFailed, match="no backup"):
        read_manifest(tmp_path)


async def test_nothing_goes_out_twice_after_a_restore(database: Database, empty: str, tmp_path: Path) -> None:
    """What was sent after the backup is due again in the restored ledger. It is held: no hand-over, no next step."""
    await sent(database, "escalates")
    await waiting(database, "due")
    await copied(database.engine, tmp_path / "backup")
    # After the backup both go out; then the ledger is lost.
    due = await store_on(database).due(later(1), 10)
    [work] = await store_on(database).claim(due, later(1), 60)
    assert await store_on(database).start([outgoing(work)], later(1), 60)
    await asyncio.to_thread(made_of, empty, tmp_path / "backup")

    restored = Database(empty)
    hour_later = later(3600)
    unheld = await store_on(restored).due(hour_later, 10)
    assert len(unheld) == 2  # this is what would be sent again
    held = await Quarantine(restored, digest, lambda: hour_later).hold("test", "cli:test")
    assert (held.due, held.next_steps) == (1, 1)
    assert await store_on(restored).claim(unheld, hour_later, 60) == []
    assert await waiting_to_be_sent(restored) == []
    [pause] = await Controls(restored, lambda: hour_later).in_force(hour_later)
    assert pause.id == held.pause
    again = await Quarantine(restored, digest, lambda: hour_later).hold("test", "cli:test")
    assert (again.due, again.next_steps, again.pause) == (0, 0, held.pause)
    assert (await verify(restored)).broken == []

    # A person who knows that it did not go out lets it go; then it is due like any other.
    reviews = Reviews(restored, digest, lambda: hour_later)
    items = await reviews.waiting("acme", "restored", 10)
    assert len(items) == 2
    assert await reviews.approve("acme", items[0]["id"], "not in the provider's log", "key:test")
    assert await waiting_to_be_sent(restored) == [items[0]["id"]]
    await restored.close()


async def waiting_to_be_sent(database: Database) -> list[str]:
    query = select(deliveries.c.id).where(deliveries.c.state.in_(["accepted", "deferred", "retrying"]))
    return await database.read(lambda connection: list(connection.execute(query).scalars()))


async def test_what_is_due_later_is_not_held_up(database: Database) -> None:
    """It can't have gone out before its time; who does not trust that holds everything."""
    store = store_on(database)
    await store.accept([draft("now", borrower="B-1", case="C-1")], NOW)
    deferred = Verdict(VerdictKind.DEFER, PolicyReason.OUTSIDE_WINDOW, until=later(9999))
    await store.accept([draft("later", borrower="B-2", case="C-2", verdict=deferred)], NOW)
    assert (await Quarantine(database, digest, lambda: later(1)).hold("x", "cli")).due == 1
    assert (await Quarantine(database, digest, lambda: later(1)).hold("x", "cli", everything=True)).due == 1


async def test_what_a_pause_held_up_is_held(database: Database) -> None:
    """The pause may have ended after the backup; ended in the restored ledger, it must not send what is in review."""
    await waiting(database, "paused")
    switches = Controls(database, lambda: NOW)
    pause = await switches.set(SwitchKind.PAUSE, SwitchScope.ALL, "", "", "drill", "cli", None)
    [work] = await store_on(database).claim(await store_on(database).due(NOW, 10), NOW, 60)
    assert await store_on(database).start([outgoing(work)], NOW, 60) == set()
    assert (await Quarantine(database, digest, lambda: later(1)).hold("x", "cli")).due == 1
    await switches.end(pause["id"], "cli")
    assert await store_on(database).due(later(1), 10) == []


async def test_what_waits_for_a_person_is_not_handed_over_though_it_is_due(database: Database) -> None:
    """Whatever made it due: a delivery in review starts no attempt."""
    await waiting(database, "k")
    held = await Quarantine(database, digest, lambda: later(1)).hold("x", "cli")
    await Controls(database, lambda: later(1)).end(held.pause, "cli")
    made_due = update(deliveries).values(due_at=NOW)
    await database.write(lambda connection: connection.execute(made_due))
    [work] = await store_on(database).claim(await store_on(database).due(later(1), 10), later(1), 60)
    assert await store_on(database).start([outgoing(work)], later(1), 60) == set()
    assert await waiting_to_be_sent(database) == []
