"""Hostile and clumsy traffic against an API, a process of its own: slow, oversized and malformed requests.

    python hostile.py '{"port": …, "key": …, "seconds": …}'

Prints one JSON object: how often each kind was sent, and with what it was answered (0: the connection was closed).
The figures are our choice: an attacker with one machine, well below what would fill the network.
"""

from __future__ import annotations

import asyncio
import json
import random
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field

SLOW = 100  # connections that send a byte of a header every second
PAUSE = 0.2  # seconds between two requests of one sender of each other kind
_ANSWER_SECONDS = 30.0


@dataclass
class Attack:
    """What is asked for, and what was seen."""

    port: int
    key: str
    seconds: float
    seen: dict[str, Counter[int]] = field(default_factory=lambda: defaultdict(Counter))

    def __post_init__(self) -> None:
        self.until = time.monotonic() + self.seconds


def _head(attack: Attack, path: str, length: int, kind: str = "application/json", key: bool = True) -> bytes:
    bearer = f"Authorization: Bearer {attack.key}\r\n" if key else ""
    return (
        f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n{bearer}Content-Type: {kind}\r\nContent-Length: {length}\r\n\r\n"
    ).encode()


def _post(attack: Attack, path: str, body: bytes, kind: str = "application/json", key: bool = True) -> bytes:
    return _head(attack, path, len(body), kind, key) + body


_ONE, _BATCH, _FORM = "/v1/notifications", "/v1/notifications/batch", "application/x-www-form-urlencoded"
# Each kind: what is written to a new connection.
KINDS: dict[str, Callable[[Attack], bytes]] = {
    "header of 64 kB": lambda _: b"GET /healthz HTTP/1.1\r\nHost: x\r\nX: " + b"a" * 65_536 + b"\r\n\r\n",
    "URL of 64 kB": lambda _: b"GET /" + b"a" * 65_536 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
    "body of 20 MB, declared": lambda a: _head(a, _ONE, 20_000_000) + b" " * 65_536,
    "batch of 4 MB of unknown fields": lambda a: _post(
        a, _BATCH, b'{"notifications":[{' + b",".join(b'"f%d":1' % each for each in range(350_000)) + b"}]}"
    ),
    "batch of 1,000 empty items": lambda a: _post(a, _BATCH, b'{"notifications":[' + b",".join([b"{}"] * 1000) + b"]}"),
    "nested 10,000 deep": lambda a: _post(a, _ONE, b"[" * 10_000 + b"]" * 10_000),
    "form of 5,000 fields": lambda a: _post(
        a, "/v1/receipts/sms", b"&".join(b"f%d=1" % each for each in range(5_000)), _FORM, key=False
    ),
    "callback of 5 MB": lambda a: _post(
        a, "/v1/receipts/sms", b"&".join(b"f%07d=1" % each for each in range(440_000)), _FORM, key=False
    ),
    "no JSON": lambda a: _post(a, _ONE, random.randbytes(500)),
    "no HTTP": lambda _: random.randbytes(500) + b"\r\n\r\n",
    "a key that is none": lambda a: _post(Attack(a.port, "ndg_0123456789ab_" + "0" * 64, 0), _ONE, b"{}"),
}


async def _sender(attack: Attack, name: str, make: Callable[[Attack], bytes]) -> None:
    request = make(attack)
    while time.monotonic() < attack.until:
        attack.seen[name][await status(attack.port, request)] += 1
        await asyncio.sleep(PAUSE)


async def status(port: int, request: bytes) -> int:
    """The status that this request on a new connection is answered with; 0: none."""
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return 0
    try:
        async with asyncio.timeout(_ANSWER_SECONDS):
            with suppress(ConnectionError):  # refused before all of it was sent; the answer may be there
                writer.write(request)
                await writer.drain()
            line = await reader.readline()
        return int(line.split()[1]) if line.startswith(b"HTTP/") else 0
    except (OSError, TimeoutError, ValueError, IndexError):
        return 0
    finally:
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()


async def _slow(attack: Attack) -> None:
    while time.monotonic() < attack.until:
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", attack.port)
            writer.write(b"POST /v1/notifications HTTP/1.1\r\nX: ")
            answer = asyncio.ensure_future(reader.readline())
            while time.monotonic() < attack.until and not answer.done():
                writer.write(b"a")
                await writer.drain()
                await asyncio.wait({answer}, timeout=1.0)
            answer.cancel()
            line = b"" if not answer.done() or answer.cancelled() or answer.exception() else answer.result()
            attack.seen["slow header"][int(line.split()[1]) if line.startswith(b"HTTP/") else 0] += 1
            writer.close()
        except OSError:
            attack.seen["slow header"][0] += 1
            await asyncio.sleep(PAUSE)


async def run(attack: Attack) -> dict[str, dict[int, int]]:
    """Everything at once until the time is over; the answers of each kind."""
    tasks = [_sender(attack, name, make) for name, make in KINDS.items()]
    await asyncio.gather(*tasks, *(_slow(attack) for _ in range(SLOW)))
    return {name: dict(found) for name, found in attack.seen.items()}


if __name__ == "__main__":
    print(json.dumps(asyncio.run(run(Attack(**json.loads(sys.argv[1]))))))
