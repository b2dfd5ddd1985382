"""A worker of journeys as a process of its own, to be killed.

Its clock runs ``SCALE`` times as fast as the system's from ``base`` on, so that leases of dead
workers end soon, and days of steps are seconds.
"""

from __future__ import annotations

import asyncio
import time
from datetime import datetime, timedelta

from gateway.core.errors import Unavailable
from gateway.storage.database import Database
from tests.support.journeys.cases import START
from tests.support.journeys.path import JourneyBench

SCALE = 120
# Three messages, two minutes apart: a second of the worker's clock.
QUICK = """
name = "quick"
enter = { when = { days_overdue = { at_least = 1 } } }
pace = { least = "PT0S", spread = "PT0S" }
""" + "".join(
    f'[[step]]\nid = "s{number}"\nafter = "PT2M"\ntemplate = "overdue-first"\nroute = ["sms"]\n' for number in range(3)
)


class ScaledBench(JourneyBench):
    """Journeys whose clock runs fast."""

    def __init__(self, database: Database, base: float) -> None:
        self._base = base
        super().__init__(database)

    def clock(self) -> datetime:
        self.now = START + timedelta(seconds=(time.time() - self._base) * SCALE)
        return self.now


async def _work(url: str, base: float) -> None:
    bench = ScaledBench(Database(url), base)
    while True:
        try:
            await bench.runner.run(await bench.runner.due(bench.clock(), 100))
        except Unavailable:
            continue
        await asyncio.sleep(0.05)  # six seconds of its clock


def run(url: str, base: str) -> None:
    """Run what is due in the ledger at ``url``, for ever. The clock began at ``base`` (seconds since 1970)."""
    asyncio.run(_work(url, float(base)))
