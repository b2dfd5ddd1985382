"""Cache of rendered e-mail previews, shared by all processes, for the editor's preview frame.

Entries may be lost at any moment; the next change in the editor renders the preview again.

Keys: ``frame:<digest>`` → the tenant, a line break, the HTML. TTL ten minutes.
"""

from __future__ import annotations

import hashlib

from redis.asyncio import Redis
from redis.exceptions import RedisError

_TTL_SECONDS = 600  # our choice: longer than an editor looks at one preview without changing it
_DIGEST_LENGTH = 32  # hexadecimal digits, 128 bits


class PreviewCache:
    """Stores previews by content digest; only the tenant that stored one can read it."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    async def put(self, tenant: str, html: str) -> str:
        """Store a preview; its key, the same for the same content, or "" if Redis is unreachable."""
        value = f"{tenant}\n{html}"
        key = hashlib.sha256(value.encode()).hexdigest()[:_DIGEST_LENGTH]
        try:
            await self._redis.set(f"frame:{key}", value, ex=_TTL_SECONDS)
        except RedisError:
            return ""
        return key

    async def get(self, tenant: str, key: str) -> str | None:
        """A preview; None if it expired or belongs to another tenant."""
        try:
            found = await self._redis.get(f"frame:{key}")
        except RedisError:
            return None
        if found is None:
            return None
        owner, _, html = (found.decode() if isinstance(found, bytes) else str(found)).partition("\n")
        return html if owner == tenant else None
