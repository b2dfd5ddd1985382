"""The production shape: two API and two worker processes, PostgreSQL, Valkey, providers; every link through a proxy.

Everything is started here and ended here, by its own handle. What dies is started again, as a supervisor would.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import re
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil

from gateway.app.embedded import valkey
from gateway.core.security.signing import Signer
from gateway.identity.keys import Keys, Scope
from gateway.storage.database import Database
from gateway.storage.upgrade.migrate import migrate
from tests.chaos.harness import process as fleet_process
from tests.chaos.harness.outside import ACCOUNT, Arrival, FaultyMail, FaultySms, FaultyWhatsApp, Whims, provider_entries
from tests.chaos.harness.proxy import Proxy
from tests.support.forked import ForkedProcess
from tests.support.production import free_port
from tests.support.storage.ledgers import begun
from tests.support.storage.postgresql import PostgresServer

_SECRET = "a-secret-for-chaos-only-0123456789"
_SUPERVISED_SECONDS = 0.5
# A server that is this long in recovery on a busy machine is well; at most 5 s were seen here.
_RECOVERS_SECONDS = 20.0
_STARTS = 4  # our choice
_DIES_SECONDS = 5.0  # a killed process is gone at once, but for one that the kernel has in a disk write
# A process that is born while the limit is set may still have its parent's old one: the next pass finds it.
_PASSES = 5
# Hours: a message without a receipt is looked up within the run.
_RECEIPT_HOURS = 20 / 3600


@dataclass
class FleetProcess:
    """One of our processes. While ``wanted`` it is started again when it ends."""

    name: str
    arguments: Sequence[str]
    environment: Mapping[str, str]
    log: Path
    broken: str = ""
    skew: float = 0.0
    wanted: bool = True
    handle: ForkedProcess | None = None

    def supervise(self) -> None:
        if self.wanted and (self.handle is None or self.handle.poll() is not None):
            arguments = [str(self.skew), self.broken or "-", *self.arguments]
            self.handle = ForkedProcess(fleet_process.run, arguments, {**os.environ, **self.environment}, self.log)

    def kill(self) -> None:
        if self.handle is not None:
            self.handle.kill()
            self.handle.wait()

    def terminate(self) -> None:
        """As an upgrade does: it may finish what it has in hand."""
        if self.handle is not None and self.handle.poll() is None:
            self.handle.send_signal(signal.SIGTERM)

    def end(self) -> None:
        self.wanted = False
        self.terminate()
        if self.handle is not None:
            try:
                self.handle.wait(15)
            except subprocess.TimeoutExpired:
                self.kill()


class Postgres:
    """The ledger's server, which can be killed with all its processes, and whose disk can be full.

    It writes what is committed to the disk, as in production. ``kept_log`` has its log when it is stopped.
    """

    def __init__(self, kept_log: Path) -> None:
        self._starting = threading.Lock()
        self._kept_log = kept_log
        # Its usual shared memory is files to the kernel, and would be full like the disk: a recovery that gets none
        # leaves PostgreSQL 18 up for ever with nobody taken in.
        self.server = PostgresServer(durable=True, dynamic_shared_memory_type="sysv")
        self.server.start()

    def processes(self) -> list[psutil.Process]:
        """The first is the postmaster; none where it is down."""
        with suppress(psutil.Error):
            if self.server.handle is not None and self.server.running:
                postmaster = psutil.Process(self.server.handle.pid)
                return [postmaster, *postmaster.children(recursive=True)]
        return []

    def kill(self) -> None:
        processes = self.processes()
        for each in processes:
            with suppress(psutil.Error):
                each.kill()
        if self.server.handle is not None:
            self.server.handle.wait()
        psutil.wait_procs(processes[1:], timeout=_DIES_SECONDS)

    def fill_disk(self) -> None:
        """No file may grow beyond a megabyte, so neither tables nor the log can be written. Raises RuntimeError."""
        with self._starting:
            # A server that has just been killed has no disk; one that is there has to take the limit.
            if not self._limit("1000000") and self.processes():
                raise RuntimeError("the disk can't be made full: prlimit failed on the database's processes")

    def start(self, patience: float = _RECOVERS_SECONDS) -> None:
        """Room on the disk again, and up again if it is not. Raises RuntimeError where it stays away.

        A server that takes nobody in for ``patience`` seconds is killed and started anew, as an operator would.
        """
        with self._starting:  # two faults may heal at once
            for started in range(_STARTS):
                if self._comes_up(patience if started == 0 else _RECOVERS_SECONDS):
                    return
                self.kill()
            raise RuntimeError(f"the database did not come up in {_STARTS} attempts: see {self._kept_log.name}")

    def _comes_up(self, patience: float) -> bool:
        """Whether it takes connections within so many seconds."""
        end = time.monotonic() + patience
        while time.monotonic() < end:
            self._limit("unlimited")
            # It may be in recovery, or have been killed meanwhile.
            with suppress(RuntimeError):
                self.server.start(patience=1.0)
                return True
            time.sleep(0.1)
        return False

    def _limit(self, size: str) -> bool:
        """Limit the size of the files that the server writes; whether all its processes have taken it."""
        # As the server's own user: root may not do it without a capability that containers lack.
        script = 'for pid in "$@"; do prlimit --pid "$pid" --fsize="$0:unlimited"; done 2>/dev/null'
        for _ in range(_PASSES):
            processes = self.processes()
            pids = [str(each.pid) for each in processes]
            with suppress(OSError, psutil.Error, IndexError):
                user = processes[0].uids().real
                subprocess.run(["sh", "-c", script, size, *pids], user=user, cwd="/", check=False)
            if processes and all(_limited(each, size) for each in self.processes()):
                return True
        return False

    def stop(self) -> None:
        """End it; its log stays."""
        try:
            self.start()
        finally:
            shutil.copyfile(self.server.log, self._kept_log)
            self.server.close()


def _limited(process: psutil.Process, size: str) -> bool:
    """Whether no file of the process may grow beyond ``size``; one that has ended writes nothing at all."""
    try:
        limits = Path(f"/proc/{process.pid}/limits").read_text()
    except OSError:
        return True
    return re.search(rf"^Max file size +{size} ", limits, re.MULTILINE) is not None or not limits


class Valkey:
    """The hot store, on TCP and without persistence: nothing in it may be missed."""

    def __init__(self) -> None:
        self.port = free_port()
        self.wanted = True
        self.handle: subprocess.Popen[bytes] | None = None

    def supervise(self) -> None:
        if self.wanted and (self.handle is None or self.handle.poll() is not None):
            command = [str(valkey.find_binary()), "--port", str(self.port), "--save", "", "--appendonly", "no"]
            self.handle = subprocess.Popen(command, stdout=subprocess.DEVNULL)

    def kill(self) -> None:
        if self.handle is not None:
            self.handle.kill()
            self.handle.wait()

    def end(self) -> None:
        self.wanted = False
        self.kill()


@dataclass
class Fleet:
    """All that runs."""

    key: str
    postgres: Postgres
    valkey: Valkey
    sms: FaultySms
    mail: FaultyMail
    whatsapp: FaultyWhatsApp
    apis: list[FleetProcess]
    workers: list[FleetProcess]
    links: dict[str, Proxy]
    clients: list[Proxy] = field(default_factory=list)
    api_ports: list[int] = field(default_factory=list)

    @property
    def arrivals(self) -> list[Arrival]:
        """What the providers received."""
        return [*self.sms.arrivals, *self.mail.arrivals, *self.whatsapp.arrivals]

    async def supervise(self) -> None:
        while True:
            self.valkey.supervise()
            for each in (*self.apis, *self.workers):
                each.supervise()
            await asyncio.sleep(_SUPERVISED_SECONDS)


@asynccontextmanager
async def fleet(
    folder: Path, chance: random.Random, broken: str, metrics_ports: Mapping[str, Sequence[int]] | None = None
) -> AsyncIterator[Fleet]:
    """Start everything on an empty ledger; end everything. ``metrics_ports`` are by kind, "api" and "worker"."""
    postgres = await asyncio.to_thread(Postgres, folder / "postgresql.log")
    hot = Valkey()
    ports = [free_port(), free_port()]
    links = {
        name: Proxy(name, opener)
        for name, opener in {
            **{f"api{n}-ledger": _unix(str(postgres.server.socket)) for n in range(2)},
            **{f"worker{n}-ledger": _unix(str(postgres.server.socket)) for n in range(2)},
            "redis": _tcp(lambda: hot.port),
            "sms": _tcp(lambda: sms.port),
            "mail": _tcp(lambda: mail.port),
            "whatsapp": _tcp(lambda: whatsapp.port),
            "callbacks": _tcp(lambda: ports[0]),
            **{f"client-api{n}": _tcp(lambda n=n: ports[n]) for n in range(2)},  # type: ignore[misc]
        }.items()
    }
    for each in links.values():
        await each.start()
    callbacks = f"http://127.0.0.1:{links['callbacks'].port}"
    sms = FaultySms(ACCOUNT, "sms-token", lambda: datetime.now(UTC), whims=Whims(), chance=chance)
    mail = FaultyMail(
        lambda: datetime.now(UTC), dsn_url=f"{callbacks}/v1/receipts/mail", dsn_token="mail-token", chance=chance
    )
    whatsapp = FaultyWhatsApp(f"{callbacks}/v1/receipts/meta", chance)
    for server in (sms, mail, whatsapp):
        await server.start()
    database = Database(postgres.server.url)
    await asyncio.to_thread(migrate, database.engine)
    await asyncio.to_thread(begun, postgres.server.url)
    _, key = await Keys(database, Signer(_SECRET.encode())).create("acme", "chaos", list(Scope), datetime.now(UTC))
    await database.close()

    def process(kind: str, number: int, *arguments: str) -> FleetProcess:
        ledger = links[f"{kind}{number}-ledger"].port
        environment = {
            "GATEWAY_DATABASE_URL": f"postgresql+psycopg://postgres:@127.0.0.1:{ledger}/postgres",
            "GATEWAY_REDIS_URL": f"redis://127.0.0.1:{links['redis'].port}",
            "GATEWAY_DATA_DIR": str(folder),
            "GATEWAY_METRICS_PORT": str(metrics_ports[kind][number] if metrics_ports else 0),
            "GATEWAY_SECRET_KEY": _SECRET,
            "GATEWAY_PUBLIC_URL": callbacks,
            "GATEWAY_PROVIDERS": json.dumps(provider_entries({name: each.port for name, each in links.items()})),
            "GATEWAY_LEASE_SECONDS": "6",
            "GATEWAY_UNKNOWN_GRACE_SECONDS": "1",
            "GATEWAY_RECEIPT_HOURS": str(_RECEIPT_HOURS),
        }
        return FleetProcess(f"{kind}{number}", [kind, *arguments], environment, folder / f"{kind}-{number}.log", broken)

    running = Fleet(
        key,
        postgres,
        hot,
        sms,
        mail,
        whatsapp,
        [process("api", number, "--port", str(port)) for number, port in enumerate(ports)],
        [process("worker", number) for number in range(2)],
        links,
        [links["client-api0"], links["client-api1"]],
        ports,
    )
    supervising = asyncio.create_task(running.supervise())
    try:
        yield running
    finally:
        supervising.cancel()
        await asyncio.gather(*(asyncio.to_thread(each.end) for each in (*running.workers, *running.apis)))
        for proxy in links.values():
            await proxy.stop()
        for server in (sms, mail, whatsapp):
            await server.stop()
        hot.end()
        await asyncio.to_thread(postgres.stop)


def _unix(path: str) -> Any:
    return lambda: asyncio.open_unix_connection(path)


def _tcp(port: Any) -> Any:
    return lambda: asyncio.open_connection("127.0.0.1", port())
