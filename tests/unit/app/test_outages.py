"""The ledger goes away in the middle: what a provider answered is kept, and what can wait is not lost."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from channels.base import Accepted as ProviderAccepted
from channels.base import Message, Provider
from gateway.api.requests.notifications import NotificationIn
from gateway.app.app import Gateway
from gateway.core.deliveries import Attempt
from gateway.core.errors import Unavailable
from gateway.core.requests import AcceptResult
from tests.support.api_gateway import open_api_gateway, request
from tests.support.waiting import LIMIT_SECONDS


@pytest.fixture
async def gateway(tmp_path: Path, redis_url: str) -> AsyncIterator[Gateway]:
    """What is behind the API."""
    async with open_api_gateway(tmp_path, redis_url) as opened:
        yield opened


class Away:
    """A ledger that can't be written when attempts are settled, ``times`` times; otherwise the real one."""

    def __init__(self, ledger: Any, times: int) -> None:
        self._ledger = ledger
        self.left = times
        self.asked = asyncio.Event()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._ledger, name)

    async def settle(self, ended: Sequence[Attempt], *decide: Any) -> list[str]:
        self.left -= 1
        self.asked.set()
        if self.left >= 0:
            raise Unavailable("ledger: OperationalError")
        answer: list[str] = await self._ledger.settle(ended, *decide)
        return answer


async def _accepted(gateway: Gateway, number: int = 1) -> str:
    body = request(number, route=["inapp"])
    [answer] = await gateway.path.pipeline.accept("acme", [NotificationIn(**body).incoming("", body)])
    assert isinstance(answer, AcceptResult)
    return answer.id


async def test_a_providers_answer_outlives_the_ledgers_outage(gateway: Gateway) -> None:
    """The message is out and the ledger is gone: the worker keeps what it knows, and writes it when it can."""
    identifier = await _accepted(gateway)
    gateway.path.pipeline._store = Away(gateway.path.store, times=2)  # type: ignore[assignment]
    await gateway.path.pipeline.dispatch(await gateway.path.store.due(gateway.ledger.clock(), 10))
    found = await gateway.ledger.reads.notification("acme", identifier)
    assert found is not None
    assert found["state"] == "delivered"


async def test_it_outlives_a_dispatch_that_is_cut_off(gateway: Gateway) -> None:
    """The job's time is over while the ledger is away: the record is written all the same, before a clean stop ends."""
    identifier = await _accepted(gateway)
    away = Away(gateway.path.store, times=2)
    gateway.path.pipeline._store = away  # type: ignore[assignment]
    dispatching = asyncio.create_task(
        gateway.path.pipeline.dispatch(await gateway.path.store.due(gateway.ledger.clock(), 10))
    )
    await away.asked.wait()
    dispatching.cancel()
    with pytest.raises(asyncio.CancelledError):
        await dispatching
    gateway.path.pipeline.stop()
    await gateway.path.pipeline.drain()
    found = await gateway.ledger.reads.notification("acme", identifier)
    assert found is not None
    assert found["state"] == "delivered"


async def test_a_worker_that_stops_claims_nothing(gateway: Gateway) -> None:
    """After SIGTERM a job that was still in the queue leaves its deliveries to the other workers, unclaimed."""
    await _accepted(gateway)
    gateway.path.pipeline.stop()
    due = await gateway.path.store.due(gateway.ledger.clock(), 10)
    await gateway.path.pipeline.dispatch(due)
    assert await gateway.path.store.due(gateway.ledger.clock(), 10) == due


class HangingProvider:
    """The feed, which takes one message at a time and answers when it is told to."""

    def __init__(self, feed: Provider) -> None:
        self._feed = feed
        self.begun, self.may_answer = asyncio.Event(), asyncio.Event()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._feed, name)

    async def send(self, message: Message) -> ProviderAccepted:
        self.begun.set()
        await self.may_answer.wait()
        return await self._feed.send(message)


async def test_a_stop_finishes_what_is_under_way_and_gives_back_the_rest_at_once(gateway: Gateway) -> None:
    """Three messages are started, one is with its provider: while that one still waits for its answer the two others
    are due again, for any worker; and that one is recorded as delivered before the stop is through."""
    for number in range(3):
        await _accepted(gateway, number)
    feed = HangingProvider(gateway.providers.by_name["feed"])
    gateway.providers.by_name["feed"] = feed  # type: ignore[index]
    gateway.path.pipeline._stages.sender._slots["feed"] = asyncio.Semaphore(1)
    started = await gateway.path.store.due(gateway.ledger.clock(), 10)
    async with asyncio.TaskGroup() as tasks:
        dispatching = tasks.create_task(gateway.path.pipeline.dispatch(started))
        await feed.begun.wait()
        gateway.path.pipeline.stop()
        async with asyncio.timeout(LIMIT_SECONDS):
            while len(given_back := await gateway.path.store.due(gateway.ledger.clock(), 10)) < 2:  # noqa: ASYNC110 – in a database
                await asyncio.sleep(0.01)
        assert not dispatching.done()
        feed.may_answer.set()
    await gateway.path.pipeline.drain()
    assert len(given_back) == 2
    assert await gateway.path.store.due(gateway.ledger.clock(), 10) == given_back
    counted = await gateway.ledger.reads.summary("acme")
    assert counted["states"] == {"delivered": 1, "retrying": 2}
