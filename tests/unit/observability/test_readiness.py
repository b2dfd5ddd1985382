"""Readiness: each part by name, soon, whatever hangs."""

from __future__ import annotations

import asyncio

import aiohttp
import pytest

from gateway.core.errors import Unavailable
from gateway.observability import metrics_server, readiness
from gateway.observability.metrics import Metrics
from gateway.observability.readiness import Probe


async def _fine() -> str:
    return ""


async def test_what_is_missing_is_named() -> None:
    """A part's own word, or the class of what it raised; never the message, which may quote data."""

    async def old() -> str:
        return "run gateway ledger migrate"

    async def away() -> str:
        raise Unavailable("for +12025550123")

    found = await Probe({"ledger": away, "migrations": old, "redis": _fine}).ask()
    assert found.checks == {"ledger": "Unavailable", "migrations": "run gateway ledger migrate", "redis": ""}
    assert found.missing == ("ledger", "migrations")
    assert found.status == "not_ready"


async def test_what_can_be_done_without_degrades() -> None:
    """A part that this kind of process can do without is told, and does not make it unready."""

    async def away() -> str:
        return "ConnectionError"

    probe = Probe({"ledger": _fine, "redis": away})
    assert (await probe.ask(frozenset({"redis"}))).status == "degraded"
    assert (await probe.ask()).status == "not_ready"


async def test_a_part_that_hangs_is_asked_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The answer comes in time, says who is slow, and does not pile up questions; it is well again once it answers."""
    monkeypatch.setattr(readiness, "_PATIENCE_SECONDS", 0.05)
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
    """A worker has both beside its metrics; without Redis it can't work, and says so."""

    async def away() -> str:
        return "ConnectionError"

    probe = Probe({"ledger": _fine, "redis": away})
    server = await metrics_server.serve(Metrics([], []), probe, port=0)
    async with aiohttp.ClientSession(f"http://127.0.0.1:{server.port}") as session:
        async with session.get("/healthz") as alive:
            assert (alive.status, await alive.json()) == (200, {"status": "ok"})
        async with session.get("/readyz") as ready:
            checks = {"ledger": "", "redis": "ConnectionError"}
            assert (ready.status, await ready.json()) == (503, {"status": "not_ready", "checks": checks})
    await server.close()
