"""One instance per data directory: SQLite has one writer, and the Valkey socket one server.

Owns DATA_DIR/lock. The kernel drops a flock(2) with its holder, so no stale lock is ever in the way.
"""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from types import TracebackType

from gateway.app.embedded.errors import CannotStart
from gateway.core.private_files import private_directory


class DataDirLock:
    """Held while a gateway uses a data directory. A context manager; ``release`` may be called twice."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def release(self) -> None:
        if self._descriptor >= 0:
            # The file stays: removing it would let a third process lock a new file beside a held old one.
            os.close(self._descriptor)
            self._descriptor = -1

    def __enter__(self) -> DataDirLock:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()


def lock(data_dir: Path) -> DataDirLock:
    """Make the directory if need be (0700: it holds borrowers' data) and lock it. Raises CannotStart."""
    try:
        private_directory(data_dir)
        # Close-on-exec is Python's default, so no child keeps the lock after us.
        descriptor = os.open(data_dir / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else type(error).__name__
        raise CannotStart(
            f"cannot write to the data directory {data_dir}: {reason}; set GATEWAY_DATA_DIR to another one"
        ) from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = os.pread(descriptor, 32, 0).decode("ascii", "replace").strip() or "unknown"
        os.close(descriptor)
        raise CannotStart(
            f"another gateway (pid {holder}) uses the data directory {data_dir}: "
            "stop it, or set GATEWAY_DATA_DIR to another one"
        ) from None
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
    return DataDirLock(descriptor)
