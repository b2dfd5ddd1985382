"""The production shape on this machine: PostgreSQL, Valkey, the simulated outside world, and our own processes.

Every process is started here and ended here, by its own handle.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import socket
import subprocess
import uuid
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiohttp
from sqlalchemy import text

from gateway.app.embedded import simulated_providers
from gateway.app.embedded.simulated_providers import SimulatedProviders
from gateway.core.security.signing import Signer
from gateway.identity.keys import Keys, Scope
from gateway.storage.database import Database
from tests.support.forked import ForkedProcess, run_gateway
from tests.support.storage.ledgers import begun
from tests.support.waiting import LIMIT_SECONDS

SECRET = "a-secret-for-tests-only-0123456789"
_ACCOUNT = "AC" + "0" * 32


# Below the ports that Linux hands out by itself, to listeners on port 0 and to every outgoing connection.
_PORTS = range(15_000, 32_768)
_given_ports: set[int] = set()


def free_port() -> int:
    """A port that nobody has, and that nobody else is given while its server is down.

    Each test process draws from a share of its own, so that two that draw at once never get the same.
    """
    shares = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    own = _PORTS[int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) :: shares]
    while True:
        port = random.SystemRandom().choice(own)
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            if port not in _given_ports:
                _given_ports.add(port)
                return port


@dataclass
class Process:
    """One of our processes, and how to start it again."""

    arguments: Sequence[str]
    environment: Mapping[str, str]
    log: Path
    handle: ForkedProcess = field(init=False)

    def __post_init__(self) -> None:
        self.start()

    def start(self) -> None:
        self.handle = ForkedProcess(run_gateway, self.arguments, {**os.environ, **self.environment}, self.log)

    def kill(self) -> None:
        self.handle.kill()
        self.handle.wait()

    def stop(self) -> None:
        if self.handle.poll() is None:
            self.handle.send_signal(signal.SIGTERM)
            try:
                self.handle.wait(LIMIT_SECONDS)
            except subprocess.TimeoutExpired:
                self.kill()


@dataclass(frozen=True)
class Production:
    """What runs, and a client for one lender of it."""

    urls: list[str]
    apis: list[Process]
    workers: list[Process]
    outside: SimulatedProviders
    database: Database
    http: aiohttp.ClientSession
    tenant: str = ""
    key: str = ""
    received_before: Mapping[str, int] = field(default_factory=dict)

    async def new_lender(self, tenant: str = "") -> Production:
        """The same processes for a lender of whom nothing is known yet: tests that share them don't see each other."""
        tenant = tenant or f"lender-{uuid.uuid4().hex[:8]}"
        keys = Keys(self.database, Signer(SECRET.encode()))
        _, key = await keys.create(tenant, "test", list(Scope), datetime.now(UTC))
        before = (await self.outside.summary())["sms"]
        return replace(self, tenant=tenant, key=key, received_before=before)

    async def received(self) -> dict[str, int]:
        """What the SMS provider has counted since this lender came."""
        now = (await self.outside.summary())["sms"]
        return {name: count - self.received_before[name] for name, count in now.items()}

    async def states(self) -> dict[str, int]:
        """How many of this lender's notifications are in each state."""
        query = text("SELECT state, count(*) FROM notifications WHERE tenant = :tenant GROUP BY state")
        rows = await self.database.read(lambda connection: connection.execute(query, {"tenant": self.tenant}).all())
        return {row[0]: row[1] for row in rows}

    async def post(self, path: str, body: Any, *, api: int = 0, key: str = "") -> tuple[int, dict[str, Any]]:
        headers = {"Authorization": f"Bearer {self.key}", **({"Idempotency-Key": key} if key else {})}
        async with self.http.post(self.urls[api] + path, json=body, headers=headers) as response:
            return response.status, await response.json()

    async def get(self, path: str, *, api: int = 0) -> dict[str, Any]:
        async with self.http.get(self.urls[api] + path, headers={"Authorization": f"Bearer {self.key}"}) as response:
            found: dict[str, Any] = await response.json()
            return found


