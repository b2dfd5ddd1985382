"""The ledger's size by table, as the database reports it, and vacuuming."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from sqlalchemy import Connection, Engine, func, select, table, text

from gateway.storage.schema import metadata


@dataclass(frozen=True, slots=True)
class Size:
    """One table: its rows, and bytes of it (with what PostgreSQL keeps out of line) and of its indexes."""

    table: str
    rows: int
    table_bytes: int
    index_bytes: int

    @property
    def bytes(self) -> int:
        return self.table_bytes + self.index_bytes


def measure(connection: Connection, tables: Iterable[str] = tuple(metadata.tables)) -> list[Size]:
    """Every one of these tables, the largest first."""
    of = _in_sqlite if connection.dialect.name == "sqlite" else _in_postgresql
    found = []
    for name in tables:
        rows = int(connection.execute(select(func.count()).select_from(table(name))).scalar_one())
        found.append(Size(name, rows, *of(connection, name)))
    return sorted(found, key=lambda each: -each.bytes)


def _in_postgresql(connection: Connection, name: str) -> tuple[int, int]:
    row = connection.execute(text("SELECT pg_table_size(:t), pg_indexes_size(:t)"), {"t": name}).one()
    return int(row[0]), int(row[1])


def _in_sqlite(connection: Connection, name: str) -> tuple[int, int]:
    query = text(
        "SELECT m.type, coalesce(sum(s.pgsize), 0) FROM sqlite_master m JOIN dbstat s ON s.name = m.name "
        "WHERE m.tbl_name = :t GROUP BY m.type"
    )
    sums = {row[0]: int(row[1]) for row in connection.execute(query, {"t": name})}
    return sums.get("table", 0), sums.get("index", 0)


def vacuum(engine: Engine) -> None:
    """Vacuum: return the space of removed rows. Neither database does this within a transaction."""
    if engine.dialect.name == "sqlite":
        borrowed = engine.raw_connection()
        try:
            borrowed.cursor().execute("VACUUM")
        finally:
            borrowed.close()
        return
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.exec_driver_sql("VACUUM (ANALYZE)")
