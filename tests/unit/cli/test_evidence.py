"""Verification of the event chains, on a ledger file that was changed by hand."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sqlalchemy import Connection, text

from gateway.cli.ledger import evidence
from gateway.core.facts import Hold
from gateway.core.reasons import HoldKind
from gateway.storage.database import Database
from tests.support.storage.ledgers import NOW, draft, empty_sqlite, people_on, store_on


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    """A ledger with three notifications and a hold."""
    made = Database(empty_sqlite(tmp_path))
    await store_on(made).accept([draft(key, borrower=f"B-{key}") for key in ("one", "two", "three")], NOW)
    await people_on(made).put_hold("acme", "B-one", Hold(HoldKind.DISPUTE, NOW), "letter of 3 May", "tester")
    yield made
    await made.close()


async def tamper(database: Database, statement: str) -> None:
    """Do what the ledger's triggers forbid, as an intruder who drops them first would."""

    def write(connection: Connection) -> None:
        for name in connection.execute(text("SELECT name FROM sqlite_master WHERE type = 'trigger'")).scalars().all():
            connection.execute(text(f"DROP TRIGGER {name}"))
        connection.execute(text(statement))

    await database.write(write)


async def test_an_honest_ledger_holds(database: Database) -> None:
    """Every subject's chain leads from its first event to the head in its own row."""
    found = await evidence.verify(database)
    assert (found.broken, found.subjects) == ([], 4)
    assert found.events >= 4


@pytest.mark.parametrize(
    ("statement", "words"),
    [
        ("UPDATE events SET reason = 'forged' WHERE seq = 2", "was changed"),
        ("UPDATE events SET at = at - 3600000000 WHERE seq = 2", "was changed"),
        ("DELETE FROM events WHERE seq = 2", "last events are missing"),
        ("UPDATE events SET previous_hash = hash WHERE seq = 2", "does not follow"),
        ("UPDATE borrowers SET event_hash = ''", "last events are missing"),
        ("UPDATE verdicts SET text = replace(text, 'permitted', 'forged')", "was changed"),
        ("DELETE FROM verdicts", "is missing"),
    ],
)
async def test_a_changed_ledger_is_found_out(database: Database, statement: str, words: str) -> None:
    """One subject is named, once, with what is wrong; the others still hold."""
    await tamper(database, statement)
    found = await evidence.verify(database)
    assert len(found.broken) == 1
    assert words in found.broken[0][1]


async def test_the_export_has_every_event_in_order(database: Database) -> None:
    """One tenant's events, or all of them, a line each."""
    lines: list[str] = []
    assert await evidence.export(database, "acme", lines.append) == len(lines) >= 4
    assert await evidence.export(database, "other", lines.append) == 0
