"""Metrics and probes have a port of their own, and what describes the API is closed in production."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from gateway.app import serving
from gateway.app.app import Gateway
from gateway.app.embedded.errors import CannotStart
from gateway.app.settings import Settings
from tests.support.api_gateway import Client, app_of, open_api_gateway
from tests.support.api_gateway import serving as served
from tests.support.storage.ledgers import begun, empty_sqlite

_PRODUCTION = {"database_url": "postgresql+psycopg://gateway@db/gateway", "redis_url": "redis://redis:6379/0"}
_LIMIT = 60.0  # seconds that a test waits for a condition


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({**_PRODUCTION}, ("127.0.0.1", 9100)),
        ({**_PRODUCTION, "host": "0.0.0.0"}, ("0.0.0.0", 9100)),
        ({**_PRODUCTION, "metrics_port": 9200}, ("127.0.0.1", 9200)),
        ({**_PRODUCTION, "metrics_port": 0}, None),
        ({}, ("127.0.0.1", 0)),
        ({"host": "0.0.0.0", "metrics_port": 9200}, ("127.0.0.1", 9200)),
        ({"metrics_port": 0}, None),
    ],
)
def test_where_metrics_are_served(given: dict[str, Any], expected: tuple[str, int] | None) -> None:
    """Production: 9100 on the host of the process, unless set. The embedded default: loopback, a free port."""
    assert Settings(**given).metrics_address == expected


@asynccontextmanager
async def _running(folder: Path, **settings: Any) -> AsyncIterator[Gateway]:
    begun(empty_sqlite(folder))
    stop, ready = asyncio.Event(), asyncio.get_running_loop().create_future()

    async def announce(gateway: Gateway) -> None:
        ready.set_result(gateway)

    chosen = Settings(data_dir=folder, port=0, **settings)
    running = asyncio.create_task(serving.serve(chosen, api=True, worker=True, ready=announce, stop=stop))
    await asyncio.wait({running, ready}, return_when=asyncio.FIRST_COMPLETED)
    if running.done():
        await running
    yield ready.result()
    stop.set()
    await running


async def test_probes_are_answered_while_the_api_is_full(short_dir: Path) -> None:
    """As many idle connections as are allowed: the API's port answers 503, and the other port says that it is ready."""
    async with _running(short_dir, max_connections=10) as gateway, AsyncExitStack() as open_connections:
        settings = gateway.ledger.settings
        for _ in range(10):
            _, writer = await asyncio.open_connection("127.0.0.1", settings.port)
            open_connections.callback(writer.close)
        timeout = aiohttp.ClientTimeout(total=_LIMIT)
        async with aiohttp.ClientSession(timeout=timeout) as http:
            async with http.get(f"http://127.0.0.1:{settings.port}/healthz") as answer:
                assert answer.status == 503
            for path in ("/healthz", "/readyz", "/metrics"):
                async with http.get(f"http://127.0.0.1:{settings.metrics_port}{path}") as answer:
                    assert answer.status == 200


async def test_a_taken_port_is_named(short_dir: Path) -> None:
    """Before anything is opened: the address, and the setting to change."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(CannotStart, match=f"127.0.0.1:{port}.*GATEWAY_METRICS_PORT"):
            async with _running(short_dir, metrics_port=port):
                pass


@pytest.mark.parametrize(("settings", "status"), [({"api_docs": None}, 404), ({"api_docs": True}, 200)])
async def test_the_api_describes_itself_where_it_is_wanted(
    tmp_path: Path, redis_url: str, settings: dict[str, Any], status: int
) -> None:
    """Outside the embedded default, /docs and /openapi.json are there if the setting says so."""
    async with (
        open_api_gateway(tmp_path, redis_url, **settings) as gateway,
        served(app_of(gateway)) as url,
        aiohttp.ClientSession() as session,
    ):
        client = Client(session, url, "")
        for path in ("/docs", "/docs/swagger-ui.css", "/openapi.json"):
            assert (await client.get(path)).status == status, path


def test_the_embedded_default_describes_its_api() -> None:
    """On one machine, to try it; a production shape only by its setting."""
    assert Settings().shows_api_docs
    assert not Settings(**_PRODUCTION).shows_api_docs
    assert not Settings(api_docs=False).shows_api_docs
