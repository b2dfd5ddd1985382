"""Wake-ups: tell the streams of a borrower, in whatever process they are, to look into the feed again.

Owns the Redis channel ``gateway:wakeups``. A wake-up carries nothing but a keyed digest of who it is for, and
may be lost or come twice: the feed in the ledger is the truth, and every waiter looks again after its timeout.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from redis.asyncio import Redis
from redis.exceptions import RedisError

# One channel for all borrowers: its subscription has nothing to forget when a connection breaks, and costs a
# process no more than a few tens of bytes for each in-app message sent anywhere.
CHANNEL = "gateway:wakeups"
_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 5.0  # seconds between attempts to reconnect; our choice
_QUIET_SECONDS = 10.0  # how long the subscription waits for news before it looks after its connection


class Subscription:
    """One waiter's bell. It keeps ringing until it is heard, so nothing is missed between two looks."""

    def __init__(self) -> None:
        self._rung = asyncio.Event()

    def ring(self) -> None:
        self._rung.set()

    async def heard(self, timeout: float) -> bool:
        """Wait for a ring at most ``timeout`` seconds. True: look again now. False: look again anyway."""
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                await self._rung.wait()
        rung = self._rung.is_set()
        self._rung.clear()
        return rung


class FeedNotifier:
    """The process's one subscription, fanned out to its waiters, and its one publisher.

    ``topic`` makes the keyed digest of (tenant, borrower id). Publishing never waits and never fails.
    """

    def __init__(self, redis: Redis, topic: Callable[[str, str], str]) -> None:
        self._redis = redis
        self._topic = topic
        self._bells: dict[str, set[Subscription]] = defaultdict(set)
        self._outgoing: dict[str, None] = {}  # in order, each borrower once
        self._news = asyncio.Event()
        self._publisher: asyncio.Task[None] | None = None
        self._subscriber: asyncio.Task[None] | None = None

    async def publish(self, tenant: str, borrower_id: str) -> None:
        """Wake this process's waiters at once, and the others' soon, unless Redis is away."""
        topic = self._topic(tenant, borrower_id)
        self._ring(topic)
        self._outgoing[topic] = None
        self._news.set()
        if self._publisher is None:
            self._publisher = asyncio.create_task(self._publish(), name="wakeups-publish")

    @contextmanager
    def listen(self, tenant: str, borrower_id: str) -> Iterator[Subscription]:
        """A bell for one stream. Open it before the first look into the feed, and nothing falls in between."""
        if self._subscriber is None:
            self._subscriber = asyncio.create_task(self._subscribe(), name="wakeups-subscribe")
        topic, bell = self._topic(tenant, borrower_id), Subscription()
        self._bells[topic].add(bell)
        try:
            yield bell
        finally:
            self._bells[topic].discard(bell)
            if not self._bells[topic]:
                del self._bells[topic]

    async def wait(self, tenant: str, borrower_id: str, timeout: float) -> bool:
        """Wait for one wake-up, at most ``timeout`` seconds; see ``listen`` for a stream that must miss none."""
        with self.listen(tenant, borrower_id) as bell:
            return await bell.heard(timeout)

    async def close(self) -> None:
        """End both tasks. The client belongs to whoever made it."""
        tasks = {task for task in (self._publisher, self._subscriber) if task is not None}
        # More than once: redis-py sends through asyncio.wait_for, which in Python 3.11 loses a cancellation that
        # meets a finished send.
        while tasks:
            for task in tasks:
                task.cancel()
            _, tasks = await asyncio.wait(tasks, timeout=0.5)

    def _ring(self, topic: str) -> None:
        for bell in self._bells.get(topic, ()):
            bell.ring()

    async def _publish(self) -> None:
        while True:
            await self._news.wait()
            self._news.clear()
            topics, self._outgoing = self._outgoing, {}
            try:
                # What gathered while the last round was under way goes together, in one round trip.
                async with self._redis.pipeline(transaction=False) as pipe:
                    for topic in topics:
                        pipe.publish(CHANNEL, topic)
                    await pipe.execute()
            except (RedisError, OSError):
                # Lost, and that is all right; the pause keeps a dead Redis from being asked for every message.
                await asyncio.sleep(_FIRST_PAUSE)

    async def _subscribe(self) -> None:
        pause = _FIRST_PAUSE
        while True:
            try:
                async with self._redis.pubsub() as subscription:
                    await subscription.subscribe(CHANNEL)
                    while True:
                        message = await subscription.get_message(timeout=_QUIET_SECONDS)
                        if message is None:
                            continue
                        if message["type"] == "subscribe":
                            # Whatever was published while nobody listened is lost, so everybody looks once.
                            pause = _FIRST_PAUSE
                            for topic in list(self._bells):
                                self._ring(topic)
                        else:
                            self._ring(message["data"].decode())
            except (RedisError, OSError):
                await asyncio.sleep(pause)
                pause = min(pause * 2, _LONGEST_PAUSE)
