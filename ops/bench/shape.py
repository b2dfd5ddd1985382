"""The gateway as it runs in production, for a measurement: an empty ledger, Valkey, the fake providers, and our own
processes, each on its processor. Everything that is started here is ended here.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
import tempfile
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import machine
from sqlalchemy import create_engine, text

from gateway.app.embedded import valkey
from gateway.core.security.signing import Signer
from gateway.identity.keys import Keys, Scope
from gateway.storage.database import Database
from gateway.storage.schema import metadata
from gateway.storage.upgrade.migrate import migrate
from tests.support.storage.postgresql import PostgresServer
from tests.support.storage.reminder_life import SECRET, TENANT

_ACCOUNT = "AC" + "0" * 32


@contextmanager
def workspace() -> Iterator[Path]:
    """A directory for one measurement; its path is short, for sockets."""
    folder = Path(tempfile.mkdtemp(prefix="gwb-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def postgresql() -> Iterator[str]:
    """A PostgreSQL with its default full sync, on the other processors. Its URL."""
    with PostgresServer(durable=True) as server:
        yield server.url


@contextmanager
def redis_server() -> Iterator[str]:
    """A Valkey that keeps nothing on disk, for all that is compared alike. Its URL."""
    with workspace() as folder:
        port = machine.free_port()
        command = [str(valkey.find_binary()), "--port", str(port), "--save", "", "--appendonly", "no"]
        server = machine.start(command, folder / "log", on=machine.OTHERS)
        try:
            machine.wait_for_port(port, server)
            yield f"redis://127.0.0.1:{port}"
        finally:
            server.stop()


def empty(database_url: str) -> None:
    """Bring a PostgreSQL ledger to today's schema, with nothing in it."""
    engine = create_engine(database_url)
    migrate(engine)
    with engine.begin() as connection:
        connection.execute(text(f"TRUNCATE {', '.join(metadata.tables)}"))
    engine.dispose()


@dataclass
class Outside:
    """The fake providers."""

    process: machine.MeasuredProcess
    http_port: int
    smtp_port: int
    smpp_port: int

    def expect(self, *, delay_ms: float = 0, receipts: bool = False) -> None:
        """Forget what came, and answer so from now on."""
        self._ask(f"/_set?delay_ms={delay_ms}&receipts={int(receipts)}", "POST")

    def seen(self) -> dict[str, Any]:
        """What came since; see outside.py."""
        return self._ask("/_seen", "GET")

    def count(self) -> int:
        """How many came since."""
        return int(self._ask("/_count", "GET")["count"])

    def _ask(self, path: str, method: str) -> dict[str, Any]:
        request = urllib.request.Request(f"http://127.0.0.1:{self.http_port}{path}", method=method)
        with urllib.request.urlopen(request, timeout=30) as answer:
            found: dict[str, Any] = json.loads(answer.read())
            return found


@contextmanager
def outside(folder: Path) -> Iterator[Outside]:
    process = machine.start(machine.python("outside.py"), folder / "outside.log", on=machine.OTHERS, piped=True)
    try:
        yield Outside(process, **json.loads(process.line()))
    finally:
        process.stop()


@dataclass
class Shape:
    """What runs, and what it takes to talk to it."""

    folder: Path
    database_url: str  # "": SQLite in the folder
    redis_url: str
    world: Outside
    environment: Mapping[str, str]
    port: int
    key: str = ""
    apis: list[machine.MeasuredProcess] = field(default_factory=list)
    workers: list[machine.MeasuredProcess] = field(default_factory=list)
    _stack: ExitStack = field(default_factory=ExitStack)

    def database(self) -> Database:
        """The ledger, for us."""
        return Database(self.database_url or f"sqlite:///{self.folder.absolute()}/ledger.db")

    def start_api(self, on: set[int] = machine.MEASURED, command: str = "api") -> machine.MeasuredProcess:
        """Start the API (or ``serve``: with a worker in the same process) and wait until it listens."""
        process = self._run([command, "--port", str(self.port)], on)
        machine.wait_for_port(self.port, process)
        self.apis.append(process)
        return process

    def start_worker(self, on: set[int] = machine.MEASURED) -> machine.MeasuredProcess:
        process = self._run(["worker"], on)
        self.workers.append(process)
        return process

    def stop_workers(self) -> None:
        while self.workers:
            self.workers.pop().stop()

    def _run(self, arguments: list[str], on: set[int]) -> machine.MeasuredProcess:
        name = f"{arguments[0]}-{len(self.apis) + len(self.workers)}.log"
        process = machine.start(_gateway(*arguments), self.folder / name, on=on, environment=self.environment)
        self._stack.callback(process.stop)
        return process

    def load(self, path: str = "/v1/notifications", **what: Any) -> dict[str, Any]:
        """Run the load generator against the API."""
        return machine.load(port=self.port, path=path, key=self.key, **what)


