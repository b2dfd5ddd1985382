"""What one reminder costs from POST to its second receipt: processor by process, WAL, rows, round trips, bytes kept.

Four phases: accepted by single POSTs, by one connection alone, in batches of 100; then all are sent, with two receipts
each. The textbook design does the same in the same run, another commit's code in turn with today's, and smpp_cost.py
compares with Jasmin. Processor times hang on the machine and are compared within a run; the counts don't, and
tests/contract/storage/test_cost.py holds them.
"""

from __future__ import annotations

import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import machine
from dispatch import Used
from measuring import Measurement, Missing, of_rates
from redis import Redis
from shape import Shape, outside, redis_server, shape, workspace
from smpp_cost import jasmin_by_smpp, ours_by_smpp
from sqlalchemy import create_engine, make_url
from wire import WireCounter, wire

from tests.support.storage.ledger_counts import LedgerCounts, counts, kept
from tests.support.storage.postgresql import PostgresServer, new_database

_CONNECTIONS = 32
_BATCH = 100
_LONGEST_SECONDS = 240.0
# Sessions that idle report their statistics after ten seconds (PGSTAT_IDLE_INTERVAL in PostgreSQL's source).
_FLUSH_SECONDS = 11.0
PHASES = ("accept_32", "accept_1", "accept_batch_100", "send_two_receipts")


@dataclass(frozen=True)
class CostRun:
    """One run of one design: by phase what a reminder cost, and what the ledger keeps of it."""

    phases: Mapping[str, Mapping[str, Any]]
    kept: Mapping[str, Sequence[int]] = field(default_factory=dict)  # by table: bytes of it, and of its indexes

    @property
    def kept_bytes(self) -> int:
        return sum(map(sum, self.kept.values()))

    def sum(self, name: str) -> float:
        """Over a life: accepted at 32 connections, and sent with two receipts."""
        return float(self.phases["accept_32"][name] + self.phases["send_two_receipts"][name])

    def view(self) -> dict[str, Any]:
        """As JSON."""
        return {"phases": self.phases, "kept": self.kept, "kept_bytes": self.kept_bytes}


def measure_cost(*, quick: bool, against: str = "") -> dict[str, Any]:
    """Three rounds (one, if ``quick``) of today's code, of the textbook's and of the commit ``against``, in turn."""
    seconds, rounds = (2.0, 1) if quick else (6.0, 3)
    with ExitStack() as stack:
        server = stack.enter_context(PostgresServer(durable=True, max_wal_size="8GB"))
        code = {"ours": None, **({against: stack.enter_context(_checked_out(against))} if against else {})}
        runs: dict[str, list[CostRun]] = {name: [] for name in (*code, "textbook")}
        beside: dict[str, Any] = {"ours": [], "jasmin": []}
        for _ in range(rounds):
            for name, folder in code.items():
                runs[name].append(_ours(server, seconds, folder))
            runs["textbook"].append(_textbook(server, seconds))
            beside["ours"].append(ours_by_smpp(server, seconds))
            try:
                beside["jasmin"].append(jasmin_by_smpp(seconds))
            except Missing as error:
                beside["missing"] = str(error)
    return {
        **{name: [each.view() for each in found] for name, found in runs.items()},
        "cpu_ms": {name: round(statistics.median(_cpu(each) for each in found), 3) for name, found in runs.items()},
        "by_smpp": beside,
    }


