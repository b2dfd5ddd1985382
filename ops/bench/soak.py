"""A soak: half of the measured maximum, first alone and then with hostile traffic beside it.

    python ops/bench/soak.py [--minutes 20] [--json]

Says the latency of good requests with and without the hostile ones, their statuses, and the API's resident memory over
time. Exit status 1 where p99 is more than three times as long, memory grows, or a good request is refused.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import machine
from shape import Shape, postgresql, shape

_CONNECTIONS = 32
_MAXIMUM_SECONDS = 5.0  # of each of three rounds
_SAMPLE_SECONDS = 1.0
_WARMED_UP = 0.25  # share of the samples before memory is compared: caches and pools fill
_GROWTH = 1.10  # our choice: what the last quarter may have above the quarter after the warm-up
_SLOWER = 3.0  # our choice: what hostile traffic may cost good requests at the 99th percentile
_FIRST = 10_000_000  # each phase has reminders of its own


@dataclass
class Memory:
    """Resident memory of a process in MB, each second."""

    samples: list[float] = field(default_factory=list)

    @property
    def growth(self) -> float:
        """The mean of the last quarter over that of the quarter after the warm-up; 1 where there are too few."""
        begun = int(len(self.samples) * _WARMED_UP)
        quarter = len(self.samples) // 4
        if not quarter:
            return 1.0
        first, last = self.samples[begun : begun + quarter], self.samples[-quarter:]
        return (sum(last) / len(last)) / (sum(first) / len(first))


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
    """The whole soak: a quarter of ``minutes`` without hostile traffic, then ``minutes`` with it."""
    machine.pin(machine.OTHERS)
    with postgresql() as url, shape(url) as ours:
        api = ours.start_api()
        maximum = max(_load(ours, 0, rounds=3, seconds=_MAXIMUM_SECONDS)["rates"])
        rate, alone, beside = maximum / 2, Memory(), Memory()
        with _sampled(api.pid, alone):
            without = _load(ours, 1, rate=rate, seconds=max(15.0, minutes * 15))
        attack = {"port": ours.port, "key": ours.key, "seconds": minutes * 60}
        command = machine.python("hostile.py", json.dumps(attack))
        hostile = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        try:
            with _sampled(api.pid, beside):
                during = _load(ours, 2, rate=rate, seconds=minutes * 60)
            answers = json.loads(hostile.communicate(timeout=120)[0])
        finally:
            if hostile.poll() is None:
                hostile.kill()
                hostile.wait()
    return {
        "maximum_per_second": round(maximum),
        "rate_per_second": round(rate),
        "without": _phase(without, alone),
        "with": _phase(during, beside),
        "p99_factor": round(during["latency_ms"]["p99"] / without["latency_ms"]["p99"], 2),
        "memory_growth": round(beside.growth, 3),
        "hostile": answers,
        "machine": machine.describe()["machine"],
        "commit": machine.commit(),
    }


def _load(ours: Shape, phase: int, *, seconds: float, rounds: int = 1, rate: float = 0.0) -> dict[str, Any]:
    first = _FIRST * (phase + 1)
    return ours.load(
        connections=_CONNECTIONS, first=first, warm_up=2.0, rounds=rounds, seconds=seconds, rate=rate, route="sms"
    )


def _phase(found: dict[str, Any], memory: Memory) -> dict[str, Any]:
    latency = {name: round(value, 1) for name, value in found["latency_ms"].items()}
    every = max(1, len(memory.samples) // 20)
    return {
        "latency_ms": latency,
        "statuses": found["statuses"],
        "taken": found["taken"],
        "rss_mb": [round(each) for each in memory.samples[::every]],
    }


def faults(found: dict[str, Any]) -> list[str]:
    """What is not as it should be."""
    refused = {status for phase in ("without", "with") for status in found[phase]["statuses"] if int(status) >= 300}
    errors = {kind for kind, answers in found["hostile"].items() if any(int(status) >= 500 for status in answers)}
    return [
        *([f"p99 is {found['p99_factor']} times as long"] if found["p99_factor"] > _SLOWER else []),
        *([f"memory grew by {found['memory_growth']:.0%}"] if found["memory_growth"] > _GROWTH else []),
        *([f"good requests got {', '.join(sorted(refused))}"] if refused else []),
        *([f"server errors at: {', '.join(sorted(errors))}"] if errors else []),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=20.0, help="of hostile traffic; a quarter of it without")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args()
    began = time.monotonic()
    found = measure(options.minutes)
    wrong = faults(found)
    if options.json:
        print(json.dumps({**found, "faults": wrong, "seconds": round(time.monotonic() - began)}, indent=2))
    else:
        print(f"maximum {found['maximum_per_second']} a second; half of it, without and with hostile traffic:")
        for name in ("without", "with"):
            phase = found[name]
            print(f"  {name:8} {phase['latency_ms']}  {phase['statuses']}  RSS in MB {phase['rss_mb']}")
        for kind, answers in sorted(found["hostile"].items()):
            print(f"  {kind:34} {answers}")
        print("\n".join(wrong) or f"p99 × {found['p99_factor']}, memory × {found['memory_growth']}: as it should be")
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
