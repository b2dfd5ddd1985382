"""How a migration changes tables that are in use: the rules, and what keeps to them.

The version before goes on beside the new schema while an upgrade is rolled out, and a lock that a migration holds, or
waits for, holds up every statement behind it. So a migration only adds; and it

* adds columns with a constant default, which PostgreSQL (11 and newer) stores once and in no row,
* makes and drops indexes of existing tables by ``add_index`` and ``drop_index``, which let writing go on,
* makes texts longer by ``widen_text``, which PostgreSQL does without reading a row or an index,
* adds no constraint to an existing table, renames nothing, changes no other type and rewrites no table: the few rows
  that need a value are filled in by ``fill_in``, others by the code, in batches, and dropped columns wait for the
  release after the next,
* changes one table that is in use in each transaction, since writers lock them in orders of their own,
* gives up after ``LOCK_SECONDS`` when it can't have a table (gateway/storage/migrations/env.py), and can be repeated.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from alembic import op
from sqlalchemy import text

# Statements behind a waiting migration wait as long as it does; our choice: clients wait that long for an answer.
LOCK_SECONDS = 3
_FILL_AT_ONCE = 1_000  # rows locked at once, for some ten milliseconds; our choice


def add_index(name: str, table: str, columns: Sequence[str], where: str = "", *, unique: bool = False) -> None:
    """Make an index while the table is written to. One that an earlier try left unfinished is made anew."""
    condition = text(where) if where else None
    if op.get_bind().dialect.name != "postgresql":
        op.create_index(name, table, list(columns), unique=unique, sqlite_where=condition)
        return
    with op.get_context().autocommit_block():
        # It waits for transactions, not for a table, and nobody waits behind it: no limit outside a transaction.
        op.drop_index(name, table, if_exists=True, postgresql_concurrently=True)
        op.create_index(
            name, table, list(columns), unique=unique, postgresql_where=condition, postgresql_concurrently=True
        )


def drop_index(name: str, table: str) -> None:
    """Drop an index while the table is written to."""
    if op.get_bind().dialect.name != "postgresql":
        op.drop_index(name, table, if_exists=True)
        return
    with op.get_context().autocommit_block():
        op.drop_index(name, table, if_exists=True, postgresql_concurrently=True)


def widen_text(table: str, column: str, length: int) -> None:
    """Let a text be longer, up to ``length`` characters; never shorter, which would read every row.

    PostgreSQL's manual, ALTER TABLE, "Notes": no rewrite where the old type is binary coercible to the new one.
    """
    if op.get_bind().dialect.name == "postgresql":
        op.execute(f'ALTER TABLE {table} ALTER COLUMN "{column}" TYPE varchar({length})')


def fill_in(table: str, change: str, where: str) -> None:
    """Change the rows of ``where``, which are few, in order of their ids, ``_FILL_AT_ONCE`` in a transaction.

    Rows that are locked are waited for no longer than for a table; the migration can be repeated.
    """
    if op.get_bind().dialect.name != "postgresql":
        op.execute(f"UPDATE {table} SET {change} WHERE {where}")
        return
    last = ""
    with op.get_context().autocommit_block():
        while last is not None:
            batch = text(
                f"WITH these AS (SELECT id FROM {table} WHERE {where} AND id > :last ORDER BY id LIMIT :most"
                f" FOR UPDATE), changed AS (UPDATE {table} SET {change} WHERE id IN (SELECT id FROM these))"
                " SELECT max(id) FROM these"
            )
            last = op.get_bind().execute(batch, {"last": last, "most": _FILL_AT_ONCE}).scalar_one()


def in_batches(table: str, columns: str, where: str, change: str, *, lock: bool) -> None:
    """Make a change of other tables from the rows of ``where``, in order of ids, ``_FILL_AT_ONCE`` in a transaction.

    ``change`` is a statement that reads them as ``these``; with ``lock`` nobody changes them until it is committed.
    """
    if op.get_bind().dialect.name != "postgresql":
        these = f"SELECT {columns} FROM {table} WHERE {where}"
        op.execute(f"WITH these AS ({these}) {change}")
        return
    last = ""
    with op.get_context().autocommit_block():
        while last is not None:
            batch = text(
                f"WITH these AS (SELECT {columns} FROM {table} WHERE {where} AND id > :last ORDER BY id LIMIT :most"
                f" {'FOR UPDATE' if lock else ''}), changed AS ({change}) SELECT max(id) FROM these"
            )
            last = op.get_bind().execute(batch, {"last": last, "most": _FILL_AT_ONCE}).scalar_one()


def mark_after_update(table: str, states: Sequence[str]) -> None:
    """Have the trigger that sets ``attention`` run after an update, and before an insertion as it did. PostgreSQL."""
    listed = ", ".join(f"'{state}'" for state in states)
    wanted = f"CASE WHEN NEW.state IN ({listed}) THEN NEW.state ELSE '' END"
    each_row = f"ON {table} FOR EACH ROW WHEN (NEW.attention != {wanted}) EXECUTE FUNCTION"
    for statement in (
        f"CREATE OR REPLACE FUNCTION {table}_attention_updated() RETURNS trigger AS $$"
        f" BEGIN UPDATE {table} SET attention = {wanted} WHERE id = NEW.id; RETURN NULL; END $$ LANGUAGE plpgsql",
        f"CREATE OR REPLACE TRIGGER {table}_attention_updated AFTER UPDATE {each_row} {table}_attention_updated()",
        f"CREATE OR REPLACE TRIGGER {table}_attention BEFORE INSERT {each_row} {table}_attention()",
    ):
        op.execute(statement)


def keep_room(fill: Mapping[str, int]) -> None:
    """Fill new pages of these tables to so many per cent: the rest is for new versions of their rows.

    PostgreSQL's manual, ALTER TABLE, SET: the lock lets reading and writing go on, and pages that exist stay.
    """
    if op.get_bind().dialect.name == "postgresql":
        for table, percent in fill.items():
            op.execute(f"ALTER TABLE {table} SET (fillfactor = {percent})")
