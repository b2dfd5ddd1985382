"""What the scanner reads for the journeys that are due does not grow with those that are not."""

from __future__ import annotations

import json
from typing import Any

from sqlalchemy import Connection

from gateway.storage.database import Database
from gateway.storage.schema import microseconds
from tests.support.journey_cases import DAY, START
from tests.support.journey_path import JourneyBench

_DUE, _FEW, _MANY = 100, 2_000, 40_000
_COLUMNS = "tenant, definition, version, arm, state, reason, step, period, entered_at, revision, body, event_hash"


def _fill(connection: Connection, first: int, last: int) -> None:
    """Copies of the one journey; the first hundred are due on day one, the others in a month."""
    sqlite = connection.dialect.name == "sqlite"
    numbers = (
        f"WITH RECURSIVE g(i) AS (SELECT {first} UNION ALL SELECT i + 1 FROM g WHERE i < {last})"
        if sqlite
        else f"WITH g(i) AS (SELECT generate_series({first}, {last}))"
    )
    due = f"CASE WHEN i <= {_DUE} THEN {microseconds(START + DAY)} ELSE {microseconds(START + 30 * DAY)} END + i"
    number = "cast(i AS text)"
    rows = (
        f"SELECT 'jny_' || {number}, 'C-' || {number}, 'B-' || {number}, {due}, {_COLUMNS}"
        " FROM journeys, g WHERE case_id = 'C-1'"
    )
    into = f"INSERT INTO journeys (id, case_id, borrower_id, due_at, {_COLUMNS})"
    connection.exec_driver_sql(f"{numbers} {into} {rows}" if sqlite else f"{into} {numbers} {rows}")
    connection.exec_driver_sql("ANALYZE")


def _pages(connection: Connection, query: str) -> int:
    """The pages that PostgreSQL reads for a query."""
    [(plan,)] = connection.exec_driver_sql(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {query}").all()
    found: Any = plan if isinstance(plan, list) else json.loads(plan)
    return int(found[0]["Plan"]["Shared Hit Blocks"] + found[0]["Plan"]["Shared Read Blocks"])


async def test_the_journeys_that_are_not_due_cost_the_scanner_nothing(database: Database) -> None:
    """PostgreSQL reads as many pages with twenty times as many journeys; SQLite uses the index of what is due."""
    bench = JourneyBench(database)
    await bench.live()
    await bench.case(1)
    await bench.run()
    now = microseconds(START + 2 * DAY)
    query = f"SELECT id FROM journeys WHERE due_at <= {now} AND (lease_until IS NULL OR lease_until <= {now})"
    query += " ORDER BY due_at LIMIT 5000"
    await database.write(lambda connection: _fill(connection, 2, _FEW))
    if database.is_sqlite:
        explained = f"EXPLAIN QUERY PLAN {query}"
        plan = await database.read(lambda connection: str(connection.exec_driver_sql(explained).all()))
        assert "USING INDEX journeys_due" in plan
        return
    few = await database.read(lambda connection: _pages(connection, query))
    await database.write(lambda connection: _fill(connection, _FEW + 1, _MANY))
    many = await database.read(lambda connection: _pages(connection, query))
    assert many <= 1.2 * few + 3  # a level more of the index, and the pages where its ranges begin and end
