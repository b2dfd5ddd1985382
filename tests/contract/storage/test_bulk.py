"""Rows that travel as one document arrive as they were, on each kind of database."""

from __future__ import annotations

import pytest
from sqlalchemy import insert, select

from gateway.core.errors import Unavailable
from gateway.storage.bulk import inserting, updating
from gateway.storage.database import Database
from gateway.storage.statements import execute_pipelined
from gateway.storage.tables.borrowers import inbox
from gateway.storage.tables.path import attempts, receipts
from tests.support.storage.ledgers import NOW, later

_TEXT = 'O\'Brien said "50 %s" \\ 逾期 $.a ?\n'


def _receipt(digest: str, code: str = "") -> dict[str, object]:
    return {"digest": digest, "provider": "sms", "status": "sent", "code": code, "received_at": NOW}


async def test_values_survive_as_they_are(database: Database) -> None:
    """Quotes, marks of both drivers, other scripts, nothing at all and instants to the microsecond."""
    row = {"tenant": "t", "borrower_id": _TEXT, "delivery_id": "d", "title": "", "text": _TEXT}
    at = later(0.123456)
    await database.write(
        lambda connection: execute_pipelined(
            connection, inserting(connection, inbox, [{**row, "at": at, "read_at": None}])
        )
    )
    stored = await database.read(lambda connection: connection.execute(select(inbox)).one())
    assert (stored.borrower_id, stored.text, stored.at, stored.read_at) == (_TEXT, _TEXT, at, None)


async def test_only_what_is_new_is_told(database: Database) -> None:
    """What was there before, and what comes twice in one call, is passed over; defaults fill what is not given."""
    await database.write(lambda connection: connection.execute(insert(receipts), [_receipt("a", "before")]))
    told = await database.write(
        lambda connection: execute_pipelined(
            connection,
            inserting(
                connection,
                receipts,
                [_receipt("a"), _receipt("b"), _receipt("b", "again")],
                new_only=True,
                returning="digest",
            ),
        )
    )
    assert [list(map(tuple, rows)) for rows in told] == [[("b",)]]
    stored = await database.read(lambda connection: connection.execute(select(receipts)).all())
    assert {(row.digest, row.code, row.reason) for row in stored} == {("a", "before", ""), ("b", "", "")}


async def test_rows_are_updated_by_their_keys_only(database: Database) -> None:
    """An attempt is found by both parts of its key, and others stay as they were."""
    rows = [{"delivery_id": "d", "number": number, "provider": "sms", "started_at": NOW} for number in (1, 2)]
    await database.write(lambda connection: execute_pipelined(connection, inserting(connection, attempts, rows)))
    change = {"delivery_id": "d", "number": 2, "code": "30003", "finished_at": later(1)}
    await database.write(
        lambda connection: execute_pipelined(
            connection, updating(connection, attempts, ("delivery_id", "number"), [change])
        )
    )
    stored = await database.read(lambda connection: connection.execute(select(attempts)).all())
    assert {(row.number, row.code, row.finished_at) for row in stored} == {(1, "", None), (2, "30003", later(1))}


async def test_a_refused_row_takes_the_batch_with_it(database: Database) -> None:
    """A repeated key is an error where it is not to be passed over, and nothing of the call remains."""
    with pytest.raises(Unavailable):
        await database.write(
            lambda connection: execute_pipelined(
                connection, inserting(connection, receipts, [_receipt("a"), _receipt("a")])
            )
        )
    assert await database.read(lambda connection: connection.execute(select(receipts)).all()) == []
