"""Due scanner, the relay of the outbox pattern: polls the ledger for due deliveries and triggers them.

A delivery is due because of time (a deferral, a retry, a deadline), a loss (its trigger, or all of Redis) or a crash (a
worker's lease expired). All three are rows whose ``due_at`` has passed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime, timedelta

from gateway.core.clock import Clock

_MOST = 5_000  # deliveries looked at in one round; our choice: some seconds of work for one worker

# A trigger may be under way already: the same delivery is not triggered again for this long. Claims make a
# second trigger harmless; this only keeps the queue short.
_PATIENCE = timedelta(seconds=5)


class DueScanner:
    """Triggers due work. It is run every ``interval`` seconds, and at once where more is waiting.

    ``due`` is a store's list of what is due (deliveries, journeys), oldest first. What ``trigger`` answers False of is
    not taken for under way, and found again at once.
    """

    def __init__(
        self,
        due: Callable[[datetime, int], Awaitable[list[str]]],
        trigger: Callable[[Sequence[str]], Awaitable[object]],
        clock: Clock,
        interval: float,
        ran: Callable[[datetime, int, float], None],
        match_parked: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        self._due = due
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
        due = await self._due(now, _MOST)
        self._recent = {key: at for key, at in self._recent.items() if now - at < _PATIENCE}
        fresh = [key for key in due if key not in self._recent]
        if await self._trigger(fresh):
            self._recent.update(dict.fromkeys(fresh, now))
        if self._match_parked and (self._matched_at is None or now - self._matched_at >= _PATIENCE):
            self._matched_at = now
            await self._match_parked()
        self._ran(now, len(fresh), late_seconds)
        return len(fresh)
