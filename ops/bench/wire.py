"""Round trips as they are: counted on the wire, between the gateway and a server, and not by what a library says."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

_CHUNK = 65_536


class WireCounter:
    """A loopback port in front of a server.

    ``turns`` is how often a client began to say something after the server had spoken: what it says in one go, and
    then waits for, is one round trip, however many statements or commands that are.
    """

    def __init__(self, host: str, port: int, socket: str = "") -> None:
        self._upstream = (host, port, socket)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="wire", daemon=True)
        self._open: set[asyncio.StreamWriter] = set()
        self.turns = 0
        self.port = 0

    def start(self) -> None:
        """Begin to listen, in a thread of its own."""
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._listen(), self._loop).result()

    def stop(self) -> None:
        """Close what is open and end the thread."""
        asyncio.run_coroutine_threadsafe(self._close(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _close(self) -> None:
        self._server.close()
        for each in self._open:
            each.close()  # what reads from it comes to the end, and so does its task
        await asyncio.gather(*asyncio.all_tasks() - {asyncio.current_task()}, return_exceptions=True)

    async def _listen(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        host, port, socket = self._upstream
        opened = asyncio.open_unix_connection(socket) if socket else asyncio.open_connection(host, port)
        above, below = await opened
        listening = [True]  # whether the server spoke last; it has not been asked anything yet

        async def pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter, asks: bool) -> None:
            with suppress(OSError):
                while data := await source.read(_CHUNK):
                    self.turns += asks and listening[0]
                    listening[0] = not asks
                    sink.write(data)
                    await sink.drain()
            sink.close()

        self._open |= {writer, below}
        await asyncio.gather(pump(reader, below, True), pump(above, writer, False))
        self._open -= {writer, below}


@contextmanager
def wire(host: str, port: int, socket: str = "") -> Iterator[WireCounter]:
    """A wire to a server at a port, or at a Unix socket."""
    made = WireCounter(host, port, socket)
    made.start()
    try:
        yield made
    finally:
        made.stop()
