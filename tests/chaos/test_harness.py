"""The chaos run's own means: what it breaks, it also heals, so that what stays broken is the gateway's doing."""

from __future__ import annotations

import asyncio
import random
import signal
import subprocess
import threading
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psycopg
import pytest

from gateway.app import storage
from gateway.app.settings import Settings
from tests.chaos.harness.faults import Faults
from tests.chaos.harness.fleet import Postgres
from tests.chaos.harness.process import skew
from tests.support.production import free_port
from tests.support.waiting import LIMIT_SECONDS


@pytest.fixture(scope="module")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Postgres]:
    """One server for all: each test heals what it breaks."""
    log = tmp_path_factory.mktemp("chaos") / "postgresql.log"
    server = Postgres(log)
    yield server
    server.stop()
    assert "database system is ready" in log.read_text()


def _write(postgres: Postgres) -> None:
    """Some four megabytes."""
    with psycopg.connect(postgres.server.address, autocommit=True) as connection:
        connection.execute("CREATE TABLE IF NOT EXISTS pages (page text)")
        connection.execute("INSERT INTO pages SELECT repeat('a', 1000) FROM generate_series(1, 4000)")


def _limits(postgres: Postgres) -> set[str]:
    """How large a file may grow: the words of the kernel, as setting it asks for more rights than reading it."""
    limits = set()
    for each in postgres.processes():
        with suppress(OSError):  # it has ended since they were listed
            lines = Path(f"/proc/{each.pid}/limits").read_text().splitlines()
            limits |= {line.split()[3] for line in lines if line.startswith("Max file size")}
    return limits


def test_a_server_that_is_up_and_takes_nobody_in_is_started_anew(postgres: Postgres) -> None:
    """Its first process lives, and nobody can connect: waiting would not help."""
    [first, *_] = postgres.processes()
    first.send_signal(signal.SIGSTOP)
    postgres.start(patience=1.0)
    assert postgres.processes()[0].pid != first.pid
    _write(postgres)


def test_a_full_disk_is_full_for_every_process_and_then_has_room_for_every_process(postgres: Postgres) -> None:
    """A process that was left out would write on a full disk, or fail on one that has room again."""
    postgres.fill_disk()
    assert _limits(postgres) == {"1000000"}
    with pytest.raises(psycopg.Error):
        _write(postgres)
    postgres.start()
    assert _limits(postgres) == {"unlimited"}
    _write(postgres)


def test_a_full_disk_leaves_shared_memory_alone(postgres: Postgres) -> None:
    """Memory is no disk: a server that gets none in its recovery from a crash stays up and takes nobody in."""
    with psycopg.connect(postgres.server.address, autocommit=True) as connection:
        connection.execute(
            "CREATE TABLE numbers AS SELECT g AS number FROM generate_series(1, 100000) g; ANALYZE numbers"
        )
        connection.execute("SET parallel_setup_cost = 0; SET parallel_tuple_cost = 0; SET work_mem = '64MB'")
        connection.execute("SET min_parallel_table_scan_size = 0; SET enable_mergejoin = off")
        postgres.fill_disk()
        query = "SELECT count(*) FROM numbers a JOIN numbers b USING (number)"
        plan = str(connection.execute(f"EXPLAIN {query}").fetchall())
        assert "Parallel Hash" in plan  # it is in some megabytes of memory that the workers share
        assert connection.execute(query).fetchone() == (100_000,)
    postgres.start()


def test_a_number_that_another_program_has_by_now_is_not_taken_for_the_server(postgres: Postgres) -> None:
    """A killed server leaves its process's number behind; who has it now is let live, and the server comes up."""
    pid_file = postgres.server.folder / "data" / "postmaster.pid"
    lines = pid_file.read_text().splitlines()
    postgres.kill()
    with subprocess.Popen(["sleep", "60"]) as other:
        pid_file.write_text("\n".join([str(other.pid), *lines[1:]]) + "\n")
        assert postgres.processes() == []
        postgres.kill()
        assert other.poll() is None
        postgres.start()
        _write(postgres)
        other.kill()


def test_a_port_is_given_to_nobody_while_its_server_is_down() -> None:
    """A killed API gets its port again: the kernel picks others for listeners on port 0 and for connections."""
    lowest = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    assert all(free_port() < lowest for _ in range(200))


async def test_what_is_done_to_the_ledger_has_been_done_before_it_is_healed() -> None:
    """A run that ends while the disk is still being filled does not leave it full behind its back."""
    done: list[str] = []
    began, go_on = asyncio.Event(), threading.Event()
    loop = asyncio.get_running_loop()

    def fill_disk() -> None:
        loop.call_soon_threadsafe(began.set)
        go_on.wait(LIMIT_SECONDS)
        done.append("filled")

    server: Any = SimpleNamespace(kill=lambda: None, fill_disk=fill_disk, start=lambda: done.append("started"))
    fleet: Any = SimpleNamespace(postgres=server)
    running = asyncio.create_task(Faults(fleet, random.Random(1), ["disk_full"]).run(0.2))
    await began.wait()
    await asyncio.sleep(0.5)  # beyond the end of the run
    go_on.set()
    await running
    assert done == ["filled", "started"]


async def test_a_clock_that_is_off_is_what_a_gateway_starts_with(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Where the clock is looked up has moved once, and the fault was none for a while without anybody's notice."""
    monkeypatch.setattr(storage, "system_clock", storage.system_clock)
    skew(300.0)
    async with storage.open_ledger(Settings(data_dir=tmp_path)) as opened:
        ahead = (opened.clock() - datetime.now(UTC)).total_seconds()
    assert 290 < ahead < 310
