"""What the size of the ledger does to the cost of a message, waiting reminders or ended ones; and what else grows.

Per size: a worker's processor time and memory, and what does not depend on the machine, counted over the whole life of
some hundred new reminders: WAL, round trips, the share of heap-only updates, pages read. The ledger is on a server of
its own that does not sync, without full pages in its WAL and without autovacuum: filling it takes minutes, and only
what is counted is written. How the copies differ from what has lived is in copies.py.
"""

from __future__ import annotations

import asyncio
import logging
import shutil
import statistics
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import machine
import structlog
from copies import ReminderCopies
from dispatch import Used, arrivals
from journeys import pages_read
from measuring import Measurement, of_rates
from shape import Shape, shape, workspace
from sqlalchemy import NullPool, create_engine, select
from waiting import TEMPLATES, Filler, contacts

from gateway.storage.tables.path import notifications
from tests.support.storage.ledger_counts import counts
from tests.support.storage.postgresql import PostgresServer
from tests.support.storage.reminder_life import ReminderLife, reminder_life

SIZES = (10_000, 1_000_000, 5_000_000)
KINDS = ("deferred", "ended")
SERVER: Mapping[str, Any] = {
    "autovacuum": "off",
    "checkpoint_timeout": "1h",
    "max_wal_size": "6GB",
    "shared_buffers": "1GB",
    "max_parallel_maintenance_workers": "0",
}
_ROUNDS = 3
_LIVES = 200  # reminders in a round of what is counted
_SEED = 999_999  # its lives' numbers end here
_DEFERRED_SEED = 9_000_000  # no borrower of a copy
_FIRST_LIFE = 100_000
_FIRST_DRAINED = 10_000_000  # behind the copies' borrowers
_BORROWER = 7_000_000  # the one with many contacts
_TEMPLATES = 1_000
_LONGEST_START_SECONDS = 600.0


