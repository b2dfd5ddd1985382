"""How a rate is measured: rounds of equal work, the first thrown away, the median kept, the spread shown."""

from __future__ import annotations

import statistics
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise


class Missing(Exception):
    """It can't be measured here; the message says what to install."""


@dataclass(frozen=True)
class Measurement:
    """Items a second : the median round, the slowest and the fastest."""

    per_second: float
    slowest: float
    fastest: float
    rounds: int
    latency_ms: Mapping[str, float] = field(default_factory=dict)  # p50, p95, p99, where each item was timed
    cpu_ms: float = 0.0  # of the process that is measured, for each item; 0: not counted
    failed: int = 0  # items that were refused or lost


def of_rates(
    rates: Sequence[float], latency_ms: Mapping[str, float] | None = None, cpu_ms: float = 0.0, failed: int = 0
) -> Measurement:
    """The measurement that these rounds make."""
    latency = {name: round(value, 2) for name, value in (latency_ms or {}).items()}
    middle, least, most = statistics.median(rates), min(rates), max(rates)
    return Measurement(round(middle, 2), round(least, 2), round(most, 2), len(rates), latency, round(cpu_ms, 4), failed)


def of_times(times: Sequence[float], windows: int = 8, cpu_ms: float = 0.0) -> Measurement:
    """The rate at which things came at these instants: in windows of equal count, the first thrown away."""
    ordered = sorted(times)
    size = len(ordered) // windows
    if size < 2:
        raise RuntimeError(f"only {len(ordered)} came")
    edges = [ordered[each * size] for each in range(windows)] + [ordered[-1]]
    rates = [size / (after - before) for before, after in pairwise(edges[1:])]
    return of_rates(rates, cpu_ms=cpu_ms)


def cpu_rate(work: Callable[[], int], rounds: int) -> Measurement:
    """Items that ``work`` (which answers how many) does in a second of one core."""
    rates = []
    for _ in range(rounds + 1):
        before = time.process_time()
        done = work()
        rates.append(done / (time.process_time() - before))
    return of_rates(rates[1:])


async def wall_rate(work: Callable[[int], Awaitable[int]], rounds: int) -> Measurement:
    """Items that ``work`` (given the round's number) does in a second of the clock: where disks are waited for."""
    rates = []
    for number in range(rounds + 1):
        before = time.perf_counter()
        done = await work(number)
        rates.append(done / (time.perf_counter() - before))
    return of_rates(rates[1:])


def percentiles(values: Sequence[float]) -> dict[str, float]:
    """p50, p95, p99."""
    ordered = sorted(values)
    shares = (("p50", 0.5), ("p95", 0.95), ("p99", 0.99))
    return {name: ordered[int(len(ordered) * share)] for name, share in shares} if ordered else {}
