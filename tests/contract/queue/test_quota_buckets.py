"""Quota counters on a real Valkey, and those of a process whose Redis is away."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from redis.asyncio import Redis

from gateway.app.embedded.valkey import EmbeddedValkey
from gateway.core.quotas import Charge, QuotaLimit, QuotaName
from gateway.queue.connection import connect
from gateway.queue.quota_buckets import KEY_PREFIX, LocalQuotaBuckets, QuotaBuckets
from tests.support.waiting import clear_of_midnight

DAY = 86_400
SLOW = 0.001  # tokens a second: what a test takes is not back while it runs


@pytest.fixture(autouse=True)
def _one_day() -> None:
    """The day does not end in the middle of a test."""
    clear_of_midnight()


def bucket(capacity: int, per_second: float = SLOW, owner: str = "acme") -> QuotaLimit:
    return QuotaLimit(QuotaName.TENANT_NOTIFICATIONS, owner, capacity, per_second)


def day(capacity: int, owner: str = "acme") -> QuotaLimit:
    return QuotaLimit(QuotaName.TENANT_DAY, owner, capacity, 0.0)


async def test_many_processes_take_what_there_is_and_no_more(redis_url: str) -> None:
    """Twenty workers with connections of their own take exactly the bucket and exactly the day."""
    clients = [connect(redis_url) for _ in range(20)]
    workers = [QuotaBuckets(client) for client in clients]
    limits = bucket(1000), day(700)

    async def work(buckets: QuotaBuckets, wanted: int) -> int:
        taken = 0
        for _ in range(60):
            states = await buckets.take([Charge(each, wanted) for each in limits])
            taken += 0 if any(each.wait_seconds for each in states) else wanted
        return taken

    taken = await asyncio.gather(*(work(each, 1 + number % 3) for number, each in enumerate(workers)))
    states = await workers[0].take([Charge(each, 0) for each in limits])
    for client in clients:
        await client.aclose()
    assert sum(taken) == 700
    assert [each.remaining for each in states] == [300, 0]


async def test_requests_that_come_together_share_round_trips(redis_url: str) -> None:
    """A hundred at once cost two: the first goes by itself, the others while it is under way."""
    client = connect(redis_url)
    buckets, trips = QuotaBuckets(client), []
    script = buckets._script

    async def counted(*given: Any) -> Any:
        trips.append(given)
        return await script(*given)

    buckets._script = counted  # type: ignore[assignment]
    charges = [Charge(bucket(1_000, owner="together"), 1), Charge(day(1_000, owner="together"), 1)]
    await asyncio.gather(*(buckets.take(charges) for _ in range(100)))
    await client.aclose()
    assert len(trips) <= 2


async def test_many_processes_stay_within_the_rate(redis_url: str) -> None:
    """What twenty workers take is at most the bucket and what came into it meanwhile."""
    clients = [connect(redis_url) for _ in range(20)]
    workers = [QuotaBuckets(client) for client in clients]
    limit, enough, taken = bucket(50, 500.0), 500, 0
    began = time.monotonic()

    async def work(buckets: QuotaBuckets) -> None:
        nonlocal taken
        while taken < enough:
            [state] = await buckets.take([Charge(limit, 2)])
            taken += 0 if state.wait_seconds else 2
            await asyncio.sleep(min(state.wait_seconds, 0.01))

    await asyncio.gather(*(work(each) for each in workers))
    elapsed = time.monotonic() - began
    for client in clients:
        await client.aclose()
    assert enough <= taken <= 50 + 500 * elapsed


async def test_a_refused_request_takes_nothing(redis: Redis) -> None:
    """Where one limit has no room, the others keep what they have, and only the full one says when to come back."""
    buckets, wide, narrow = QuotaBuckets(redis), bucket(10), bucket(1, owner="key")
    assert [each.wait_seconds for each in await buckets.take([Charge(wide, 1), Charge(narrow, 1)])] == [0, 0]
    refused = await buckets.take([Charge(wide, 1), Charge(narrow, 1)])
    assert (refused[0].wait_seconds, refused[0].remaining) == (0, 9)
    assert 900 < refused[1].wait_seconds <= 1000


async def test_requests_in_flight_are_charged_by_one_call(redis: Redis) -> None:
    """A hundred requests at once take a hundred tokens, each its own, in two calls of the script."""
    buckets, limit = QuotaBuckets(redis), bucket(100)
    await redis.config_resetstat()
    found = await asyncio.gather(*(buckets.take([Charge(limit, 1)]) for _ in range(100)))
    assert sorted(state.remaining for [state] in found) == list(range(100))
    calls = (await redis.info("commandstats"))["cmdstat_evalsha"]["calls"]
    assert calls <= 3  # the first finds that the server does not know the script yet


async def test_what_is_given_back_is_there_again(redis: Redis) -> None:
    """Giving back never makes a limit hold more than its capacity."""
    buckets, limits = QuotaBuckets(redis), (bucket(10), day(10))
    await buckets.take([Charge(each, 4) for each in limits])
    assert [each.remaining for each in await buckets.take([Charge(each, -3) for each in limits])] == [9, 9]
    assert [each.remaining for each in await buckets.take([Charge(each, -30) for each in limits])] == [10, 10]


async def test_a_day_ends_at_midnight_utc(redis: Redis) -> None:
    """Yesterday's count is gone; a clock that went back behind midnight goes on with the new day's."""
    buckets, limit = QuotaBuckets(redis), day(10)
    key, today = f"{KEY_PREFIX}{limit.name}:acme", int(time.time() // DAY)
    await redis.hset(key, mapping={"day": str(today - 1), "used": "10"})
    [state] = await buckets.take([Charge(limit, 1)])
    assert state.remaining == 9
    assert 0 < await redis.pttl(key) <= DAY * 1000
    await redis.hset(key, mapping={"day": str(today + 2), "used": "10"})
    [state] = await buckets.take([Charge(limit, 1)])
    assert 0 < state.wait_seconds <= DAY


async def test_a_key_expires_when_it_says_nothing_more(redis: Redis) -> None:
    """A bucket's key lives until the bucket would be full again."""
    await QuotaBuckets(redis).take([Charge(bucket(5, 0.01), 5)])
    assert 0 < await redis.pttl(f"{KEY_PREFIX}{QuotaName.TENANT_NOTIFICATIONS}:acme") <= 500_010


