"""A server that reads what comes for a moment, refuses it and closes: what a generator of traffic costs by itself.

    python decoy.py

Prints its port.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress

_MOST = 5_000_000  # bytes that are read of a request; the largest kind of hostile.py
_PAUSE_SECONDS = 0.05  # after which a request is taken as complete
_SLOW_SECONDS = 10.0  # as the gateway waits for a header


async def _refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    loop = asyncio.get_running_loop()
    began, size, head = loop.time(), 0, b""
    with suppress(OSError, TimeoutError):
        while size < _MOST and loop.time() - began < _SLOW_SECONDS:
            async with asyncio.timeout(_PAUSE_SECONDS if b"\r\n\r\n" in head else _SLOW_SECONDS):
                chunk = await reader.read(65_536)
            if not chunk:
                break
            size += len(chunk)
            head = head if b"\r\n\r\n" in head else (head + chunk)[-65_536:]
    with suppress(OSError):
        writer.write(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
        writer.close()
        await writer.wait_closed()


async def _serve() -> None:
    server = await asyncio.start_server(_refuse, "127.0.0.1", 0, backlog=1_000)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(_serve())