@asynccontextmanager
async def production(
    folder: Path, database_url: str, redis_url: str, *, apis: int = 2, workers: int = 2, **settings: Any
) -> AsyncIterator[Production]:
    """Start it all on an empty, migrated ledger, which then knows the templates that ship; end it all."""
    begun(database_url)
    ports = [free_port() for _ in range(apis)]
    tokens = {"SIM_SMS": "sms-token", "SIM_MAIL": "mail-token"}
    outside = await simulated_providers.start(
        [
            *("--account-sid", _ACCOUNT, "--token-env", "SIM_SMS"),
            *("--dsn-url", f"http://127.0.0.1:{ports[0]}/v1/receipts/mail", "--dsn-token-env", "SIM_MAIL"),
        ],
        tokens,
        folder / "world.log",
    )
    environment = {
        "GATEWAY_DATABASE_URL": database_url,
        "GATEWAY_REDIS_URL": redis_url,
        "GATEWAY_DATA_DIR": str(folder),
        "GATEWAY_METRICS_PORT": "0",  # several processes share this machine
        "GATEWAY_SECRET_KEY": SECRET,
        "GATEWAY_PUBLIC_URL": f"http://127.0.0.1:{ports[0]}",
        "GATEWAY_PROVIDERS": json.dumps(_providers(outside)),
        # A worker starts nothing after half of its lease: on a busy machine a batch needs several seconds.
        "GATEWAY_LEASE_SECONDS": "20",
        "GATEWAY_UNKNOWN_GRACE_SECONDS": "1",
        **{f"GATEWAY_{name.upper()}": str(value) for name, value in settings.items()},
    }
    database = Database(database_url)
    started = [
        Process(["api", "--port", str(port)], environment, folder / f"api-{number}.log")
        for number, port in enumerate(ports)
    ]
    working = [Process(["worker"], environment, folder / f"worker-{number}.log") for number in range(workers)]
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=LIMIT_SECONDS)) as http:
        urls = [f"http://127.0.0.1:{port}" for port in ports]
        try:
            await asyncio.gather(*(answers(http, url) for url in urls))
            yield Production(urls, started, working, outside, database, http)
        finally:
            await asyncio.gather(*(asyncio.to_thread(each.stop) for each in [*working, *started]))
            await outside.stop()
            await database.close()


def _providers(outside: SimulatedProviders) -> list[dict[str, Any]]:
    sms = {
        "account_sid": _ACCOUNT,
        "auth_token": "sms-token",
        "from_number": "+15005550006",
        "base_url": f"http://127.0.0.1:{outside.sms_port}",
        "timeout_seconds": 10,
        "lookup_settle_seconds": 3,
    }
    mail = {
        "host": "127.0.0.1",
        "port": outside.smtp_port,
        "tls": "none",
        "domain": "gateway.example.com",
        "from_address": "reminders@gateway.example.com",
        "callback_token": "mail-token",
    }
    return [
        {"channel": "sms", "kind": "twilio", "name": "sim", "options": sms},
        {"channel": "email", "kind": "smtp", "name": "mail", "options": mail},
    ]


async def answers(http: aiohttp.ClientSession, url: str, seconds: float = LIMIT_SECONDS) -> None:
    async with asyncio.timeout(seconds):
        while True:
            try:
                async with http.get(url + "/healthz") as response:
                    if response.status == 200:
                        return
            except aiohttp.ClientError:
                pass
            await asyncio.sleep(0.1)


# Area codes whose 555-01xx numbers are reserved for fiction.
_AREAS = (202, 203, 205, 206, 207, 208, 209, 210, 212, 213, 214, 215, 216, 217, 218, 219)


def _noon() -> str:
    """A zone in which it is about noon now: these processes run on the real clock."""
    ahead = 12 - datetime.now(UTC).hour
    return f"Etc/GMT{-ahead:+d}" if ahead else "Etc/GMT"  # POSIX counts westwards


def request(number: int, *, route: Sequence[Any] = ("sms", "email"), **changes: Any) -> dict[str, Any]:
    """A request that is delivered at once, for 1,280 borrowers; the last two digits of a phone number are below 80."""
    body: dict[str, Any] = {
        "borrower": {
            "id": f"B-{number}",
            "name": "Chen Mei",
            "locale": "zh-TW",
            "jurisdiction": "zz",
            "time_zones": [_noon()],
            "addresses": {
                "sms": f"+1{_AREAS[number // 80]}55501{number % 80:02d}",
                "email": f"b{number}@example.com",
                "inapp": f"B-{number}",
            },
        },
        "case": {"id": f"C-{number}", "product": "card", "due_date": "2026-11-01", "stage": "first_reminder"},
        "template": "overdue-first",
        "variables": {"amount": "3913.00", "currency": "TWD", "due_date": "2026-11-01"},
        "route": list(route),
    }
    return {**body, **changes}
