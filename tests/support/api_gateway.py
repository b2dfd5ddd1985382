"""The real gateway for tests of its HTTP side, with a real server in front of it, and a client that calls it."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import uvicorn
from starlette.types import ASGIApp

from gateway.api.app import create_app
from gateway.app.app import Gateway, open_gateway
from gateway.app.http import http_parts
from gateway.app.settings import Settings
from gateway.core.clock import Clock
from tests.support.storage.ledgers import NOW, begun, empty_sqlite
from tests.support.waiting import LIMIT_SECONDS

# Providers that are configured and can't be reached: port 9 of loopback refuses connections.
PROVIDERS = [
    {
        "channel": "sms",
        "kind": "twilio",
        "name": "twilio",
        "options": {
            "account_sid": "AC" + "0" * 32,
            "auth_token": "ab" * 16,
            "from_number": "+15005550006",
            "base_url": "http://127.0.0.1:9",
        },
    },
    {
        "channel": "email",
        "kind": "smtp",
        "name": "relay",
        "options": {"host": "127.0.0.1", "port": 9, "domain": "example.com", "from_address": "bank@example.com"},
    },
]


@asynccontextmanager
async def open_api_gateway(
    directory: Path, redis_url: str, *, clock: Clock | None = lambda: NOW, **settings: Any
) -> AsyncIterator[Gateway]:
    """The gateway as ``open_gateway`` makes it, with a clock that stands at ``NOW``, and no worker.

    NOW is six in the evening in Taipei: the policy permits what ``request`` asks for. The ledger is one that was
    started before, since compiling and checking the templates that ship takes seconds. Opened again in the same
    directory, it has the ledger that was there.
    """
    if not (directory / "ledger.db").exists():
        begun(empty_sqlite(directory))
    values = {
        "secret_key": "0123456789abcdef",
        "providers": PROVIDERS,
        "releases_per_second": 0,
        "api_docs": True,
        **settings,
    }
    chosen = Settings(data_dir=directory, redis_url=redis_url, **values)
    async with open_gateway(chosen, clock=clock) as gateway:
        yield gateway


def app_of(gateway: Gateway) -> ASGIApp:
    """The HTTP application of a gateway."""
    return create_app(http_parts(gateway))


class _Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Any:
        yield


@asynccontextmanager
async def serving(app: ASGIApp, port: int = 0) -> AsyncIterator[str]:
    """The application behind a real HTTP server on a port of loopback, 0: a free one; its address."""
    listener = socket.create_server(("127.0.0.1", port))
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # as gateway/app/serving.py does
    config = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        lifespan="off",
        timeout_graceful_shutdown=1,
        # A busy machine may need more than uvicorn's 5 s to prepare a large request: the connection would be closed.
        timeout_keep_alive=int(LIMIT_SECONDS),
    )
    server = _Server(config)
    task = asyncio.create_task(server.serve([listener]))
    while not server.started:  # noqa: ASYNC110 – uvicorn has no event for it
        await asyncio.sleep(0.005)
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        await task


@dataclass(frozen=True)
class Client:
    """An HTTP client with one API key, or another token."""

    session: aiohttp.ClientSession
    url: str
    token: str

    def holding(self, token: str) -> Client:
        return Client(self.session, self.url, token)

    async def call(self, method: str, path: str, json: Any = None, **options: Any) -> Answer:
        headers = {"Authorization": f"Bearer {self.token}"} if self.token else {}
        headers.update(options.pop("headers", {}))
        if json is not None:
            options["json"] = json
        async with self.session.request(method, self.url + path, headers=headers, **options) as response:
            raw = await response.read()
            is_json = response.content_type.endswith("json")
            return Answer(
                response.status,
                response.headers,
                await response.json(content_type=None) if is_json and raw else None,
                raw,
            )

    async def get(self, path: str, **options: Any) -> Answer:
        return await self.call("GET", path, **options)

    async def post(self, path: str, json: Any = None, **options: Any) -> Answer:
        return await self.call("POST", path, json, **options)


@dataclass
class Answer:
    status: int
    headers: Mapping[str, str]
    json: Any
    raw: bytes

    @property
    def problem(self) -> str:
        """The last word of the problem's type."""
        assert self.headers["Content-Type"] == "application/problem+json", (self.status, self.raw)
        assert self.json["status"] == self.status
        assert self.json["request_id"] == self.headers["X-Request-ID"]
        return str(self.json["type"]).removeprefix("/problems/")

    @property
    def pointers(self) -> list[str]:
        return [each["pointer"] for each in self.json.get("errors", [])]


def request(number: int = 1, **changes: Any) -> dict[str, Any]:
    """A request that every gateway with the template ``overdue-first`` takes."""
    body: dict[str, Any] = {
        "borrower": {
            "id": f"B-{number}",
            "name": "Chen Mei",
            "locale": "zh-TW",
            "jurisdiction": "tw",
            "time_zones": ["Asia/Taipei"],
            "addresses": {"sms": "+886912345678", "email": f"b{number}@example.com", "inapp": f"B-{number}"},
        },
        "case": {"id": f"C-{number}", "product": "card", "due_date": "2026-11-01", "stage": "first_reminder"},
        "template": "overdue-first",
        "variables": {"amount": "3913.00", "currency": "TWD", "due_date": "2026-11-01"},
        "route": [{"channel": "sms", "wait": "PT30M", "until": "delivered"}, "inapp"],
        "category": "collections",
    }
    return {**body, **changes}


def case_body(number: int = 1, **changes: Any) -> dict[str, Any]:
    """A case as a case system feeds it, overdue since four days before ``NOW``."""
    body: dict[str, Any] = {
        "as_of": "2026-11-23T10:00:00Z",
        "borrower": request(number)["borrower"],
        "product": "card",
        "currency": "TWD",
        "balance": "3913.00",
        "minimum_due": "3913.00",
        "due_date": "2026-11-20",
        "facts": {"months_overdue": 1},
    }
    return {**body, **changes}
