"""Pub/sub fan-out: wakes the open streams of a borrower's feed, in any process, when a message arrives.

Owns the Redis channel ``gateway:wakeups``. A notification contains only a keyed digest of the borrower, and may be lost
or duplicated: the feed is in the ledger, and every subscriber polls it again after its time-out.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress

from redis.asyncio import Redis
from redis.exceptions import RedisError

# One channel for all borrowers: there are no per-borrower subscriptions to restore after a reconnect, and it costs a
# process a few tens of bytes for each in-app message of the whole system.
CHANNEL = "gateway:wakeups"
_MIN_BACKOFF, _MAX_BACKOFF = 0.1, 5.0  # seconds between attempts to reconnect; our choice
_READ_SECONDS = 10.0  # read time-out of the subscription, after which its connection is checked; our choice


class Subscription:
    """One subscriber. A notification is remembered until ``wait`` returns it, so none is missed between two polls."""

    def __init__(self) -> None:
        self._notified = asyncio.Event()

    def notify(self) -> None:
        self._notified.set()

    async def wait(self, timeout: float) -> bool:
        """Wait at most ``timeout`` seconds for a notification; whether one came. Poll the feed either way."""
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                await self._notified.wait()
        notified = self._notified.is_set()
        self._notified.clear()
        return notified


class FeedNotifier:
    """One Redis subscription for the process, fanned out to its subscribers, and one publisher.

    ``topics`` computes the keyed digests of (tenant, borrower id), by each digest key: all are published, the first is
    listened to, so that processes which differ in the first one reach each other. Publishing never blocks or fails.
    """

    def __init__(self, redis: Redis, topics: Callable[[str, str], Sequence[str]]) -> None:
        self._redis = redis
        self._topics = topics
        self._subscribers: dict[str, set[Subscription]] = defaultdict(set)
        self._outgoing: dict[str, None] = {}  # an ordered set: each borrower once
        self._pending = asyncio.Event()
        self._publisher: asyncio.Task[None] | None = None
        self._subscriber: asyncio.Task[None] | None = None

    async def publish(self, tenant: str, borrower_id: str) -> None:
        """Notify the subscribers of this process at once, and those of others through Redis if it is reachable."""
        for topic in self._topics(tenant, borrower_id):
            self._notify(topic)
            self._outgoing[topic] = None
        self._pending.set()
        if self._publisher is None:
            self._publisher = asyncio.create_task(self._publish(), name="wakeups-publish")

    @contextmanager
    def listen(self, tenant: str, borrower_id: str) -> Iterator[Subscription]:
        """Subscribe one stream. Subscribe before the first poll of the feed, so that nothing is missed in between."""
        if self._subscriber is None:
            self._subscriber = asyncio.create_task(self._subscribe(), name="wakeups-subscribe")
        topic, subscription = self._topics(tenant, borrower_id)[0], Subscription()
        self._subscribers[topic].add(subscription)
        try:
            yield subscription
        finally:
            self._subscribers[topic].discard(subscription)
            if not self._subscribers[topic]:
                del self._subscribers[topic]

    async def wait(self, tenant: str, borrower_id: str, timeout: float) -> bool:
        """Wait for one notification, at most ``timeout`` seconds. A stream that must miss none uses ``listen``."""
        with self.listen(tenant, borrower_id) as subscription:
            return await subscription.wait(timeout)

    async def close(self) -> None:
        """Stop both tasks. The Redis client is closed by its owner."""
        tasks = {task for task in (self._publisher, self._subscriber) if task is not None}
        # Repeatedly: redis-py sends through asyncio.wait_for, which in Python 3.11 can swallow a cancellation that
        # arrives when the send has finished.
        while tasks:
            for task in tasks:
                task.cancel()
            _, tasks = await asyncio.wait(tasks, timeout=0.5)

    def _notify(self, topic: str) -> None:
        for each in self._subscribers.get(topic, ()):
            each.notify()

    async def _publish(self) -> None:
        while True:
            await self._pending.wait()
            self._pending.clear()
            topics, self._outgoing = self._outgoing, {}
            try:
                # Everything that was published during the last round trip goes in one.
                async with self._redis.pipeline(transaction=False) as pipe:
                    for topic in topics:
                        pipe.publish(CHANNEL, topic)
                    await pipe.execute()
            except (RedisError, OSError):
                # A lost notification is harmless; the pause limits calls to an unreachable Redis.
                await asyncio.sleep(_MIN_BACKOFF)

    async def _subscribe(self) -> None:
        pause = _MIN_BACKOFF
        while True:
            try:
                async with self._redis.pubsub() as subscription:
                    await subscription.subscribe(CHANNEL)
                    while True:
                        message = await subscription.get_message(timeout=_READ_SECONDS)
                        if message is None:
                            continue
                        if message["type"] == "subscribe":
                            # Notifications before the (re)subscription are lost, so every subscriber polls once.
                            pause = _MIN_BACKOFF
                            for topic in list(self._subscribers):
                                self._notify(topic)
                        else:
                            self._notify(message["data"].decode())
            except (RedisError, OSError):
                await asyncio.sleep(pause)
                pause = min(pause * 2, _MAX_BACKOFF)
