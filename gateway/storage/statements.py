"""Pipelined statements: several in one round trip, each with its text built once, for the busy paths.

A statement's values travel as they are stored (instants as integers, lists as one JSON parameter), so that its text
never changes and is prepared once, and neither SQLAlchemy nor the driver processes single values. PostgreSQL gets the
statements together, in pipeline mode (PostgreSQL's manual, libpq, "Pipeline Mode"); SQLite, which is in-process, gets
them one by one. Must not know what is stored.
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

from gateway.storage.tables.columns import microseconds

Rows = Sequence[Any]

BACKWARD_COMPATIBLE = "backward_compatible"  # an engine's option: see ``Database.backward_compatible``
ROW_VERSION = "xmin"  # the transaction that wrote this version of the row: the same as long as nobody changes it

_NAMED = re.compile(r"%\((\w+)\)s")

_encode = msgspec.json.Encoder().encode


@dataclass(frozen=True, slots=True)
class Statement:
    """A statement's text with its values by name; for SQLite also by position, or a list of either (executemany)."""

    text: str
    values: Any = ()
    returns_rows: bool = False


@dataclass(frozen=True, slots=True)
class Dialect:
    """The SQL that differs between SQLite and PostgreSQL."""

    sqlite: bool

    def value(self, name: str) -> str:
        """The placeholder of the value ``name``."""
        return f":{name}" if self.sqlite else f"%({name})s"

    def among(self, column: str, name: str) -> str:
        """A condition: the column is one of a list of texts."""
        if self.sqlite:
            return self.one_of(column, f"SELECT value FROM json_each(:{name})")
        # As an array, it is an index condition whatever the planner estimates of its length.
        return self.one_of(column, f"SELECT json_array_elements_text(%({name})s::json)")

    def matching(self, columns: Sequence[str], name: str) -> str:
        """A condition: these columns, which have an index, are one of a list of tuples of texts."""
        return f"({', '.join(columns)}) IN ({self.tuples(name, len(columns))})"

    def given(self, column: str, name: str) -> str:
        """A list of texts as the table ``given``, in its order, against which rows are looked up one by one."""
        if self.sqlite:
            return f"(SELECT value AS {column} FROM json_each(:{name})) AS given"
        # A limit that is none, and that the planner can't know: it expects few of a list that it takes for a hundred.
        texts = f"json_array_elements_text(%({name})s::json) AS {column}"
        return f"(SELECT {column} FROM {texts} LIMIT (SELECT NULL::bigint)) AS given"

    def tuples(self, name: str, size: int) -> str:
        """A list of tuples of texts as rows: a SELECT, which a condition (WHERE) may follow."""
        if self.sqlite:
            parts = ", ".join(f"json_extract(value, '$[{at}]')" for at in range(size))
            return f"SELECT {parts} FROM json_each(:{name})"
        parts = ", ".join(f"value->>{at}" for at in range(size))
        return f"SELECT {parts} FROM json_array_elements(%({name})s::json)"

    def one_of(self, column: str, select: str) -> str:
        """A condition: the column, which has an index, is one of the values of a subquery."""
        return f"{column} IN ({select})" if self.sqlite else f"{column} = ANY(ARRAY({select}))"

    def of_each(self, columns: str, table: str, key: Sequence[str], name: str, condition: str) -> str:
        """The FROM clause for ``columns``: for each of a list of keys, the table's rows that meet the condition, by the
        index of the key's columns.
        """
        if self.sqlite:
            return f"FROM {table} WHERE {self.matching(key, name)} AND {condition}"
        mine = " AND ".join(f"{column} = given.value->>{at}" for at, column in enumerate(key))
        # Ordered like the index: without statistics, a planner takes any other plan for as good.
        rows = f"SELECT {columns} FROM {table} WHERE {mine} AND {condition} ORDER BY {', '.join(key)}"
        return f"FROM json_array_elements(%({name})s::json) AS given CROSS JOIN LATERAL ({rows}) AS found"

    def document(self, columns: str, rest: str) -> str:
        """All rows of a SELECT as one JSON array of arrays; NULL or empty where there are none."""
        if self.sqlite:
            return f"(SELECT json_group_array(json_array({columns})) {rest})"
        return f"(SELECT json_agg(json_build_array({columns}))::text {rest})"

    def lock(self, how: str = "FOR UPDATE") -> str:
        """The clause that locks the rows; none for SQLite, which has one writer."""
        return "" if self.sqlite else how

    def version(self, table: str) -> str:
        """What differs after any change of the row (PostgreSQL's manual, "System Columns"); NULL for SQLite."""
        return "NULL" if self.sqlite else f"{table}.{ROW_VERSION}::text"


