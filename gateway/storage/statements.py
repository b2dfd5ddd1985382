"""Several statements in one round trip, each with its text made once: what the busy paths ask and tell the database.

A statement's values travel as they are stored (instants as numbers, lists as one JSON parameter), so that its text
never changes, is prepared once, and neither SQLAlchemy nor the driver looks at single values. PostgreSQL gets the
statements together, in its pipeline mode (PostgreSQL's manual, libpq, "Pipeline Mode"); SQLite, which is in this
process, gets them one by one. Must not know what is stored.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Any

import msgspec
from sqlalchemy import Connection

from gateway.storage.schema import microseconds

Rows = Sequence[Any]

_NAMED = re.compile(r"%\((\w+)\)s")

_encode = msgspec.json.Encoder().encode


@dataclass(frozen=True, slots=True)
class Statement:
    """A statement's text with its values by name; for SQLite by place, too, or a list of either, once for each."""

    text: str
    values: Any = ()
    returns_rows: bool = False  # whether it gives rows


@dataclass(frozen=True, slots=True)
class Dialect:
    """How a database spells what the two don't spell alike."""

    sqlite: bool

    def value(self, name: str) -> str:
        """The value called ``name``."""
        return f":{name}" if self.sqlite else f"%({name})s"

    def among(self, column: str, name: str) -> str:
        """That a column is one of a list of texts."""
        if self.sqlite:
            return f"{column} IN (SELECT value FROM json_each(:{name}))"
        # As an array, it is a condition on the column's index whatever the planner believes of its length.
        return f"{column} = ANY(ARRAY(SELECT json_array_elements_text(%({name})s::json)))"

    def matching(self, columns: Sequence[str], name: str) -> str:
        """That these columns, which have an index, are one of a list of tuples of texts."""
        return f"({', '.join(columns)}) IN ({self.tuples(name, len(columns))})"

    def tuples(self, name: str, size: int) -> str:
        """A list of tuples of texts as rows: a SELECT, which a condition (WHERE) may follow."""
        if self.sqlite:
            parts = ", ".join(f"json_extract(value, '$[{at}]')" for at in range(size))
            return f"SELECT {parts} FROM json_each(:{name})"
        parts = ", ".join(f"value->>{at}" for at in range(size))
        return f"SELECT {parts} FROM json_array_elements(%({name})s::json)"

    def of_each(self, columns: str, table: str, index: Sequence[str], name: str, since: str) -> str:
        """Rows of a table for ``document``, for each of a list of keys those after ``since``, by one index: the key's
        columns and the one that is compared.
        """
        *key, compared = index
        after = f"{compared} > {self.value(since)}"
        if self.sqlite:
            return f"FROM {table} WHERE {self.matching(key, name)} AND {after}"
        mine = " AND ".join(f"{column} = given.value->>{at}" for at, column in enumerate(key))
        # The order is that of the index: a planner who knows nothing of the table yet takes any other for as good.
        rows = f"SELECT {columns} FROM {table} WHERE {mine} AND {after} ORDER BY {', '.join(index)}"
        return f"FROM json_array_elements(%({name})s::json) AS given CROSS JOIN LATERAL ({rows}) AS found"

    def document(self, columns: str, rest: str) -> str:
        """All rows of a SELECT as one JSON array of arrays; NULL or empty where there are none."""
        if self.sqlite:
            return f"(SELECT json_group_array(json_array({columns})) {rest})"
        return f"(SELECT json_agg(json_build_array({columns}))::text {rest})"

    def lock(self, how: str = "FOR UPDATE") -> str:
        """A lock on the rows: SQLite has one writer, and needs none."""
        return "" if self.sqlite else how


class StatementTemplate:
    """A statement whose text depends on the database's spelling alone."""

    def __init__(self, text: Callable[[Dialect], str], *, returns_rows: bool = True) -> None:
        self._text = lru_cache(lambda sqlite: text(Dialect(sqlite)))
        self._returns_rows = returns_rows

    def of(self, connection: Connection, **values: Any) -> Statement:
        """The statement with these values: instants, lists, and what is stored as it is."""
        stored = {name: _stored(value) for name, value in values.items()}
        return Statement(self._text(connection.dialect.name == "sqlite"), stored, self._returns_rows)


def _stored(value: Any) -> Any:
    if isinstance(value, datetime):
        return microseconds(value)
    return document(value) if isinstance(value, list) else value


def document(value: Any) -> str:
    """A value as the JSON of a statement's one parameter."""
    return _encode(value).decode()


def execute_pipelined(connection: Connection, statements: Sequence[Statement]) -> list[Rows]:
    """Run statements in order, in one round trip; the rows of each, none where it gives none.

    Those that all give none are one statement to PostgreSQL: none of them sees what the others do, and no two of them
    may change the same row.
    """
    if connection.dialect.name == "sqlite":
        return [_alone(connection, each) for each in statements]
    if not any(each.returns_rows for each in statements):
        return _write(connection, statements)
    driver: Any = connection.connection.driver_connection
    _tell(connection, "; ".join(each.text for each in statements))
    with driver.pipeline() if len(statements) > 1 else nullcontext():
        cursors = [driver.execute(each.text, each.values or None) for each in statements]
    # Only now: rows that are asked for within a pipeline are a round trip of their own, before the one that ends it.
    return [cursor.fetchall() if each.returns_rows else () for cursor, each in zip(cursors, statements, strict=True)]


def _write(connection: Connection, statements: Sequence[Statement]) -> list[Rows]:
    if statements:
        driver: Any = connection.connection.driver_connection
        text = _as_one(tuple(each.text for each in statements))
        values = {f"{name}_{at}": value for at, each in enumerate(statements) for name, value in each.values.items()}
        _tell(connection, text)
        driver.execute(text, values)
    return [()] * len(statements)


@lru_cache
def _as_one(texts: tuple[str, ...]) -> str:
    """Changes as one statement: what its driver and its server do for each statement costs more than most changes do
    (measured). Each one's values are numbered like it.
    """
    *others, last = (_NAMED.sub(rf"%(\g<1>_{at})s", text) for at, text in enumerate(texts))
    return f"WITH {', '.join(f'w{at} AS ({text})' for at, text in enumerate(others))} {last}" if others else last


def _tell(connection: Connection, text: str) -> None:
    """SQLAlchemy does not see what goes past it, so whoever counts its statements is told of this one trip."""
    connection.engine.dispatch.before_cursor_execute(connection, None, text, None, None, False)


def _alone(connection: Connection, statement: Statement) -> Rows:
    done = connection.exec_driver_sql(statement.text, statement.values or None)
    return done.all() if statement.returns_rows else ()
