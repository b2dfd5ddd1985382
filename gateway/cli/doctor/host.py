"""Checks this machine: secret files, data directory, disk, SQLite and time zones. Needs no network."""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Mapping
from datetime import datetime
from importlib.metadata import version
from pathlib import Path

from gateway.app.settings import Settings
from gateway.cli.doctor.finding import CheckResult, error, ok, skipped, warning
from gateway.core.security.private_files import exposed

_LEAST_BYTES = 1_000_000_000  # our choice: a day's log and a checkpoint
_LEAST_SHARE = 0.1  # file systems slow down, and PostgreSQL panics, when they are full
_OTHERS_MAY = 0o027  # group-readable is permitted: container platforms mount secrets this way
_WAL_RESET_FIXED = (3, 51, 3)  # sqlite.org: a WAL that two connections reset at once loses its newest transactions
_FREE_PAGES = 0.25  # our choice: below it a vacuum is not worth its pause
_ZONES_AGE_DAYS = 400  # the zone database has had at least one release in every year
_NETWORK = frozenset({"nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "fuse.sshfs", "ceph", "glusterfs"})


def check(settings: Settings, environment: Mapping[str, str], now: datetime) -> list[CheckResult]:
    """Problems of this machine."""
    place = settings.data_dir
    return [
        *secret_files(settings, environment),
        *disk(place),
        *permissions(place),
        *sqlite(settings),
        *zones(now),
    ]


def secret_files(settings: Settings, environment: Mapping[str, str]) -> list[CheckResult]:
    """Check that only the owner can read files with secrets."""
    named = {
        name: Path(path) for name, path in environment.items() if name.startswith("GATEWAY_") and name.endswith("_FILE")
    }
    named["secret.key"] = settings.data_dir / "secret.key"
    found = []
    for name, path in sorted(named.items()):
        if not path.exists():
            continue
        mode = path.stat().st_mode
        if mode & _OTHERS_MAY:
            what = f"{name}: {path} can be read by others (mode {mode & 0o777:o})"
            found.append(error("host.secrets", what, f"chmod 600 {path}"))
    return found or [ok("host.secrets", "secret files are their owner's alone")]


def disk(data_dir: Path) -> list[CheckResult]:
    """Check that the data directory is writable and its disk has room."""
    place = next((each for each in (data_dir.absolute(), *data_dir.absolute().parents) if each.exists()), Path("/"))
    if not os.access(place, os.W_OK):
        what = f"{data_dir} can't be written by this user"
        return [error("host.disk", what, "give it to this user, or set GATEWAY_DATA_DIR to another directory")]
    usage = shutil.disk_usage(place)
    detail = f"{usage.free / 1e9:.1f} GB of {usage.total / 1e9:.1f} GB free at {data_dir}"
    if usage.free < _LEAST_BYTES:
        return [error("host.disk", detail, "free some, or give it a larger disk: see ops/data-care.md for what can go")]
    if usage.free < _LEAST_SHARE * usage.total:
        return [warning("host.disk", detail, "free some before it is full: see ops/data-care.md for what can go")]
    return [ok("host.disk", detail)]


def permissions(data_dir: Path) -> list[CheckResult]:
    """Check that only the gateway's user can read the data directory, which has borrowers' data."""
    if not data_dir.is_dir():
        return []
    found = [str(each) for each in (data_dir, *sorted(data_dir.glob("ledger.db*"))) if exposed(each)]
    if found:
        what = f"others may read {found[0]}" + (f" and {len(found) - 1} more" if found[1:] else "")
        return [error("host.permissions", what, f"chmod -R go= {data_dir}")]
    return [ok("host.permissions", f"only its owner may read {data_dir}")]


def sqlite(settings: Settings) -> list[CheckResult]:
    """Check the embedded ledger's file, and the version of Python's SQLite."""
    if settings.database_url and not settings.database_url.startswith("sqlite"):
        return [skipped("host.sqlite", "the ledger is not SQLite")]
    path = Path(settings.database_url.removeprefix("sqlite:///") or settings.data_dir / "ledger.db")
    found = []
    if sqlite3.sqlite_version_info < _WAL_RESET_FIXED:
        fixed = ".".join(map(str, _WAL_RESET_FIXED))
        what = f"SQLite {sqlite3.sqlite_version} can lose what two programs write at once (fixed in {fixed})"
        remedy = (
            "let no other program write to the ledger; copy it with gateway ledger backup; for more, use PostgreSQL"
        )
        found.append(warning("host.sqlite", what, remedy))
    kind = _file_system(path)
    if kind in _NETWORK:
        what = f"the ledger is on {kind}, which does not lock or sync as SQLite needs"
        found.append(error("host.sqlite.place", what, "put GATEWAY_DATA_DIR on a local disk, or use PostgreSQL"))
    if path.exists():
        found += _file(path)
    return found or [ok("host.sqlite", f"SQLite {sqlite3.sqlite_version}")]


def _file(path: Path) -> list[CheckResult]:
    connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
    try:
        (mode,) = connection.execute("PRAGMA journal_mode").fetchone()
        (free,) = connection.execute("PRAGMA freelist_count").fetchone()
        (pages,) = connection.execute("PRAGMA page_count").fetchone()
    except sqlite3.DatabaseError as broken:
        what = f"the ledger can't be read ({type(broken).__name__})"
        return [error("host.sqlite.file", what, "stop, and restore a backup: ops/deploy/README.md, after a restore")]
    finally:
        connection.close()
    found = []
    if mode != "wal":
        what = f"the ledger's journal is {mode}: readers and the writer would wait for each other"
        found.append(warning("host.sqlite.file", what, "start gateway serve once: it sets WAL"))
    if pages and free > _FREE_PAGES * pages:
        what = f"{free / pages:.0%} of the ledger's file is empty"
        found.append(warning("host.sqlite.file", what, "gateway ledger vacuum, while the gateway is stopped"))
    return found


def _file_system(path: Path) -> str:
    """The type of the file system of ``path``; "" where it is unknown."""
    try:
        lines = Path("/proc/mounts").read_text().splitlines()
    except OSError:
        return ""
    mounts = [line.split()[1:3] for line in lines]
    within = [(place, kind) for place, kind in mounts if path.absolute().is_relative_to(place)]
    return max(within, key=lambda each: len(each[0]))[1] if within else ""


def zones(now: datetime) -> list[CheckResult]:
    """Check the age of the time zone database, which the contact windows depend on."""
    newest = version("tzdata")
    age = (now.date() - datetime(int(newest.split(".")[0]), 1, 1).date()).days  # noqa: DTZ001 – a year, no instant
    if age > 365 + _ZONES_AGE_DAYS:
        what = f"the time zones are those of {newest}: changes of law since then are not known"
        return [warning("host.zones", what, "pip install --upgrade tzdata, and restart")]
    return [ok("host.zones", f"time zones of {newest}")]
