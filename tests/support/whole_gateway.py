"""A whole gateway in the test's process: API, worker and embedded parts, and a client of it."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from shutil import rmtree
from typing import Any

import aiohttp

from gateway.app import serving
from gateway.app.app import Gateway
from gateway.app.settings import Settings
from tests.support.storage.ledgers import begun, empty_sqlite
from tests.support.waiting import LIMIT_SECONDS

REQUEST: dict[str, Any] = {
    "borrower": {
        "id": "B-1001",
        "name": "Chen Mei",
        "locale": "zh-TW",
        "jurisdiction": "tw",
        "time_zones": ["Asia/Taipei"],
        "addresses": {"sms": "+12025550123", "email": "b1001@example.com", "inapp": "B-1001"},
    },
    "case": {"id": "C-77", "product": "card", "due_date": "2026-11-01", "stage": "first_reminder"},
    "template": "overdue-first",
    "variables": {"amount": "3913.00", "currency": "TWD", "due_date": "2026-11-01"},
    "route": [{"channel": "sms", "wait": "PT30M", "until": "delivered"}, {"channel": "email"}, {"channel": "inapp"}],
}


@dataclass
class Running:
    """A gateway that is up, and a client of it."""

    url: str
    headers: dict[str, str]
    gateway: Gateway
    http: aiohttp.ClientSession

    async def call(self, method: str, path: str, body: Any = None, **headers: str) -> tuple[int, Any]:
        async with self.http.request(
            method, self.url + path, json=body, headers={**self.headers, **headers}
        ) as response:
            return response.status, await response.json() if response.content_length else None

    async def read(self, notification_id: str) -> dict[str, Any]:
        _, found = await self.call("GET", f"/v1/notifications/{notification_id}")
        return dict(found)

    async def until_at_rest(self, notification_id: str) -> dict[str, Any]:
        async with asyncio.timeout(LIMIT_SECONDS):
            while True:
                found = await self.read(notification_id)
                moving = [each for each in found["deliveries"] if each["due_at"] is not None]
                if not moving:
                    return found
                await asyncio.sleep(0.05)


@asynccontextmanager
async def up(at: str, **chosen: Any) -> AsyncIterator[Running]:
    folder = Path(tempfile.mkdtemp(prefix="gw-"))  # short: the embedded Valkey's socket is in it
    stop, ready = asyncio.Event(), asyncio.get_running_loop().create_future()

    async def announce(gateway: Gateway) -> None:
        ready.set_result(gateway)

    begun(empty_sqlite(folder))
    settings = Settings(**{"data_dir": folder, "port": 0, "at": at, "time_scale": 3600, **chosen})
    running = asyncio.create_task(serving.serve(settings, api=True, worker=True, ready=announce, stop=stop))
    done, _ = await asyncio.wait({running, ready}, return_when=asyncio.FIRST_COMPLETED)
    for each in done:
        each.result()
    gateway: Gateway = ready.result()
    _, key = await gateway.ledger.keys.create("acme", "case system", ["send", "read", "manage"], gateway.ledger.clock())
    async with aiohttp.ClientSession() as http:
        url = f"http://127.0.0.1:{gateway.ledger.settings.port}"
        yield Running(url, {"Authorization": f"Bearer {key}"}, gateway, http)
    stop.set()
    await running
    rmtree(folder, ignore_errors=True)
