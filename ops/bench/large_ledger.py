#!/usr/bin/env python3
"""What pages, lists of the API, the audit and retention cost on a ledger of millions of ended reminders.

    python ops/bench/large_ledger.py [--ended 5000000]

Counted by PostgreSQL: the pages (8 KiB) of tables and indexes that each request reads, and its statements. Of the audit
and of retention also milliseconds of processor, ours and PostgreSQL's, for each contact and each record. Five million
take some ten minutes and 40 GB in the folder for temporary files. The server is growth.py's, the copies copies.py's.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

import httpx
import machine
import structlog
from growth import SERVER, a_life, seeded
from journeys import pages_read
from shape import TENANT, Shape, shape
from sqlalchemy import NullPool, create_engine

from gateway.app.app import Gateway
from gateway.identity.keys import Scope
from gateway.retention.erasing import RetentionPeriods
from gateway.retention.retention import Retention
from tests.support.api_gateway import app_of
from tests.support.page_costs import StepCounter, ask_pages
from tests.support.storage.postgresql import PostgresServer
from tests.support.storage.reminder_life import ReminderLife, reminder_life

_LATER = timedelta(days=1200)  # beyond the period of records
_KEEP = RetentionPeriods(timedelta(days=1096), timedelta(), timedelta(days=365), timedelta(days=30))
_REMOVED = 10_000
_LISTS = (
    "/v1/notifications",
    "/v1/notifications?state=delivered",
    "/v1/notifications?state=failed",
    "/v1/notifications?borrower_id=B-77",
    "/v1/notifications?case_id=C-77",
    "/v1/notifications?template=overdue-first",
    "/v1/notifications?template=no-such-template",
    "/v1/notifications?to={old}",
    "/v1/borrowers/B-77",
    "/v1/borrowers/B-77/timeline",
    "/v1/suppressions",
    "/v1/dead-letters",
    "/v1/reviews",
    "/v1/conversations",
)


class PagesCounter(StepCounter):
    """Counts pages that PostgreSQL read where ``ask_pages`` counts SQLite's steps."""

    def __init__(self, gateway: Gateway, url: str) -> None:
        self._database = gateway.ledger.database
        self._engine = create_engine(url, poolclass=NullPool)

    @property
    def steps(self) -> int:  # type: ignore[override]
        """Until now; idle sessions are ended, for what they read is known by then."""
        self._database.engine.dispose()
        if self._database._read_engine is not None:
            self._database._read_engine.dispose()
        return pages_read(self._engine)

    @property
    def statements(self) -> int:
        return self._database.statements


@dataclass(frozen=True)
class _LedgerMeter:
    counter: PagesCounter
    server_pid: int

    async def measure(self, name: str, work: Callable[[], Awaitable[int]]) -> None:
        """Print what the work cost for each of the items that it answers."""
        pages, statements = self.counter.steps, self.counter.statements
        here, there = time.process_time(), machine.tree_cpu_seconds(self.server_pid)
        number = await work() or 1
        here, statements = time.process_time() - here, self.counter.statements - statements
        there = machine.tree_cpu_seconds(self.server_pid) - there
        pages = self.counter.steps - pages
        print(
            f"{name:45}{number:8,}{pages / number:12,.1f}{statements / number:12,.3f}"
            f"{1000 * here / number:10,.2f}{1000 * there / number:10,.2f}",
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ended", type=int, default=5_000_000)
    options = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    with PostgresServer(**SERVER) as server, shape(server.url) as ours:
        seeded(ours, "ended").grow(options.ended)
        assert server.handle is not None
        print(f"{'each of':45}{'':>8}{'pages':>12}{'statements':>12}{'ms, ours':>10}{'ms, SQL':>10}")
        asyncio.run(_measure(ours, server.handle.pid))


async def _measure(ours: Shape, server_pid: int) -> None:
    async with reminder_life(ours.database_url, ours.redis_url, ours.folder) as (gateway, life):
        counter = PagesCounter(gateway, ours.database_url)
        for name, cost in (await ask_pages(gateway, counter)).items():
            print(f"{name:45}{1:8}{cost.steps:12,}{cost.statements:12,}{1000 * cost.seconds:10,.2f}", flush=True)
        meter = _LedgerMeter(counter, server_pid)
        await _lists(gateway, meter)
        await _audit(gateway, life, meter)
        await _retention(gateway, ours, meter)


async def _lists(gateway: Gateway, meter: _LedgerMeter) -> None:
    _, key = await gateway.ledger.keys.create(TENANT, "lists", list(Scope), datetime.now(UTC))
    old = (datetime.now(UTC) - timedelta(days=19)).strftime("%Y-%m-%dT%H:%M:%SZ")
    transport = httpx.ASGITransport(app_of(gateway))
    headers = {"Authorization": f"Bearer {key}"}
    async with httpx.AsyncClient(
        transport=transport, base_url="http://gateway.example", headers=headers, timeout=300
    ) as client:
        for path in _LISTS:

            async def ask(path: str = path) -> int:
                answer = await client.get(path.format(old=old))
                if answer.status_code != 200:
                    print(f"{path}: {answer.status_code} {answer.text[:100]}")
                return 1

            await meter.measure(path, ask)


async def _audit(gateway: Gateway, life: ReminderLife, meter: _LedgerMeter) -> None:
    await a_life(life)
    await meter.measure(
        "a contact that is audited", lambda: gateway.operations.auditor.catch_up(gateway.ledger.clock())
    )


async def _retention(gateway: Gateway, ours: Shape, meter: _LedgerMeter) -> None:
    database, clock, horizon = gateway.ledger.database, gateway.ledger.clock, gateway.templates.packs.contact_horizon
    retention = Retention(database, _KEEP, lambda: clock() + _LATER, horizon)

    async def prune() -> int:
        return (await retention.prune(ours.folder / "archive", most=_REMOVED, stop=asyncio.Event())).records

    for _ in range(2):
        await meter.measure("a record that is archived and removed", prune)


if __name__ == "__main__":
    main()
