"""Round trips to SQL and Redis that a hundred reminders cost, from request to hand-over; and what nothing to do costs.

Counted, not estimated: every statement, begin and commit at SQLAlchemy's hooks, and Redis' own count of commands
(of which a transaction's four are one round trip; all four are counted).
"""

from __future__ import annotations

import asyncio
import json
import time

import machine
import reminders
from measuring import Measurement, of_rates
from redis import Redis
from shape import TENANT, Shape, shape
from sqlalchemy import event

from gateway.api.schemas import NotificationIn
from gateway.settings import Settings
from gateway.wiring import Gateway, open_gateway

_ROUNDS = 3


def measure_round_trips(postgresql_url: str) -> dict[str, Measurement]:
    """Of one hundred alone, and of a hundred among a thousand that come together."""
    with shape(postgresql_url) as ours:
        return asyncio.run(_round_trips(ours))


async def _round_trips(ours: Shape) -> dict[str, Measurement]:
    given = {name.removeprefix("GATEWAY_").lower(): value for name, value in ours.environment.items()}
    settings = Settings(**{**given, "providers": json.loads(given["providers"])})  # type: ignore[arg-type]
    found: dict[str, list[float]] = {"statements": [], "alone": [], "among": []}
    async with open_gateway(settings) as gateway:
        counter, redis = _Counter(gateway), Redis.from_url(ours.redis_url)
        first = 0
        for size, name in ((100, "alone"), (1000, "among")):
            for number in range(_ROUNDS + 1):
                ours.world.expect()
                counter.reset(redis)
                await _path(gateway, first, size)
                first += size
                if number:  # the first one fills caches
                    found[name].append(counter.all(redis) * 100 / size)
                    if name == "alone":
                        found["statements"].append(counter.statements)
        redis.close()
    return {
        "round_trips_per_100": of_rates(found["alone"]),
        "round_trips_per_100_without_begin_and_commit": of_rates(found["statements"]),
        "round_trips_per_100_among_1000": of_rates(found["among"]),
    }


async def _path(gateway: Gateway, first: int, size: int) -> None:
    """Accept, then dispatch, as the API and a worker do; the jobs that accepting put into the queue stay there."""
    requests = []
    for number in range(first, first + size):
        raw = json.loads(reminders.one(number))
        requests.append(NotificationIn.model_validate(raw).incoming(f"count-{number}", raw))
    accepted = await gateway.pipeline.accept(TENANT, requests)
    ids = [each.first_delivery for each in accepted if getattr(each, "first_delivery", None)]
    most = gateway.settings.batch_size
    for start in range(0, len(ids), most):
        await gateway.pipeline.dispatch(ids[start : start + most])  # type: ignore[arg-type]


class _Counter:
    """Hooks on the gateway's own engine."""

    def __init__(self, gateway: Gateway) -> None:
        self.statements = 0
        self._around = 0
        engine = gateway.database.engine
        event.listen(engine, "before_cursor_execute", self._statement)
        for name in ("begin", "commit", "rollback"):
            event.listen(engine, name, self._bracket)

    def _statement(self, *_arguments: object) -> None:
        self.statements += 1

    def _bracket(self, _connection: object) -> None:
        self._around += 1

    def reset(self, redis: Redis) -> None:
        self.statements = self._around = 0
        self._commands = int(redis.info("stats")["total_commands_processed"])

    def all(self, redis: Redis) -> int:
        commands = int(redis.info("stats")["total_commands_processed"]) - self._commands - 1  # this look itself
        return self.statements + self._around + commands


def measure_idle(postgresql_url: str, seconds: float) -> dict[str, Measurement]:
    """Per cent of one core that an API and a worker process use together while there is nothing to do."""
    with shape(postgresql_url) as ours:
        processes = [ours.start_api(machine.ALL), ours.start_worker(machine.ALL)]
        time.sleep(4)
        shares = []
        for _ in range(3):
            before = sum(machine.cpu_seconds(each.pid) for each in processes)
            time.sleep(seconds)
            shares.append(100 * (sum(machine.cpu_seconds(each.pid) for each in processes) - before) / seconds)
        return {"idle_percent_of_a_core": of_rates(shares)}
