"""The ledger is in one schema, the first of the connection's search path: so a cluster that keeps each schema on one of
its nodes (Citus' schema-based sharding) can hold many ledgers. ops/bench/capacity.md.
"""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, create_engine, event, make_url, text

from gateway.cli.ledger.evidence import verify
from gateway.storage.database import Database
from gateway.storage.upgrade.migrate import migrate
from tests.support.storage.ledgers import begun
from tests.support.storage.reminder_life import reminder_life

_REMINDERS = 3
# A name of a table with a schema before it, where a statement names tables.
_QUALIFIED = re.compile(r"\b(?:FROM|JOIN|INTO|UPDATE|TABLE)\s+\"?(\w+)\"?\.\"?\w+", re.IGNORECASE)


def _in_schema(url: str, schema: str) -> str:
    engine = create_engine(url)
    with engine.begin() as connection:
        connection.execute(text(f"CREATE SCHEMA {schema}"))
    engine.dispose()
    there = make_url(url).update_query_dict({"options": f"-csearch_path={schema}"})
    return there.render_as_string(hide_password=False)


async def test_two_ledgers_of_one_database_know_nothing_of_each_other(
    new_postgresql: str, redis_url: str, tmp_path: Path
) -> None:
    """Each has its tables, its migrations and its chains in its own schema; no statement of the path, from the request
    to the second receipt, names a schema, and none leaves a row anywhere else."""
    said: set[str] = set()

    def note(_connection: Any, _cursor: Any, statement: str, *_rest: Any) -> None:
        said.add(statement)

    for number, schema in enumerate(("lender_a", "lender_b")):
        url = _in_schema(new_postgresql, schema)
        database = Database(url)
        await asyncio.to_thread(migrate, database.engine)
        (tmp_path / schema).mkdir()
        async with reminder_life(begun(url), redis_url, tmp_path / schema) as (gateway, life):
            event.listen(gateway.ledger.database.engine, "before_cursor_execute", note)
            await life.accept(range(_REMINDERS))
            await life.send()
            await life.receipts()
        counted = await database.read(_delivered)
        assert counted == _REMINDERS, (number, schema)
        assert (await verify(database)).broken == []
        await database.close()
    assert len(said) > 10
    assert [found[0] for each in said if (found := _QUALIFIED.search(each)) and found[1] != "pg_catalog"] == []
    engine = create_engine(new_postgresql)
    with engine.connect() as connection:
        elsewhere = "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'"
        assert connection.execute(text(elsewhere)).scalar_one() == 0
    engine.dispose()


def _delivered(connection: Connection) -> int:
    return int(connection.execute(text("SELECT count(*) FROM deliveries WHERE state = 'delivered'")).scalar_one())
