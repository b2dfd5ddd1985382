"""Dispatching: how fast waiting deliveries become messages at a provider, beside queues that drain jobs of nothing."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import kannel
import machine
from measuring import Measurement, Missing, of_times
from shape import Shape, outside, redis_server, shape, workspace
from waiting import Filler

QUEUES = ("arq", "saq", "taskiq", "dramatiq", "celery")
DELAYS_MS = (0, 20, 100)
_LONGEST_SECONDS = 120.0


@dataclass(frozen=True)
class Sizes:
    """How much is drained. ``rivals_python`` runs the queues that don't go with our redis client."""

    deliveries: int
    jobs: int
    rivals_python: str


def measure_dispatch(postgresql_url: str, sizes: Sizes) -> tuple[dict[str, Measurement], dict[str, str]]:
    """All of it, and what could not be measured with the reason."""
    found: dict[str, Measurement] = {}
    missing: dict[str, str] = {}
    with shape(postgresql_url) as ours:
        run = _Runs(ours, sizes.deliveries)
        for delay in DELAYS_MS:
            found[f"dispatch_http_{delay}ms"] = run.drain("sms", delay)
        # The pair that shows what a second worker adds may use every processor, alone as well as together.
        found["dispatch_http_20ms_one_worker_anywhere"] = run.drain("sms", 20, workers=1, on=machine.ALL)
        found["dispatch_http_20ms_two_workers"] = run.drain("sms", 20, workers=2, on=machine.ALL)
        found["dispatch_smtp"] = run.drain("email", 0)
        found["dispatch_inapp"] = run.drain("inapp", 0)
    with shape("") as embedded:
        found["dispatch_http_0ms_sqlite"] = _Runs(embedded, sizes.deliveries).drain("sms", 0)
    found["dispatch_textbook"] = _textbook(postgresql_url, sizes.deliveries // 4)
    # Like with like: messages built and handed over, by each side's SMTP alone; the whole path is ``dispatch_smtp``.
    found["smtp_connection_per_message"] = _mail("rivals/mail.py", sizes.jobs)
    found["smtp_ours"] = _mail("mailing.py", sizes.jobs)
    for name in QUEUES:
        try:
            found[f"noop_{name}"] = _queue(name, sizes)
        except RuntimeError as error:
            missing[f"noop_{name}"] = str(error)
    try:
        found["kannel"] = kannel.measure(sizes.jobs)
    except Missing as error:
        missing["kannel"] = str(error)
    return found, missing


class _Runs:
    """Fills one ledger again and again, and lets workers drain it."""

    def __init__(self, ours: Shape, count: int) -> None:
        self._ours = ours
        self._count = count
        self._next = 0

    def drain(self, route: str, delay: float, *, workers: int = 1, on: set[int] = machine.MEASURED) -> Measurement:
        """The rate at which they arrive; in the feed they are there when the ledger says so."""
        ours = self._ours
        Filler(ours).due(self._count, self._next, route)
        self._next += self._count
        ours.world.expect(delay_ms=delay)
        processes = [ours.start_worker(on) for _ in range(workers)]
        used = Used(processes)
        try:
            times = arrivals_in_feed(ours, self._count, used) if route == "inapp" else arrivals(ours, self._count, used)
        finally:
            ours.stop_workers()
        return of_times(times, cpu_ms=used.per_item())


class Used:
    """The processor time of these processes for each item, starting up not counted."""

    def __init__(self, processes: Sequence[machine.MeasuredProcess]) -> None:
        self._processes = processes
        self._looks: list[tuple[int, float]] = []

    def look(self, done: int) -> None:
        """Note what has been used when so many items were done."""
        self._looks.append((done, sum(machine.cpu_seconds(each.pid) for each in self._processes)))

    def per_item(self) -> float:
        """Milliseconds, between the first look that saw an item and the last."""
        begun = [look for look in self._looks if look[0]]
        if len(begun) < 2 or begun[-1][0] == begun[0][0]:
            return 0.0
        return (begun[-1][1] - begun[0][1]) * 1000 / (begun[-1][0] - begun[0][0])


def arrivals(ours: Shape, count: int, used: Used, within: float = _LONGEST_SECONDS) -> list[float]:
    """When each message came to the provider. Raises RuntimeError where they don't all come, or one comes twice."""
    until = time.monotonic() + within
    there = 0
    while there < count and time.monotonic() < until:
        time.sleep(0.2)
        there = ours.world.count()
        used.look(there)
    time.sleep(0.5)  # for what should not come
    times = ours.world.seen()["times"]
    if len(times) > count:
        raise RuntimeError(f"{len(times)} came of {count}")
    if len(times) < count // 2:
        raise RuntimeError(f"only {len(times)} came of {count}; {_log(ours)}")
    return list(times)


def arrivals_in_feed(ours: Shape, count: int, used: Used) -> list[float]:
    """As above, for messages whose provider is the ledger itself: by counting rows, interpolated between looks."""
    from sqlalchemy import create_engine, func, select

    from gateway.storage.tables.borrowers import inbox

    engine = create_engine(ours.database_url)
    times: list[float] = []
    until = time.monotonic() + _LONGEST_SECONDS
    last = time.monotonic()
    with engine.connect() as connection:
        connection = connection.execution_options(isolation_level="AUTOCOMMIT")
        while len(times) < count and time.monotonic() < until:
            time.sleep(0.1)
            there = connection.execute(select(func.count()).select_from(inbox)).scalar_one()
            now, more = time.monotonic(), there - len(times)
            used.look(there)
            times += [last + (now - last) * (each + 1) / more for each in range(more)]
            last = now
    engine.dispose()
    if len(times) < count // 2:
        raise RuntimeError(f"only {len(times)} came of {count}; {_log(ours)}")
    return times


def _log(ours: Shape) -> str:
    logs = sorted(ours.folder.glob("worker-*.log"))
    return logs[-1].read_text()[-800:] if logs else "no log"


def _textbook(postgresql_url: str, count: int) -> Measurement:
    with workspace() as folder, redis_server() as redis_url, outside(folder) as world:
        _run(machine.python("rivals/textbook_fill.py", str(count), postgresql_url, redis_url))
        url = f"http://127.0.0.1:{world.http_port}"
        command = machine.python("rivals/textbook.py", "worker", url, postgresql_url, redis_url)
        process = machine.start(command, folder / "log", on=machine.MEASURED)
        try:
            used, until, there = Used([process]), time.monotonic() + _LONGEST_SECONDS, 0
            while there < count and time.monotonic() < until:
                time.sleep(0.2)
                there = world.count()
                used.look(there)
            times = world.seen()["times"]
            if len(times) < count // 2:
                raise RuntimeError(f"textbook: only {len(times)} came; {(folder / 'log').read_text()[-800:]}")
            return of_times(times, cpu_ms=used.per_item())
        finally:
            process.stop()


def _mail(script: str, count: int) -> Measurement:
    with workspace() as folder, outside(folder) as world:
        process = machine.start(
            machine.python(script, str(world.smtp_port), str(count)), folder / "log", on=machine.MEASURED
        )
        process.handle.wait(_LONGEST_SECONDS)
        return of_times(world.seen()["times"])


def _queue(name: str, sizes: Sizes) -> Measurement:
    interpreter = machine.sys.executable if name == "arq" else sizes.rivals_python
    if not Path(interpreter).exists():
        raise RuntimeError("its packages could not be installed")
    with workspace() as folder, redis_server() as redis_url:
        command = [interpreter, str(machine.HERE / "rivals/queues.py"), name, redis_url, str(sizes.jobs)]
        process = machine.start(command, folder / "log", on=machine.MEASURED, piped=True)
        try:
            line = process.line_within(_LONGEST_SECONDS)
            while line and not line.startswith("["):  # one of them greets on stdout
                line = process.line()
        finally:
            process.stop()
        if not line:
            raise RuntimeError((folder / "log").read_text()[-300:] or "did not finish")
        return of_times(json.loads(line))


def _run(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(done.stderr[-1500:])
