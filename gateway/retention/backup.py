"""Backs up the whole ledger while it is in use, and restores a backup.

Owns the copy's form: a folder with the dump and a manifest that says what must be in it. SQLite is copied by its own
online backup, PostgreSQL by pg_dump, each in one snapshot, of which the manifest is made as well. Must not know what
may be sent after a restore: see quarantine.py. The secret key is not in it; without the same key no digest fits.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sqlite3
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, func, inspect, select, text
from sqlalchemy.engine import URL

from gateway.core.codec import instant
from gateway.storage.schema import metadata
from gateway.storage.upgrade.migrate import current

_MANIFEST = "manifest.json"
_FORM = 1
_PAGES = 4096  # copied between two looks at the stop of the writer; 16 MB, our choice


class BackupFailed(Exception):
    """The backup or restore failed; the message has the cause and the remedy. No partial result is left."""


def back_up(engine: Engine, folder: Path, key_check: str, now: datetime) -> dict[str, Any]:
    """Copy the ledger into ``folder``, which must not exist; answers the manifest. Raises BackupFailed."""
    if folder.exists():
        raise BackupFailed(f"{folder} is there already: name a new folder for each backup")
    partial = folder.with_name(folder.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True, mode=0o700)
    try:
        if engine.dialect.name == "sqlite":
            name, rows = _copy_sqlite(engine.url, partial)
        else:
            name, rows = _dump_postgresql(engine, partial)
        manifest = {
            "form": _FORM,
            "made_at": instant(now),
            "database": engine.dialect.name,
            "revision": current(engine),
            "file": name,
            "sha256": _digest(partial / name),
            "rows": rows,
            "key_check": key_check,
        }
        (partial / _MANIFEST).write_text(json.dumps(manifest, indent=1) + "\n", encoding="utf-8")
        _sync(partial)
        partial.rename(folder)
        _sync(folder.parent)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    return manifest


def read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest of a backup, after its dump was verified. Raises BackupFailed."""
    try:
        manifest: dict[str, Any] = json.loads((folder / _MANIFEST).read_text(encoding="utf-8"))
        damaged = manifest["form"] != _FORM or _digest(folder / manifest["file"]) != manifest["sha256"]
    except (OSError, ValueError, KeyError) as error:
        raise BackupFailed(f"{folder} is no backup, or not all of one ({type(error).__name__})") from error
    if damaged:
        raise BackupFailed(f"{folder} was changed since it was made, or is of another form: take another backup")
    return manifest


def restore(engine: Engine, folder: Path, manifest: Mapping[str, Any], key_check: str) -> None:
    """Restore a backup into an empty ledger with the same secret key. Raises BackupFailed."""
    if manifest["key_check"] != key_check:
        raise BackupFailed("the backup was made with another GATEWAY_SECRET_KEY: opt-outs and callbacks would not fit")
    if manifest["database"] != engine.dialect.name:
        raise BackupFailed(f"the backup is of {manifest['database']}, the ledger is {engine.dialect.name}")
    if inspect(engine).get_table_names():
        raise BackupFailed("the ledger is not empty: restore into a new database, and never over an old one")
    if engine.dialect.name == "sqlite":
        _load_sqlite(engine, folder / manifest["file"])
    else:
        _run(
            ["pg_restore", "--exit-on-error", "--single-transaction", "--no-owner"],
            engine.url,
            folder / manifest["file"],
        )
    with engine.connect() as connection:
        found = _count(connection)
    wrong = [
        f"{name} {found.get(name)} for {rows}" for name, rows in manifest["rows"].items() if found.get(name) != rows
    ]
    if wrong:
        raise BackupFailed(f"the restored ledger has other numbers of rows: {', '.join(wrong)}; don't use it")


# ── SQLite ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def _copy_sqlite(url: URL, folder: Path) -> tuple[str, dict[str, int]]:
    target = folder / "ledger.db"
    # Read-only: a second writer, or one that checkpoints, is what this file must not have.
    with closing(sqlite3.connect(f"file:{url.database}?mode=ro", uri=True)) as source:
        with closing(sqlite3.connect(target)) as copy:
            source.backup(copy, pages=_PAGES)
            copy.execute("PRAGMA journal_mode=DELETE")  # one file, without a journal beside it
        with closing(sqlite3.connect(target)) as copy:
            (sound,) = copy.execute("PRAGMA integrity_check").fetchone()
            if sound != "ok":
                raise BackupFailed(f"the ledger is damaged: {sound}")
            names = [name for name in metadata.tables if _has(copy, name)]
            rows = {name: int(copy.execute(f'SELECT count(*) FROM "{name}"').fetchone()[0]) for name in names}
    target.chmod(0o600)
    return target.name, rows


def _has(connection: sqlite3.Connection, name: str) -> bool:
    return bool(connection.execute("SELECT 1 FROM sqlite_master WHERE name = ?", (name,)).fetchone())


def _load_sqlite(engine: Engine, dump: Path) -> None:
    path = Path(str(engine.url.database))
    engine.dispose()
    for each in (path, path.with_name(path.name + "-wal"), path.with_name(path.name + "-shm")):
        each.unlink(missing_ok=True)  # an empty database, made by looking into it
    shutil.copyfile(dump, path)
    path.chmod(0o600)


# ── PostgreSQL ──────────────────────────────────────────────────────────────────────────────────────────────────────


def _dump_postgresql(engine: Engine, folder: Path) -> tuple[str, dict[str, int]]:
    target = folder / "ledger.dump"
    with engine.connect().execution_options(isolation_level="REPEATABLE READ") as connection, connection.begin():
        snapshot = connection.execute(text("SELECT pg_export_snapshot()")).scalar_one()
        _run(["pg_dump", "--format=custom", "--no-owner", f"--snapshot={snapshot}", f"--file={target}"], engine.url)
        rows = _count(connection)
    target.chmod(0o600)
    return target.name, rows


def _run(command: list[str], url: URL, *files: Path) -> None:
    """Run one of PostgreSQL's own programs; the password goes by the environment, for command lines are public."""
    target = url.set(drivername="postgresql", password=None).render_as_string(hide_password=False)
    environment = {**os.environ, "PGPASSWORD": url.password or os.environ.get("PGPASSWORD", "")}
    try:
        done = subprocess.run(
            [*command, f"--dbname={target}", *map(str, files)],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
    except FileNotFoundError as error:
        raise BackupFailed(f"{command[0]} is not installed (Debian: apt install postgresql-client)") from error
    if done.returncode:
        lines = done.stderr.strip().splitlines() or ["it said nothing"]
        raise BackupFailed(f"{command[0]}: {lines[-1]}")


def _count(connection: Connection) -> dict[str, int]:
    there = set(inspect(connection).get_table_names())
    return {
        name: int(connection.execute(select(func.count()).select_from(table)).scalar_one())
        for name, table in metadata.tables.items()
        if name in there
    }


# ── files ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sync(folder: Path) -> None:
    for each in [*folder.iterdir(), folder] if folder.is_dir() else []:
        if each.is_dir() and each != folder:
            continue
        with _opened(each) as descriptor:
            os.fsync(descriptor)


@contextmanager
def _opened(path: Path) -> Iterator[int]:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        yield descriptor
    finally:
        os.close(descriptor)
