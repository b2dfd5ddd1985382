"""Bulk writes: many rows in one statement with one parameter.

The rows travel as one JSON document, which the database expands: the statement's text is always the same, so it is
prepared once, and neither SQLAlchemy nor the driver processes single values (measured, most of a batch's cost).
SQLite, which is in-process, takes rows by executemany where nothing is returned. Must not know what is stored, nor
the order of rows: they are written in the order given, which is the lock order.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from sqlalchemy import BigInteger, Connection, Integer, LargeBinary, String, Table

from gateway.storage.packing.event_details import EventActor, EventDetail
from gateway.storage.packing.request_bodies import RequestBody
from gateway.storage.statements import ROW_VERSION, Statement, document
from gateway.storage.tables.columns import HexDigest, Instant, microseconds

Row = dict[str, Any]


def inserting(
    connection: Connection, table: Table, rows: Sequence[Row], *, new_only: bool = False, returning: str = ""
) -> list[Statement]:
    """The statement that inserts rows with the same columns; [] for no rows. Changes the given rows.

    Bodies of requests are given as they are stored. Columns that are not given get their defaults. ``new_only`` skips
    rows that conflict with a unique key. The statement returns the column ``returning`` of what was inserted.
    """
    if not rows:
        return []
    names = tuple(rows[0])
    _plain(table, names, rows, hexadecimal=not _is_sqlite(connection))
    if _is_sqlite(connection) and not returning:
        return [Statement(_sqlite_insert(table, names, new_only), [tuple(row.values()) for row in rows])]
    text = _insert(connection.dialect.name, table, names, new_only, returning)
    return [Statement(text, {"rows": document(rows)}, returns_rows=bool(returning))]


def updating(connection: Connection, table: Table, keys: Sequence[str], rows: Sequence[Row]) -> list[Statement]:
    """The statement that updates, for each given row, the table's row with the same ``keys``; [] for no rows.

    Changes the given rows. With ``ROW_VERSION`` among the keys (PostgreSQL only), rows that were changed since are left
    alone, and the statement returns a row for each that was updated.
    """
    if not rows:
        return []
    names = tuple(rows[0])
    _plain(table, names, rows, hexadecimal=not _is_sqlite(connection))
    if _is_sqlite(connection):
        return [Statement(_sqlite_update(table, tuple(keys), names), rows)]
    counted = ROW_VERSION in keys
    return [Statement(_postgresql_update(table, tuple(keys), names), {"rows": document(rows)}, returns_rows=counted)]


def _is_sqlite(connection: Connection) -> bool:
    return connection.dialect.name == "sqlite"


def _plain(table: Table, names: tuple[str, ...], rows: Sequence[Row], *, hexadecimal: bool) -> None:
    """Replace instants by the integers that are stored, and bytes by PostgreSQL's hex format, which JSON can carry."""
    binary, instants = _to_convert(table, names)
    for row in rows if hexadecimal and binary else ():
        for name in binary:
            row[name] = f"\\x{row[name].hex()}"
    for row in rows:
        for name in instants:
            if row[name] is not None:
                row[name] = microseconds(row[name])


@lru_cache
def _to_convert(table: Table, names: tuple[str, ...]) -> tuple[list[str], list[str]]:
    """The columns of bytes, and those of instants."""
    kinds = [(name, table.c[name].type) for name in names if name != ROW_VERSION]
    binary = [name for name, kind in kinds if isinstance(kind, LargeBinary)]
    return binary, [name for name, kind in kinds if isinstance(kind, Instant)]


@lru_cache
def _sqlite_insert(table: Table, names: tuple[str, ...], new_only: bool) -> str:
    values = ", ".join("?" for _ in names)
    return f"INSERT INTO {table.name} ({_list(names)}) VALUES ({values}){' ON CONFLICT DO NOTHING' if new_only else ''}"


@lru_cache
def _insert(dialect: str, table: Table, names: tuple[str, ...], new_only: bool, returning: str) -> str:
    if dialect == "sqlite":
        columns = ", ".join(f"json_extract(value, '$.{name}')" for name in names)
        source = (
            f"SELECT {columns} FROM json_each(:rows) WHERE true"  # without WHERE it can't tell ON CONFLICT from a join
        )
    else:
        source = f"SELECT {_list(names)} FROM {_recordset(table, names)}"
    conflict = " ON CONFLICT DO NOTHING" if new_only else ""
    answer = f' RETURNING "{returning}"' if returning else ""
    return f"INSERT INTO {table.name} ({_list(names)}) {source}{conflict}{answer}"


@lru_cache
def _sqlite_update(table: Table, keys: tuple[str, ...], names: tuple[str, ...]) -> str:
    changes = ", ".join(f'"{name}" = :{name}' for name in names if name not in keys)
    return f"UPDATE {table.name} SET {changes} WHERE {' AND '.join(f'{key} = :{key}' for key in keys)}"


@lru_cache
def _postgresql_update(table: Table, keys: tuple[str, ...], names: tuple[str, ...]) -> str:
    changes = ", ".join(f'"{name}" = given."{name}"' for name in names if name not in keys)
    same = " AND ".join(f"{table.name}.{key} = given.{key}" for key in keys)
    # A limit that is none, and that the planner can't know: it expects a tenth of the 100 rows that it expects of JSON.
    # Against as many, it would read all of a table without statistics rather than look each row up by the index.
    source = f"(SELECT * FROM {_recordset(table, names)} LIMIT (SELECT NULL::bigint)) AS given"
    answer = " RETURNING 1" if ROW_VERSION in keys else ""
    return f"UPDATE {table.name} SET {changes} FROM {source} WHERE {same}{answer}"


def _recordset(table: Table, names: Sequence[str]) -> str:
    types = {name: "xid" if name == ROW_VERSION else _type(table.c[name].type) for name in names}
    columns = ", ".join(f'"{name}" {kind}' for name, kind in types.items())
    return f"json_to_recordset(%(rows)s::json) AS given({columns})"


def _type(kind: Any) -> str:
    if isinstance(kind, Instant | BigInteger):
        return "bigint"
    if isinstance(kind, Integer):
        return "integer"
    if isinstance(kind, LargeBinary):
        return "bytea"
    assert isinstance(kind, String | HexDigest | RequestBody | EventActor | EventDetail)
    return "text"  # a cast to varchar(n) would cut what is too long, where storing it is an error


def _list(names: Sequence[str]) -> str:
    return ", ".join(f'"{name}"' for name in names)
