"""Token buckets on a real Valkey."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest
from redis.asyncio import Redis

from gateway.queue.connection import connect
from gateway.queue.token_buckets import KEY_PREFIX, Grant, TokenBuckets
from tests.support.waiting import LIMIT_SECONDS, eventually


async def test_full_bucket_grants_burst_and_no_more(redis: Redis) -> None:
    """An unused bucket holds exactly its burst, and says when the rest will be there."""
    buckets = TokenBuckets(redis)
    first = await buckets.take("sms-a", 15, rate_per_second=0.001, burst=10)
    assert first.granted == 10
    assert first.wait_seconds == 5000.0  # five more at one in a thousand seconds
    second = await buckets.take("sms-a", 1, rate_per_second=0.001, burst=10)
    assert second.granted == 0
    assert 1000 - LIMIT_SECONDS < second.wait_seconds <= 1000


async def test_wait_is_honest(redis: Redis) -> None:
    """After the seconds it named, the bucket has what was asked for; just before it, it has not."""
    buckets = TokenBuckets(redis)
    assert (await buckets.take("p", 20, 100, 20)).granted == 20
    asked = await buckets.take("p", 10, 100, 20)
    taken = asked.granted
    await asyncio.sleep(asked.wait_seconds)
    assert (await buckets.take("p", 10 - taken, 100, 20)).granted == 10 - taken


async def test_providers_do_not_share(redis: Redis) -> None:
    """One provider's empty bucket leaves another's full."""
    buckets = TokenBuckets(redis)
    await buckets.take("a", 5, 0.1, 5)
    assert await buckets.take("b", 5, 0.1, 5) == Grant(5, 0.0)


async def test_many_workers_stay_within_the_rate(redis_url: str) -> None:
    """Twenty workers on connections of their own take what the bucket gave: never more, and what came meanwhile too."""
    clients = [connect(redis_url) for _ in range(20)]
    workers = [TokenBuckets(client) for client in clients]
    rate, burst, enough = 500.0, 50, 500
    began = time.monotonic()

    taken: list[int] = []

    async def work(buckets: TokenBuckets, wanted: int) -> None:
        while sum(taken) < enough:
            grant = await buckets.take("shared", wanted, rate, burst)
            taken.append(grant.granted)
            await asyncio.sleep(min(grant.wait_seconds, 0.01))

    await asyncio.gather(*(work(buckets, 1 + number % 3) for number, buckets in enumerate(workers)))
    elapsed = time.monotonic() - began
    for client in clients:
        await client.aclose()
    assert enough <= sum(taken) <= burst + rate * elapsed


async def test_fractions_add_up(redis: Redis) -> None:
    """Many small takes lose nothing to rounding: a third of a token a millisecond is a third, not a quarter."""
    buckets = TokenBuckets(redis)
    earliest, taken = time.monotonic(), 0
    await buckets.take("p", 1000, 333.3, 1000)  # empty, and so large that a pause of this process loses nothing
    began = time.monotonic()
    while (latest := time.monotonic()) - began < 0.5:
        taken += (await buckets.take("p", 1, 333.3, 1000)).granted
    await buckets.take("p", 1, 333.3, 1000)
    # By the server's clock the bucket filled for something between the shortest and the longest that we saw; and of
    # what was in it at the end, one at a time was taken.
    assert taken <= 333.3 * (time.monotonic() - earliest) + 1
    grants = await buckets.take("p", 1000, 333.3, 1000)
    assert taken + 1 + grants.granted >= 333.3 * (latest - began) - 2


async def test_key_expires_when_it_says_nothing_more(redis: Redis) -> None:
    """A bucket that would be full again leaves no key behind."""
    buckets, key = TokenBuckets(redis), KEY_PREFIX + "p"
    await buckets.take("p", 5, 0.01, 5)
    assert 0 < await redis.pttl(key) <= 500_010
    await redis.delete(key)
    await buckets.take("p", 5, 100, 5)

    async def gone() -> bool:
        return not await redis.exists(key)

    await eventually(gone)


async def test_clock_that_went_back_takes_nothing_away(redis: Redis) -> None:
    """After a failover to a server whose clock is behind, the bucket still grants what it held."""
    future = int((time.time() + 3600) * 1_000_000)
    await redis.hset(KEY_PREFIX + "p", mapping={"tokens": "3", "at": str(future)})
    buckets = TokenBuckets(redis)
    assert (await buckets.take("p", 5, 10, 5)).granted == 3
    await asyncio.sleep(0.12)
    assert (await buckets.take("p", 1, 10, 5)).granted == 1


async def test_nothing_is_granted_while_redis_is_away(short_dir: Path) -> None:
    """What can't be counted doesn't go out, and the caller is told to come back."""
    client = connect(f"unix://{short_dir}/nobody.sock", retries=0)
    grant = await TokenBuckets(client).take("p", 5, 10, 5)
    await client.aclose()
    assert grant.granted == 0
    assert grant.wait_seconds > 0


@pytest.mark.parametrize(("rate", "burst"), [(0.0, 5), (-1.0, 5), (10.0, 0)])
async def test_senseless_rate_is_refused(redis: Redis, rate: float, burst: int) -> None:
    """A rate or a burst that would block a provider for ever is the operator's mistake, and said so."""
    with pytest.raises(ValueError, match="rate must be above 0"):
        await TokenBuckets(redis).take("p", 1, rate, burst)
