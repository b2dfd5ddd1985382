"""Work that is given up when the client who asked for it has gone.

A client that gets no answer in its time asks again. If what it asked for first were still done, an API process that is
behind would do everything twice, stay behind for it, and answer nobody in time.
"""

from __future__ import annotations

import asyncio

from starlette.requests import ClientDisconnect, Request

_LONG_SECONDS = 1.0  # most answers are given sooner, and then this has cost a timer; our choice


class cancel_on_disconnect:
    """A block that ends with ClientDisconnect where the client hangs up. The body must have been read before."""

    __slots__ = ("_gone", "_request", "_task", "_timer", "_watching")

    def __init__(self, request: Request) -> None:
        self._request = request
        self._watching: asyncio.Task[None] | None = None
        self._gone = False

    def __enter__(self) -> None:
        self._task = asyncio.current_task()
        self._timer = asyncio.get_running_loop().call_later(_LONG_SECONDS, self._watch)

    def _watch(self) -> None:
        self._watching = asyncio.create_task(self._until_gone())

    async def _until_gone(self) -> None:
        while (await self._request.receive())["type"] != "http.disconnect":
            pass
        self._gone = True
        if self._task is not None:
            self._task.cancel()

    def __exit__(self, _kind: object, _error: object, _trace: object) -> None:
        self._timer.cancel()
        if self._watching is not None:
            self._watching.cancel()
        if self._gone and self._task is not None:
            self._task.uncancel()
            raise ClientDisconnect from None
