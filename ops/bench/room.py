"""How much room a notification takes in SQLite and PostgreSQL, and how fast old ones are archived and removed.

Each is one SMS: accepted with a real decision, claimed, decided again, handed over, reported sent and delivered. The
provider is the one thing made up: it takes everything at once.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from datetime import timedelta
from pathlib import Path
from typing import Any

from gateway.app.embedded import valkey
from gateway.retention.backup import back_up
from gateway.retention.erasing import RetentionPeriods
from gateway.retention.retention import Retention
from gateway.retention.sizes import measure
from gateway.storage.database import Database
from gateway.storage.upgrade.migrate import migrate
from tests.support.storage.postgresql import PostgresServer, programs
from tests.support.storage.reminder_life import reminder_life

_LATER = timedelta(days=1200)
_KEEP = RetentionPeriods(timedelta(days=1096), timedelta(), timedelta(days=365), timedelta(days=30))


async def _measure(url: str, folder: Path, redis_url: str, notifications: int) -> dict[str, Any]:
    database = Database(url)
    await asyncio.to_thread(migrate, database.engine)
    await database.close()
    async with reminder_life(url, redis_url, folder) as (gateway, life):
        began = time.perf_counter()
        await life.accept(range(notifications))
        await life.send()
        await life.receipts()
        filled = time.perf_counter() - began
        sizes = await gateway.ledger.database.read(measure)
        states = (await gateway.ledger.reads.summary("acme"))["states"]
        if "delivered" not in states:
            raise SystemExit(f"nothing was delivered, so there is nothing to measure: {states}")
        copied = await _timed(
            asyncio.to_thread(back_up, gateway.ledger.database.engine, folder / "backup", "", gateway.ledger.clock())
        )
        retention = Retention(
            gateway.ledger.database,
            _KEEP,
            lambda: gateway.ledger.clock() + _LATER,
            gateway.templates.packs.contact_horizon,
        )
        began, used = time.perf_counter(), time.process_time()
        removed = await retention.prune(folder / "archive", most=notifications, stop=asyncio.Event())
        pruned, used = time.perf_counter() - began, time.process_time() - used
    archive = sum(each.stat().st_size for each in (folder / "archive").iterdir())
    backup = sum(each.stat().st_size for each in (folder / "backup").iterdir())
    return {
        "notifications": notifications,
        "states": states,
        "bytes_per_notification": round(sum(each.bytes for each in sizes) / notifications),
        "of_these_indexes": round(sum(each.index_bytes for each in sizes) / notifications),
        "tables": {each.table: round(each.bytes / notifications) for each in sizes if each.rows},
        "backup_bytes_per_notification": round(backup / notifications),
        "backup_seconds": round(copied, 1),
        "archive_bytes_per_notification": round(archive / max(1, removed.records)),
        "removed_per_second": round(removed.records / pruned),
        "removal_cpu_ms": round(used * 1000 / max(1, removed.records), 2),  # of ours, without PostgreSQL's
        "removed": asdict(removed),
        "filled_per_second": round(notifications / filled),
    }


async def _timed(work: Any) -> float:
    began = time.perf_counter()
    await work
    return time.perf_counter() - began


@contextmanager
def _postgresql() -> Iterator[str]:
    """A server of our own, with its programs in PATH."""
    os.environ["PATH"] = f"{programs()}{os.pathsep}{os.environ['PATH']}"
    with PostgresServer(durable=True) as server:
        yield server.url


async def _both(notifications: int, kinds: Sequence[str]) -> dict[str, Any]:
    found = {}
    for kind in kinds:
        with tempfile.TemporaryDirectory(prefix="gwroom", dir="/tmp") as name:
            folder = Path(name)
            redis = await valkey.start(folder)
            try:
                if kind == "sqlite":
                    found[kind] = await _measure(f"sqlite:///{folder}/ledger.db", folder, redis.url, notifications)
                else:
                    with _postgresql() as url:
                        found[kind] = await _measure(url, folder, redis.url, notifications)
            finally:
                await redis.stop()
    return found


def main() -> None:
    """Measure both, and print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--notifications", type=int, default=20_000)
    parser.add_argument("--only", choices=("sqlite", "postgresql"))
    options = parser.parse_args()
    kinds = [options.only] if options.only else ["sqlite", "postgresql"]
    machine = f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"
    print(json.dumps({"machine": machine, **asyncio.run(_both(options.notifications, kinds))}, indent=1))


if __name__ == "__main__":
    main()
