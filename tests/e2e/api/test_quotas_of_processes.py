"""Quotas are exact over API processes: what several grant together is what one limit holds."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from sqlalchemy import create_engine

from gateway.storage.upgrade.migrate import migrate
from tests.support.production import Production, production, request
from tests.support.storage.postgresql import new_database
from tests.support.waiting import clear_of_midnight

pytestmark = pytest.mark.asyncio(loop_scope="module")

_PROCESSES = 3
# Buckets that hold 86,400 seconds of their rate, and so gain less than one token while a test runs.
_QUOTAS = {
    "by-requests": {"requests_per_second": 0.0005, "notifications_per_second": 0, "burst_seconds": 86_400},
    "by-notifications": {"requests_per_second": 0, "notifications_per_second": 0.0007, "burst_seconds": 86_400},
    "by-day-again": {"requests_per_second": 0, "notifications_per_second": 0, "notifications_per_day": 3},
    "by-day": {"requests_per_second": 0, "notifications_per_second": 0, "notifications_per_day": 25},
}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shape(
    tmp_path_factory: pytest.TempPathFactory, postgresql_url: str, tcp_valkey_url: str
) -> AsyncIterator[Production]:
    clear_of_midnight()
    with new_database(postgresql_url) as url:
        engine = create_engine(url)
        migrate(engine)
        engine.dispose()
        folder, quotas = tmp_path_factory.mktemp("production"), json.dumps(_QUOTAS)
        started = production(folder, url, tcp_valkey_url, apis=_PROCESSES, workers=0, quotas=quotas)
        async with started as running:
            yield running


@pytest.mark.parametrize(("tenant", "holds"), [("by-requests", 43), ("by-notifications", 60), ("by-day", 25)])
async def test_processes_grant_together_what_the_limit_holds(shape: Production, tenant: str, holds: int) -> None:
    """Of 120 requests at once to three processes exactly as many pass; the others get 429, and nothing is stored."""
    running = await shape.new_lender(tenant)
    bodies = [request(number, route=["sms"]) for number in range(120)]
    replies = await asyncio.gather(
        *(
            running.post("/v1/notifications", body, api=number % _PROCESSES, key=f"k{number}")
            for number, body in enumerate(bodies)
        )
    )
    assert Counter(status for status, _ in replies) == {202: holds, 429: 120 - holds}
    assert sum((await running.states()).values()) == holds


async def test_a_replay_at_another_process_gives_its_notification_back(shape: Production) -> None:
    """The same idempotency key at each process counts one notification of the day."""
    running = await shape.new_lender("by-day-again")
    body = request(1, route=["sms"])
    replies = [
        await running.post("/v1/notifications", body, api=number % _PROCESSES, key="same") for number in range(9)
    ]
    assert Counter(status for status, _ in replies) == {202: 1, 200: 8}
    others = [
        await running.post("/v1/notifications", request(number, route=["sms"]), api=number % _PROCESSES)
        for number in range(2, 6)
    ]
    assert Counter(status for status, _ in others) == {202: 2, 429: 2}
