"""A soak: half of the measured maximum, in turns without and with hostile traffic beside it.

    python ops/bench/soak.py [--minutes 20] [--json]

Says, of the same run: the latency of good requests in quiet and in hostile turns, and in turns in which the same
hostile traffic goes to a server that does nothing with it (what its generator takes from the machine); the API's
processor time for each hostile request of each kind; and its resident memory over time. Exit status 1 where p99 is more
than three times as long beside hostile traffic, memory grows, or a good request is refused.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from statistics import linear_regression, median
from typing import Any

import hostile
import machine
from shape import Shape, postgresql, shape

_CONNECTIONS = 32
_MAXIMUM_SECONDS = 5.0  # of each of three rounds
_CYCLES = 4  # of one turn of each kind: what changes on the machine meanwhile is in all of them
_WARM_UP = 1.0  # seconds of a turn that are not counted
_COSTED = 20  # hostile requests of each kind, one after the other, of which the cost is taken
_SAMPLE_SECONDS = 1.0
_WARMED_UP = 0.25  # share of the samples before memory is compared: caches and pools fill
_GROWTH = 1.10  # our choice: what the last quarter may have above the quarter after the warm-up
_SLOWER = 3.0  # our choice: what hostile traffic may cost good requests at the 99th percentile
_FIRST = 10_000_000  # each turn has reminders of its own

QUIET, DECOY, HOSTILE = "quiet", "hostile, to a decoy", "hostile"


@dataclass
class Memory:
    """Resident memory of a process in MB, each second."""

    samples: list[float] = field(default_factory=list)

    @property
    def growth(self) -> float:
        """The mean of the last quarter over that of the quarter after the warm-up; 1 where there are too few."""
        quarter = len(self.samples) // 4
        if not quarter:
            return 1.0
        first, last = self._warm[:quarter], self.samples[-quarter:]
        return (sum(last) / len(last)) / (sum(first) / len(first))

    @property
    def slope(self) -> float:
        """MB a minute after the warm-up, by least squares."""
        if len(self._warm) < 2:
            return 0.0
        seconds = [number * _SAMPLE_SECONDS for number in range(len(self._warm))]
        return float(linear_regression(seconds, self._warm).slope) * 60

    @property
    def _warm(self) -> list[float]:
        return self.samples[int(len(self.samples) * _WARMED_UP) :]


@dataclass
class Turns:
    """What was seen in the turns of one kind."""

    latencies: list[dict[str, float]] = field(default_factory=list)
    statuses: Counter[str] = field(default_factory=Counter)
    busy: list[float] = field(default_factory=list)  # the API's share of its processor

    def summary(self) -> dict[str, Any]:
        """The median of the turns."""
        names = self.latencies[0]
        latency = {name: round(median(each[name] for each in self.latencies), 1) for name in names}
        return {"latency_ms": latency, "statuses": dict(self.statuses), "processor": round(median(self.busy), 2)}


@contextmanager
def _sampled(pid: int, into: Memory) -> Iterator[None]:
    ended = threading.Event()

    def sample() -> None:
        while not ended.wait(_SAMPLE_SECONDS):
            into.samples.append(machine.memory_mb(pid))

    thread = threading.Thread(target=sample)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def measure(minutes: float) -> dict[str, Any]:
    """The whole soak: ``minutes`` of turns."""
    machine.pin(machine.OTHERS)
    seconds = max(5.0, minutes * 60 / (3 * _CYCLES))
    memory, answers = Memory(), Counter[tuple[str, str]]()
    turns = {kind: Turns() for kind in (QUIET, DECOY, HOSTILE)}
    with postgresql() as url, shape(url) as ours, _decoy() as decoy:
        api = ours.start_api()
        maximum = max(_load(ours, 0, rounds=3, seconds=_MAXIMUM_SECONDS)["rates"])
        costs = _costs(ours, api.pid)
        with _sampled(api.pid, memory):
            for number in range(3 * _CYCLES):
                kind = (QUIET, DECOY, HOSTILE)[number % 3]
                port = {QUIET: 0, DECOY: decoy, HOSTILE: ours.port}[kind]
                with _attacked(port, ours.key, seconds + _WARM_UP, answers if kind == HOSTILE else Counter()):
                    began, used = time.monotonic(), machine.cpu_seconds(api.pid)
                    found = _load(ours, number + 1, rate=maximum / 2, seconds=seconds)
                    busy = (machine.cpu_seconds(api.pid) - used) / (time.monotonic() - began)
                turns[kind].latencies.append(found["latency_ms"])
                turns[kind].statuses.update(found["statuses"])
                turns[kind].busy.append(busy)
    return {
        "maximum_per_second": round(maximum),
        "rate_per_second": round(maximum / 2),
        "turns": {kind: each.summary() for kind, each in turns.items()},
        "p99_factor": _factor(turns, QUIET),
        "p99_factor_to_decoy": _factor(turns, DECOY),
        "processor_ms_per_hostile_request": costs,
        "memory_growth": round(memory.growth, 3),
        "memory_mb_per_minute": round(memory.slope, 2),
        "rss_mb": [round(each) for each in memory.samples[:: max(1, len(memory.samples) // 20)]],
        "hostile": _by_kind(answers),
        "machine": machine.describe()["machine"],
        "commit": machine.commit(),
    }


def _factor(turns: Mapping[str, Turns], to: str) -> float:
    beside, without = (median(each["p99"] for each in turns[kind].latencies) for kind in (HOSTILE, to))
    return round(beside / without, 2)


def _costs(ours: Shape, pid: int) -> dict[str, float]:
    """The API's processor time for one request of each kind, in ms."""
    attack, costs = hostile.Attack(ours.port, ours.key, 0.0), {}

    async def one_after_the_other(request: bytes) -> None:
        for _ in range(_COSTED):
            await hostile.status(attack.port, request)

    for name, make in hostile.KINDS.items():
        request, before = make(attack), machine.cpu_seconds(pid)
        asyncio.run(one_after_the_other(request))
        costs[name] = round(1000 * (machine.cpu_seconds(pid) - before) / _COSTED, 1)
    return costs


