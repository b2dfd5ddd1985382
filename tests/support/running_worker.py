"""A worker that runs for the time of a test, and waiting for what it does."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial

from gateway.queue.connection import open_pool
from gateway.queue.jobs import WorkerOptions, run_worker

QUICK = WorkerOptions(timeout_seconds=5)


@asynccontextmanager
async def running(
    url: str, dispatch: Callable[[Sequence[str]], Awaitable[None]], options: WorkerOptions = QUICK
) -> AsyncIterator[asyncio.Event]:
    """A worker for the time of a test."""
    stop = asyncio.Event()
    task = asyncio.create_task(run_worker(partial(open_pool, url, retries=0), dispatch, stop, options=options))
    try:
        yield stop
    finally:
        stop.set()
        await asyncio.wait_for(task, 20)


async def until(condition: Callable[[], bool | Awaitable[bool]], seconds: float = 10) -> None:
    """Wait for something that tells nobody when it happens."""
    async with asyncio.timeout(seconds):
        while True:
            answer = condition()
            if answer if isinstance(answer, bool) else await answer:
                return
            await asyncio.sleep(0.005)
