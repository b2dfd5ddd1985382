"""The outside world for tests: servers on loopback that misbehave on purpose, and one that catches callbacks."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta

from aiohttp import web

from channels.base import CallbackRequest, Content, Message
from tests.support.waiting import LIMIT_SECONDS

TEXT = "Dear Chen Mei, 3,913.00 TWD was due on 1 November."
NAME = "Chen Mei"


def clock() -> datetime:
    return datetime.now(UTC)


def message(address: str, number: int = 1, callback_url: str = "", attempt: int = 1, **changes: object) -> Message:
    """A message with a recognisable text, and a reference in the gateway's form."""
    delivery = f"dlv_{number:032x}"
    reference = f"{delivery}.{attempt}.{'ab' * 12}"
    values: dict[str, object] = {
        "delivery_id": delivery,
        "attempt": attempt,
        "tenant": "bank",
        "borrower_id": "B-1001",
        "address": address,
        "content": Content(TEXT, "Reminder", f"<p>{TEXT}</p>"),
        "reference": reference,
        "callback_url": f"{callback_url}?ref={reference}" if callback_url else "",
        "valid_until": clock() + timedelta(hours=1),
        "category": "collections",
    }
    return Message(**(values | changes))  # type: ignore[arg-type]


class CallbackCatcher:
    """An HTTP server that keeps every request as the gateway's receipts route would see it."""

    def __init__(self) -> None:
        self.requests: list[CallbackRequest] = []
        self.fail_first = 0
        self.url = ""
        self._arrived = asyncio.Condition()

    async def start(self) -> None:
        app = web.Application()
        app.router.add_post("/v1/receipts/x", self._take)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self._origin = f"http://127.0.0.1:{self._runner.addresses[0][1]}"
        self.url = f"{self._origin}/v1/receipts/x"

    async def stop(self) -> None:
        await self._runner.cleanup()

    async def wait_for(self, count: int, seconds: float = LIMIT_SECONDS) -> list[CallbackRequest]:
        """The first ``count`` requests, or a TimeoutError."""
        async with asyncio.timeout(seconds), self._arrived:
            await self._arrived.wait_for(lambda: len(self.requests) >= count)
        return self.requests[:count]

    async def _take(self, request: web.Request) -> web.Response:
        if self.fail_first:
            self.fail_first -= 1
            return web.Response(status=503)
        headers = {name.lower(): value for name, value in request.headers.items()}
        body = await request.read()
        url = f"{self._origin}{request.path_qs}"
        async with self._arrived:
            self.requests.append(CallbackRequest(url, headers, dict(request.query), body))
            self._arrived.notify_all()
        return web.Response()


Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class Scripted:
    """A TCP server that says what ``talk`` says, and hangs up when it returns."""

    def __init__(self, talk: Talk) -> None:
        self._talk = talk
        self._tasks: set[asyncio.Task[None]] = set()
        self.port = 0

    @property
    def conversations(self) -> int:
        """How many connections have been accepted."""
        return len(self._tasks)

    async def __aenter__(self) -> Scripted:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            await self._talk(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            writer.close()


async def closed_port() -> int:
    """A port where nothing listens."""
    server = await asyncio.start_server(lambda reader, writer: None, "127.0.0.1", 0)
    port: int = server.sockets[0].getsockname()[1]
    server.close()
    await server.wait_closed()
    return port
