"""Group commit: what arrives while one batch is being written goes into the next one, together.

At low load a call is written at once, alone; under load batches grow by themselves. Where nobody waits for the answer,
a batch may linger a moment for more to come, or the one after it may.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

I = TypeVar("I")  # noqa: E741 – an item
O = TypeVar("O")  # noqa: E741 – its outcome


class Batcher(Generic[I, O]):
    """Turns many small calls into few large ones of ``flush``, whose answers are one per item, in order.

    ``max_delay`` pass before each batch, ``min_interval`` after it: with a rest, who comes alone does not wait.
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
        """Have ``items`` flushed together with others'. Raises what the flush raised.

        Who is cancelled before their batch has begun takes the items along.
        """
        return await self._add(items)

    def submit_nowait(self, items: Sequence[I]) -> None:
        """Have ``items`` flushed together with others', and don't wait. For a ``flush`` that never raises."""
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
                if not future.cancelled():  # or nobody waits for it any more
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
