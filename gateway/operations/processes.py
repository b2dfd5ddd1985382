"""Registers the processes that run on this ledger, by heartbeats, with version and start.

For the status page, and to store what is new in a form that all of them read while an upgrade is rolled out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta

import msgspec
from sqlalchemy import Connection, delete, insert, select, update

from gateway.core.notifications import new_id
from gateway.stages.route import ProviderHealth
from gateway.storage.database import Database
from gateway.storage.tables.operations import processes

GONE_AFTER = timedelta(seconds=30)  # six beats missed; our choice
_KEPT = timedelta(days=30)  # of those that ended, so that the last deployment can be told; our choice


@dataclass(frozen=True, slots=True)
class RunningProcess:
    """One process. ``providers`` is each provider's health as that process sees it; an API process calls none."""

    id: str
    kind: str  # api, worker or both
    version: str
    started_at: datetime
    seen_at: datetime
    providers: Mapping[str, ProviderHealth]

    @property
    def sends(self) -> bool:
        return self.kind != "api"

    def alive(self, now: datetime) -> bool:
        return now - self.seen_at <= GONE_AFTER


class Heartbeat:
    """This process's row in the register."""

    def __init__(self, database: Database, kind: str, version: str) -> None:
        self._database = database
        self._kind = kind
        self._version = version
        self._id = ""

    async def beat(self, now: datetime, providers: Mapping[str, ProviderHealth]) -> None:
        """Record that this process is alive. Raises Unavailable."""
        seen = {"seen_at": now, "providers": _dump(providers)}
        first = not self._id
        self._id = self._id or new_id("prc", now)
        row = {"id": self._id, "kind": self._kind, "version": self._version, "started_at": now}

        def write(connection: Connection) -> None:
            known = connection.execute(update(processes).where(processes.c.id == self._id).values(seen)).rowcount
            if not known:
                connection.execute(insert(processes), {**row, **seen})
            if first:
                connection.execute(delete(processes).where(processes.c.seen_at < now - _KEPT))

        await self._database.write(write)

    async def others(self, now: datetime) -> bool:
        """Whether processes of another version are alive. Raises Unavailable."""
        alive = select(processes.c.id).where(
            processes.c.version != self._version, processes.c.seen_at >= now - GONE_AFTER
        )
        return await self._database.read(lambda connection: connection.execute(alive.limit(1)).first() is not None)


async def read_processes(database: Database) -> list[RunningProcess]:
    """The registered processes, the newest first. Raises Unavailable."""
    query = select(processes).order_by(processes.c.id.desc())
    rows = await database.read(lambda connection: connection.execute(query).all())
    return [
        RunningProcess(row.id, row.kind, row.version, row.started_at, row.seen_at, _load(row.providers)) for row in rows
    ]


def _dump(providers: Mapping[str, ProviderHealth]) -> str:
    return msgspec.json.encode({name: asdict(each) for name, each in providers.items()}).decode()


def _load(text: str) -> Mapping[str, ProviderHealth]:
    return msgspec.json.decode(text, type=dict[str, ProviderHealth])
