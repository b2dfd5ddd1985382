"""Child processes that end with this process and don't receive its Ctrl-C.

Owns starting and stopping. Must not know the purpose of the children.
"""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO

_BOUND = Path(__file__).with_name("bound.py")
_POLL_SECONDS = 0.01


class Child:
    """A child process in its own session: Ctrl-C in the terminal reaches the parent only, which then stops the child.

    Uses ``subprocess``, since ``asyncio.subprocess`` binds a process to one event loop.
    """

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def stdout(self) -> IO[bytes] | None:
        return self._process.stdout

    @property
    def running(self) -> bool:
        return self._process.poll() is None

    async def ended(self, within: float) -> bool:
        """Wait at most ``within`` seconds for the process to end. Returns whether it has ended."""
        until = time.monotonic() + within
        while self.running:
            if time.monotonic() >= until:
                return False
            await asyncio.sleep(_POLL_SECONDS)
        return True

    async def stop(self, within: float = 10.0) -> None:
        """Send SIGTERM, and SIGKILL if the process still runs after ``within`` seconds."""
        if self.running:
            self._signal(signal.SIGTERM)
            if not await self.ended(within):
                self._signal(signal.SIGKILL)
                await self.ended(within)
        if self._process.stdout is not None:
            self._process.stdout.close()

    def kill(self) -> None:
        """Send SIGKILL; call ``stop`` afterwards to release its resources."""
        self._signal(signal.SIGKILL)

    def _signal(self, number: signal.Signals) -> None:
        # The whole process group, since bound.py may run between this process and the command.
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, number)


def spawn(
    command: Sequence[str],
    *,
    environment: Mapping[str, str] | None = None,
    output: IO[bytes] | int = subprocess.DEVNULL,
    errors: IO[bytes] | int | None = None,
    directory: Path | None = None,
) -> Child:
    """Start ``command`` (an absolute path and its arguments); it ends with this process. Raises OSError."""
    on_main_thread = threading.current_thread() is threading.main_thread()
    way = "exec" if sys.platform == "linux" and on_main_thread else "watch"
    process = subprocess.Popen(
        [sys.executable, "-I", "-S", str(_BOUND), way, str(os.getpid()), *command],
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=errors,
        env=None if environment is None else dict(environment),
        cwd=directory,
        start_new_session=True,
    )
    return Child(process)
