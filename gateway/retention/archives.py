"""Archives of removed records: compressed JSON lines, hash-chained so that a change can be detected.

A file is a row of gzip members (RFC 1952 allows it, and zcat reads it as one); each is a batch, synced to the disk
before the batch is removed. The ledger keeps a row for each: where it is, its hash, and the hash of the row before,
so that a missing, changed or foreign batch is found. Every subject goes as a whole, with its chain of events.
"""

from __future__ import annotations

import gzip
import hashlib
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec
from sqlalchemy import Connection, insert, select

from gateway.core.codec import instant
from gateway.core.notifications import new_id
from gateway.core.security.private_files import open_private, private_directory
from gateway.storage.among import among
from gateway.storage.events import link, linked
from gateway.storage.tables.path import events
from gateway.storage.tables.retention import archives
from gateway.storage.verdicts import digest_of, references

_SEALED = ("number", "at", "file", "start", "size", "sha256", "first", "last", "subjects", "events", "previous_hash")
_LEVEL = 6  # zlib's own default; measured: level 9 takes three times as long for 2 % less


@dataclass(frozen=True, slots=True)
class ArchiveBatch:
    """Subjects that are removed together. ``records`` has one mapping for each: its rows by table."""

    subjects: Sequence[str]
    records: Sequence[Mapping[str, Sequence[Mapping[str, Any]]]]

    @property
    def events(self) -> int:
        return sum(len(record["events"]) for record in self.records)


class ArchiveFile:
    """The file that this run writes to, made with its first batch. ``folder`` None: nothing is kept."""

    def __init__(self, folder: Path | None, now: datetime) -> None:
        self._folder = folder
        self._name = f"{now:%Y-%m-%d}-{new_id('arc', now)[-8:]}.jsonl.gz" if folder is not None else ""

    def append(self, batch: ArchiveBatch) -> dict[str, Any]:
        """Write a batch; on the disk when this returns. Answers what the ledger keeps of it."""
        lines = b"".join(msgspec.json.encode(_plain(record)) + b"\n" for record in batch.records)
        member = gzip.compress(lines, _LEVEL, mtime=0)
        start = self._write(member) if self._folder is not None else 0
        return {
            "file": self._name,
            "start": start,
            "size": len(member) if self._name else 0,
            "sha256": hashlib.sha256(lines).hexdigest(),
            "first": min(batch.subjects),
            "last": max(batch.subjects),
            "subjects": len(batch.subjects),
            "events": batch.events,
        }

    def _write(self, member: bytes) -> int:
        assert self._folder is not None
        private_directory(self._folder)
        path = self._folder / self._name
        fresh = not path.exists()
        with open_private(path, "ab") as file:
            start: int = file.tell()
            file.write(member)
            file.flush()
            os.fsync(file.fileno())
        if fresh:
            directory = os.open(self._folder, os.O_RDONLY)
            os.fsync(directory)
            os.close(directory)
        return start


def _plain(record: Mapping[str, Sequence[Mapping[str, Any]]]) -> dict[str, Any]:
    """A record with its instants as RFC 3339, in microseconds: the events' hashes are made of them."""
    return {
        table: [{name: _value(value) for name, value in row.items()} for row in rows] for table, rows in record.items()
    }


def _value(value: Any) -> Any:
    return value.isoformat() if isinstance(value, datetime) else value


def record(connection: Connection, kept: Mapping[str, Any], now: datetime) -> None:
    """Append a batch that is about to be removed to the chain of archives."""
    newest = connection.execute(select(archives).order_by(archives.c.number.desc()).limit(1)).first()
    number, previous = (newest.number + 1, newest.hash) if newest is not None else (1, "")
    row = {"number": number, "at": now, **kept, "previous_hash": previous}
    connection.execute(insert(archives), [{**row, "hash": seal(row)}])


def seal(row: Mapping[str, Any]) -> str:
    """The hash of one row of ``archives`` (as inserted, or as read back)."""
    said = [instant(row[name]) if name == "at" else row[name] for name in _SEALED]
    return hashlib.sha256(msgspec.json.encode(said)).hexdigest()


def verify(connection: Connection, folder: Path | None) -> Iterator[tuple[str, str]]:
    """The errors found in the archives, as (archive, detail): in their chain, and with ``folder`` in their files."""
    head, number = "", 0
    for found in connection.execute(select(archives).order_by(archives.c.number)).mappings():
        row, number = dict(found), number + 1
        name = f"archive {row['number']}"
        if row["number"] != number or row["previous_hash"] != head:
            yield name, "the row before it is missing"
            number = row["number"]
        if seal(row) != row["hash"]:
            yield name, "its row was changed"
        elif folder is not None and row["file"]:
            yield from ((name, detail) for detail in _damage(row, folder))
        head = row["hash"]


def _damage(row: Mapping[str, Any], folder: Path) -> Iterator[str]:
    path = folder / row["file"]
    try:
        with path.open("rb") as file:
            file.seek(row["start"])
            lines = gzip.decompress(file.read(row["size"]))
    except (OSError, EOFError, gzip.BadGzipFile, ValueError):
        yield f"{row['file']} is missing or can't be read"
        return
    if hashlib.sha256(lines).hexdigest() != row["sha256"]:
        yield f"{row['file']} was changed"
        return
    for line in lines.splitlines():
        record = msgspec.json.decode(line)
        yield from _broken_chain(record)
        yield from damaged_verdicts(
            references(event["detail"] for event in record["events"]),
            {each["digest"]: each["text"] for each in record.get("verdicts", ())},
        )


def damaged_verdicts(wanted: Iterable[str], texts: Mapping[str, str]) -> Iterator[str]:
    """The errors in what events refer to: the digests ``wanted``, by the texts that are stored under them."""
    for digest in sorted({*wanted, *texts}):
        if digest not in texts:
            yield f"verdict {digest}, which events refer to, is missing"
        elif digest_of(texts[digest]) != digest:
            yield f"verdict {digest} was changed"


def _broken_chain(subject: Mapping[str, Any]) -> Iterator[str]:
    """The check that ``gateway ledger verify`` makes of the ledger: each event follows the one before it, unchanged."""
    last = ""
    for event in subject["events"]:
        if (
            event["previous_hash"] != last
            or link({**event, "at": datetime.fromisoformat(event["at"])}) != event["hash"]
        ):
            yield f"event {event['seq']} of {event['subject']} was changed, or does not follow the one before it"
            return
        last = event["hash"]


def events_of(connection: Connection, subjects: Sequence[str]) -> dict[str, list[dict[str, Any]]]:
    """The events of these subjects, in order, with all that their hashes are made of."""
    found: dict[str, list[dict[str, Any]]] = {subject: [] for subject in subjects}
    query = select(events).where(among(events.c.subject, subjects)).order_by(events.c.seq)
    for row in linked(connection.execute(query).mappings()):
        found[row["subject"]].append(row)
    return found