def measure_growth(sizes: Sequence[int], drained: int) -> dict[str, Measurement]:
    """Per kind and size: milliseconds of a worker's processor for each message (``cpu_ms``), its memory, and counts."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    found: dict[str, Measurement] = {}
    for kind in KINDS:
        with PostgresServer(**SERVER) as server, shape(server.url) as ours:
            copies, filler = seeded(ours, kind), Filler(ours)
            for number, size in enumerate(sizes):
                began = time.monotonic()
                copies.grow(size)
                print(f" {size} {kind} in {time.monotonic() - began:.0f} s", file=sys.stderr, end="", flush=True)
                name = f"growth_{size}" if kind == "deferred" else f"growth_{kind}_{size}"
                rounds = [asyncio.run(count_lives(ours, server)) for _ in range(_ROUNDS)]
                found |= {f"{name}_{each}": of_rates([one[each] for one in rounds]) for each in rounds[0]}
                drains = _drains(ours, filler, _FIRST_DRAINED + number * _ROUNDS * drained, drained)
                found[name], found[f"{name}_memory_mb"] = drains
    return found


def seeded(ours: Shape, kind: str) -> ReminderCopies:
    """What copies one reminder of this kind (see ``KINDS``), which is made here."""
    if kind == "deferred":
        Filler(ours).deferred(1, _DEFERRED_SEED)
    else:
        asyncio.run(_one_life(ours))
    engine = create_engine(ours.database_url, poolclass=NullPool)
    with engine.connect() as connection:
        [(one, state)] = connection.execute(select(notifications.c.id, notifications.c.state))
    if state != {"deferred": "deferred", "ended": "delivered"}[kind]:
        raise RuntimeError(f"the reminder to copy is {state}")
    return ReminderCopies(engine, one)


async def _one_life(ours: Shape) -> None:
    async with reminder_life(ours.database_url, ours.redis_url, ours.folder) as (_, life):
        await _whole(life, range(_SEED, _SEED + 1))


_lives = iter(range(_FIRST_LIFE, _SEED, _LIVES))


async def count_lives(ours: Shape, server: PostgresServer) -> dict[str, float]:
    """What a new reminder costs from its acceptance to its second receipt, in the process that does all of it."""
    assert server.handle is not None
    engine = create_engine(ours.database_url, poolclass=NullPool)
    async with reminder_life(ours.database_url, ours.redis_url, ours.folder) as (_, life):
        await a_life(life)  # caches, plans, and each table's last page
        await life.flush_statistics()
        ledger, pages, trips = counts(ours.database_url), pages_read(engine), life.round_trips
        here, there = time.process_time(), machine.tree_cpu_seconds(server.handle.pid)
        await a_life(life)
        here, trips = time.process_time() - here, life.round_trips - trips
        there = machine.tree_cpu_seconds(server.handle.pid) - there
        await life.flush_statistics()
        pages = pages_read(engine) - pages
        spent = counts(ours.database_url) - ledger
    each = {"wal_bytes": spent.wal_bytes, "wal_records": spent.wal_records, "round_trips": trips, "pages": pages}
    cpu = {"gateway_cpu_ms": here * 1000, "postgresql_cpu_ms": there * 1000}
    return {name: number / _LIVES for name, number in (each | cpu).items()} | {"hot_share": spent.hot_share}


async def a_life(life: ReminderLife) -> None:
    """Of some hundred new reminders."""
    first = next(_lives)
    await _whole(life, range(first, first + _LIVES))


async def _whole(life: ReminderLife, numbers: range) -> None:
    await life.accept(numbers)
    await life.send()
    await life.receipts()


def measure_contacts(postgresql_url: str) -> dict[str, Measurement]:
    """A request for a borrower with ten thousand contacts."""
    with shape(postgresql_url) as ours:
        asyncio.run(_contacts(ours))
        return {"growth_10000_contacts": _one_borrower(ours)}


def measure_templates(postgresql_url: str, size: int, rounds: int = _ROUNDS) -> dict[str, Measurement]:
    """As above, with a thousand templates at hand and nothing that waits; and how long a worker takes to begin.

    Each round has a ledger that has not seen them: what takes long is to read and compile them the first time.
    """
    rates, costs, memory, starts = [], [], [], []
    for _ in range(rounds):
        with _many_templates(postgresql_url) as ours:
            Filler(ours).due(size, 0)
            ours.world.expect()
            began, worker = time.monotonic(), ours.start_worker()
            used = Used([worker])
            times = sorted(arrivals(ours, size, used, _LONGEST_START_SECONDS))
            rates.append(len(times) / (times[-1] - times[0]))
            costs.append(used.per_item())
            memory.append(machine.memory_mb(worker.pid))
            starts.append(times[0] - began)
    return {
        "growth_1000_templates": of_rates(rates, cpu_ms=statistics.median(costs)),
        "growth_1000_templates_memory_mb": of_rates(memory),
        "growth_1000_templates_start_seconds": of_rates(starts),
    }


def _drains(ours: Shape, filler: Filler, first: int, size: int) -> tuple[Measurement, Measurement]:
    """A worker drains ``size`` reminders, three times; the first worker's start warms PostgreSQL's cache."""
    costs, rates, memory = [], [], []
    for number in range(_ROUNDS):
        filler.due(size, first + number * size)
        ours.world.expect()
        worker = ours.start_worker()
        try:
            used = Used([worker])
            times = sorted(arrivals(ours, size, used))
            costs.append(used.per_item())
            rates.append(len(times) / (times[-1] - times[0]))
            memory.append(machine.memory_mb(worker.pid))
        finally:
            ours.stop_workers()
    return of_rates(rates, cpu_ms=sorted(costs)[_ROUNDS // 2]), of_rates(memory)


async def _contacts(ours: Shape) -> None:
    database = ours.database()
    await contacts(database, 10_000, _BORROWER)
    await database.close()


def _one_borrower(ours: Shape) -> Measurement:
    """Accepting for somebody with ten thousand past contacts, one request after the other."""
    ours.start_api()
    asked = ours.load(connections=1, first=_BORROWER, warm_up=0.5, rounds=3, seconds=1.0, borrower=_BORROWER)
    ours.apis.pop().stop()
    return of_rates(asked["rates"], asked["latency_ms"])


@contextmanager
def _many_templates(url: str) -> Iterator[Shape]:
    """A gateway with a thousand templates, all but three of them copies of one."""
    with workspace() as folder:
        templates = folder / "templates"
        shutil.copytree(TEMPLATES, templates)
        for number in range(_TEMPLATES):
            shutil.copytree(TEMPLATES / "overdue-first", templates / f"bench-{number}")
        with shape(url, templates_dir=templates) as ours:
            yield ours
