"""The providers of the benchmarks, a process of its own: they take what comes, wait as told, and remember when.

Speaks just enough of Twilio's Messages API (and a plain GET for whoever speaks that), SMTP and SMPP, by hand: a fake
that is slower than what it measures would measure itself. Prints ``{"http_port", "smtp_port", "smpp_port"}`` when it
listens.

    POST /2010-04-01/Accounts/…/Messages.json    a message (To, StatusCallback), answered after the delay
    GET  /send?to=…                              likewise
    POST /_set?delay_ms=…&receipts=0|1           from now on; forgets what came
    GET  /_seen                                  {"times": […], "to": […], "callbacks": …}
    GET  /_count                                 {"count": …}
"""

from __future__ import annotations

import asyncio
import itertools
import json
import signal
import struct
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs, urlsplit

import uvloop

from channels.twilio.shapes import sign

_TOKEN = "sms-token"
_CALLBACKS_AT_ONCE = 16
_STATUSES = ("sent", "delivered")
# SMPP 3.4, section 5.1.2.1: command ids, and the bit that makes one its response's.
_SUBMIT, _BINDS, _RESPONSE = 4, (1, 2, 9), 0x80000000


class FakeProviders:
    """What came, and how to answer."""

    def __init__(self) -> None:
        self.delay = 0.0
        self.receipts = False
        self.sids = itertools.count()
        self.callbacks: asyncio.Queue[tuple[str, str, str]] = asyncio.Queue()
        self.forget()

    def forget(self) -> None:
        self.times: list[float] = []
        self.to: list[str] = []
        self.taken = 0  # callbacks that were answered with success
        self.refused = 0

    def came(self, to: str, callback: str = "") -> str:
        self.times.append(time.monotonic())
        self.to.append(to)
        sid = f"SM{next(self.sids):032x}"
        if self.receipts and callback:
            for status in _STATUSES:
                self.callbacks.put_nowait((callback, sid, status))
        return sid

    def seen(self) -> dict[str, Any]:
        return {"times": self.times, "to": self.to, "callbacks": self.taken, "refused": self.refused}


class Http(asyncio.Protocol):
    """A server's side of one connection. Requests are not pipelined by anybody here."""

    def __init__(self, world: FakeProviders) -> None:
        self._world = world
        self._buffer = b""
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head, found, rest = self._buffer.partition(b"\r\n\r\n")
        if not found:
            return
        at = head.lower().find(b"content-length:")
        length = int(head[at + 15 :].split(b"\r\n", 1)[0]) if at >= 0 else 0
        if len(rest) < length:
            return
        self._buffer = b""
        method, target, _ = head.split(b"\r\n", 1)[0].decode().split(" ")
        self._take(method, target, rest)

    def _take(self, method: str, target: str, body: bytes) -> None:
        world, path = self._world, target.partition("?")[0]
        if path == "/_seen":
            self._answer(200, json.dumps(world.seen()).encode())
        elif path == "/_count":
            self._answer(200, b'{"count":%d}' % len(world.times))
        elif path == "/_set":
            query = parse_qs(urlsplit(target).query)
            world.delay, world.receipts = float(query["delay_ms"][0]) / 1000, query["receipts"][0] == "1"
            world.forget()
            self._answer(200, b"{}")
        elif path == "/send":
            world.came(parse_qs(urlsplit(target).query).get("to", [""])[0])
            self._later(200, b"sent")
        else:
            form = parse_qs(body.decode())
            sid = world.came(form["To"][0], form.get("StatusCallback", [""])[0].partition("#")[0])
            self._later(201, b'{"sid":"%s","status":"queued","error_code":null}' % sid.encode())

    def _later(self, status: int, body: bytes) -> None:
        if self._world.delay:
            asyncio.get_running_loop().call_later(self._world.delay, self._answer, status, body)
        else:
            self._answer(status, body)

    def _answer(self, status: int, body: bytes) -> None:
        assert self._transport is not None
        head = b"HTTP/1.1 %d OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % (status, len(body))
        self._transport.write(head + body)


