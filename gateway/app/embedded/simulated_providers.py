"""The simulated providers of the embedded mode: servers in a child process.

Owns that process and the parsing of its first line. Must not know the channels, which use HTTP and SMTP.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp

from gateway.app.embedded.errors import CannotStart
from gateway.app.embedded.processes import Child, spawn
from gateway.core.security.private_files import open_private

_READY_SECONDS = 20.0  # its imports take about one second (measured); twenty times that for a loaded machine
_ASK_SECONDS = 5.0
_STOP_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class SimulatedProviders:
    """The running simulation and the ports it listens on, all on the loopback interface.

    ``social_ports`` are those of social channels, by channel.
    """

    child: Child
    sms_port: int
    smtp_port: int
    control_port: int
    social_ports: Mapping[str, int]

    @property
    def running(self) -> bool:
        return self.child.running

    async def summary(self) -> dict[str, Any]:
        """The counts of received messages. Raises aiohttp.ClientError, TimeoutError."""
        return await self._ask("GET", "summary")

    async def submit_template(self, channel: str, reference: str, language: str, text: str) -> None:
        """Submit a template to a channel's provider, which approves it. Raises aiohttp.ClientError, TimeoutError."""
        submitted = {"reference": reference, "language": language, "text": text}
        await self._ask("POST", f"templates/{channel}", submitted)

    async def _ask(self, method: str, path: str, body: Mapping[str, str] | None = None) -> dict[str, Any]:
        timeout = aiohttp.ClientTimeout(total=_ASK_SECONDS)
        url = f"http://127.0.0.1:{self.control_port}/_simulator/{path}"
        async with (
            aiohttp.ClientSession(timeout=timeout, raise_for_status=True) as session,
            session.request(method, url, json=body) as response,
        ):
            answer: dict[str, Any] = await response.json()
            return answer

    async def stop(self) -> None:
        await self.child.stop(_STOP_SECONDS)


async def start(
    arguments: Sequence[str], secrets: Mapping[str, str], log: Path | None = None, module: str = "channels.simulation"
) -> SimulatedProviders:
    """Start the simulation and wait until it listens.

    Args:
        arguments: its command line, which every user of the machine can read.
        secrets: environment variables that the command line refers to by name.
        log: the file for its standard error; None: that of this process.
        module: the Python module to run.

    Raises: CannotStart.
    """
    command = [sys.executable, "-m", module, *arguments]
    # ``-m`` searches the working directory first; with PYTHONPATH it finds the module that this process would import.
    paths = os.pathsep.join(path for path in sys.path if path)
    environment = {**os.environ, "PYTHONPATH": paths, **secrets}
    try:
        if log is None:
            child = spawn(command, environment=environment, output=subprocess.PIPE)
        else:
            with open_private(log, "wb") as errors:
                child = spawn(command, environment=environment, output=subprocess.PIPE, errors=errors)
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else type(error).__name__
        raise CannotStart(f"cannot start the simulation: {reason}") from error
    assert child.stdout is not None
    # After a time-out the thread still waits for a line; stopping the child ends it.
    reading = asyncio.ensure_future(asyncio.to_thread(child.stdout.readline))
    done, _ = await asyncio.wait({reading}, timeout=_READY_SECONDS)
    try:
        ports = json.loads(reading.result() if done else b"")
        listening = int(ports["sms_port"]), int(ports["smtp_port"]), int(ports["control_port"])
        return SimulatedProviders(child, *listening, dict(ports.get("social_ports", {})))
    except (ValueError, KeyError, TypeError):
        await _end(child, reading)
        where = f", see {log}" if log else ""
        raise CannotStart(f"the simulation ({module}) did not come up{where}") from None


async def _end(child: Child, reading: asyncio.Future[bytes]) -> None:
    """Stop the child before its pipe is closed, since a thread may still read from it."""
    child.kill()
    await asyncio.wait({reading}, timeout=_STOP_SECONDS)
    await child.stop(_STOP_SECONDS)
