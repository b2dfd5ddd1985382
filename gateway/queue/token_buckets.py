"""Rate limiter: one token bucket per provider in Redis, shared by all workers.

Owns the keys ``gateway:tokens:*``. Must not know what a provider is or what a token stands for.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files

from redis.asyncio import Redis
from redis.exceptions import RedisError

_AWAY_SECONDS = 1.0  # seconds until the next try when Redis is unreachable; our choice, for failovers
KEY_PREFIX = "gateway:tokens:"


@dataclass(frozen=True, slots=True)
class Grant:
    """Tokens taken, and seconds until the rest (at most a full bucket) is available."""

    granted: int
    wait_seconds: float


class TokenBuckets:
    """Takes tokens with one atomic Lua script, on the server's clock, so that clock skew of workers does not matter.

    A bucket that is lost with Redis starts full: at most one extra ``burst`` is sent, once.
    """

    def __init__(self, redis: Redis) -> None:
        self._script = redis.register_script(
            files("gateway.queue").joinpath("scripts/take_tokens.lua").read_text("utf-8")
        )

    async def take(self, provider: str, wanted: int, rate_per_second: float, burst: int) -> Grant:
        """Take up to ``wanted`` tokens. None while Redis is unreachable: the limit fails closed. Raises ValueError."""
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
    """A provider's rate limit: messages per second, and the burst after a quiet time."""

    per_second: float
    burst: int


class RateLimiter:
    """Applies the configured rates; providers without one are not limited."""

    def __init__(self, buckets: TokenBuckets, rates: Mapping[str, Rate]) -> None:
        self._buckets = buckets
        self._rates = rates

    async def grant(self, provider: str, wanted: int) -> tuple[int, float]:
        """How many of ``wanted`` messages may be sent now, and seconds until the next ones may."""
        rate = self._rates.get(provider)
        if rate is None:
            return wanted, 0.0
        grant = await self._buckets.take(provider, wanted, rate.per_second, rate.burst)
        return grant.granted, grant.wait_seconds
