"""Simulations for the page: a job for a process of its own, one at a time in this process, stopped after its time."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress

import msgspec
import structlog

from gateway.web.journeys.simulation_worker import SimulationJob, SimulationResult

# Of a run, with the start of its process, on a busy machine: twice what it may compute. Our choice.
_LIMIT_SECONDS = 120.0
_COMMAND = ("-m", "gateway.web.journeys.simulation_worker")
_log = structlog.get_logger("simulations")


class SimulationBusy(Exception):
    """Another simulation is under way in this process."""


class SimulationFailed(Exception):
    """It took too long or too much memory, or failed; the log has why."""


class Simulations:
    """Runs simulations. ``shipped``: texts of the built-in definitions by name; ``category`` of a tenant's template."""

    def __init__(self, policies: str, shipped: Mapping[str, str], category: Callable[[str, str], str | None]) -> None:
        self.policies = policies
        self.shipped = shipped
        self.category = category
        self._running = False

    async def run(self, job: SimulationJob) -> SimulationResult:
        """Raises SimulationBusy, SimulationFailed. Cancelling ends the process."""
        if self._running:
            raise SimulationBusy
        self._running = True
        try:
            return await self._run(job)
        finally:
            self._running = False

    async def _run(self, job: SimulationJob) -> SimulationResult:
        pipe = asyncio.subprocess.PIPE
        process = await asyncio.create_subprocess_exec(sys.executable, *_COMMAND, stdin=pipe, stdout=pipe, stderr=pipe)
        try:
            async with asyncio.timeout(_LIMIT_SECONDS):
                answer, _ = await process.communicate(msgspec.msgpack.encode(job))
        except TimeoutError:
            _log.warning("simulation_failed", reason="time")
            raise SimulationFailed from None
        finally:
            if process.returncode is None:
                with suppress(ProcessLookupError):
                    process.kill()
                await process.wait()
        if process.returncode:  # what it says on stderr may quote a file's rows
            _log.error("simulation_failed", reason="exit", code=process.returncode)
            raise SimulationFailed
        return msgspec.msgpack.decode(answer, type=SimulationResult)
