"""Waiting for a condition. The limit ends a test that hangs; no test passes or fails by how fast the machine is."""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar, overload

LIMIT_SECONDS = 300.0  # our choice: some thirty times what the longest of these waits takes on a busy machine
_MIDNIGHT_SECONDS = 60.0  # our choice: longer than a test that counts by the day takes

T = TypeVar("T")


@overload
async def eventually(
    condition: Callable[[], Awaitable[T]], limit: float = LIMIT_SECONDS, *, every: float = 0.02
) -> T: ...
@overload
async def eventually(condition: Callable[[], T], limit: float = LIMIT_SECONDS, *, every: float = 0.02) -> T: ...
async def eventually(condition: Callable[[], Any], limit: float = LIMIT_SECONDS, *, every: float = 0.02) -> Any:
    """What ``condition`` returns as soon as that is true, asked ``every`` so many seconds.

    Raises TimeoutError after ``limit`` seconds.
    """
    async with asyncio.timeout(limit):
        while True:
            answer = condition()
            found = await answer if inspect.isawaitable(answer) else answer
            if found:
                return found
            await asyncio.sleep(every)


def eventually_blocking(condition: Callable[[], T], limit: float = LIMIT_SECONDS, *, every: float = 0.02) -> T:
    """The same without an event loop."""
    deadline = time.monotonic() + limit
    while not (found := condition()):
        if time.monotonic() > deadline:
            raise TimeoutError(f"not within {limit} s")
        time.sleep(every)
    return found


def clear_of_midnight() -> None:
    """Wait for the next day (UTC) where this one ends within a minute: for tests of what is counted by the day."""
    left = 86_400 - time.time() % 86_400
    if left < _MIDNIGHT_SECONDS:
        time.sleep(left)
