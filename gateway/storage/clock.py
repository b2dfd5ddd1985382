"""The ledger's clock: one time for all processes, independent of the clocks of their machines.

A lease that one worker writes is read by another, and a borrower's contact window is kept to the minute: neither may
depend on a machine whose clock is wrong. So each process reads the time from PostgreSQL and adds what its monotonic
clock has counted since. With SQLite there is one process and one clock, and this is not used.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import datetime, timedelta

from gateway.core.clock import Clock
from gateway.storage.database import Database
from gateway.storage.statements import StatementTemplate

# An answer that took longer says too little about when it was given; our choice, a tenth of the shortest guard.
_TOO_SLOW_SECONDS = 1.0
_NOW = StatementTemplate(lambda _: "SELECT clock_timestamp()")
# A monotonic clock that counts while the machine sleeps, where there is one.
_BOOT_CLOCK: int | None = getattr(time, "CLOCK_BOOTTIME", None)


def _elapsed() -> float:
    return time.monotonic() if _BOOT_CLOCK is None else time.clock_gettime(_BOOT_CLOCK)


class LedgerClock:
    """Call it for the time (UTC, aware), after ``synchronise``."""

    def __init__(self, database: Database, system: Clock, elapsed: Callable[[], float] = _elapsed) -> None:
        self._database = database
        self._system = system
        self._elapsed = elapsed
        self._base: datetime | None = None
        self._since = 0.0

    def __call__(self) -> datetime:
        assert self._base is not None, "not synchronised yet"
        return self._base + timedelta(seconds=self._elapsed() - self._since)

    async def synchronise(self) -> float:
        """Read the ledger's time. Answers by how many seconds this machine's clock is ahead. Raises Unavailable."""
        before = self._elapsed()
        [(there,)] = await self._database.query(_NOW.of)
        after = self._elapsed()
        if self._base is None or after - before < _TOO_SLOW_SECONDS:
            self._base, self._since = there, (before + after) / 2
        return (self._system() - self()).total_seconds()
