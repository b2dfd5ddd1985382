"""Readiness: the result of each check, within a time limit, also if one hangs."""

from __future__ import annotations

import asyncio
import socket

import aiohttp
import pytest

from gateway.core.errors import Unavailable
from gateway.observability import metrics_server, readiness
from gateway.observability.metrics import Metrics
from gateway.observability.readiness import Probe


async def _fine() -> str:
    return ""


async def test_failed_checks_are_named() -> None:
    """The check's own reason, or the class of its exception; never the message, which may quote data."""

    async def old() -> str:
        return "run gateway ledger migrate"

    async def away() -> str:
        raise Unavailable("for +12025550123")

    found = await Probe({"ledger": away, "migrations": old, "redis": _fine}).ask()
    assert found.checks == {"ledger": "Unavailable", "migrations": "run gateway ledger migrate", "redis": ""}
    assert found.missing == ("ledger", "migrations")
    assert found.status == "not_ready"


async def test_an_optional_dependency_degrades() -> None:
    """The failure of a dependency that this process does not require is reported, and it stays ready."""

    async def away() -> str:
        return "ConnectionError"

    probe = Probe({"ledger": _fine, "redis": away})
    assert (await probe.ask(frozenset({"redis"}))).status == "degraded"
    assert (await probe.ask()).status == "not_ready"


async def test_a_check_that_hangs_runs_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The answer is in time and names the slow check, which is not started again; it recovers when the check ends."""
    monkeypatch.setattr(readiness, "_TIMEOUT_SECONDS", 0.05)
    asked, answers = [], asyncio.Event()

    async def slow() -> str:
        asked.append(1)
        await answers.wait()
        return ""

    probe = Probe({"ledger": slow, "redis": _fine})
    for _ in range(3):
        found = await probe.ask()
        assert found.checks == {"ledger": "no answer within 0.05 s", "redis": ""}
    assert len(asked) == 1
    answers.set()
    assert (await probe.ask()).status == "ready"
    await probe.close()


async def test_a_worker_says_whether_it_is_alive_and_ready() -> None:
    """A worker serves /healthz and /readyz beside its metrics; without Redis it is not ready."""

    async def away() -> str:
        return "ConnectionError"

    probe = Probe({"ledger": _fine, "redis": away})
    listener = socket.create_server(("127.0.0.1", 0))
    server = await metrics_server.serve(Metrics([], []), probe, listener)
    async with aiohttp.ClientSession(f"http://127.0.0.1:{listener.getsockname()[1]}") as session:
        async with session.get("/healthz") as alive:
            assert (alive.status, await alive.json()) == (200, {"status": "ok"})
        async with session.get("/readyz") as ready:
            checks = {"ledger": "", "redis": "ConnectionError"}
            assert (ready.status, await ready.json()) == (503, {"status": "not_ready", "checks": checks})
    await server.close()