def figures(found: Mapping[str, Any]) -> dict[str, Measurement]:
    """What the targets look at, of today's code: medians of the rounds."""
    runs = [CostRun(each["phases"], each["kept"]) for each in found["ours"]]
    whole = {
        "cost_wal_bytes": [each.sum("wal_bytes") for each in runs],
        "cost_wal_records": [each.sum("wal_records") for each in runs],
        "cost_kept_bytes": [float(each.kept_bytes) for each in runs],
        "cost_hot_share": [each.phases["send_two_receipts"]["hot_share"] for each in runs],
        "cost_postgresql_cpu_ms": [each.sum("postgresql_ms") for each in runs],
        "cost_api_accept_cpu_ms": [each.phases["accept_32"]["api_ms"] for each in runs],
        "cost_api_receipts_cpu_ms": [each.phases["send_two_receipts"]["api_ms"] for each in runs],
        "cost_worker_cpu_ms": [each.phases["send_two_receipts"]["worker_ms"] for each in runs],
        "cost_cpu_ms": [_cpu(each) for each in runs],
        "cost_textbook_cpu_ms": [_cpu(CostRun(each["phases"])) for each in found["textbook"]],
        **{
            f"cost_smpp_{name}_{figure}": [each[figure] for each in found["by_smpp"][name]]
            for name in ("ours", "jasmin")
            for figure in ("cpu_ms", "alone_ms")
        },
    }
    return {name: of_rates(values) for name, values in whole.items() if values}


def _cpu(run: CostRun) -> float:
    """Milliseconds of all processes for one reminder's life."""
    return sum(run.sum(name) for name in ("api_ms", "worker_ms", "postgresql_ms", "valkey_ms"))


@contextmanager
def _checked_out(commit: str) -> Iterator[Path]:
    """Another commit's code, in a folder of its own."""
    root = machine.HERE.parents[1]
    with tempfile.TemporaryDirectory(prefix="gwc-") as folder:
        _git(root, "worktree", "add", "--detach", "--force", folder, commit)
        try:
            yield Path(folder)
        finally:
            _git(root, "worktree", "remove", "--force", folder)


def _git(root: Path, *arguments: str) -> None:
    subprocess.run(["git", "-C", str(root), *arguments], check=True, capture_output=True)


@dataclass
class _Meter:
    """Reads every counter before and after a phase."""

    server: PostgresServer
    database_url: str
    redis_url: str
    wires: Sequence[WireCounter]
    api: machine.MeasuredProcess

    def phase(self, work: Callable[[], tuple[int, float]]) -> dict[str, Any]:
        """Per reminder, of the work, which answers how many there were and a worker's milliseconds for each."""
        time.sleep(_FLUSH_SECONDS)
        before, ledger = self._cpu(), counts(self.database_url)
        turns = [each.turns for each in self.wires]
        number, worker_ms = work()
        after = self._cpu()
        trips = [each.turns - earlier for each, earlier in zip(self.wires, turns, strict=True)]
        time.sleep(_FLUSH_SECONDS)
        spent: LedgerCounts = counts(self.database_url) - ledger
        cpu = {name: (after[name] - before[name]) * 1000 / number for name in before}
        cpu["worker_ms"] = worker_ms
        return {
            "reminders": number,
            **{name: round(each, 3) for name, each in cpu.items()},
            **spent.each(number),
            "round_trips_sql": round(trips[0] / number, 3),
            "round_trips_redis": round(trips[1] / number, 3),
        }

    def _cpu(self) -> dict[str, float]:
        assert self.server.handle is not None
        with Redis.from_url(self.redis_url) as client:
            used = client.info("cpu")
        return {
            "api_ms": machine.cpu_seconds(self.api.pid),
            "postgresql_ms": machine.tree_cpu_seconds(self.server.handle.pid),
            "valkey_ms": float(used["used_cpu_user"]) + float(used["used_cpu_sys"]),
        }


