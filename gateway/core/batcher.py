"""Group commit: calls that arrive while one batch is being written are written together in the next.

At low load a call is flushed at once, alone; under load batches grow by themselves. Where no caller waits for the
answer, a batch may be delayed so that more calls join it (``max_delay``), or the batch after it (``min_interval``).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

I = TypeVar("I")  # noqa: E741 – an item
O = TypeVar("O")  # noqa: E741 – its outcome


class Batcher(Generic[I, O]):
    """Combines many small calls into few large ones of ``flush``, which answers one result per item, in order.

    ``max_delay`` seconds pass before each batch, ``min_interval`` seconds after it: with an interval alone, the first
    call after a pause does not wait. A batch has at most ``max_batch`` items, or one call's if that has more.
    """

    def __init__(
        self,
        flush: Callable[[Sequence[I]], Awaitable[Sequence[O]]],
        max_batch: int = 500,
        max_delay: float = 0.0,
        min_interval: float = 0.0,
    ) -> None:
        self._flush = flush
        self._max_batch = max_batch
        self._max_delay = max_delay
        self._min_interval = min_interval
        self._waiting: list[tuple[Sequence[I], asyncio.Future[list[O]]]] = []
        self._runner: asyncio.Task[None] | None = None

    async def submit(self, items: Sequence[I]) -> list[O]:
        """Flush ``items`` together with those of other calls, and wait for the results. Raises what ``flush`` raised.

        A call that is cancelled before its batch has begun is left out of it.
        """
        return await self._add(items)

    def submit_nowait(self, items: Sequence[I]) -> None:
        """Flush ``items`` together with those of other calls, and don't wait. For a ``flush`` that never raises."""
        if items:
            self._add(items)

    def _add(self, items: Sequence[I]) -> asyncio.Future[list[O]]:
        future: asyncio.Future[list[O]] = asyncio.get_running_loop().create_future()
        self._waiting.append((items, future))
        if self._runner is None or self._runner.done():
            self._runner = asyncio.create_task(self._run())
        return future

    async def _run(self) -> None:
        while self._waiting:
            if self._max_delay and len(self._waiting) < self._max_batch:
                await asyncio.sleep(self._max_delay)
            group: list[tuple[Sequence[I], asyncio.Future[list[O]]]] = []
            size = 0
            while self._waiting and (not group or size + len(self._waiting[0][0]) <= self._max_batch):
                items, future = self._waiting.pop(0)
                if not future.cancelled():  # a cancelled call's items are dropped
                    group.append((items, future))
                    size += len(items)
            if group:
                await self._flush_group(group)
                await asyncio.sleep(self._min_interval)

    async def _flush_group(self, group: list[tuple[Sequence[I], asyncio.Future[list[O]]]]) -> None:
        try:
            answers = list(await self._flush([item for items, _ in group for item in items]))
        except BaseException as error:
            for _, future in group:
                if not future.done():
                    future.set_exception(error if isinstance(error, Exception) else asyncio.CancelledError())
            if not isinstance(error, Exception):
                raise
            return
        at = 0
        for items, future in group:
            if not future.done():
                future.set_result(answers[at : at + len(items)])
            at += len(items)

    async def drain(self) -> None:
        """Wait until nothing is left to write."""
        while self._runner is not None and not self._runner.done():
            await asyncio.wait({self._runner})
