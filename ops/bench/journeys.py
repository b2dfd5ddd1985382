#!/usr/bin/env python3
"""What the scanner of journeys reads for each that is due, beside ten thousand and a million that are not.

    python ops/bench/journeys.py [--open 10000 1000000] [--due 1000] [--json]

Counted by PostgreSQL in pages of tables and indexes (``pg_statio_user_tables``), so that it depends on the code and
not on the machine: finding, claiming, reading the facts, deciding, and writing what was decided with its events. No
message is accepted, which is the path's cost. The copies are made by the database; a million take minutes and 3 GB.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
from datetime import datetime
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from sqlalchemy import Connection, Engine, NullPool, create_engine

from gateway.storage.database import Database
from gateway.storage.migrate import migrate
from gateway.storage.schema import microseconds
from tests.support.journey_cases import DAY, START
from tests.support.journey_path import JourneyBench
from tests.support.many_journeys import copy_journeys
from tests.support.postgresql import PostgresServer

_SOURCE = """
name = "emitting"
enter = { when = { days_overdue = { at_least = 1 } } }
pace = { spread = "PT0S" }
[[step]]
id = "note"
day = 2
emits = "case.note_due"
[[step]]
id = "remind"
day = 40
template = "overdue-first"
route = ["sms"]
"""
KINDS = ("find", "do")  # what is due is found; and all that follows until it is written
_ROUNDS = 3  # the first fills caches; the least of the others is what the code needs
_MOST_RATIO = 1.2  # of pages, the most by the least; our choice: an index of a million is a level deeper
_SETTLED_SECONDS = 1.0  # until the server has added up the statistics of a session that has ended


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--open", type=int, nargs="+", default=[10_000, 1_000_000], help="open journeys, rising")
    parser.add_argument("--due", type=int, default=1_000, help="journeys that are due at once")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with PostgresServer() as server:
        found = asyncio.run(_measure(server.url, sorted(options.open), options.due))
    ratios = {
        kind: max(each[kind] for each in found.values()) / min(each[kind] for each in found.values()) for kind in KINDS
    }
    if options.json:
        print(json.dumps({"pages_per_due_journey": found, "ratios": ratios}))
    else:
        for number, each in found.items():
            print(f"{number:>10,} open: {each['find']:.2f} pages per due journey to find it, {each['do']:.1f} in all")
        print(f"ratios: to find {ratios['find']:.2f}, in all {ratios['do']:.2f}; at most {_MOST_RATIO}")
    raise SystemExit(0 if max(ratios.values()) <= _MOST_RATIO else 1)


async def _measure(url: str, sizes: list[int], due: int) -> dict[int, dict[str, float]]:
    engine = create_engine(url, poolclass=NullPool)  # a session's statistics are complete when it has ended
    migrate(engine)
    bench = JourneyBench(Database(url))
    await bench.live(_SOURCE)
    await bench.case(1)
    await bench.run()
    bench.now = START + 2 * DAY
    found, last = {}, 1
    for size in sizes:
        began = time.monotonic()
        with engine.begin() as connection:
            copy_journeys(connection, range(last + 1, size + 1), START + 30 * DAY, facts=True)
        last = size
        rounds: dict[str, list[float]] = {kind: [] for kind in KINDS}
        for _ in range(_ROUNDS):
            with engine.begin() as connection:
                copy_journeys(connection, range(last + 1, last + due + 1), START + DAY, facts=True)
            last += due
            with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
                connection.exec_driver_sql("VACUUM ANALYZE")
                rounds["find"].append(_pages_to_find(connection, bench.now, due) / due)
            rounds["do"].append(await _pages(engine, bench) / due)
            assert await bench.store.due(bench.now, 1) == [], "not all that was due was done"
        found[size] = {kind: min(each[1:]) for kind, each in rounds.items()}
        print(f"{size:,} journeys in {time.monotonic() - began:.0f} s", file=sys.stderr)
    await bench.database.close()
    return found


def _pages_to_find(connection: Connection, now: datetime, most: int) -> int:
    """The pages of the query by which the scanner finds what is due."""
    free = f"(lease_until IS NULL OR lease_until <= {microseconds(now)})"
    query = f"SELECT id FROM journeys WHERE due_at <= {microseconds(now)} AND {free} ORDER BY due_at LIMIT {most}"
    [(plan,)] = connection.exec_driver_sql(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {query}").all()
    found = plan if isinstance(plan, list) else json.loads(plan)
    return int(found[0]["Plan"]["Shared Hit Blocks"] + found[0]["Plan"]["Shared Read Blocks"])


async def _pages(engine: Engine, bench: JourneyBench) -> int:
    """The pages that are read while all that is due is done."""
    bench.database.engine.dispose()
    before = _read(engine)
    await bench.run()
    bench.database.engine.dispose()
    return _read(engine) - before


def _read(engine: Engine) -> int:
    time.sleep(_SETTLED_SECONDS)
    kinds = [f"{kind}_blks_{how}" for kind in ("heap", "idx", "toast", "tidx") for how in ("hit", "read")]
    columns = [f"coalesce({each}, 0)" for each in kinds]
    query = f"SELECT sum({' + '.join(columns)}) FROM pg_statio_user_tables"
    with engine.connect() as connection:
        return int(connection.exec_driver_sql(query).scalar_one())


if __name__ == "__main__":
    main()
