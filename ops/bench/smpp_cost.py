"""What one message costs from HTTP to an SMSC, the gateway beside Jasmin: 32 connections, then one alone.

Taken and handed over at once, by both, until the SMSC has them all; no receipts. The gateway decides, stores and proves
meanwhile; Jasmin keeps its queues in memory.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

import machine
from jasmin import jasmin
from redis import Redis
from shape import Outside, outside, shape, workspace

from tests.support.storage.postgresql import PostgresServer, new_database

_CONNECTIONS = 32
_LONGEST_SECONDS = 120.0

Load = Callable[..., dict[str, Any]]
Used = Callable[[], Mapping[str, float]]


def ours_by_smpp(server: PostgresServer, seconds: float) -> dict[str, Any]:
    """The gateway: API, worker, PostgreSQL and Valkey."""
    with new_database(server.url) as url, shape(url, smpp=True) as made:
        api, worker = made.start_api(), made.start_worker()

        def used() -> Mapping[str, float]:
            assert server.handle is not None
            with Redis.from_url(made.redis_url) as client:
                valkey = client.info("cpu")
            return {
                "api_ms": machine.cpu_seconds(api.pid),
                "worker_ms": machine.cpu_seconds(worker.pid),
                "postgresql_ms": machine.tree_cpu_seconds(server.handle.pid),
                "valkey_ms": float(valkey["used_cpu_user"]) + float(valkey["used_cpu_sys"]),
            }

        return _measured(made.load, made.world, used, seconds)


def jasmin_by_smpp(seconds: float) -> dict[str, Any]:
    """Jasmin, RabbitMQ and Valkey. Raises Missing."""
    with workspace() as folder, outside(folder) as world, jasmin(folder, world) as rival:

        def load(**what: Any) -> dict[str, Any]:
            return machine.load(port=rival.port, path="/send", key="", dialect="jasmin", **what)

        return _measured(load, world, rival.cpu_seconds, seconds)


def _measured(load: Load, world: Outside, used: Used, seconds: float) -> dict[str, Any]:
    """Milliseconds of processor for each message by part and in all; what one connection alone waits for (p50)."""
    _handed_over(load, world, 4, 50_000, 2.0)  # caches and connections
    before = used()
    taken, _ = _handed_over(load, world, _CONNECTIONS, 100_000, seconds)
    spent = {name: (each - before[name]) * 1000 / taken for name, each in used().items()}
    _, alone = _handed_over(load, world, 1, 300_000, seconds)
    return {
        "messages": taken,
        **{name: round(each, 3) for name, each in spent.items()},
        "cpu_ms": round(sum(spent.values()), 3),
        "alone_ms": alone["latency_ms"]["p50"],
    }


def _handed_over(
    load: Load, world: Outside, connections: int, first: int, seconds: float
) -> tuple[int, dict[str, Any]]:
    """Load for so long, and wait until the SMSC has all that was taken. Raises RuntimeError where it never has."""
    world.expect()
    found = load(connections=connections, first=first, warm_up=0, rounds=1, seconds=seconds)
    taken, until = int(found["taken"]), time.monotonic() + _LONGEST_SECONDS
    while world.count() < taken:
        if time.monotonic() > until:
            raise RuntimeError(f"the SMSC got {world.count()} of {taken} messages")
        time.sleep(0.2)
    return taken, found
