"""What work costs a ledger on PostgreSQL, counted by the server: WAL, rows written by table, commits, bytes kept.

Counts depend on the code and not on the machine, so a test can hold them (tests/contract/storage/test_cost.py), and
``./ops/bench/run --only cost`` shows them beside the processor time.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from sqlalchemy import Connection, create_engine, inspect, text

from gateway.retention.sizes import measure


class RowChanges(NamedTuple):
    """Rows of one table that were inserted, updated, updated in place (heap-only tuples, HOT) and deleted."""

    inserted: int
    updated: int
    hot: int
    deleted: int


@dataclass(frozen=True, slots=True)
class LedgerCounts:
    """The server's counters at one moment, or (by subtraction) between two."""

    wal_bytes: int
    wal_records: int
    commits: int
    tables: Mapping[str, RowChanges]

    def __sub__(self, earlier: LedgerCounts) -> LedgerCounts:
        none = RowChanges(0, 0, 0, 0)
        changed = {
            table: RowChanges(*(now - then for now, then in zip(row, earlier.tables.get(table, none), strict=True)))
            for table, row in self.tables.items()
        }
        return LedgerCounts(
            self.wal_bytes - earlier.wal_bytes,
            self.wal_records - earlier.wal_records,
            self.commits - earlier.commits,
            {table: row for table, row in sorted(changed.items()) if any(row)},
        )

    @property
    def hot_share(self) -> float:
        """The share of all updates that were heap-only; 1.0 where there were none."""
        updated = sum(row.updated for row in self.tables.values())
        return sum(row.hot for row in self.tables.values()) / updated if updated else 1.0

    def each(self, number: int) -> dict[str, Any]:
        """Per item, as the bench prints it; of a table: rows inserted, updated, updated HOT, deleted."""
        return {
            "wal_bytes": round(self.wal_bytes / number),
            "wal_records": round(self.wal_records / number, 1),
            "commits": round(self.commits / number, 3),
            "hot_share": round(self.hot_share, 2),
            "tables": {table: [round(each / number, 2) for each in row] for table, row in self.tables.items()},
        }


def counts(url: str) -> LedgerCounts:
    """The counters now. What other sessions did is complete once they have ended, or idled for some ten seconds."""
    engine = create_engine(url, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(text("SELECT pg_stat_force_next_flush()"))
        wal = connection.execute(text("SELECT wal_bytes, wal_records FROM pg_stat_wal")).one()
        columns = "relname, n_tup_ins, n_tup_upd, n_tup_hot_upd, n_tup_del"
        rows = connection.execute(text(f"SELECT {columns} FROM pg_stat_user_tables"))
        tables = {row[0]: RowChanges(*row[1:]) for row in rows}
        database = "SELECT xact_commit FROM pg_stat_database WHERE datname = current_database()"
        commits = connection.execute(text(database)).scalar_one()
    engine.dispose()
    return LedgerCounts(int(wal[0]), int(wal[1]), int(commits), tables)


def kept(connection: Connection, least_rows: int) -> dict[str, tuple[int, int]]:
    """Bytes by table that has at least so many rows: of the table, and of its indexes; also of another version's."""
    there = inspect(connection).get_table_names()
    sizes = [each for each in measure(connection, there) if each.rows >= least_rows]
    return {each.table: (each.table_bytes, each.index_bytes) for each in sizes}
