"""What a backlog does to the cost of a message, and to a worker's memory; and other things that grow."""

from __future__ import annotations

import asyncio
import shutil
import statistics
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import machine
from dispatch import Used, arrivals
from measuring import Measurement, of_rates
from shape import Shape, shape, workspace
from sqlalchemy import create_engine, text
from waiting import TEMPLATES, Filler, contacts

BACKLOGS = (10_000, 100_000, 1_000_000)
_ROUNDS = 3
_BORROWER = 7_000_000  # the one with many contacts
_TEMPLATES = 1_000
_LONGEST_START_SECONDS = 600.0

# One deferred reminder, as the store wrote it, again and again: other ids and keys, another borrower, another hour.
_COPIES = (
    """INSERT INTO borrowers (tenant, id, version) SELECT tenant, 'G-' || n, version FROM borrowers,
       generate_series({first}, {last}) AS n WHERE id = 'B-{seed}'""",
    """INSERT INTO dedup_claims (tenant, dedup_key, notification_id)
       SELECT tenant, 'grown-' || n, 'ntf_' || lpad(to_hex(n), 32, '0') FROM dedup_claims,
       generate_series({first}, {last}) AS n WHERE dedup_key = 'filled-{seed}'""",
    """INSERT INTO request_bodies (notification_id, body)
       SELECT 'ntf_' || lpad(to_hex(n), 32, '0'), request_bodies.body FROM request_bodies
       JOIN notifications AS one ON one.id = request_bodies.notification_id, generate_series({first}, {last}) AS n
       WHERE one.idempotency_key = 'filled-{seed}'""",
    """INSERT INTO notifications ({notifications})
       SELECT {notification_values} FROM notifications AS one, generate_series({first}, {last}) AS n
       WHERE one.idempotency_key = 'filled-{seed}'""",
    """INSERT INTO deliveries ({deliveries})
       SELECT {delivery_values} FROM deliveries AS one, generate_series({first}, {last}) AS n
       WHERE one.borrower_id = 'B-{seed}'""",
    """INSERT INTO events ({events})
       SELECT {event_values} FROM events AS one, generate_series({first}, {last}) AS n
       WHERE one.borrower_id = 'B-{seed}'""",
)
_NEW = {
    "notifications": {
        "id": "'ntf_' || lpad(to_hex(n), 32, '0')",
        "idempotency_key": "'grown-' || n",
        "dedup_key": "'grown-' || n",
        "borrower_id": "'G-' || n",
        "case_id": "'G-' || n",
        "defer_until": "one.defer_until + (n % 400000) * 1000000::bigint",
    },
    "deliveries": {
        "id": "'dlv_' || lpad(to_hex(n), 32, '0')",
        "notification_id": "'ntf_' || lpad(to_hex(n), 32, '0')",
        "borrower_id": "'G-' || n",
        "case_id": "'G-' || n",
        "address_digest": "lpad(to_hex(n), 32, '0')",
        "due_at": "one.due_at + (n % 400000) * 1000000::bigint",
    },
    "events": {
        "subject": "'ntf_' || lpad(to_hex(n), 32, '0')",
        "borrower_id": "'G-' || n",
        "delivery_id": "'dlv_' || lpad(to_hex(n), 32, '0')",
    },
}


def measure_growth(postgresql_url: str, backlogs: Sequence[int], size: int) -> dict[str, Measurement]:
    """Per backlog: milliseconds of a worker's processor for each message (``cpu_ms``), and its memory in MB."""
    found: dict[str, Measurement] = {}
    with shape(postgresql_url) as ours:
        filler, there, first = Filler(ours), 0, 0
        seed = 8_000_000
        filler.deferred(1, seed)
        for backlog in backlogs:
            _grow(postgresql_url, seed, there, backlog)
            there = backlog
            found[f"growth_{backlog}"], found[f"growth_{backlog}_memory_mb"] = _drains(ours, filler, first, size)
            first += _ROUNDS * size
        asyncio.run(_contacts(ours))
        found["growth_10000_contacts"] = _one_borrower(ours)
    return found


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


def _grow(url: str, seed: int, there: int, backlog: int) -> None:
    from gateway.storage.schema import metadata

    engine = create_engine(url)
    names: dict[str, str] = {}
    for table, kind in (("notifications", "notification"), ("deliveries", "delivery"), ("events", "event")):
        columns = [column.name for column in metadata.tables[table].columns if column.name != "seq"]
        names[table] = ", ".join(f'"{name}"' for name in columns)
        names[f"{kind}_values"] = ", ".join(_NEW[table].get(name, f'one."{name}"') for name in columns)
    with engine.begin() as connection:
        for statement in _COPIES:
            connection.execute(text(statement.format(first=there + 1, last=backlog, seed=seed, **names)))
        # A running gateway has audited what waits long ago; without this, each worker would begin with it.
        connection.execute(text("DELETE FROM audit_progress"))
        connection.execute(text("INSERT INTO audit_progress (id, seq) SELECT 1, max(seq) FROM events"))
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("VACUUM ANALYZE"))  # as autovacuum has done by then
    engine.dispose()


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
