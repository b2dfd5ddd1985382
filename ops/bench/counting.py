"""Round trips to SQL and Redis that a hundred reminders cost, from request to hand-over; and what nothing to do costs.

Counted on the wire (``wire.py``): whatever a client says in one go and then waits for is one, a BEGIN or COMMIT that
goes by itself too.
"""

from __future__ import annotations

import asyncio
import json
import time

import machine
import reminders
from measuring import Measurement, of_rates
from shape import TENANT, Shape, shape
from sqlalchemy import make_url
from wire import WireCounter, wire

from gateway.api.requests.notifications import NotificationIn
from gateway.app.app import Gateway, open_gateway
from gateway.app.settings import Settings

_ROUNDS = 3


def measure_round_trips(postgresql_url: str) -> dict[str, Measurement]:
    """Of one hundred alone, and of a hundred among a thousand that come together."""
    url = make_url(postgresql_url)
    with shape(postgresql_url) as ours:
        redis_port = make_url(ours.redis_url).port or 0
        socket = f"{url.query['host']}/.s.PGSQL.{url.port or 5432}"
        with wire("", 0, socket) as sql, wire("127.0.0.1", redis_port) as redis:
            seen = url.difference_update_query(["host"]).set(host="127.0.0.1", port=sql.port)
            through = {
                "GATEWAY_DATABASE_URL": seen.render_as_string(hide_password=False),
                "GATEWAY_REDIS_URL": f"redis://127.0.0.1:{redis.port}",
            }
            return asyncio.run(_round_trips(ours, through, [sql, redis]))


async def _round_trips(ours: Shape, through: dict[str, str], wires: list[WireCounter]) -> dict[str, Measurement]:
    environment = {**ours.environment, **through}
    given = {name.removeprefix("GATEWAY_").lower(): value for name, value in environment.items()}
    settings = Settings(**{**given, "providers": json.loads(given["providers"])})  # type: ignore[arg-type]
    found: dict[str, list[float]] = {"alone": [], "among": []}
    async with open_gateway(settings) as gateway:
        first = 0
        for size, name in ((100, "alone"), (1000, "among")):
            for number in range(_ROUNDS + 1):
                ours.world.expect()
                before = sum(each.turns for each in wires)
                await _path(gateway, first, size)
                first += size
                if number:  # the first one opens connections and fills caches
                    found[name].append((sum(each.turns for each in wires) - before) * 100 / size)
    return {
        "round_trips_per_100": of_rates(found["alone"]),
        "round_trips_per_100_among_1000": of_rates(found["among"]),
    }


async def _path(gateway: Gateway, first: int, size: int) -> None:
    """Accept, then dispatch, as the API and a worker do; the jobs that accepting put into the queue stay there."""
    requests = []
    for number in range(first, first + size):
        raw = json.loads(reminders.one(number))
        requests.append(NotificationIn.model_validate(raw).incoming(f"count-{number}", raw))
    accepted = await gateway.path.pipeline.accept(TENANT, requests)
    ids = [each.first_delivery for each in accepted if getattr(each, "first_delivery", None)]
    most = gateway.ledger.settings.batch_size
    for start in range(0, len(ids), most):
        await gateway.path.pipeline.dispatch(ids[start : start + most])  # type: ignore[arg-type]


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
