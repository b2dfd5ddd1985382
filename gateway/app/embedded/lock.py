"""Locks a data directory for one process: SQLite has one writer, and the Valkey socket one server.

Owns DATA_DIR/lock. The kernel releases a flock(2) when its process ends, so there is no stale lock.
"""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from types import TracebackType

from gateway.app.embedded.errors import CannotStart
from gateway.core.security.private_files import private_directory


class DataDirLock:
    """The lock of a data directory. A context manager; ``release`` is idempotent."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def release(self) -> None:
        if self._descriptor >= 0:
            # The file is kept: after a removal, another process could lock a new file while the old is locked.
            os.close(self._descriptor)
            self._descriptor = -1

    def __enter__(self) -> DataDirLock:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()


def lock(data_dir: Path) -> DataDirLock:
    """Create the directory if needed (0700: it holds borrowers' data) and lock it. Raises CannotStart."""
    try:
        private_directory(data_dir)
        # Close-on-exec is Python's default, so no child process inherits the lock.
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
