"""Files and directories that only their owner may read: 0700 and 0600 from the first byte on, whatever the umask."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Any

OTHERS = stat.S_IRWXG | stat.S_IRWXO  # the permission bits of group and others


def private_directory(path: Path) -> Path:
    """Make the directory if need be, and take group's and others' permissions from it. Raises OSError.

    A directory that others use too keeps its permissions: one with the sticky bit (/tmp), the root, the home directory
    and the working directory. The files in it are private all the same.
    """
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    shared = path.stat().st_mode & stat.S_ISVTX or path.resolve() in (Path("/"), Path.home(), Path.cwd())
    return path if shared else _owner_only(path)


def private_file(path: Path) -> Path:
    """Make an empty file if need be, and take group's and others' permissions from it. Raises OSError."""
    os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
    return _owner_only(path)


def open_private(path: Path, mode: str, encoding: str | None = None) -> Any:
    """``open`` for writing, of a file that only its owner may read. Raises OSError."""

    def opener(name: str, flags: int) -> int:
        return os.open(name, flags, 0o600)

    file = open(path, mode, encoding=encoding, opener=opener)  # noqa: SIM115 – the caller closes it
    _owner_only(path)
    return file


def exposed(path: Path) -> bool:
    """Whether group or others have any permission."""
    return bool(stat.S_IMODE(path.stat().st_mode) & OTHERS)


def _owner_only(path: Path) -> Path:
    """Devices (/dev/stdout) and what belongs to somebody else (a volume that a container is given) stay as they are."""
    found = path.stat()
    mode = stat.S_IMODE(found.st_mode)
    ours = found.st_uid == os.geteuid() and (stat.S_ISDIR(found.st_mode) or stat.S_ISREG(found.st_mode))
    if ours and mode & OTHERS:
        path.chmod(mode & ~OTHERS)
    return path
