"""How a rate is measured: rounds of equal work, the first thrown away, the median kept, the spread shown."""

from __future__ import annotations

import statistics
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Measurement:
    """Items a second: the median round, the slowest and the fastest."""

    per_second: float
    slowest: float
    fastest: float
    rounds: int


def of_rates(rates: list[float]) -> Measurement:
    """The measurement that these rounds make."""
    return Measurement(round(statistics.median(rates), 1), round(min(rates), 1), round(max(rates), 1), len(rates))


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
