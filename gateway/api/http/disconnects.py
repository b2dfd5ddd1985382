"""Cancelling work when the client that asked for it has disconnected.

A client without an answer in its time asks again. If its first request were still processed, an API process that is
behind would do everything twice, stay behind because of it, and answer no client in time.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from starlette.requests import ClientDisconnect, Request

_WATCH_AFTER_SECONDS = 1.0  # most responses are ready sooner, and then this has cost a timer; our choice


@contextmanager
def cancel_on_disconnect(request: Request) -> Iterator[None]:
    """Cancel the block where the client disconnects. The body must have been read before.

    Raises: ClientDisconnect in place of the cancellation.
    """
    task = asyncio.current_task()
    assert task is not None, "runs in a request's task"
    watching: asyncio.Task[None] | None = None
    disconnected = False

    async def watch() -> None:
        nonlocal disconnected
        while (await request.receive())["type"] != "http.disconnect":
            pass
        disconnected = True
        task.cancel()

    def start_watching() -> None:
        nonlocal watching
        watching = asyncio.create_task(watch())

    timer = asyncio.get_running_loop().call_later(_WATCH_AFTER_SECONDS, start_watching)
    try:
        yield
    finally:
        timer.cancel()
        if watching is not None:
            watching.cancel()
        if disconnected:
            task.uncancel()
            raise ClientDisconnect from None
