"""The relay: looks in the ledger for what is due and nobody does, and triggers it.

Work becomes due by time (a deferral, a retry, a deadline), by loss (the trigger or all of Redis is gone) and by
death (a worker's lease ran out). The relay doesn't care which: all are rows whose ``due_at`` has passed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime, timedelta
from typing import Protocol

from gateway.core.ports import Clock

_MOST = 5_000  # deliveries looked at in one round; our choice: some seconds of work for one worker

# A trigger may be under way already: the same delivery is not triggered again for this long. Claims make a
# second trigger harmless; this only keeps the queue short.
_PATIENCE = timedelta(seconds=5)


class Due(Protocol):
    """The ledger's list of what is due."""

    async def due(self, now: datetime, most: int) -> list[str]: ...


class DueScanner:
    """Triggers due work. It is run every ``interval`` seconds, and at once where more is waiting."""

    def __init__(
        self,
        ledger: Due,
        trigger: Callable[[Sequence[str]], Awaitable[object]],
        clock: Clock,
        interval: float,
        ran: Callable[[datetime, int, float], None],
        match_parked: Callable[[], Awaitable[None]],
    ) -> None:
        self._ledger = ledger
        self._trigger = trigger
        self._clock = clock
        self._interval = interval
        self._planned: float | None = None  # when the next run should begin, by the event loop's clock
        self._ran = ran
        self._match_parked = match_parked
        self._matched_at: datetime | None = None
        self._recent: dict[str, datetime] = {}

    async def run_once(self) -> bool:
        """Trigger what is due and was not triggered just now; whether more is waiting. Raises Unavailable.

        How much later than planned it begins (a busy process, or a slow ledger) is reported to ``ran``.
        """
        loop, full = asyncio.get_running_loop(), False
        late_seconds = 0.0 if self._planned is None else loop.time() - self._planned
        try:
            full = await self._trigger_due(late_seconds) >= _MOST
        finally:
            self._planned = loop.time() + (0 if full else self._interval)
        return full

    async def _trigger_due(self, late_seconds: float) -> int:
        now = self._clock()
        due = await self._ledger.due(now, _MOST)
        self._recent = {key: at for key, at in self._recent.items() if now - at < _PATIENCE}
        fresh = [key for key in due if key not in self._recent]
        if await self._trigger(fresh):
            self._recent.update(dict.fromkeys(fresh, now))
        if self._matched_at is None or now - self._matched_at >= _PATIENCE:
            self._matched_at = now
            await self._match_parked()
        self._ran(now, len(fresh), late_seconds)
        return len(fresh)
