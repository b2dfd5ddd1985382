"""A ledger that earlier code wrote (ledger_0020: rows by table, and an archive) goes through the later migrations.

Its rows were written by the store of that time, at revision 0020: reminders that were delivered, not delivered, put
off, put before a person, due, and one that has left for the archive.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import Engine, text

from channels.base import Accepted
from gateway.cli.ledger.evidence import verify
from gateway.core.states import State
from gateway.storage.database import Database
from gateway.storage.reads import Filter, Reads
from gateway.storage.upgrade import migrate as migrations
from gateway.storage.upgrade.migrate import migrate
from tests.support.storage.ledgers import NOW, ended, outgoing, store_on
from tests.support.storage.settling import RECORDER

WRITTEN = Path(__file__).parent / "ledger_0020"


def _write(engine: Engine) -> None:
    config = Config()
    config.set_main_option("script_location", str(migrations.FOLDER))
    with engine.connect() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "0020")
        connection.commit()
    with engine.begin() as connection:
        for table, found in json.loads((WRITTEN / "rows.json").read_text("utf-8")).items():
            columns, values = found["columns"], ", ".join(f":{name}" for name in found["columns"])
            names = ", ".join(f'"{name}"' for name in columns)
            rows = [dict(zip(columns, row, strict=True)) for row in found["rows"]]
            connection.execute(text(f"INSERT INTO {table} ({names}) VALUES ({values})"), rows)
        if engine.dialect.name == "postgresql":
            connection.execute(text("SELECT setval('events_seq_seq', (SELECT max(seq) FROM events))"))


@pytest.fixture(params=["sqlite", "postgresql"])
async def earlier(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Database]:
    """The ledger as it was written, at revision 0020."""
    sqlite = request.param == "sqlite"
    url = f"sqlite:///{tmp_path}/ledger.db" if sqlite else request.getfixturevalue("new_postgresql")
    database = Database(url)
    await asyncio.to_thread(_write, database.engine)
    yield database
    await database.close()


async def test_its_chains_and_its_archive_hold_after_the_migrations(earlier: Database) -> None:
    """Every event has the hash that it was written with, and what follows is chained to it."""
    await asyncio.to_thread(migrate, earlier.engine)
    found = await verify(earlier, WRITTEN)
    assert (found.events, found.subjects, found.broken) == (20, 6, [])
    store = store_on(earlier)
    due = await store.due(NOW, 10)
    assert due
    claimed = await store.claim(due, NOW, 60)
    assert await store.start([outgoing(each, "twilio") for each in claimed], NOW, 60) == set(due)
    sent = [ended(each, Accepted(f"SM-{each.delivery.id}")) for each in claimed]
    await store.settle(sent, RECORDER.after_attempt, RECORDER.after_receipt)
    found = await verify(earlier, WRITTEN)
    assert (found.events, found.broken) == (20 + 2 * len(due), [])


async def test_its_requests_and_verdicts_are_read_as_before(earlier: Database) -> None:
    """What is in the row, and in the event, is found there; states that are looked for have their index."""
    await asyncio.to_thread(migrate, earlier.engine)
    reads = Reads(earlier)
    for state, number in ((State.DELIVERED, 1), (State.UNDELIVERED, 0), (State.DEFERRED, 1), (State.REVIEW, 1)):
        found = await reads.notifications("acme", Filter(state=state), 10)
        assert len(found) == number, state
        for each in found:
            shown = await reads.notification("acme", each["id"])
            assert shown is not None
            assert shown["case"]["product"] == "card"
            assert [rule["rule"] for rule in shown["verdict"]["rules"]] == ["window", "cap"]
    assert (await store_on(earlier).ages(NOW)).review == 1
