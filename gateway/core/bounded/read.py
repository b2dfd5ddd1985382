"""Reads what another server answers, which may come in parts and may never end."""

from __future__ import annotations

from collections.abc import AsyncIterable


async def read_at_most(chunks: AsyncIterable[bytes], most: int) -> bytes:
    """All bytes of ``chunks``. Raises ValueError as soon as there are more than ``most``."""
    found = bytearray()
    async for chunk in chunks:
        found += chunk
        if len(found) > most:
            raise ValueError(f"more than {most} bytes")
    return bytes(found)
