"""The ledger's clock and connections: what a wrong clock, a dead server and a silent network do to a process."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from sqlalchemy import Connection, text

from gateway.core.errors import Unavailable
from gateway.storage.clock import LedgerClock
from gateway.storage.database import Database
from gateway.storage.statements import Rows, Statement
from tests.chaos.harness.proxy import Mode, Open, Proxy


@pytest.fixture
async def link(empty_postgresql: str) -> AsyncIterator[Proxy]:
    """A proxy before the PostgreSQL of the tests."""
    proxy = Proxy("ledger", _server_of(empty_postgresql))
    await proxy.start()
    yield proxy
    await proxy.stop()


def _server_of(url: str) -> Open:
    split = urlsplit(url)
    host = parse_qs(split.query).get("host", [split.hostname or ""])[0]
    if not host.startswith("/"):
        return lambda: asyncio.open_connection(host, split.port or 5432)
    socket = next(Path(host).glob(".s.PGSQL.*[0-9]"))
    return lambda: asyncio.open_unix_connection(str(socket))


def _through(link: Proxy, empty_postgresql: str) -> Database:
    split = urlsplit(empty_postgresql)
    user = split.username or "postgres"
    return Database(f"postgresql+psycopg://{user}:@127.0.0.1:{link.port}{split.path}")


async def _one(database: Database) -> int:
    return await database.read(lambda connection: int(connection.execute(text("SELECT 1")).scalar_one()))


async def test_the_time_is_the_ledgers_whatever_the_machine_believes(empty_postgresql: str) -> None:
    """On a machine that is five minutes fast the time is right, and how far it is off can be read."""
    database = Database(empty_postgresql)
    clock = LedgerClock(database, lambda: datetime.now(UTC) + timedelta(minutes=5))
    ahead = await clock.synchronise()
    assert abs(ahead - 300) < 1
    assert abs((clock() - datetime.now(UTC)).total_seconds()) < 1
    await database.close()


async def test_a_jump_of_the_machines_clock_is_not_noticed(empty_postgresql: str) -> None:
    """Between two questions to the ledger the time is counted by a clock that nobody sets."""
    jumps = [timedelta(0)]
    database = Database(empty_postgresql)
    clock = LedgerClock(database, lambda: datetime.now(UTC) + jumps[0])
    await clock.synchronise()
    before = clock()
    jumps[0] = timedelta(days=-1)
    assert timedelta(0) <= clock() - before < timedelta(seconds=1)
    await database.close()


async def test_a_slow_answer_does_not_move_the_clock(empty_postgresql: str) -> None:
    """An answer that took seconds could have been given at any time within them."""
    seconds = [0.0]
    database = Database(empty_postgresql)
    clock = LedgerClock(database, lambda: datetime.now(UTC), elapsed=lambda: seconds[0])
    await clock.synchronise()
    before = clock()

    async def slow(question: Callable[[Connection], Statement]) -> Rows:
        seconds[0] += 3.0
        return await Database.query(database, question)

    database.query = slow  # type: ignore[method-assign]
    await clock.synchronise()
    assert clock() - before == timedelta(seconds=3)
    await database.close()


async def test_a_silent_network_ends_a_transaction_instead_of_a_worker(
    link: Proxy, empty_postgresql: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing comes back on a connection: it is given up after a while, and the next one is a new one."""
    monkeypatch.setattr("gateway.storage.database._STUCK_SECONDS", 0.5)
    monkeypatch.setattr("gateway.storage.database._CONNECT_SECONDS", 2)
    database = _through(link, empty_postgresql)
    assert await _one(database) == 1
    link.set(Mode.DEAF)
    with pytest.raises(Unavailable):
        await _one(database)
    link.set(Mode.PASS)
    assert await _one(database) == 1
    await database.close()


async def test_connections_that_died_idle_cost_no_transaction(
    link: Proxy, empty_postgresql: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a restart of the server, what finds a dead connection in the pool takes another."""
    monkeypatch.setattr("gateway.storage.database._TRUSTED_IDLE", 0.0)
    database = _through(link, empty_postgresql)
    assert await asyncio.gather(*(_one(database) for _ in range(4))) == [1] * 4
    link.set(Mode.CUT)
    link.set(Mode.PASS)
    await asyncio.sleep(0.1)
    assert await asyncio.gather(*(_one(database) for _ in range(4))) == [1] * 4
    await database.close()


async def test_connections_that_died_a_moment_ago_cost_one_transaction(link: Proxy, empty_postgresql: str) -> None:
    """After a restart that nobody had time to notice, one transaction fails, and not one for each connection."""
    database = _through(link, empty_postgresql)
    assert await asyncio.gather(*(_one(database) for _ in range(4))) == [1] * 4
    link.set(Mode.CUT)
    link.set(Mode.PASS)
    await asyncio.sleep(0.1)
    with pytest.raises(Unavailable):
        await database.query(lambda _: Statement("SELECT 1", returns_rows=True))
    assert await asyncio.gather(*(_one(database) for _ in range(4))) == [1] * 4
    await database.close()
