"""Answers that come in parts are read to their end or to the limit, whichever is first."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from gateway.core.bounded.read import read_at_most


async def _parts(*parts: bytes) -> AsyncIterator[bytes]:
    for each in parts:
        yield each


async def test_every_part_is_read() -> None:
    """An answer is whole however it was cut on its way."""
    assert await read_at_most(_parts(b'{"a":', b"", b"1}"), 7) == b'{"a":1}'
    assert await read_at_most(_parts(), 0) == b""


async def test_an_answer_without_end_is_left_at_the_limit() -> None:
    """What comes after the limit is not asked for."""

    async def endless() -> AsyncIterator[bytes]:
        yield b"12345678"
        raise AssertionError("the limit was passed")

    with pytest.raises(ValueError, match="more than 7 bytes"):
        await read_at_most(endless(), 7)
