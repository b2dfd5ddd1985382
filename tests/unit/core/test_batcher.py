"""Group commit: who comes while a batch is being written is in the next one, and who leaves is in none."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from gateway.core.batcher import Batcher
from tests.support.waiting import eventually


class _Ledger:
    """Writes batches, each when it is let."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.go_on = asyncio.Event()

    async def write(self, items: Sequence[int]) -> list[int]:
        self.batches.append(list(items))
        await self.go_on.wait()
        return [item * 10 for item in items]


async def test_who_leaves_before_the_batch_begins_takes_the_items_along() -> None:
    """One is being written while three wait; one of those goes away, and the rest is one batch."""
    ledger = _Ledger()
    coalescer = Batcher(ledger.write)
    calls = [asyncio.create_task(coalescer.submit([number])) for number in range(4)]
    first, *_ = calls
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    later = [asyncio.create_task(coalescer.submit([number])) for number in (4, 5, 6)]
    await asyncio.sleep(0)
    later[1].cancel()
    ledger.go_on.set()
    assert await first == [0]
    assert [await later[0], await later[2]] == [[40], [60]]
    assert ledger.batches == [[0, 1, 2, 3], [4, 6]]


async def test_who_leaves_while_it_is_written_disturbs_nobody() -> None:
    """What has begun goes on, for the others' sake."""
    ledger = _Ledger()
    coalescer = Batcher(ledger.write)
    calls = [asyncio.create_task(coalescer.submit([number])) for number in range(2)]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    calls[0].cancel()
    ledger.go_on.set()
    assert await calls[1] == [10]
    with pytest.raises(asyncio.CancelledError):
        await calls[0]
    assert ledger.batches == [[0, 1]]


async def test_what_is_left_goes_at_once_and_the_rest_of_a_moment_together() -> None:
    """The first does not wait for others; those that come while it rests are one batch."""
    ledger = _Ledger()
    ledger.go_on.set()
    coalescer = Batcher(ledger.write, min_interval=0.2)
    coalescer.submit_nowait([1])
    await eventually(lambda: ledger.batches == [[1]])
    for number in (2, 3, 4):
        coalescer.submit_nowait([number])
    coalescer.submit_nowait([])
    await coalescer.drain()
    assert ledger.batches == [[1], [2, 3, 4]]
