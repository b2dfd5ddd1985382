"""A TCP proxy between two parts, which can cut, slow and half-open what goes through it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from enum import StrEnum

_CHUNK = 65_536

Open = Callable[[], Awaitable[tuple[asyncio.StreamReader, asyncio.StreamWriter]]]


class Mode(StrEnum):
    """What happens to bytes."""

    PASS = "pass"
    CUT = "cut"  # connections are reset, new ones refused
    SLOW = "slow"  # every chunk comes late
    DEAF = "deaf"  # half-open: requests get through, answers don't
    MUTE = "mute"  # half-open the other way: nothing gets through, and nobody is told


class Proxy:
    """Listens on a loopback port and passes everything to ``upstream``, in the present mode.

    What a client sent before it hung up, and what has not been passed on by then, is dropped: a network does not
    deliver to a server what a closed connection had in it.
    """

    def __init__(self, name: str, upstream: Open) -> None:
        self.name = name
        self.mode = Mode.PASS
        self.delay = 0.0
        self.port = 0
        self._upstream = upstream
        self._open: set[asyncio.StreamWriter] = set()

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        self._server.close()
        self.set(Mode.CUT)

    def set(self, mode: Mode, delay: float = 0.0) -> None:
        """From now on. Leaving a half-open mode cuts what hangs in it: those connections have lost bytes."""
        if mode is Mode.CUT or self.mode in (Mode.DEAF, Mode.MUTE):
            for writer in list(self._open):
                writer.transport.abort()
        self.mode, self.delay = mode, delay

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.mode is Mode.CUT:
            writer.transport.abort()
            return
        try:
            above, below = await self._upstream()
        except OSError:
            writer.transport.abort()
            return
        self._open |= {writer, below}
        there = asyncio.create_task(self._pump(reader, below, Mode.MUTE))
        back = asyncio.create_task(self._pump(above, writer, Mode.DEAF))
        try:
            await asyncio.wait({there, back}, return_when=asyncio.FIRST_COMPLETED)
            if there.done():
                back.cancel()
            await asyncio.wait({back}, timeout=1)
        finally:
            there.cancel()
            back.cancel()
            self._open -= {writer, below}
            for each in (writer, below):
                with suppress(OSError, RuntimeError):
                    each.close()

    async def _pump(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, swallowed: Mode) -> None:
        with suppress(OSError):
            while data := await source.read(_CHUNK):
                if self.mode is Mode.SLOW:
                    await asyncio.sleep(self.delay)
                if self.mode in (swallowed, Mode.MUTE):
                    continue
                sink.write(data)
                await sink.drain()