class StatementTemplate:
    """A statement whose text depends on the dialect alone."""

    def __init__(self, text: Callable[[Dialect], str], *, returns_rows: bool = True) -> None:
        self._text = lru_cache(lambda sqlite: text(Dialect(sqlite)))
        self._returns_rows = returns_rows

    def of(self, connection: Connection, **values: Any) -> Statement:
        """The statement with these values: instants, lists, and values that are stored as they are."""
        stored = {name: _stored(value) for name, value in values.items()}
        return Statement(self._text(connection.dialect.name == "sqlite"), stored, self._returns_rows)


def is_backward_compatible(connection: Connection) -> bool:
    """See ``Database.backward_compatible``."""
    found: bool = connection.get_execution_options().get(BACKWARD_COMPATIBLE, False)
    return found


def _stored(value: Any) -> Any:
    if isinstance(value, datetime):
        return microseconds(value)
    return document(value) if isinstance(value, list) else value


def document(value: Any) -> str:
    """A value as the JSON of a statement's one parameter."""
    return _encode(value).decode()


def execute_pipelined(connection: Connection, statements: Sequence[Statement]) -> list[Rows]:
    """Run statements in order, in one round trip. Answers the rows of each, () where it returns none.

    Where none returns rows, PostgreSQL gets them as one statement (data-modifying CTEs): none sees the changes of the
    others, and no two may change the same row.
    """
    if connection.dialect.name == "sqlite":
        return [_run_single(connection, each) for each in statements]
    if not any(each.returns_rows for each in statements):
        return _write(connection, statements)
    driver: Any = connection.connection.driver_connection
    _count_round_trip(connection, "; ".join(each.text for each in statements))
    with driver.pipeline() if len(statements) > 1 else nullcontext():
        cursors = [driver.execute(each.text, each.values or None) for each in statements]
    # Fetched after the pipeline: within it, each fetch would be a round trip of its own.
    return [cursor.fetchall() if each.returns_rows else () for cursor, each in zip(cursors, statements, strict=True)]


def _write(connection: Connection, statements: Sequence[Statement]) -> list[Rows]:
    if statements:
        driver: Any = connection.connection.driver_connection
        text = _as_one(tuple(each.text for each in statements))
        values = {f"{name}_{at}": value for at, each in enumerate(statements) for name, value in each.values.items()}
        _count_round_trip(connection, text)
        driver.execute(text, values)
    return [()] * len(statements)


def all_or_nothing(changes: Sequence[Statement], expected: Sequence[int]) -> Statement:
    """These changes as one statement, which PostgreSQL commits by itself, or refuses and leaves nothing of.

    The first of them, one for each of ``expected``, return rows, and have to return so many. They run in their order
    and before the others. Otherwise the statement fails by dividing by zero, and a caller gets InvalidData.
    """
    values = {f"{name}_{at}": value for at, each in enumerate(changes) for name, value in each.values.items()}
    wanted = {f"expected_{at}": number for at, number in enumerate(expected)}
    text = _checked(tuple(each.text for each in changes), len(expected))
    return Statement(text, {**values, **wanted}, returns_rows=True)


@lru_cache
def _checked(texts: tuple[str, ...], counted: int) -> str:
    numbered = (_NAMED.sub(rf"%(\g<1>_{at})s", text) for at, text in enumerate(texts))
    parts = ", ".join(f"w{at} AS ({text})" for at, text in enumerate(numbered))
    # A subquery runs when it is first asked for: so these changes are made, and their rows locked, from left to right.
    right = " AND ".join(f"(SELECT count(*) FROM w{at}) = %(expected_{at})s" for at in range(counted))
    return f"WITH {parts} SELECT 1 / (CASE WHEN {right} THEN 1 ELSE 0 END)"


@lru_cache
def _as_one(texts: tuple[str, ...]) -> str:
    """Changes as one statement: the overhead of driver and server for each statement is more than most changes cost
    (measured). Placeholders get the number of their statement.
    """
    *others, last = (_NAMED.sub(rf"%(\g<1>_{at})s", text) for at, text in enumerate(texts))
    return f"WITH {', '.join(f'w{at} AS ({text})' for at, text in enumerate(others))} {last}" if others else last


def _count_round_trip(connection: Connection, text: str) -> None:
    """Raise SQLAlchemy's event for a round trip that bypasses it, so that its listeners count it."""
    connection.engine.dispatch.before_cursor_execute(connection, None, text, None, None, False)


def _run_single(connection: Connection, statement: Statement) -> Rows:
    done = connection.exec_driver_sql(statement.text, statement.values or None)
    return done.all() if statement.returns_rows else ()
