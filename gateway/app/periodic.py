"""Periodic work: one runner for everything that a process does again and again until it stops.

Owns the pause between two runs and what an exception means. Must not know what the work is.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass

import structlog

from gateway.core.ports import Unavailable
from gateway.observability import logs

Pause = Callable[[asyncio.Event, float], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class PeriodicWork:
    """Work that is run every ``interval`` seconds, counted from the end of one run to the begin of the next.

    ``run_once`` returns True where more is waiting already: the next run then follows without a pause. A run that
    raises Unavailable is logged, unless ``log_unavailable`` is off because another task logs the same outage, and
    tried again after the pause. Any other exception ends the runner, unless ``continue_on_error``: then it is logged
    as an error and the work goes on.
    """

    name: str
    interval: float
    run_once: Callable[[], Awaitable[bool | None]]
    log_unavailable: bool = True
    continue_on_error: bool = False


async def wait_for_stop(stop: asyncio.Event, seconds: float) -> None:
    """Wait ``seconds``, or until ``stop`` is set."""
    with suppress(TimeoutError):
        await asyncio.wait_for(stop.wait(), seconds)


async def run_periodically(work: PeriodicWork, stop: asyncio.Event, pause: Pause = wait_for_stop) -> None:
    """Run ``work`` at once and again and again, until ``stop`` is set. ``pause`` is replaced in tests."""
    log = structlog.get_logger(work.name)
    while not stop.is_set():
        more: bool | None = False
        try:
            more = await work.run_once()
        except Unavailable as error:
            if work.log_unavailable:
                log.warning(f"{work.name}_failed", error=type(error).__name__)
        except Exception as error:
            if not work.continue_on_error:
                raise
            log.error(f"{work.name}_failed", **logs.describe(error))
        if more:
            await asyncio.sleep(0)  # other tasks run, and one of them may set ``stop``
        else:
            await pause(stop, work.interval)
