"""Real parts for all tests: one embedded Valkey per test process, emptied between tests."""

from __future__ import annotations

import asyncio
import gc
import os
import shutil
import subprocess
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from functools import cache, partial
from pathlib import Path

import hypothesis
import pytest
from argon2 import PasswordHasher
from fastapi import FastAPI
from redis import Redis as BlockingRedis
from redis.asyncio import Redis
from redis.exceptions import RedisError
from sqlalchemy import Engine, create_engine

from gateway import policy
from gateway.api.http.parts import check_complete
from gateway.app.embedded import valkey
from gateway.queue.connection import connect
from gateway.replies.understanding import ReplyInterpreter, load_interpreter
from gateway.storage.schema import metadata
from gateway.storage.upgrade.migrate import migrate
from gateway.templates.folder import Folder
from tests.support.production import free_port
from tests.support.rules.replies import POLICIES, shipped_interpreter
from tests.support.storage.postgresql import PostgresServer, new_database, oldest_server
from tests.support.tried import pytest_addoption, pytest_configure, tried  # noqa: F401
from tests.support.waiting import eventually_blocking

gc.disable()  # until everything is imported and collected, all of which stays: see pytest_collection_finish

# Without a limit of time for an example: a busy machine exceeds the default of 200 ms.
hypothesis.settings.register_profile("tests", deadline=None)
hypothesis.settings.load_profile("tests")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run tests that start processes first, so that short tests fill the gaps at the end; else the order is random."""
    slow = {Path(__file__).parent / name for name in ("chaos", "e2e", "ops", "outside")}
    items.sort(key=lambda each: slow.isdisjoint(each.path.parents))


@pytest.hookimpl(trylast=True)
def pytest_collection_finish() -> None:
    """Look for garbage more rarely, and never among what was imported: a fifth of processor time, measured.

    Python looks at every 700 new objects, and now and then goes through all imported modules and collected tests.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 10)
    gc.enable()


