"""How fast a provider may be called: a token bucket that all workers share.

Owns the keys ``gateway:tokens:*``. Must not know what a provider is or what the tokens are for.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files

from redis.asyncio import Redis
from redis.exceptions import RedisError

_AWAY_SECONDS = 1.0  # how soon to ask again when Redis is away; our choice, about a failover's first moments
KEY_PREFIX = "gateway:tokens:"


@dataclass(frozen=True, slots=True)
class Grant:
    """How many tokens were taken, and in how many seconds the rest (at most a full bucket) will be there."""

    granted: int
    wait_seconds: float


class TokenBuckets:
    """Takes tokens by one atomic script, on the server's clock, so that workers' clocks don't matter.

    A bucket that was lost with its Redis starts full: at most one extra ``burst`` goes out, once.
    """

    def __init__(self, redis: Redis) -> None:
        self._script = redis.register_script(
            files("gateway.queue").joinpath("scripts/take_tokens.lua").read_text("utf-8")
        )

    async def take(self, provider: str, wanted: int, rate_per_second: float, burst: int) -> Grant:
        """Take up to ``wanted`` tokens. None are granted while Redis is away: what can't be counted doesn't go out."""
        if rate_per_second <= 0 or burst < 1:
            raise ValueError(f"provider {provider}: rate must be above 0 and burst at least 1")
        if wanted < 1:
            return Grant(0, 0.0)
        try:
            granted, wait = await self._script(keys=[KEY_PREFIX + provider], args=[wanted, rate_per_second, burst])
        except (RedisError, OSError):
            return Grant(0, _AWAY_SECONDS)
        return Grant(int(granted), int(wait) / 1000)


@dataclass(frozen=True, slots=True)
class Rate:
    """How fast a provider may be called: messages a second, and how many at once after a pause."""

    per_second: float
    burst: int


class RateLimiter:
    """Keeps the providers that have a rate to it; the others may be called as fast as we can."""

    def __init__(self, buckets: TokenBuckets, rates: Mapping[str, Rate]) -> None:
        self._buckets = buckets
        self._rates = rates

    async def grant(self, provider: str, wanted: int) -> tuple[int, float]:
        """How many of ``wanted`` messages may go now, and in how many seconds the next ones may."""
        rate = self._rates.get(provider)
        if rate is None:
            return wanted, 0.0
        grant = await self._buckets.take(provider, wanted, rate.per_second, rate.burst)
        return grant.granted, grant.wait_seconds
