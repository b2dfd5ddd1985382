"""Bodies of requests are stored deflated, and every body that was ever stored stays readable."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import insert, select, text

from gateway.storage.database import Database
from gateway.storage.packing.request_bodies import compressed, decompressed
from gateway.storage.tables.path import request_bodies

_BODY = '{"borrower":{"id":"B-1","name":"陳美玲","locale":"zh-TW"},"must_arrive":true}'
# What the first dictionary made of it: with any other dictionary under that number, stored bodies would be lost.
_STORED = "1wxJ1TrqGiNh7OXPz8319z/s2IUdjVYZuSLgSuoElRaWptQA"


def test_what_was_stored_by_the_first_dictionary_is_read() -> None:
    """The dictionary of a number never changes."""
    assert decompressed(_STORED) == _BODY


def test_a_body_of_an_earlier_version_is_read_as_it_is() -> None:
    """One that begins with "{" was never compressed."""
    assert decompressed(_BODY) == _BODY


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_every_body_comes_back(body: str) -> None:
    """Of any length and any script, and in characters that JSON need not escape."""
    stored = compressed(body)
    assert decompressed(stored) == body
    assert stored.isascii()
    assert not {'"', "\\", "="} & set(stored)


async def test_a_column_of_bodies_gives_what_it_was_given(database: Database) -> None:
    """SQLAlchemy's statements compress and decompress; the text in the column is the compressed one."""
    await database.write(
        lambda each: each.execute(insert(request_bodies), [{"notification_id": "ntf_1", "body": _BODY}])
    )
    raw = await database.read(lambda each: each.execute(text("SELECT body FROM request_bodies")).scalar_one())
    read = await database.read(lambda each: each.execute(select(request_bodies.c.body)).scalar_one())
    assert (raw, read) == (compressed(_BODY), _BODY)
