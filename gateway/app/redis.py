"""Opens Redis or Valkey and the services on it; starts an embedded Valkey where no server is configured."""

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
from gateway.queue.quota_buckets import QuotaBuckets
from gateway.queue.rights import refusal
from gateway.queue.subscriptions import FeedNotifier
from gateway.queue.token_buckets import TokenBuckets

_QUOTA_SECONDS = 0.5  # after which a process counts quotas by itself; our choice, as for triggers


@dataclass(frozen=True, slots=True)
class RedisServices:
    """Services whose data may be lost at any time. ``ping`` raises where the server doesn't answer."""

    url: str
    feed_notifier: FeedNotifier
    queue: Queue
    buckets: TokenBuckets
    quota_buckets: QuotaBuckets
    preview_cache: PreviewCache
    ping: Callable[[], Awaitable[Any]]


async def open_redis(stack: AsyncExitStack, ledger: LedgerParts) -> RedisServices:
    """Connect, start the embedded server if needed, and register their closing on the stack. Raises CannotStart."""
    settings = ledger.settings
    url = settings.redis_url or await _embedded(stack, settings)
    redis = connect(url)
    stack.push_async_callback(redis.aclose)
    if settings.redis_url:
        # A refusal does not pass by itself, as an outage does: the gateway starts without Redis, and waits for it.
        with suppress(Unavailable):
            if refused := await refusal(redis):
                raise CannotStart(f'Redis refuses {refused}: see "Redis\' rights" in ops/deploy/README.md')
    feed_notifier = FeedNotifier(redis, ledger.signer.topics)
    stack.push_async_callback(feed_notifier.close)
    queue = Queue(partial(open_pool, url, timeout=0.5, retries=0), settings.batch_size)
    stack.push_async_callback(queue.close)
    # Requests wait for it: a server that hangs must not hold them up.
    quick = connect(url, timeout=_QUOTA_SECONDS, retries=0)
    stack.push_async_callback(quick.aclose)
    buckets, quota_buckets = TokenBuckets(redis), QuotaBuckets(quick)
    return RedisServices(url, feed_notifier, queue, buckets, quota_buckets, PreviewCache(redis), redis.ping)


async def _embedded(stack: AsyncExitStack, settings: Settings) -> str:
    server = await valkey.start(settings.data_dir)
    stack.push_async_callback(server.stop)
    supervision = asyncio.create_task(server.supervise(_report), name="valkey-supervision")
    stack.callback(supervision.cancel)
    return server.url


def _report(sentence: str) -> None:
    """Write to the log and to standard error, since an operator may read only one of them."""
    structlog.get_logger("valkey").error("embedded_valkey_ended")
    print(f"gateway: {sentence}", file=sys.stderr)  # noqa: T201 – for the terminal
