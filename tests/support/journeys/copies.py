"""Copies of one journey with its case and its borrower, as many as a ledger is to have; made by the database itself."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Connection

from gateway.storage.tables.columns import microseconds

_JOURNEY = "tenant, definition, version, arm, state, reason, step, period, entered_at, revision, event_hash"
_SEED = "C-1"


def copy_journeys(connection: Connection, numbers: range, due_at: datetime, *, facts: bool = False) -> None:
    """Copies of the journey of the case ``C-1`` (borrower ``B-1``), due from ``due_at`` on, a microsecond apart.

    ``facts``: with a case record and a borrower of their own each, on PostgreSQL.
    """
    first, last = numbers[0], numbers[-1]
    sqlite = connection.dialect.name == "sqlite"
    rows = (
        f"WITH RECURSIVE g(i) AS (SELECT {first} UNION ALL SELECT i + 1 FROM g WHERE i < {last})"
        if sqlite
        else f"WITH g(i) AS (SELECT generate_series({first}, {last}))"
    )
    number = "cast(i AS text)"
    body = f"replace(replace(body, '\"{_SEED}\"', '\"C-' || {number} || '\"'), journeys.id, 'jny_' || {number})"
    select = (
        f"SELECT 'jny_' || {number}, 'C-' || {number}, 'B-' || {number}, {microseconds(due_at)} + i, {body}, {_JOURNEY}"
        f" FROM journeys, g WHERE case_id = '{_SEED}'"
    )
    into = f"INSERT INTO journeys (id, case_id, borrower_id, due_at, body, {_JOURNEY})"
    connection.exec_driver_sql(f"{rows} {into} {select}" if sqlite else f"{into} {rows} {select}")
    if facts:
        own = f"replace(replace(body, '\"{_SEED}\"', '\"C-' || i || '\"'), '\"B-1\"', '\"B-' || i || '\"')"
        connection.exec_driver_sql(
            "INSERT INTO case_records (tenant, id, borrower_id, body, check_at, updated_at, event_hash)"
            f" {rows} SELECT tenant, 'C-' || i, 'B-' || i, {own}, check_at, updated_at, event_hash"
            f" FROM case_records, g WHERE id = '{_SEED}'"
        )
        connection.exec_driver_sql(
            f"INSERT INTO borrowers (tenant, id, version) {rows} SELECT 'acme', 'B-' || i, 0 FROM g"
        )
