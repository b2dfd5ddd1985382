"""Quota counters in Redis, shared by all API processes, and the same counters in this process while Redis is away.

Owns the keys ``gateway:quota:*``. Must not know what a limit stands for.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from importlib.resources import files

from redis.asyncio import Redis
from redis.exceptions import RedisError

from gateway.core.batcher import Batcher
from gateway.core.quotas import Charge, QuotaLimit, QuotaState

KEY_PREFIX = "gateway:quota:"
_AWAY_SECONDS = 1.0  # for which a Redis that failed is not asked again; our choice, for failovers
_MOST_REQUESTS = 200  # in one script, which takes about a millisecond of Redis then; our choice
_MOST_LOCAL = 10_000  # limits counted in this process; our choice, far above the number of keys in use
_DAY_SECONDS = 86_400
_TOLERANCE = 1e-9  # as in the script

Answers = Sequence[Sequence[QuotaState]]


class QuotaBuckets:
    """Charges requests to their limits with one atomic Lua script, on the server's clock.

    Requests that arrive while the script is running are charged together by the next call of it. While Redis is away,
    each process counts by itself with the same limits: N processes together grant at most N times as much.
    """

    def __init__(self, redis: Redis, elapsed: Callable[[], float] = time.monotonic) -> None:
        """``redis`` must fail fast: its time-out is what a request waits for when the server hangs."""
        self._script = redis.register_script(
            files("gateway.queue").joinpath("scripts/take_quota.lua").read_text("utf-8")
        )
        self._local = LocalQuotaBuckets()
        self._batcher = Batcher(self._take_batch, max_batch=_MOST_REQUESTS)
        self._elapsed = elapsed
        self._away_until = 0.0

    async def take(self, charges: Sequence[Charge]) -> Sequence[QuotaState]:
        """Charge a request to all of its limits, or, where one has no room, to none. One state for each charge."""
        if not charges:
            return ()
        [states] = await self._batcher.submit([charges])
        return states

    async def _take_batch(self, requests: Sequence[Sequence[Charge]]) -> Answers:
        if self._elapsed() < self._away_until:
            return [self._local.take(charges) for charges in requests]
        keys = [f"{KEY_PREFIX}{each.limit.name}:{each.limit.owner}" for charges in requests for each in charges]
        arguments = [
            " ".join(f"{each.wanted} {each.limit.per_second} {each.limit.capacity}" for each in charges)
            for charges in requests
        ]
        try:
            found = iter(await self._script(keys, arguments))
        except (RedisError, OSError):
            self._away_until = self._elapsed() + _AWAY_SECONDS
            return [self._local.take(charges) for charges in requests]
        return [[_state(charge.limit, *next(found)) for charge in charges] for charges in requests]


class LocalQuotaBuckets:
    """The counters of one process, by the same rules as the script."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        """``clock`` gives seconds since the epoch."""
        self._clock = clock
        self._left: dict[tuple[str, str], tuple[float, float]] = {}  # what was left, and when

    def take(self, charges: Sequence[Charge]) -> list[QuotaState]:
        """See ``QuotaBuckets.take``."""
        now = self._clock()
        left = [self._read(charge.limit, now) for charge in charges]
        fits = all(charge.wanted <= has + _TOLERANCE for charge, has in zip(charges, left, strict=True))
        return [self._charge(charge, has, fits, now) for charge, has in zip(charges, left, strict=True)]

    def _read(self, limit: QuotaLimit, now: float) -> float:
        left, at = self._left.get((limit.name, limit.owner), (limit.capacity, now))
        if not limit.per_second:
            return min(left, limit.capacity) if at // _DAY_SECONDS >= now // _DAY_SECONDS else limit.capacity
        return min(limit.capacity, left + max(0.0, now - at) * limit.per_second)

    def _charge(self, charge: Charge, left: float, fits: bool, now: float) -> QuotaState:
        limit, wait = charge.limit, 0
        until_midnight = math.ceil(1000 * (_DAY_SECONDS - now % _DAY_SECONDS))
        if fits:
            left = min(limit.capacity, max(0.0, left - charge.wanted))
            self._write(limit, left, now)
        elif charge.wanted > left + _TOLERANCE:
            lacking = charge.wanted - left
            wait = max(1, math.ceil(lacking / limit.per_second * 1000)) if limit.per_second else until_midnight
        refill = math.ceil((limit.capacity - left) / limit.per_second * 1000) if limit.per_second else until_midnight
        return _state(limit, math.floor(left + _TOLERANCE), wait, refill)

    def _write(self, limit: QuotaLimit, left: float, now: float) -> None:
        """Keep the count; beyond the limit of memory, the one that was used longest ago is forgotten."""
        key = (limit.name, limit.owner)
        self._left.pop(key, None)
        if len(self._left) >= _MOST_LOCAL:
            del self._left[next(iter(self._left))]
        self._left[key] = (left, now)


def _state(limit: QuotaLimit, left: int, wait_ms: int, reset_ms: int) -> QuotaState:
    return QuotaState(limit, left, wait_ms / 1000, reset_ms / 1000)
