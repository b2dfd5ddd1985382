"""Previewed mails, for the minutes in which an editor looks at them: every process has them.

Redis may lose them at any moment; the next key that the editor presses makes them again.

Keys: ``frame:<digest>`` → the tenant, a line break, the HTML; gone after ten minutes.
"""

from __future__ import annotations

import hashlib

from redis.asyncio import Redis
from redis.exceptions import RedisError

_SECONDS = 600  # our choice: longer than anybody looks at one preview without touching it
_DIGEST = 32  # 128 bits


class PreviewCache:
    """Puts a page there, and finds it again for the same tenant."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    async def put(self, tenant: str, html: str) -> str:
        """The page's key, the same for the same page; "" where Redis is away."""
        value = f"{tenant}\n{html}"
        key = hashlib.sha256(value.encode()).hexdigest()[:_DIGEST]
        try:
            await self._redis.set(f"frame:{key}", value, ex=_SECONDS)
        except RedisError:
            return ""
        return key

    async def get(self, tenant: str, key: str) -> str | None:
        """The page; None where it is another tenant's, or gone."""
        try:
            found = await self._redis.get(f"frame:{key}")
        except RedisError:
            return None
        if found is None:
            return None
        owner, _, html = (found.decode() if isinstance(found, bytes) else str(found)).partition("\n")
        return html if owner == tenant else None