def _gateway(*arguments: str) -> list[str]:
    """The command line, of the code that is found first."""
    return [machine.sys.executable, "-P", "-c", "from gateway.cli import app; app()", *arguments]


@contextmanager
def shape(database_url: str, *, code: Path | None = None, smpp: bool = False, **settings: object) -> Iterator[Shape]:
    """An empty ledger (PostgreSQL, or "" for SQLite) with all around it, and no process of ours running yet.

    ``code``: the folder of another commit's code, which runs instead of ours, on an empty PostgreSQL database.
    ``smpp``: text messages go by SMPP and not by HTTP.
    """
    with ExitStack() as stack:
        folder = stack.enter_context(workspace())
        redis_url = stack.enter_context(redis_server())
        world = stack.enter_context(outside(folder))
        if database_url and code is None:
            empty(database_url)
        port = machine.free_port()
        environment = {
            "GATEWAY_DATABASE_URL": database_url,
            "GATEWAY_REDIS_URL": redis_url,
            "GATEWAY_DATA_DIR": str(folder),
            "GATEWAY_METRICS_PORT": "0",  # several processes share this machine
            "GATEWAY_SECRET_KEY": SECRET,
            "GATEWAY_PUBLIC_URL": f"http://127.0.0.1:{port}",
            "GATEWAY_PROVIDERS": json.dumps(_providers(world, smpp)),
            **{f"GATEWAY_{name.upper()}": str(value) for name, value in settings.items()},
            **({} if code is None else {"PYTHONPATH": str(code)}),
        }
        made = Shape(folder, database_url, redis_url, world, environment, port)
        made.key = asyncio.run(_make_key(made)) if code is None else _key_of_other_code(made)
        stack.enter_context(made._stack)
        yield made


def _key_of_other_code(made: Shape) -> str:
    """Migrate the ledger, and make a key, by the command line of the code that runs."""
    environment = {**os.environ, **made.environment}
    subprocess.run(_gateway("ledger", "migrate"), env=environment, check=True, capture_output=True)
    scopes = [part for scope in Scope for part in ("--scope", str(scope))]
    command = _gateway("key", "create", "--tenant", TENANT, *scopes, "--json")
    made_key = subprocess.run(command, env=environment, check=True, capture_output=True)
    return str(json.loads(made_key.stdout)["key"])


async def _make_key(made: Shape) -> str:
    database = made.database()
    if not made.database_url:
        await asyncio.to_thread(migrate, database.engine)
    _, key = await Keys(database, Signer(SECRET.encode())).create(TENANT, "bench", list(Scope), datetime.now(UTC))
    await database.close()
    return key


def _providers(world: Outside, smpp: bool) -> list[dict[str, Any]]:
    sms = {
        "account_sid": _ACCOUNT,
        "auth_token": "sms-token",
        "from_number": "+15005550006",
        "base_url": f"http://127.0.0.1:{world.http_port}",
    }
    mail = {
        "host": "127.0.0.1",
        "port": world.smtp_port,
        "tls": "none",
        "domain": "gateway.example.com",
        "from_address": "reminders@gateway.example.com",
    }
    smsc = {
        "host": "127.0.0.1",
        "port": world.smpp_port,
        "system_id": "bench",
        "password": "bench",
        "source_address": "15005550006",
    }
    return [
        {"channel": "sms", "kind": "smpp", "name": "sms", "options": smsc}
        if smpp
        else {"channel": "sms", "kind": "twilio", "name": "sms", "options": sms},
        {"channel": "email", "kind": "smtp", "name": "mail", "options": mail},
    ]


def processes_cpu(processes: list[machine.MeasuredProcess]) -> float:
    """What these have used so far, in seconds of a core."""
    return sum(machine.cpu_seconds(each.pid) for each in processes if os.path.exists(f"/proc/{each.pid}"))
