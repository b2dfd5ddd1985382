"""Wake-ups over a real Valkey, and without it."""

from __future__ import annotations

import asyncio
from pathlib import Path

from redis.asyncio import Redis

from gateway.app.embedded import valkey
from gateway.queue.connection import connect
from gateway.queue.subscriptions import CHANNEL, FeedNotifier
from tests.support.waiting import LIMIT_SECONDS, eventually


def topics(tenant: str, borrower_id: str) -> tuple[str, ...]:
    """Stands in for the keyed digest: unlike its input, and the same each time."""
    return (f"{abs(hash((tenant, borrower_id))):x}",)


async def _subscribed(redis: Redis, count: int) -> None:
    async def there() -> bool:
        return bool((await redis.pubsub_numsub(CHANNEL))[0][1] >= count)

    await eventually(there)


async def test_wakes_waiters_in_another_process(redis: Redis, redis_url: str) -> None:
    """What one process publishes is heard by every waiter of that borrower in another, and by no one else."""
    here, there = FeedNotifier(redis, topics), FeedNotifier(second := connect(redis_url), topics)
    with there.listen("t", "b1") as one, there.listen("t", "b1") as two, there.listen("t", "b2") as other:
        await _subscribed(redis, 1)
        await asyncio.gather(
            *(each.wait(LIMIT_SECONDS) for each in (one, two, other))
        )  # the ring of the subscription itself
        await here.publish("t", "b1")
        assert await asyncio.gather(one.wait(LIMIT_SECONDS), two.wait(LIMIT_SECONDS), other.wait(0.2)) == [
            True,
            True,
            False,
        ]
    await here.close()
    await there.close()
    await second.aclose()


async def test_ring_between_looks_is_kept(redis: Redis) -> None:
    """A wake-up that comes while the stream reads the feed is not lost."""
    wakeups = FeedNotifier(redis, topics)
    with wakeups.listen("t", "b1") as bell:
        await _subscribed(redis, 1)
        await bell.wait(LIMIT_SECONDS)
        await wakeups.publish("t", "b1")
        await asyncio.sleep(0.1)  # the stream is busy elsewhere
        assert await bell.wait(LIMIT_SECONDS) is True
        assert await bell.wait(0.01) is False
    await wakeups.close()


async def test_one_subscription_for_many_waiters(redis: Redis) -> None:
    """A process with five hundred streams holds one subscription, and forgets those that went."""
    wakeups = FeedNotifier(redis, topics)
    waiting = [asyncio.create_task(wakeups.wait("t", f"b{number}", LIMIT_SECONDS)) for number in range(500)]
    await _subscribed(redis, 1)
    await asyncio.gather(*waiting)  # the ring of the subscription itself
    assert (await redis.pubsub_numsub(CHANNEL))[0][1] == 1
    assert not wakeups._subscribers
    await wakeups.close()


async def test_nothing_of_a_borrower_travels(redis: Redis, redis_url: str) -> None:
    """What is published is the digest, and neither the tenant's nor the borrower's name."""
    listener = redis.pubsub(ignore_subscribe_messages=True)
    await listener.subscribe(CHANNEL)
    await listener.get_message(timeout=1)
    wakeups = FeedNotifier(client := connect(redis_url), topics)
    await wakeups.publish("lender-one", "B-1001")
    seen = await eventually(lambda: listener.get_message(timeout=1))
    assert seen["data"].decode() == topics("lender-one", "B-1001")[0]
    await wakeups.close()
    await client.aclose()
    await listener.aclose()


async def test_survives_the_loss_of_redis(short_dir: Path) -> None:
    """While Redis is away waiting just takes its time; when it is back, wake-ups arrive again."""
    server = await valkey.start(short_dir)
    here, there = connect(server.url, retries=0), connect(server.url, retries=0)
    publisher, waiter = FeedNotifier(here, topics), FeedNotifier(there, topics)
    with waiter.listen("t", "b1") as bell:
        await _subscribed(here, 1)
        await bell.wait(LIMIT_SECONDS)
        await server.stop()
        await publisher.publish("t", "b1")
        assert await bell.wait(0.2) is False

        server = await valkey.start(short_dir)
        assert await bell.wait(LIMIT_SECONDS) is True  # subscribed anew, and told to look once for what was missed
        await publisher.publish("t", "b1")
        assert await bell.wait(LIMIT_SECONDS) is True
    await publisher.close()
    await waiter.close()
    await here.aclose()
    await there.aclose()
    await server.stop()


async def test_own_process_is_woken_without_redis(short_dir: Path) -> None:
    """In one process a publisher wakes its own waiters even when there is no Redis at all."""
    client = connect(f"unix://{short_dir}/nobody.sock", retries=0)
    wakeups = FeedNotifier(client, topics)
    with wakeups.listen("t", "b1") as bell:
        await wakeups.publish("t", "b1")
        assert await bell.wait(LIMIT_SECONDS) is True
    await wakeups.close()
    await client.aclose()
