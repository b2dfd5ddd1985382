"""A worker of journeys as a process of its own, to be killed: ``python -m tests.support.journey_worker URL BASE``.

Its clock runs ``SCALE`` times as fast as the system's from ``BASE`` (seconds since 1970) on, so that leases of dead
workers end soon, and days of steps are seconds.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from datetime import datetime, timedelta

from gateway.core.errors import Unavailable
from gateway.storage.database import Database
from tests.support.journey_cases import START
from tests.support.journey_path import JourneyBench

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


async def work(url: str, base: float) -> None:
    """Run what is due, for ever."""
    bench = ScaledBench(Database(url), base)
    while True:
        try:
            await bench.runner.run(await bench.runner.due(bench.clock(), 100))
        except Unavailable:
            continue
        await asyncio.sleep(0.02)


def main(url: str, base: float) -> None:
    """Fork a worker, say its process id, and fork the next one when it has died: imports take longer than a life."""
    while True:
        child = os.fork()
        if child == 0:
            asyncio.run(work(url, base))
        print(child, flush=True)
        os.waitpid(child, 0)


if __name__ == "__main__":
    main(sys.argv[1], float(sys.argv[2]))
