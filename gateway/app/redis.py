"""The working memory: Redis or Valkey, one of our own where none is configured, and what is made on it."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

import structlog

from gateway.app.embedded import valkey
from gateway.app.embedded.errors import CannotStart
from gateway.app.settings import Settings
from gateway.app.storage import LedgerParts
from gateway.core.errors import Unavailable
from gateway.queue.connection import connect, open_pool
from gateway.queue.jobs import Queue
from gateway.queue.preview_cache import PreviewCache
from gateway.queue.rights import refusal
from gateway.queue.subscriptions import FeedNotifier
from gateway.queue.token_buckets import TokenBuckets


@dataclass(frozen=True, slots=True)
class RedisServices:
    """What may be lost at any moment. ``ping`` raises where the server doesn't answer."""

    url: str
    wakeups: FeedNotifier
    queue: Queue
    buckets: TokenBuckets
    frames: PreviewCache
    ping: Callable[[], Awaitable[Any]]


async def open_hot(stack: AsyncExitStack, ledger: LedgerParts) -> RedisServices:
    """The working memory, until the stack is left. Raises CannotStart."""
    settings = ledger.settings
    url = settings.redis_url or await _embedded(stack, settings)
    redis = connect(url)
    stack.push_async_callback(redis.aclose)
    if settings.redis_url:
        # A refusal does not pass by itself, as an outage does: the gateway starts without Redis, and waits for it.
        with suppress(Unavailable):
            if refused := await refusal(redis):
                raise CannotStart(f'Redis refuses {refused}: see "Redis\' rights" in ops/deploy/README.md')
    wakeups = FeedNotifier(redis, ledger.signer.topic)
    stack.push_async_callback(wakeups.close)
    queue = Queue(partial(open_pool, url, timeout=0.5, retries=0), settings.batch_size)
    stack.push_async_callback(queue.close)
    return RedisServices(url, wakeups, queue, TokenBuckets(redis), PreviewCache(redis), redis.ping)


async def _embedded(stack: AsyncExitStack, settings: Settings) -> str:
    server = await valkey.start(settings.data_dir)
    stack.push_async_callback(server.stop)
    supervision = asyncio.create_task(server.supervise(_report), name="valkey-supervision")
    stack.callback(supervision.cancel)
    return server.url


def _report(sentence: str) -> None:
    """To the log, and to the terminal of whoever started the process: both may be looked at alone."""
    structlog.get_logger("valkey").error("embedded_valkey_ended")
    print(f"gateway: {sentence}", file=sys.stderr)  # noqa: T201
