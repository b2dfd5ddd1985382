#!/usr/bin/env python3
"""What the scanner of journeys costs for each that is due, beside ten thousand and a million that are not.

    python ops/bench/journeys.py [--open 10000 1000000] [--due 1000] [--rounds 5] [--json]

Two ledgers on one PostgreSQL, in turns, and the median of the rounds after the first. Of finding what is due: the rows
and the pages of index and table that are read, as EXPLAIN (ANALYZE, BUFFERS) counts them. Of all that follows
(claiming, reading the facts, deciding, writing with its events): pages of all tables and indexes, as the server counts
them. Of both: microseconds of processor, the server's, and of the second this process's as well. No message is
accepted, which is the path's cost. The copies are made by the database; a million take minutes and 3 GB.

Exit status 1 where rows or processor time are more than 1.2 times as much. Pages are shown for what they say: the
indexes of a million are a level deeper, which is a page more for each of some ten look-ups; and VACUUM leaves the
entries of done journeys in the index of a large table until two per cent of its pages have some (PostgreSQL 14's
bypass), so that the scan reads past them.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import sys
import time
from dataclasses import dataclass, field
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from statistics import median

sys.path.insert(0, str(Path(__file__).parents[2]))

from sqlalchemy import Connection, Engine, NullPool, create_engine

from gateway.storage.database import Database
from gateway.storage.tables.columns import microseconds
from gateway.storage.upgrade.migrate import migrate
from tests.support.journeys.cases import DAY, START
from tests.support.journeys.copies import copy_journeys
from tests.support.journeys.path import JourneyBench
from tests.support.storage.postgresql import PostgresServer, new_database

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
FIND_COUNTS = ("find_rows", "find_index_pages", "find_table_pages")
KINDS = (*FIND_COUNTS, "find_microseconds", "do_pages", "do_microseconds")
_MOST_RATIO = 1.2  # of the cost beside the most by that beside the least; a million's index is a level deeper
# Numbers begin here in every ledger: with longer ids fewer rows and keys are in a page, whatever their number.
_FIRST = 10_000_000
_FINDS = 50  # of which the processor's time is taken together
_SETTLED_SECONDS = 1.0  # until the server has added up the statistics of a session that has ended


@dataclass
class Ledger:
    """One database with so many open journeys, and what was measured in it."""

    engine: Engine
    bench: JourneyBench
    size: int
    last: int = _FIRST
    rounds: dict[str, list[float]] = field(default_factory=lambda: {kind: [] for kind in KINDS})

    def copy(self, number: int, due_at: datetime) -> None:
        with self.engine.begin() as connection:
            copy_journeys(connection, range(self.last + 1, self.last + number + 1), due_at, facts=True)
        self.last += number


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--open", type=int, nargs="+", default=[10_000, 1_000_000], help="open journeys")
    parser.add_argument("--due", type=int, default=1_000, help="journeys that are due at once")
    parser.add_argument("--rounds", type=int, default=5, help="rounds that count; one more before them fills caches")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with PostgresServer() as server:
        found = asyncio.run(_measure(server, sorted(options.open), options.due, options.rounds))
    least, *_, most = found.values()
    ratios = {kind: most[kind] / least[kind] for kind in KINDS}
    if options.json:
        print(json.dumps({"per_due_journey": found, "ratios": ratios}))
    else:
        for kind in KINDS:
            figures = ", ".join(f"{each[kind]:.3f} beside {number:,}" for number, each in found.items())
            print(f"{kind:20} {figures}: {ratios[kind]:.2f}")
    judged = max(ratio for kind, ratio in ratios.items() if not kind.endswith("pages"))
    raise SystemExit(0 if judged <= _MOST_RATIO else 1)


async def _measure(server: PostgresServer, sizes: list[int], due: int, rounds: int) -> dict[int, dict[str, float]]:
    with contextlib.ExitStack() as stack:
        ledgers = [await _filled(stack.enter_context(new_database(server.url)), size) for size in sizes]
        for number in range(rounds + 1):
            for ledger in ledgers:
                await _round(server, ledger, due)
            print(f"round {number} of {rounds}", file=sys.stderr)
        for ledger in ledgers:
            await ledger.bench.database.close()
    return {each.size: {kind: median(each.rounds[kind][1:]) for kind in KINDS} for each in ledgers}


async def _filled(url: str, size: int) -> Ledger:
    began = time.monotonic()
    engine = create_engine(url, poolclass=NullPool)  # a session's statistics are complete when it has ended
    migrate(engine)
    bench = JourneyBench(Database(url))
    await bench.live(_SOURCE)
    await bench.case(1)
    await bench.run()
    bench.now = START + 2 * DAY
    ledger = Ledger(engine, bench, size)
    ledger.copy(size - 1, START + 30 * DAY)
    print(f"{size:,} journeys in {time.monotonic() - began:.0f} s", file=sys.stderr)
    return ledger


async def _round(server: PostgresServer, ledger: Ledger, due: int) -> None:
    """What is due is made, found, and done."""
    bench, rounds = ledger.bench, ledger.rounds
    ledger.copy(due, START + DAY)
    with ledger.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.exec_driver_sql("VACUUM ANALYZE")
        for kind, number in zip(FIND_COUNTS, _find_counts(connection, bench.now), strict=True):
            rounds[kind].append(number / due)
        rounds["find_microseconds"].append(1000 * _find_processor_ms(connection, bench.now) / due)
    bench.database.engine.dispose()
    pages, used = pages_read(ledger.engine), _processor_ms(server)
    began = time.process_time()
    await bench.run()
    here = 1e6 * (time.process_time() - began)
    rounds["do_microseconds"].append((here + 1000 * (_processor_ms(server) - used)) / due)
    bench.database.engine.dispose()
    rounds["do_pages"].append((pages_read(ledger.engine) - pages) / due)
    assert await bench.store.due(bench.now, 1) == [], "not all that was due was done"


def _find(now: datetime) -> str:
    """The query by which the scanner finds what is due, with as many as it asks for."""
    free = f"(lease_until IS NULL OR lease_until <= {microseconds(now)})"
    return f"SELECT id FROM journeys WHERE due_at <= {microseconds(now)} AND {free} ORDER BY due_at LIMIT 5000"


def _find_counts(connection: Connection, now: datetime) -> tuple[int, int, int]:
    """The rows, the pages of the index, and those of the table, that the query reads.

    A page of the table is read for each row that is not in the same one as the row before it.
    """
    [(plan,)] = connection.exec_driver_sql(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {_find(now)}").all()
    node = (plan if isinstance(plan, list) else json.loads(plan))[0]["Plan"]
    pages = int(node["Shared Hit Blocks"] + node["Shared Read Blocks"])
    while "Plans" in node:
        [node] = node["Plans"]
    rows = int(node["Actual Rows"] + node.get("Rows Removed by Filter", 0))
    assert node["Index Name"] == "journeys_due", node
    place = _find(now).replace("SELECT id", "SELECT (ctid::text::point)[0]")
    places = list(connection.exec_driver_sql(place).scalars())
    table = 1 + sum(one != other for one, other in pairwise(places))
    return rows, pages - table, table


def _find_processor_ms(connection: Connection, now: datetime) -> float:
    """The server's processor time of the query, without that of sending its answer."""
    pid = int(connection.exec_driver_sql("SELECT pg_backend_pid()").scalar_one())
    query = f"SELECT count(*) FROM ({_find(now)}) AS found"
    connection.exec_driver_sql(query)
    before = _used_ms(pid)
    for _ in range(_FINDS):
        connection.exec_driver_sql(query)
    return (_used_ms(pid) - before) / _FINDS


def _used_ms(pid: int) -> float:
    """The processor time of a process, by Linux's scheduler; 0 for one that has ended."""
    try:
        return int(Path(f"/proc/{pid}/schedstat").read_text().split()[0]) / 1e6
    except (FileNotFoundError, ProcessLookupError):
        return 0.0


def _processor_ms(server: PostgresServer) -> float:
    """The processor time of the server's sessions that are there now."""
    assert server.handle is not None
    pid = server.handle.pid
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return sum(_used_ms(int(each)) for each in children if b"postgres: postgres" in _command(int(each)))


def _command(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return b""


def pages_read(engine: Engine) -> int:
    """The pages of tables and indexes that were read in this database until now."""
    time.sleep(_SETTLED_SECONDS)
    kinds = [f"{kind}_blks_{how}" for kind in ("heap", "idx", "toast", "tidx") for how in ("hit", "read")]
    columns = [f"coalesce({each}, 0)" for each in kinds]
    query = f"SELECT sum({' + '.join(columns)}) FROM pg_statio_user_tables"
    with engine.connect() as connection:
        return int(connection.exec_driver_sql(query).scalar_one())


if __name__ == "__main__":
    main()
