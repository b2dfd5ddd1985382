"""Accepting: how many reminders one API process takes in a second, durably, beside what others do for one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import machine
from measuring import Measurement, of_rates
from shape import redis_server, shape, workspace

_FIRST = 1_000_000  # of a connection count's reminders; each count has its own, so that none is a duplicate
CONNECTIONS = (1, 32, 256)
BATCHES = (100, 1000)

Asking = Callable[..., tuple[dict[str, Any], float]]  # what load.py answers, and the processor time it took


def measure_accept(postgresql_url: str, seconds: float) -> dict[str, Measurement]:
    """Rounds of ``seconds`` each, three after a warm-up."""
    found: dict[str, Measurement] = {}
    with _rival("bare.py") as ask:
        _singles(found, "accept_bare_fastapi", ask, seconds)
    for name, url in (("postgresql", postgresql_url), ("sqlite", "")):
        with redis_server() as redis_url, workspace() as folder:
            database = url or f"sqlite:///{folder}/textbook.db"
            with _rival("textbook.py", database, redis_url) as ask:
                _singles(found, f"accept_textbook_{name}", ask, seconds)
        with shape(url) as ours:
            api = ours.start_api()
            _singles(found, f"accept_ours_{name}", _asking(api, ours.port, ours.key), seconds)
            for size in BATCHES:
                ask = _asking(api, ours.port, ours.key, "/v1/notifications/batch")
                found[f"accept_ours_{name}_batch_{size}"] = _batches(ask, size, seconds)
    return found


@contextmanager
def _rival(script: str, *arguments: str) -> Iterator[Asking]:
    port = machine.free_port()
    command = machine.python(f"rivals/{script}", *(["api"] if arguments else []), str(port), *arguments)
    with workspace() as folder:
        process = machine.start(command, Path(folder) / "log", on=machine.MEASURED)
        try:
            machine.wait_for_port(port, process)
            yield _asking(process, port, "none")
        finally:
            process.stop()


def _asking(process: machine.MeasuredProcess, port: int, key: str, path: str = "/v1/notifications") -> Asking:
    def ask(**what: Any) -> tuple[dict[str, Any], float]:
        before = machine.cpu_seconds(process.pid)
        answer = machine.load(port=port, path=path, key=key, **what)
        return answer, machine.cpu_seconds(process.pid) - before

    return ask


def _singles(found: dict[str, Measurement], name: str, ask: Asking, seconds: float) -> None:
    for number, connections in enumerate(CONNECTIONS):
        asked = ask(connections=connections, first=_FIRST * number, warm_up=seconds / 2, rounds=3, seconds=seconds)
        found[f"{name}_{connections}"] = _measured(*asked)


def _batches(ask: Asking, size: int, seconds: float) -> Measurement:
    first = _FIRST * 3 + size * 1_000
    asked = ask(connections=4, first=first, warm_up=seconds / 2, rounds=3, seconds=max(seconds, 2.0), batch=size)
    return _measured(*asked)


def _measured(answer: dict[str, Any], cpu: float) -> Measurement:
    failed = sum(count for status, count in answer["statuses"].items() if status != "202")
    return of_rates(answer["rates"], answer["latency_ms"], cpu * 1000 / max(1, answer["taken"]), failed)
