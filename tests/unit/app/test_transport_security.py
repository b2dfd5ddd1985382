"""Strict-Transport-Security on every answer of a gateway that is reached by HTTPS."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest

from gateway.app.app import Gateway
from gateway.app.serving import http_server
from tests.support.api_gateway import Client, open_api_gateway

_POLICY = "max-age=31536000"


@asynccontextmanager
async def _served(gateway: Gateway) -> AsyncIterator[int]:
    """The port of the server that ``gateway api`` runs."""
    server, listener = http_server(gateway), socket.create_server(("127.0.0.1", 0))
    running = asyncio.create_task(server.serve([listener]))
    while not server.started:  # noqa: ASYNC110 – uvicorn has a flag, and no event
        await asyncio.sleep(0.005)
    yield listener.getsockname()[1]
    server.should_exit = True
    await running


@pytest.mark.parametrize(
    ("public_url", "expected"), [("https://gateway.example.com", _POLICY), ("http://127.0.0.1:8080", None)]
)
async def test_every_answer_demands_https(
    tmp_path: Path, redis_url: str, public_url: str, expected: str | None
) -> None:
    """The header is on pages, redirects, refusals and the busy routes where the public URL is https, and else not."""
    async with (
        open_api_gateway(tmp_path, redis_url, public_url=public_url) as gateway,
        _served(gateway) as port,
        aiohttp.ClientSession() as session,
    ):
        client = Client(session, f"http://127.0.0.1:{port}", "")
        for method, path in (
            ("GET", "/healthz"),
            ("GET", "/ops"),
            ("GET", "/docs"),
            ("GET", "/no-such"),
            ("GET", "/v1/notifications"),
            ("POST", "/v1/notifications"),
            ("POST", "/v1/receipts/no-such"),
        ):
            answer = await client.call(method, path, allow_redirects=False)
            assert answer.headers.get("Strict-Transport-Security") == expected, path


async def test_what_the_protocol_refuses_demands_https_too(tmp_path: Path, redis_url: str) -> None:
    """The answers that no application code writes: a malformed request, a URL and a head beyond the limits."""
    async with (
        open_api_gateway(tmp_path, redis_url, public_url="https://gateway.example.com") as gateway,
        _served(gateway) as port,
    ):
        for sent, status in (
            (b"no request\r\n\r\n", b"400"),
            (b"GET /" + b"a" * 9_000 + b" HTTP/1.1\r\nhost: x\r\n\r\n", b"414"),
            (b"GET / HTTP/1.1\r\nhost: x\r\nx: " + b"a" * 33_000 + b"\r\n\r\n", b"431"),
        ):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(sent)
            async with asyncio.timeout(60):
                answer = await reader.read()
            writer.close()
            assert answer.startswith(b"HTTP/1.1 " + status)
            assert f"strict-transport-security: {_POLICY}\r\n".encode() in answer.partition(b"\r\n\r\n")[0] + b"\r\n"
