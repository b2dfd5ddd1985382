"""Our own processes without the second of processor time that their imports take.

They are forked from a server which has imported the gateway already, and are real processes otherwise: with an
environment, a session and a log of their own, killed and waited for like any other.
"""

from __future__ import annotations

import gc
import multiprocessing
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from tests.support.waiting import LIMIT_SECONDS

_SERVER = multiprocessing.get_context("forkserver")
_SERVER.set_forkserver_preload(["tests.support.preloaded"])


def run_gateway(*arguments: str) -> None:
    """The command line, as ``gateway`` runs it."""
    from tests.support.preloaded import command

    sys.argv = ["gateway", *arguments]
    command()


def gateway_command(
    *arguments: str, environment: Mapping[str, str] | None = None, limit: float = LIMIT_SECONDS
) -> subprocess.CompletedProcess[str]:
    """``gateway ARGUMENTS…`` to its end, in the environment of the tests or in another one."""
    with tempfile.TemporaryDirectory(prefix="gw-") as folder:
        out, errors = Path(folder, "out"), Path(folder, "errors")
        process = ForkedProcess(run_gateway, arguments, environment or os.environ, out, errors)
        try:
            status = process.wait(limit)
        finally:
            process.kill()
        return subprocess.CompletedProcess(arguments, status, out.read_text("utf-8"), errors.read_text("utf-8"))


class ForkedProcess:
    """A running process; the part of ``subprocess.Popen`` that tests use."""

    def __init__(
        self,
        target: Callable[..., None],
        arguments: Sequence[str],
        environment: Mapping[str, str],
        log: Path,
        errors: Path | None = None,
    ) -> None:
        """Start ``target(*arguments)`` with this environment alone.

        Its output is appended to ``log``, and what it writes to stderr to ``errors`` where that is given.
        """
        given = (target, tuple(arguments), dict(environment), os.getcwd(), (str(log), str(errors or log)))
        self._process: Any = _SERVER.Process(target=_begin, args=given, daemon=True)
        self._process.start()
        self._asking = threading.Lock()  # its end is read from a pipe, once

    @property
    def pid(self) -> int:
        return int(self._process.pid)

    def poll(self) -> int | None:
        """The exit status, or None while it runs; negative: the number of the signal that ended it."""
        with self._asking:
            status: int | None = self._process.exitcode
            return status

    def wait(self, timeout: float | None = None) -> int:
        """The exit status, at its end. Raises subprocess.TimeoutExpired."""
        with self._asking:
            self._process.join(timeout)
        status = self.poll()
        if status is None:
            raise subprocess.TimeoutExpired("gateway", timeout or 0)
        return status

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            with suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


def _begin(
    target: Callable[..., None],
    arguments: Sequence[str],
    environment: Mapping[str, str],
    folder: str,
    outputs: Sequence[str],
) -> None:
    os.setsid()
    os.chdir(folder)
    for stream, path in zip((1, 2), outputs, strict=True):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), stream)
    os.environ.clear()
    os.environ.update(environment)
    random.seed()  # all are forked with the same state
    gc.freeze()  # a collection would go through all that the server has imported, and copy its memory
    target(*arguments)
