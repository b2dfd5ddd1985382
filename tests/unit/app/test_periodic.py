"""The runner of periodic work, with a pause that the test controls: no test waits."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest
from structlog.testing import capture_logs

from gateway.app.periodic import PeriodicWork, run_periodically
from gateway.core.errors import Unavailable
from tests.support.waiting import LIMIT_SECONDS

Outcome = bool | None | Exception


class Runs:
    """Work whose runs end as ``outcomes`` say; the last one sets ``stop``. Pauses are recorded and take no time."""

    def __init__(self, outcomes: Sequence[Outcome]) -> None:
        self.left = list(outcomes)
        self.stop = asyncio.Event()
        self.pauses: list[float] = []

    async def run_once(self) -> bool | None:
        outcome = self.left.pop(0)
        if not self.left:
            self.stop.set()
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    async def pause(self, _stop: asyncio.Event, seconds: float) -> None:
        self.pauses.append(seconds)


async def _run(runs: Runs, *, log_unavailable: bool = True, continue_on_error: bool = False) -> None:
    work = PeriodicWork("work", 7.0, runs.run_once, log_unavailable, continue_on_error)
    await run_periodically(work, runs.stop, runs.pause)


async def test_it_pauses_after_each_run() -> None:
    """The first run is at once; between two runs lies the interval."""
    runs = Runs([None, False, None])
    await _run(runs)
    assert (runs.left, runs.pauses) == ([], [7.0] * 3)


async def test_it_does_not_pause_while_more_is_waiting() -> None:
    """A run that returns True is followed by the next one."""
    runs = Runs([True, True, False])
    await _run(runs)
    assert runs.pauses == [7.0]


async def test_it_stops_although_more_is_waiting() -> None:
    """A backlog does not keep a process from stopping."""
    runs = Runs([True])
    await _run(runs)
    assert runs.pauses == []


@pytest.mark.parametrize("logged", [True, False])
async def test_a_ledger_that_is_unavailable_is_tried_again(logged: bool) -> None:
    """After the pause; the outage is logged by its class, where this task is the one to log it."""
    runs = Runs([Unavailable("ledger: a secret"), None])
    with capture_logs() as lines:
        await _run(runs, log_unavailable=logged)
    assert (runs.left, runs.pauses) == ([], [7.0, 7.0])
    found = [(each["event"], each["log_level"], each["error"]) for each in lines]
    assert found == ([("work_failed", "warning", "Unavailable")] if logged else [])
    assert "secret" not in str(lines)


async def test_a_fault_ends_the_runner() -> None:
    """And with it the process, whose supervisor starts it again."""
    runs = Runs([ValueError("a fault"), None])
    with pytest.raises(ValueError, match="a fault"):
        await _run(runs)
    assert runs.left == [None]


async def test_work_that_others_do_not_need_goes_on_after_a_fault() -> None:
    """The fault is logged as an error, and the next run follows after the pause."""
    runs = Runs([ValueError("a fault"), None])
    with capture_logs() as lines:
        await _run(runs, continue_on_error=True)
    assert (runs.left, runs.pauses) == ([], [7.0, 7.0])
    assert [(each["event"], each["log_level"]) for each in lines] == [("work_failed", "error")]


async def test_stopping_ends_the_pause() -> None:
    """A process does not wait for the interval to pass before it stops."""
    stop, ran = asyncio.Event(), asyncio.Event()

    async def run_once() -> None:
        ran.set()

    running = asyncio.create_task(run_periodically(PeriodicWork("work", 3600.0, run_once), stop))
    await ran.wait()
    stop.set()
    async with asyncio.timeout(LIMIT_SECONDS):
        await running