@contextmanager
def _decoy() -> Iterator[int]:
    """The port of a server that reads what comes and refuses it."""
    process = subprocess.Popen(machine.python("decoy.py"), stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        yield int(process.stdout.readline())
    finally:
        process.kill()
        process.wait()


@contextmanager
def _attacked(port: int, key: str, seconds: float, answers: Counter[tuple[str, str]]) -> Iterator[None]:
    """Hostile traffic to this port meanwhile; none where it is 0."""
    if not port:
        yield
        return
    command = machine.python("hostile.py", json.dumps({"port": port, "key": key, "seconds": seconds}))
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        yield
        for kind, found in json.loads(process.communicate(timeout=120)[0]).items():
            answers.update({(kind, status): number for status, number in found.items()})
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()


def _by_kind(answers: Mapping[tuple[str, str], int]) -> dict[str, dict[str, int]]:
    found: dict[str, dict[str, int]] = {}
    for (kind, status), number in sorted(answers.items()):
        found.setdefault(kind, {})[status] = number
    return found


def _load(ours: Shape, turn: int, *, seconds: float, rounds: int = 1, rate: float = 0.0) -> dict[str, Any]:
    first = _FIRST * (turn + 1)
    return ours.load(
        connections=_CONNECTIONS, first=first, warm_up=_WARM_UP, rounds=rounds, seconds=seconds, rate=rate, route="sms"
    )


def faults(found: Mapping[str, Any]) -> Sequence[str]:
    """What is not as it should be."""
    refused = {status for turn in found["turns"].values() for status in turn["statuses"] if int(status) >= 300}
    errors = {kind for kind, answers in found["hostile"].items() if any(int(status) >= 500 for status in answers)}
    return [
        *([f"p99 is {found['p99_factor']} times as long"] if found["p99_factor"] > _SLOWER else []),
        *([f"memory grew to {found['memory_growth']:.0%}"] if found["memory_growth"] > _GROWTH else []),
        *([f"good requests got {', '.join(sorted(refused))}"] if refused else []),
        *([f"server errors at: {', '.join(sorted(errors))}"] if errors else []),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=20.0, help="of turns, a third of them with hostile traffic")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args()
    began = time.monotonic()
    found = measure(options.minutes)
    wrong = faults(found)
    if options.json:
        print(json.dumps({**found, "faults": wrong, "seconds": round(time.monotonic() - began)}, indent=2))
    else:
        _print(found)
        print("\n".join(wrong) or "as it should be")
    sys.exit(1 if wrong else 0)


def _print(found: Mapping[str, Any]) -> None:
    print(f"maximum {found['maximum_per_second']} a second; half of it, in turns:")
    for kind, turn in found["turns"].items():
        print(f"  {kind:20} {turn['latency_ms']}  API's processor {turn['processor']:.0%}  {turn['statuses']}")
    print(f"p99 beside hostile traffic: × {found['p99_factor']}; × {found['p99_factor_to_decoy']} to its decoy")
    print(
        f"memory × {found['memory_growth']}, {found['memory_mb_per_minute']} MB a minute; RSS in MB {found['rss_mb']}"
    )
    print("hostile requests: the API's processor time in ms, and the answers:")
    for kind, answers in found["hostile"].items():
        print(f"  {kind:34} {found['processor_ms_per_hostile_request'].get(kind, '')!s:6} {answers}")


if __name__ == "__main__":
    main()
