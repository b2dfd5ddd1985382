"""The load generator, a process of its own: keeps connections busy, or a rate steady, and says what it saw.

    python load.py '{"port": …, "path": …, "key": …, "connections": …, "first": …, "warm_up": …, "rounds": …, …}'

Prints one JSON object. Owns how requests are made and timed; must not know the gateway's code, so that the same load
goes to whatever is compared with it. HTTP/1.1 by hand on asyncio: a client library costs more than what it measures.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import reminders
import uvloop

_LAST_SECONDS = 15.0  # an answer that comes later counts as none
_TEXT_FIELDS = {"kannel": "text", "jasmin": "content"}  # what is otherwise one interface


@dataclass
class Load:
    """What is asked for. ``rate`` 0: each connection asks again as soon as it is answered."""

    port: int
    path: str
    key: str
    connections: int
    first: int  # the number of the first reminder; each is another borrower's
    warm_up: float  # seconds that are thrown away
    rounds: int
    seconds: float  # of each round
    batch: int = 0  # reminders in a request; 0: one, not in a list
    rate: float = 0.0  # requests a second
    route: str = "sms"
    borrower: int = 0  # all reminders are for this one
    dialect: str = "gateway"  # or "kannel" or "jasmin": whose interface is spoken


@dataclass
class Seen:
    """When each request was sent and answered (monotonic), and how."""

    sent: list[float] = field(default_factory=list)
    answered: list[float] = field(default_factory=list)
    statuses: dict[int, int] = field(default_factory=dict)
    example: str = ""  # of an answer that was no success


class Connection(asyncio.Protocol):
    """One connection, one request at a time."""

    def __init__(self, seen: Seen, free: asyncio.Queue[Connection]) -> None:
        self._seen = seen
        self._free = free
        self._buffer = b""
        self._sent = 0.0
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]
        self._free.put_nowait(self)

    def ask(self, request: bytes, sent: float = 0.0) -> None:
        """``sent`` is when it should have been, where that was earlier: waiting for us is waiting."""
        assert self._transport is not None
        self._sent = sent or time.monotonic()
        self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head, found, rest = self._buffer.partition(b"\r\n\r\n")
        if not found:
            return
        at = head.lower().find(b"content-length:")
        length = int(head[at + 15 :].split(b"\r\n", 1)[0]) if at >= 0 else 0
        if at < 0 and b"chunked" in head.lower():  # one request at a time: what ends with the last chunk is all
            length = len(rest) if rest.endswith(b"0\r\n\r\n") else len(rest) + 1
        if len(rest) < length:
            return
        self._buffer = rest[length:]
        status = int(head[9:12])
        if status < 300:  # who fails fast is not fast
            self._seen.sent.append(self._sent)
            self._seen.answered.append(time.monotonic())
        self._seen.statuses[status] = self._seen.statuses.get(status, 0) + 1
        if status >= 300 and not self._seen.example:
            self._seen.example = rest[:300].decode("utf-8", "replace")
        self._free.put_nowait(self)


async def generate(load: Load) -> dict[str, Any]:
    """Make the load; answers rates of the rounds, and latencies in milliseconds."""
    seen, loop = Seen(), asyncio.get_running_loop()
    free: asyncio.Queue[Connection] = asyncio.Queue()
    for _ in range(load.connections):
        await loop.create_connection(lambda: Connection(seen, free), "127.0.0.1", load.port)
    began = time.monotonic()
    end = began + load.warm_up + load.rounds * load.seconds
    number = load.first
    while True:
        due = began + (number - load.first) / load.rate if load.rate else 0.0
        if max(due, time.monotonic()) >= end:
            break
        if due > time.monotonic():
            await asyncio.sleep(due - time.monotonic())
        connection = await free.get()
        connection.ask(_request(load, number), due)
        number += load.batch or 1
    with suppress(TimeoutError):
        async with asyncio.timeout(_LAST_SECONDS):  # what is under way is waited for
            for _ in range(load.connections):
                await free.get()
    return _result(load, seen, began, number)


def _request(load: Load, number: int) -> bytes:
    if load.dialect in _TEXT_FIELDS:
        to, text = reminders.phone(number).lstrip("+"), f"Payment+of+{number}.00+USD+is+due.+Reply+STOP+to+opt+out."
        query = f"username=bench&password=bench&from=15005550006&to={to}&{_TEXT_FIELDS[load.dialect]}={text}"
        return f"GET {load.path}?{query} HTTP/1.1\r\nHost: 127.0.0.1:{load.port}\r\n\r\n".encode()
    body = reminders.batch(number, load.batch, load.route) if load.batch else reminders.one(number, load.route)
    if load.borrower:
        body = body.replace(b'"id":"B-%d"' % number, b'"id":"B-%d"' % load.borrower)
    head = (
        f"POST {load.path} HTTP/1.1\r\nHost: 127.0.0.1:{load.port}\r\nAuthorization: Bearer {load.key}\r\n"
        f"Content-Type: application/json\r\nIdempotency-Key: bench-{number}\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def _result(load: Load, seen: Seen, began: float, number: int) -> dict[str, Any]:
    rates, waits = [], []
    for each in range(load.rounds):
        since = began + load.warm_up + each * load.seconds
        inside = [at for at in range(len(seen.sent)) if since <= seen.answered[at] < since + load.seconds]
        rates.append(len(inside) * (load.batch or 1) / load.seconds)
        waits += [(seen.answered[at] - seen.sent[at]) * 1000 for at in inside]
    waits.sort()
    return {
        "rates": rates,
        "latency_ms": {name: waits[int(len(waits) * share)] for name, share in _SHARES} if waits else {},
        "statuses": seen.statuses,
        "taken": len(seen.sent) * (load.batch or 1),
        "example": seen.example,
        "next": number,
        # For matching with what a provider saw: when the reminder with this number was sent.
        "sent": dict(zip(range(load.first, number), sorted(seen.sent), strict=False)) if load.rate else {},
    }


_SHARES = (("p50", 0.5), ("p95", 0.95), ("p99", 0.99))


if __name__ == "__main__":
    print(json.dumps(uvloop.run(generate(Load(**json.loads(sys.argv[1]))))))