async def test_a_process_counts_by_itself_while_redis_is_away(short_dir: Path) -> None:
    """Without Redis the same limits hold in each process, and Redis is asked again after a second only."""
    client = connect(f"unix://{short_dir}/nobody.sock", retries=0)
    now = 0.0
    buckets = QuotaBuckets(client, elapsed=lambda: now)
    found = [state for _ in range(6) for state in await buckets.take([Charge(bucket(5), 1)])]
    assert [each.wait_seconds > 0 for each in found] == [False] * 5 + [True]
    await client.aclose()


async def test_redis_counts_again_when_it_is_back(redis: Redis, short_dir: Path) -> None:
    """After the pause the shared counters decide again."""
    now = 0.0
    buckets = QuotaBuckets(redis, elapsed=lambda: now)
    await redis.set(f"{KEY_PREFIX}{QuotaName.TENANT_NOTIFICATIONS}:acme", "no hash")  # the script fails on it
    [state] = await buckets.take([Charge(bucket(5), 1)])
    assert state.remaining == 4
    await redis.flushall()
    [state] = await buckets.take([Charge(bucket(5), 1)])
    assert state.remaining == 3  # still this process's
    now = 1.5
    [state] = await buckets.take([Charge(bucket(5), 1)])
    assert state.remaining == 4


STEPS = st.lists(st.lists(st.integers(-3, 6), min_size=2, max_size=2), min_size=1, max_size=20)


@given(steps=STEPS)
def test_the_process_counts_as_the_script_does(valkey_server: EmbeddedValkey, steps: list[list[int]]) -> None:
    """Any sequence of charges leaves the same counts in Redis and in a process without it."""

    async def compare() -> None:
        client = connect(valkey_server.url)
        await client.flushall()
        shared, local = QuotaBuckets(client), LocalQuotaBuckets()
        for wanted in steps:
            charges = [Charge(limit, each) for limit, each in zip((bucket(8), day(12)), wanted, strict=True)]
            ours, theirs = local.take(charges), await shared.take(charges)
            assert [(each.remaining, each.wait_seconds > 0) for each in ours] == [
                (each.remaining, each.wait_seconds > 0) for each in theirs
            ]
        await client.aclose()

    asyncio.run(compare())


def test_a_process_forgets_yesterday_and_fills_its_buckets() -> None:
    """The counters of a process follow its clock, also one that goes back."""
    now = 10 * DAY + 80_000.0
    local, limits = LocalQuotaBuckets(lambda: now), (bucket(10, 1.0), day(10))

    def left(wanted: int) -> list[int]:
        return [each.remaining for each in local.take([Charge(limit, wanted) for limit in limits])]

    assert left(6) == [4, 4]
    now += 3
    assert left(0) == [7, 4]
    now -= 5
    assert left(0) == [7, 4]
    now += DAY
    assert left(0) == [10, 10]
