"""Workers of journeys are killed with -9 all the time: no step is missing or done twice, and none after a payment."""

from __future__ import annotations

import asyncio
import os
import random
import time
from collections import Counter
from decimal import Decimal
from pathlib import Path

import pytest

from gateway.journeys.cases.record import CaseRecord, Payment
from gateway.storage.database import Database
from tests.support.forked import ForkedProcess
from tests.support.journeys import worker
from tests.support.journeys.cases import START
from tests.support.journeys.worker import QUICK, ScaledBench

pytestmark = pytest.mark.chaos

_JOURNEYS = int(os.environ.get("GATEWAY_TEST_JOURNEYS", "150"))  # 1,000 by hand: some minutes
_KILL_EVERY = 2.0  # seconds
_WORKERS = 3


async def test_no_step_is_lost_or_repeated_and_none_follows_a_payment(empty_postgresql: str, tmp_path: Path) -> None:
    """Every journey comes to its end: with three messages, or paid, with nothing pending and nothing after it."""
    base = time.time()
    bench = ScaledBench(Database(empty_postgresql), base)
    bench.clock()
    await bench.live(QUICK)
    for number in range(_JOURNEYS):
        await bench.case(number)
    paid = {f"C-{number}" for number in range(0, _JOURNEYS, 3)}

    def start() -> ForkedProcess:
        return ForkedProcess(worker.run, (empty_postgresql, str(base)), os.environ, tmp_path / "worker.log")

    workers = [start() for _ in range(_WORKERS)]
    dice, killed, waiting = random.Random(7), 0, sorted(paid)
    try:
        async with asyncio.timeout(240 + _JOURNEYS):
            while not await _all_ended(bench):
                await asyncio.sleep(_KILL_EVERY)
                at = dice.randrange(_WORKERS)
                assert workers[at].poll() is None, (tmp_path / "worker.log").read_text()
                workers[at].kill()
                workers[at].wait()
                workers[at] = start()
                killed += 1
                for case_id in waiting[: max(1, _JOURNEYS // 20)]:
                    payment = Payment("p", Decimal("3913.00"), START)
                    await bench.feed(CaseRecord(case_id, payments={"p": payment}))
                    waiting.remove(case_id)
    finally:
        for each in workers:
            each.kill()
            each.wait()
    await _check(bench, paid - set(waiting))  # the last ones may have come to their end before their payment
    await bench.database.close()
    assert killed > 0


async def _all_ended(bench: ScaledBench) -> bool:
    journeys = await bench.all()
    return len(journeys) == _JOURNEYS and all(each.ended for each in journeys)


async def _check(bench: ScaledBench, paid: set[str]) -> None:
    journeys = {each.id: each for each in await bench.all()}
    keys = Counter(tuple(key.split(":")[1:]) for key in await bench.keys())
    lost = repeated = after = 0
    for each in journeys.values():
        recorded = [record.step for record in each.steps]
        accepted = [step for journey_id, step in keys if journey_id == each.id]
        repeated += len(recorded) - len(set(recorded)) + sum(keys[(each.id, step)] > 1 for step in accepted)
        if each.reason == "completed":
            lost += sorted(recorded) != ["s0", "s1", "s2"] or sorted(accepted) != ["s0", "s1", "s2"]
        else:
            assert (each.case_id in paid, each.reason) == (True, "paid")
    for each in journeys.values():
        if each.case_id not in paid:
            lost += await bench.cancelled(each.case_id)
    pending = await bench.pending_cases()
    after = len(pending & paid)
    assert (lost, repeated, after) == (0, 0, 0)
