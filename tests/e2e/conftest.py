"""Fixtures: a whole gateway in embedded mode, with its HTTP API on a free port."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from shutil import rmtree

import aiohttp
import pytest
import pytest_asyncio
from playwright.async_api import Browser

from gateway.app.app import open_gateway
from gateway.app.settings import Settings
from tests.support.api_gateway import app_of, serving
from tests.support.app_client import AppClient
from tests.support.pages.browser import chromium
from tests.support.storage.ledgers import begun, empty_sqlite
from tests.support.whole_gateway import Running, up


def _session() -> aiohttp.ClientSession:
    """A new connection for each request: the server closes one on which it refused a body without reading it all."""
    return aiohttp.ClientSession(connector=aiohttp.TCPConnector(force_close=True))


@asynccontextmanager
async def _open_app() -> AsyncIterator[AppClient]:
    directory = Path(tempfile.mkdtemp(prefix="gw-"))  # short: the embedded Valkey has a socket in it
    begun(empty_sqlite(directory))
    settings = Settings(data_dir=directory, at="2026-11-24T10:00:00+08:00")
    try:
        async with open_gateway(settings) as gateway:
            _, key = await gateway.ledger.keys.create(
                "acme", "test", ["send", "read", "manage"], gateway.ledger.clock()
            )
            async with serving(app_of(gateway)) as url, _session() as session:
                yield AppClient(session, url, key, gateway)
    finally:
        rmtree(directory, ignore_errors=True)


@pytest.fixture
async def app_client() -> AsyncIterator[AppClient]:
    """A client of a whole gateway whose clock stands at ten in the morning in Taipei. No worker runs."""
    async with _open_app() as client:
        yield client


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared_app_client() -> AsyncIterator[AppClient]:
    """The same for all tests of a file, which leave nothing behind: a start takes longer than most of them."""
    async with _open_app() as client:
        yield client


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def house() -> AsyncIterator[tuple[Running, Browser]]:
    """A whole gateway in the morning, and Chromium."""
    async with chromium() as browser, up("2026-11-24T10:00:00+08:00") as running:
        yield running, browser
