"""A worker that runs for the time of a test."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial

from gateway.queue.connection import open_pool
from gateway.queue.jobs import WorkerOptions, run_worker
from tests.support.waiting import LIMIT_SECONDS

# No dispatch of these tests is cut off because the machine is busy.
PATIENT = WorkerOptions(timeout_seconds=LIMIT_SECONDS)


@asynccontextmanager
async def running(
    url: str,
    dispatch: Callable[[Sequence[str]], Awaitable[None]],
    options: WorkerOptions = PATIENT,
    *,
    command_seconds: float = 5.0,
) -> AsyncIterator[asyncio.Event]:
    """A worker for the time of a test. ``command_seconds`` must exceed the time that it may wait to be called."""
    stop = asyncio.Event()
    task = asyncio.create_task(
        run_worker(partial(open_pool, url, timeout=command_seconds, retries=0), dispatch, stop, options=options)
    )
    try:
        yield stop
    finally:
        stop.set()
        await asyncio.wait_for(task, LIMIT_SECONDS)
