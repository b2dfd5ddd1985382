"""What the simulated providers have in common: a server on loopback, and callbacks that are tried again.

Must not know any provider, nor the gateway.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Coroutine, Mapping
from contextlib import suppress

import aiohttp
from aiohttp import web

from channels.received import Received

_CALLBACKS_AT_ONCE = 32  # our choice: concurrent callbacks that one web server can handle
_CALLBACK_TRIES = 6  # our choice: as Twilio with rc=5
_CALLBACK_BACKOFF = 0.2  # seconds, doubled at each retry; our choice
_CALLBACK_SECONDS = 15  # our choice: as Twilio


class LoopbackServer(ABC):
    """Construct it, await ``start``, use ``url``, and await ``stop``. A subclass adds its routes."""

    def __init__(self, port: int = 0, received: Received | None = None) -> None:
        self.port = port
        self.received = received or Received()
        self.callbacks_sent = 0
        self.callbacks_failed = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._gate = asyncio.Semaphore(_CALLBACKS_AT_ONCE)
        self._session: aiohttp.ClientSession | None = None
        self._runner: web.AppRunner | None = None

    @property
    def url(self) -> str:
        """The URL that it listens on."""
        return f"http://127.0.0.1:{self.port}"

    @abstractmethod
    def routes(self, app: web.Application) -> None:
        """Add the routes."""

    async def start(self) -> None:
        """Listen on loopback. Sets ``port`` where it was 0."""
        app = web.Application()
        self.routes(app)
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=_CALLBACKS_AT_ONCE),
            timeout=aiohttp.ClientTimeout(total=_CALLBACK_SECONDS),
        )
        self._runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self.port, backlog=512).start()
        self.port = self._runner.addresses[0][1]

    async def stop(self) -> None:
        """Stop listening and cancel pending callbacks."""
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._runner is not None:
            await self._runner.cleanup()
        if self._session is not None:
            await self._session.close()

    def summary(self) -> dict[str, int]:
        """The counts of messages, duplicates and callbacks."""
        callbacks = {"callbacks_sent": self.callbacks_sent, "callbacks_failed": self.callbacks_failed}
        return self.received.summary() | callbacks

    def later(self, work: Coroutine[None, None, None]) -> None:
        """Run in the background until it ends or the server stops."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def call_back(self, url: str, body: bytes, headers: Mapping[str, str]) -> None:
        """POST a callback; one that is not answered, or with a server error, is repeated."""
        for attempt in range(_CALLBACK_TRIES):
            if attempt:
                await asyncio.sleep(_CALLBACK_BACKOFF * 2 ** (attempt - 1))
            async with self._gate:
                if await self._post(url, body, headers):
                    self.callbacks_sent += 1
                    return
        self.callbacks_failed += 1

    async def _post(self, url: str, body: bytes, headers: Mapping[str, str]) -> bool:
        assert self._session is not None  # started
        with suppress(aiohttp.ClientError, TimeoutError, OSError):
            async with self._session.post(url, data=body, headers=headers, allow_redirects=False) as answer:
                await answer.read()
                return answer.status < 500
        return False
