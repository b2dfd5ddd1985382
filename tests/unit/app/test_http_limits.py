"""The HTTP server's own limits: what hostile or clumsy clients send before any route runs."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import aiohttp
import pytest
import uvicorn

from gateway.app.http_protocol import HttpLimits, LimitedHttpProtocol, limited_protocol
from gateway.app.serving import Server
from tests.support.waiting import LIMIT_SECONDS, eventually

_slow_began, _slow_may_end = asyncio.Event(), asyncio.Event()


async def _app(scope: Any, receive: Any, send: Any) -> None:
    """Read the body and answer with its length; to /slow when its test says so."""
    if scope["path"] == "/slow":
        _slow_began.set()
        await _slow_may_end.wait()
    size, more = 0, True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        size += len(message.get("body", b""))
        more = message.get("more_body", False)
    body = str(size).encode()
    headers = [(b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


@asynccontextmanager
async def _serving(limits: HttpLimits) -> AsyncIterator[int]:
    """The port of a server with these limits."""
    async with _running(limits) as (_, port):
        yield port


@asynccontextmanager
async def _running(limits: HttpLimits) -> AsyncIterator[tuple[Server, int]]:
    """A server with these limits, and its port."""
    config = uvicorn.Config(
        _app, lifespan="off", log_config=None, http=limited_protocol(limits), timeout_graceful_shutdown=1
    )
    server = Server(config)
    listener = socket.create_server(("127.0.0.1", 0))
    task = asyncio.create_task(server.serve([listener]))
    while not server.started:  # noqa: ASYNC110 – uvicorn has a flag, and no event
        await asyncio.sleep(0.005)
    try:
        yield server, listener.getsockname()[1]
    finally:
        server.should_exit = True
        await task


async def _exchange(port: int, *chunks: bytes, end: bool = False) -> bytes:
    """What the server answers to the chunks until it closes the connection; ``end`` half-closes ours."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    with suppress(ConnectionError):
        for chunk in chunks:
            writer.write(chunk)
            await writer.drain()
        if end:
            writer.write_eof()
    answer = b""
    async with asyncio.timeout(LIMIT_SECONDS):
        with suppress(ConnectionError):
            while part := await reader.read(65536):
                answer += part
    writer.close()
    return answer


def _head(*, path: str = "/", fields: str = "") -> bytes:
    return f"POST {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n{fields}".encode()


async def test_a_request_within_the_limits_is_answered() -> None:
    """A body in two pieces reaches the application, and a timer that was armed for it ends with it."""
    async with _serving(HttpLimits()) as port:
        answer = await _exchange(port, _head(fields="content-length: 4\r\n\r\n"), b"ab", b"cd")
    assert answer.startswith(b"HTTP/1.1 200")
    assert answer.endswith(b"\r\n\r\n4")


async def test_a_large_body_is_no_large_head() -> None:
    """Two requests of 300 kB on one connection, in whatever pieces they are read."""
    async with _serving(HttpLimits()) as port, aiohttp.ClientSession() as session:
        for _ in range(2):
            async with session.post(f"http://127.0.0.1:{port}/", data=b"a" * 300_000) as response:
                assert await response.text() == "300000"


@pytest.mark.parametrize("sent", [b"", b"GET / HT", _head(fields="x: half")])
async def test_a_head_that_does_not_end_is_answered_408_and_closed(sent: bytes) -> None:
    """Slow-loris: silence, half a request line, half a header field."""
    async with _serving(HttpLimits(head_seconds=0.1)) as port:
        assert (await _exchange(port, sent)).startswith(b"HTTP/1.1 408")


async def test_a_body_that_does_not_end_is_answered_408_and_closed() -> None:
    """A client that announces a body and sends half of it holds its connection for a bounded time."""
    async with _serving(HttpLimits(body_seconds=0.1)) as port:
        assert (await _exchange(port, _head(fields="content-length: 9\r\n\r\nab"))).startswith(b"HTTP/1.1 408")


@pytest.mark.parametrize("pieces", [1, 2_000])
async def test_a_head_that_is_too_large_is_answered_431(pieces: int) -> None:
    """64 MB of one header field, at once or in pieces, is refused after some tens of kilobytes."""
    field = b"a" * (64_000_000 // pieces)
    async with _serving(HttpLimits()) as port:
        answer = await _exchange(port, _head(fields="x: "), *[field] * pieces)
    assert answer.startswith(b"HTTP/1.1 431") or answer == b""  # a reset may overtake the answer


async def test_many_small_fields_are_counted_together() -> None:
    """The limit is on the head as a whole."""
    async with _serving(HttpLimits(head=1_000)) as port:
        fields = "".join(f"x-{number}: {'v' * 20}\r\n" for number in range(100))
        assert (await _exchange(port, _head(fields=f"{fields}\r\n"))).startswith(b"HTTP/1.1 431")


async def test_a_url_that_is_too_long_is_answered_414() -> None:
    """RFC 9110 section 15.5.15."""
    async with _serving(HttpLimits()) as port:
        assert (await _exchange(port, _head(path="/" + "a" * 8_001, fields="\r\n"))).startswith(b"HTTP/1.1 414")


async def test_connections_beyond_the_limit_are_answered_503() -> None:
    """Open connections that send nothing do not keep the process from refusing the next one at once."""
    async with _serving(HttpLimits(connections=3)) as port:
        held = [await asyncio.open_connection("127.0.0.1", port) for _ in range(3)]
        refused = await _exchange(port, _head(fields="\r\n"))
        assert refused.startswith(b"HTTP/1.1 503")
        assert b"retry-after" in refused
        for _, writer in held:
            writer.close()
            await writer.wait_closed()
        answer = b""
        async with asyncio.timeout(LIMIT_SECONDS):
            while not answer.startswith(b"HTTP/1.1 200"):
                answer = await _exchange(port, _head(fields="\r\n"))


async def test_half_of_a_next_request_does_not_cut_off_a_slow_answer() -> None:
    """No deadline runs for a request's head while its predecessor's answer is due."""
    async with _running(HttpLimits()) as (server, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"POST /slow HTTP/1.1\r\nhost: x\r\ncontent-length: 1\r\n\r\na")
        await _slow_began.wait()
        writer.write(b"GET / HT")
        [connection] = server.server_state.connections
        assert isinstance(connection, LimitedHttpProtocol)
        await eventually(lambda: connection._head_bytes > 0)
        assert connection._deadline is None
        _slow_may_end.set()
        async with asyncio.timeout(LIMIT_SECONDS):
            assert (await reader.read(12)) == b"HTTP/1.1 200"
        writer.close()


async def test_a_refused_pipelined_request_does_not_replace_its_predecessors_answer() -> None:
    """The first request's answer comes first, or the connection closes without any."""
    async with _serving(HttpLimits(head=1_000)) as port:
        good = b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 1\r\n\r\na"
        bad = b"POST / HTTP/1.1\r\nhost: x\r\ny: " + b"a" * 2_000 + b"\r\n\r\n"
        answer = await _exchange(port, good + bad)
    assert answer == b"" or answer.startswith(b"HTTP/1.1 200")
