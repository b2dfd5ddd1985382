"""Reads the recent callers of a template and their variables, which a change of it may break."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, func, select

from gateway.storage.database import Database
from gateway.storage.rows import NOTIFICATION_BODY
from gateway.storage.tables.identity import api_keys
from gateway.storage.tables.path import notifications

MOST_COUNTED = 10_000  # counted of one caller; our choice: a few milliseconds of an index scan
_SAMPLES = 200  # of the newest requests of one caller; our choice


@dataclass(frozen=True, slots=True)
class RecentCaller:
    """``client`` is ``key:<id>``; ``samples`` are the variables of its newest requests."""

    client: str
    name: str
    requests: int
    samples: Sequence[Mapping[str, Any]]


class Callers:
    """Queries for the callers of a tenant's templates."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def recent(self, tenant: str, template: str, since: datetime) -> list[RecentCaller]:
        """The callers that requested the template since then. Raises Unavailable."""
        keys = select(api_keys.c.id, api_keys.c.name).where(api_keys.c.tenant == tenant)
        first = f"ntf_{int(since.timestamp() * 1000):012x}"  # ids are in order of time

        def read(connection: Connection) -> list[RecentCaller]:
            found = []
            for key in connection.execute(keys).all():
                client = f"key:{key.id}"
                theirs = (
                    notifications.c.tenant == tenant,
                    notifications.c.template == template,
                    notifications.c.client == client,
                    notifications.c.client != "",  # lets the partial index serve
                    notifications.c.id >= first,
                )
                newest = select(NOTIFICATION_BODY).where(*theirs).order_by(notifications.c.id.desc())
                bodies = connection.execute(newest.limit(_SAMPLES)).scalars().all()
                if bodies:
                    some = select(notifications.c.id).where(*theirs).limit(MOST_COUNTED).subquery()
                    number = connection.execute(select(func.count()).select_from(some)).scalar_one()
                    found.append(
                        RecentCaller(client, key.name, int(number), [json.loads(each)["variables"] for each in bodies])
                    )
            return found

        return await self._database.read(read)
