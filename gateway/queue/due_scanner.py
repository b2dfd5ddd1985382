"""The relay: looks in the ledger for what is due and nobody does, and triggers it.

Work becomes due by time (a deferral, a retry, a deadline), by loss (the trigger or all of Redis is gone) and by
death (a worker's lease ran out). The relay doesn't care which: all are rows whose ``due_at`` has passed.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime, timedelta

import structlog

from gateway.core.clock import Clock
from gateway.core.errors import Unavailable

_MOST = 5_000  # deliveries looked at in one round; our choice: some seconds of work for one worker

# A trigger may be under way already: the same delivery is not triggered again for this long. Claims make a
# second trigger harmless; this only keeps the queue short.
_PATIENCE = timedelta(seconds=5)


class DueScanner:
    """Triggers due work, every ``interval`` seconds. ``due`` is the store's list of what is due, oldest first."""

    def __init__(
        self,
        due: Callable[[datetime, int], Awaitable[list[str]]],
        trigger: Callable[[Sequence[str]], Awaitable[object]],
        clock: Clock,
        interval: float,
        ran: Callable[[datetime, int, float], None],
        match_parked: Callable[[], Awaitable[None]],
    ) -> None:
        self._due = due
        self._trigger = trigger
        self._clock = clock
        self._interval = interval
        self._ran = ran
        self._match_parked = match_parked
        self._matched_at: datetime | None = None
        self._recent: dict[str, datetime] = {}

    async def run(self, stop: asyncio.Event) -> None:
        """Look until told to stop. A ledger that is away is waited for."""
        log = structlog.get_logger("relay")
        loop = asyncio.get_running_loop()
        planned = loop.time()
        while not stop.is_set():
            try:
                found = await self.look(loop.time() - planned)
            except Unavailable as error:
                log.warning("relay_failed", error=type(error).__name__)
                found = 0
            planned = loop.time() + (self._interval if found < _MOST else 0)
            if found < _MOST:  # a round full of news means that more is waiting
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(stop.wait(), self._interval)

    async def look(self, late_seconds: float = 0.0) -> int:
        """One round: trigger what is due and was not triggered just now. How many that was.

        ``late_seconds`` is how much later than planned it begins: a busy process, or a slow ledger.
        """
        now = self._clock()
        due = await self._due(now, _MOST)
        self._recent = {key: at for key, at in self._recent.items() if now - at < _PATIENCE}
        fresh = [key for key in due if key not in self._recent]
        if await self._trigger(fresh):
            self._recent.update(dict.fromkeys(fresh, now))
        if self._matched_at is None or now - self._matched_at >= _PATIENCE:
            self._matched_at = now
            await self._match_parked()
        self._ran(now, len(fresh), late_seconds)
        return len(fresh)