def _ours(server: PostgresServer, seconds: float, code: Path | None) -> CostRun:
    with new_database(server.url) as url, shape(url, code=code) as made, _counted(server, made) as wires:
        meter = _Meter(server, url, made.redis_url, wires, made.start_api())
        accepted = 0

        def accept(connections: int, first: int, **more: Any) -> Callable[[], tuple[int, float]]:
            def work() -> tuple[int, float]:
                nonlocal accepted
                asked = made.load(connections=connections, first=first, warm_up=0, rounds=1, seconds=seconds, **more)
                accepted += int(asked["taken"])
                return int(asked["taken"]), 0.0

            return work

        def send() -> tuple[int, float]:
            made.world.expect(receipts=True)
            used, until = Used([made.start_worker()]), time.monotonic() + _LONGEST_SECONDS
            callbacks = 0
            while time.monotonic() < until and callbacks < 2 * accepted:
                time.sleep(0.2)
                used.look(made.world.count())
                callbacks = made.world.seen()["callbacks"]
            return made.world.count(), used.per_item()

        batches = {"batch": _BATCH, "path": "/v1/notifications/batch"}
        accept(4, 50_000)()  # caches, connections and the tables' first pages
        works = (accept(_CONNECTIONS, 100_000), accept(1, 300_000), accept(4, 500_000, **batches), send)
        phases = {name: meter.phase(work) for name, work in zip(PHASES, works, strict=True)}
        return CostRun(phases, _kept(url, accepted))


def _kept(url: str, reminders: int) -> dict[str, Sequence[int]]:
    engine = create_engine(url)
    with engine.connect() as connection:
        found = kept(connection, reminders // 2)
    engine.dispose()
    return {table: [round(each / reminders) for each in sizes] for table, sizes in found.items()}


@contextmanager
def _counted(server: PostgresServer, made: Shape) -> Iterator[list[WireCounter]]:
    """What the processes of ``made`` say to the servers goes through counters from now on."""
    redis_port, url = make_url(made.redis_url).port or 0, make_url(made.database_url)
    with wire("", 0, str(server.socket)) as sql, wire("127.0.0.1", redis_port) as redis:
        seen = url.difference_update_query(["host"]).set(host="127.0.0.1", port=sql.port)
        made.environment = {
            **made.environment,
            "GATEWAY_DATABASE_URL": seen.render_as_string(hide_password=False),
            "GATEWAY_REDIS_URL": f"redis://127.0.0.1:{redis.port}",
        }
        yield [sql, redis]


def _textbook(server: PostgresServer, seconds: float) -> CostRun:
    """Accepting at 32 connections, and sending; it takes no receipts."""
    with ExitStack() as stack:
        url, folder = stack.enter_context(new_database(server.url)), stack.enter_context(workspace())
        redis_url, world = stack.enter_context(redis_server()), stack.enter_context(outside(folder))
        redis = stack.enter_context(wire("127.0.0.1", make_url(redis_url).port or 0))
        sql = stack.enter_context(wire("", 0, str(server.socket)))
        seen = make_url(url).difference_update_query(["host"]).set(host="127.0.0.1", port=sql.port)
        through = [seen.render_as_string(hide_password=False), f"redis://127.0.0.1:{redis.port}"]
        port = machine.free_port()
        api = machine.start(
            machine.python("rivals/textbook.py", "api", str(port), *through), folder / "api.log", on=machine.MEASURED
        )
        stack.callback(api.stop)
        machine.wait_for_port(port, api)
        meter = _Meter(server, url, redis_url, [sql, redis], api)
        taken = 0

        def accept() -> tuple[int, float]:
            nonlocal taken
            what = {"connections": _CONNECTIONS, "first": 1, "warm_up": 0, "rounds": 1, "seconds": seconds}
            taken = int(machine.load(port=port, path="/v1/notifications", key="none", **what)["taken"])  # type: ignore[call-overload]
            return taken, 0.0

        def send() -> tuple[int, float]:
            command = machine.python("rivals/textbook.py", "worker", f"http://127.0.0.1:{world.http_port}", *through)
            worker = machine.start(command, folder / "worker.log", on=machine.MEASURED)
            stack.callback(worker.stop)
            used, until = Used([worker]), time.monotonic() + _LONGEST_SECONDS
            while time.monotonic() < until and world.count() < taken:
                time.sleep(0.2)
                used.look(world.count())
            return world.count(), used.per_item()

        return CostRun({"accept_32": meter.phase(accept), "send_two_receipts": meter.phase(send)})