class Smtp(asyncio.Protocol):
    """A mail relay without extensions but SIZE and 8BITMIME: it takes everything and reports nothing."""

    def __init__(self, world: FakeProviders) -> None:
        self._world = world
        self._buffer = b""
        self._in_data = False
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]
        self._say(b"220 bench ESMTP")

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while True:
            end = b"\r\n.\r\n" if self._in_data else b"\r\n"
            line, found, rest = self._buffer.partition(end)
            if not found:
                return
            self._buffer = rest
            if self._in_data:
                self._in_data = False
                self._world.came("")
                asyncio.get_running_loop().call_later(self._world.delay, self._say, b"250 2.0.0 taken")
            else:
                self._command(line[:4].upper())

    def _command(self, verb: bytes) -> None:
        if verb == b"EHLO":
            self._say(b"250-bench\r\n250-SIZE 10000000\r\n250 8BITMIME")
        elif verb == b"DATA":
            self._in_data = True
            self._say(b"354 go on")
        elif verb == b"QUIT":
            self._say(b"221 bye")
            assert self._transport is not None
            self._transport.close()
        else:
            self._say(b"250 2.0.0 OK")

    def _say(self, line: bytes) -> None:
        assert self._transport is not None
        self._transport.write(line + b"\r\n")


class Smpp(asyncio.Protocol):
    """An SMSC (SMPP 3.4) that binds whoever comes, takes every submit_sm at once and reports nothing."""

    def __init__(self, world: FakeProviders) -> None:
        self._world = world
        self._buffer = b""
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        answers = []
        while len(self._buffer) >= 16 and len(self._buffer) >= (length := int.from_bytes(self._buffer[:4])):
            pdu, self._buffer = self._buffer[:length], self._buffer[length:]
            answers.append(self._answer(*struct.unpack(">4xI4xI", pdu[:16])))
        assert self._transport is not None
        self._transport.write(b"".join(answers))

    def _answer(self, command: int, sequence: int) -> bytes:
        if command & _RESPONSE:
            return b""
        body = b""
        if command == _SUBMIT:
            body = self._world.came("").encode() + b"\0"
        elif command in _BINDS:
            body = b"bench\0"
        return struct.pack(">4I", 16 + len(body), command | _RESPONSE, 0, sequence) + body


async def _call_back(world: FakeProviders) -> None:
    """Post the callbacks of the queue on one connection, one after the other."""
    reader: asyncio.StreamReader | None = None
    while True:
        url, sid, status = await world.callbacks.get()
        parts = urlsplit(url)
        params = {"AccountSid": "AC", "MessageSid": sid, "MessageStatus": status}
        body = "&".join(f"{name}={value}" for name, value in params.items()).encode()
        if reader is None:
            reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
        writer.write(
            f"POST {parts.path}?{parts.query} HTTP/1.1\r\nHost: {parts.netloc}\r\n"
            f"Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {len(body)}\r\n"
            f"X-Twilio-Signature: {sign(_TOKEN, url, params)}\r\n\r\n".encode()
            + body
        )
        head = await reader.readuntil(b"\r\n\r\n")
        at = head.lower().find(b"content-length:")
        if at >= 0:
            await reader.readexactly(int(head[at + 15 :].split(b"\r\n", 1)[0]))
        if head[9:10] == b"2":
            world.taken += 1
        else:
            world.refused += 1


async def _serve() -> None:
    loop, world, stop = asyncio.get_running_loop(), FakeProviders(), asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    ports = {}
    protocols: dict[str, Callable[[FakeProviders], asyncio.Protocol]] = {
        "http_port": Http,
        "smtp_port": Smtp,
        "smpp_port": Smpp,
    }
    for name, protocol in protocols.items():
        server = await loop.create_server(lambda made=protocol: made(world), "127.0.0.1", 0, backlog=1024)
        ports[name] = server.sockets[0].getsockname()[1]
    posting = [asyncio.create_task(_call_back(world)) for _ in range(_CALLBACKS_AT_ONCE)]
    print(json.dumps(ports), flush=True)
    await stop.wait()
    for each in posting:
        each.cancel()


if __name__ == "__main__":
    uvloop.run(_serve())