@pytest.fixture(scope="session", autouse=True)
def cheap_password_hashes() -> Iterator[None]:
    """Hash passwords at argon2's least cost: the real one is 0.2 s of processor time, and tests hash some 200.

    The real cost is a test of its own in tests/contract/identity/test_users.py.
    """
    cheap = partial(PasswordHasher, time_cost=1, memory_cost=8, parallelism=1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("gateway.identity.users.PasswordHasher", cheap)
        yield


@pytest.fixture(scope="session", autouse=True)
def cheap_starts() -> Iterator[None]:
    """Read the rules and templates that ship once, and check once that routes find their parts: most of a start.

    Hundreds of tests start an application. The first start of each test process does all.
    """
    checked: set[str] = set()
    read_folder, read_packs = Folder.read, policy.load_packs
    shipped_folder, shipped_packs = cache(read_folder), cache(read_packs)

    def interpreter(policies: Path, free_help: Callable[[str], str]) -> ReplyInterpreter:
        if policies.resolve() == POLICIES:
            return replace(shipped_interpreter(), free_help=free_help)
        return load_interpreter(policies, free_help)

    def folder(path: Path) -> Folder:
        return (shipped_folder if path.resolve() == POLICIES.parent else read_folder)(path)

    def packs(path: Path) -> policy.Packs:
        # Of its own: what packs have found for a place and a date stays in them.
        return policy.Packs(shipped_packs(path).by_name) if path.resolve() == POLICIES else read_packs(path)

    def check_once(app: FastAPI) -> None:
        if not checked:
            check_complete(app)
            checked.add("routes")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("gateway.app.templates.load_interpreter", interpreter)
        patch.setattr("gateway.app.templates.Folder.read", folder)
        patch.setattr("gateway.policy.load_packs", packs)
        patch.setattr("gateway.api.app.check_complete", check_once)
        yield


@pytest.fixture(scope="session")
def valkey_server() -> Iterator[valkey.EmbeddedValkey]:
    """A Valkey of this test process, in a directory whose path is short enough for a socket."""
    directory = Path(tempfile.mkdtemp(prefix="gw-"))
    server = asyncio.run(valkey.start(directory))
    yield server
    asyncio.run(server.stop())
    shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture
def redis_url(valkey_server: valkey.EmbeddedValkey) -> str:
    """The URL of an empty Valkey."""
    with BlockingRedis.from_url(valkey_server.url) as client:
        client.flushall()
    return valkey_server.url


@pytest.fixture
async def redis(redis_url: str) -> AsyncIterator[Redis]:
    """A client of an empty Valkey."""
    client = connect(redis_url)
    yield client
    await client.aclose()


@pytest.fixture
def short_dir() -> Iterator[Path]:
    """A directory whose path is short enough for a socket in it; pytest's own may be too long."""
    directory = Path(tempfile.mkdtemp(prefix="gw-"))
    yield directory
    shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture(scope="module")
def tcp_valkey_url() -> Iterator[str]:
    """A Valkey that other processes reach over TCP, as they would in production."""
    port = free_port()
    options = ["--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
    server = subprocess.Popen([str(valkey.find_binary()), *options], stdout=subprocess.DEVNULL)

    def up() -> bool:
        with BlockingRedis(port=port) as client, suppress(RedisError):
            return bool(client.ping())
        return False

    try:
        eventually_blocking(up)
        yield f"redis://127.0.0.1:{port}"
    finally:
        server.kill()
        server.wait()


@pytest.fixture(scope="session")
def postgresql_url() -> Iterator[str]:
    """The URL of a PostgreSQL of this test process, or of the server that GATEWAY_TEST_POSTGRESQL names."""
    given = os.environ.get("GATEWAY_TEST_POSTGRESQL")
    if given:
        yield given
        return
    with PostgresServer() as server:
        yield server.url


@pytest.fixture(scope="session")
def _migrated_postgresql(postgresql_url: str) -> Iterator[Engine]:
    """The engine of its ledger, migrated once: a migration that finds nothing to do takes longer than a deletion."""
    engine = create_engine(postgresql_url)
    migrate(engine)
    yield engine
    engine.dispose()


@pytest.fixture
def empty_postgresql(_migrated_postgresql: Engine, postgresql_url: str) -> str:
    """The URL of an empty, migrated PostgreSQL. A test that changes the schema takes ``new_postgresql``."""
    _empty(_migrated_postgresql)
    return postgresql_url


@pytest.fixture(scope="session")
def _oldest_postgresql() -> Iterator[tuple[str, Engine]]:
    """A PostgreSQL of the oldest version that is supported, with a migrated ledger."""
    with oldest_server() as server:
        engine = create_engine(server.url)
        migrate(engine)
        yield server.url, engine
        engine.dispose()


@pytest.fixture
def empty_oldest_postgresql(_oldest_postgresql: tuple[str, Engine]) -> str:
    """The URL of an empty, migrated PostgreSQL of the oldest version; skips the test where it can't be had."""
    url, engine = _oldest_postgresql
    _empty(engine)
    return url


def _empty(engine: Engine) -> None:
    # Measured, without fsync: deleting 50 to 90 ms (with a migration that finds nothing to do 145 to 180 ms), TRUNCATE
    # 205 ms, a database made from a template 210 to 580 ms. As a replica the server does not run the triggers that
    # forbid the deletion of events.
    emptied = "; ".join(f"DELETE FROM {name}" for name in metadata.tables)
    with engine.begin() as connection:
        connection.exec_driver_sql(f"SET LOCAL session_replication_role = replica; {emptied}")


@pytest.fixture
def new_postgresql(postgresql_url: str) -> Iterator[str]:
    """The URL of a new, empty database that only this test uses."""
    with new_database(postgresql_url) as url:
        yield url


@pytest.fixture
def durable_postgresql() -> Iterator[str]:
    """The URL of an empty, migrated PostgreSQL with default settings: a committed transaction is on the disk."""
    with PostgresServer(durable=True) as server:
        engine = create_engine(server.url)
        migrate(engine)
        engine.dispose()
        yield server.url
