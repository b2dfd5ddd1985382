"""Software of others that tests run: where it is, and where a page's recipe for it goes.

``ops/test`` puts it into the virtual environment (ops/outside); GATEWAY_OUTSIDE names another folder.
"""

from __future__ import annotations

import os
import pwd
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

FOLDER = Path(os.environ.get("GATEWAY_OUTSIDE", Path(sys.prefix) / "outside"))
UNPRIVILEGED = "nobody"  # this user exists on every Unix (LSB 5.0, 22.2) and owns nothing
_BLOCK = re.compile(r"^```\w*\n# (\S+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def unpacked(program: str) -> Path:
    """The root under which a program of ops/outside/debian-archives is; skips the test where it is not."""
    root = FOLDER / "debian"
    if not (root / program).exists():
        pytest.skip(f"{Path(program).name} is not unpacked (./ops/test does it, with apt-get)")
    return root


def npm_package(name: str) -> Path:
    """The folder of a package of ops/outside/package.json; skips the test where it is not."""
    found = FOLDER / "node_modules" / name
    if not found.exists():
        pytest.skip(f"npm's package {name} is not there (./ops/test takes it, with npm)")
    return found


def readable_copy(source: Path, target: Path, *parts: str) -> Path:
    """A copy of parts of a tree that every user may read, as a virtual environment need not be."""
    for part in parts:
        shutil.copytree(source / part, target / part, symlinks=True, dirs_exist_ok=True)
    for each in (target, *(path for path in target.rglob("*") if path.is_dir() and not path.is_symlink())):
        each.chmod(0o755)
    return target


def owner() -> str | None:
    """The user as whom to start what needs no rights; None where that is who runs the tests."""
    return UNPRIVILEGED if os.geteuid() == 0 else None


def rights(user: str | None) -> dict[str, Any]:
    """What ``subprocess`` needs to start something as this user, who has no other group than its own."""
    return {"user": user, "group": pwd.getpwnam(user).pw_gid, "extra_groups": []} if user else {}


def give(folder: Path) -> None:
    """Let the unprivileged user own a folder and all that is in it."""
    if user := owner():
        for path in (folder, *folder.rglob("*")):
            os.chown(path, pwd.getpwnam(user).pw_uid, -1, follow_symlinks=False)


def recipes(page: Path) -> Mapping[str, str]:
    """The files that a page shows: each block of code that begins with a comment of its path."""
    return dict(_BLOCK.findall(page.read_text()))


def start(command: list[str], log: Path, environment: Mapping[str, str], user: str | None) -> subprocess.Popen[bytes]:
    """A process of its own group, so that a Ctrl-C is for the tests, which end it."""
    with log.open("ab") as out:
        return subprocess.Popen(
            command,
            env={"PATH": os.environ["PATH"], **environment},
            **rights(user),
            cwd="/",
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            start_new_session=True,
        )


def end(process: subprocess.Popen[bytes]) -> None:
    """Kill it with all that it has started: nothing of it is needed any more."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
