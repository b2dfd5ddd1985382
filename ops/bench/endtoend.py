"""From request to provider and back: how long it takes at a steady rate, and whether every receipt is matched."""

from __future__ import annotations

import statistics
import time
from itertools import pairwise
from typing import Any

import machine
import reminders
from measuring import Measurement, of_rates, percentiles
from shape import Shape, shape

STEADY = 300.0  # requests a second
_SHARE = 0.6  # of the maximum
_CONNECTIONS = 32
_ROUNDS = 3
_A_ROUND = 100_000  # more reminders than one round sends


def measure_endtoend(postgresql_url: str, seconds: float) -> dict[str, Measurement]:
    """One API and one worker process, each on whatever processor is free, and receipts twice per message."""
    found: dict[str, Measurement] = {}
    with shape(postgresql_url) as ours:
        ours.start_api(machine.ALL)
        ours.start_worker(machine.ALL)
        time.sleep(2)
        _steady(ours, STEADY / 3, 2.0, 0, rounds=1)  # a warm-up of all processes
        found["endtoend_300"] = _steady(ours, STEADY, seconds, 1_000_000)
        found["endtoend_low_load"] = _steady(ours, 10.0, max(seconds / 2, 3.0), 1_500_000)
        most = found["endtoend_maximum"] = _maximum(ours, seconds, 2_000_000)
        found["endtoend_60_percent"] = _steady(ours, max(1.0, most.per_second * _SHARE), seconds, 3_000_000)
    return found


def _steady(ours: Shape, rate: float, seconds: float, first: int, rounds: int = _ROUNDS) -> Measurement:
    """Requests at a steady rate; the latency is from when each was to be sent until it is at the provider.

    The percentiles are the medians of the rounds' own; what failed is counted over all rounds.
    """
    found = [_round(ours, rate, seconds, first + number * _A_ROUND) for number in range(rounds)]
    each_round = [percentiles(waits) for waits, _ in found if waits]
    shares = each_round[0] if each_round else {}
    middle = {share: statistics.median(each[share] for each in each_round) for share in shares}
    return of_rates([len(waits) / seconds for waits, _ in found], middle, failed=sum(failed for _, failed in found))


def _round(ours: Shape, rate: float, seconds: float, first: int) -> tuple[list[float], int]:
    """How long each took, in ms, and how many were refused, lost, doubled or not matched with their receipts."""
    ours.world.expect(receipts=True)
    asked = ours.load(connections=_CONNECTIONS, first=first, warm_up=0, rounds=1, seconds=seconds, rate=rate)
    seen = _all(ours, len(asked["sent"]))
    arrived = dict(zip(seen["to"], seen["times"], strict=True))
    waits = []
    for number, sent in asked["sent"].items():
        there = arrived.get(reminders.phone(int(number)))
        if there is not None:
            waits.append((there - sent) * 1000)
    failed = len(asked["sent"]) - len(waits) + len(seen["times"]) - len(arrived) + seen["refused"]
    return waits, failed + 2 * len(seen["times"]) - seen["callbacks"]


def _maximum(ours: Shape, seconds: float, first: int) -> Measurement:
    """What goes all the way while requests come as fast as they are taken: each second's arrivals."""
    ours.world.expect(receipts=True)
    began = time.monotonic()
    asked = ours.load(connections=_CONNECTIONS, first=first, warm_up=0, rounds=1, seconds=seconds)
    end = time.monotonic()
    seen = _all(ours, int(asked["taken"]))
    edges = [began + (end - began) * part / 4 for part in range(5)]
    windows = list(pairwise(edges[1:]))  # the first is the warm-up
    rates = [sum(since <= at < until for at in seen["times"]) / (until - since) for since, until in windows]
    return of_rates(rates)


def _all(ours: Shape, count: int, most_seconds: float = 60.0) -> dict[str, Any]:
    """What the provider saw, once all has come and been reported, or nothing more comes."""
    until = time.monotonic() + most_seconds
    seen = ours.world.seen()
    while time.monotonic() < until and (len(seen["times"]) < count or seen["callbacks"] < 2 * count):
        time.sleep(0.5)
        seen = ours.world.seen()
    return seen
