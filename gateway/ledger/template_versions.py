"""Template versions in the ledger: a request that was accepted with one can always be rendered with it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import Connection, and_, or_, select

from gateway.ledger.accept import insert_new
from gateway.ledger.database import Database
from gateway.ledger.schema import template_versions


class TemplateVersions:
    """Keeps the sources of versions, and finds them again."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def keep(self, versions: Sequence[tuple[str, str, str]], now: datetime) -> None:
        """Store (id, version, source) of versions that are new; a version never changes."""
        rows = [{"id": key, "version": version, "source": text, "created_at": now} for key, version, text in versions]

        def write(connection: Connection) -> None:
            connection.execute(insert_new(connection, template_versions), rows)

        if rows:
            await self._database.write(write)

    async def fetch(self, keys: Sequence[tuple[str, str]]) -> list[str]:
        """The sources of those (id, version) that are known."""
        columns = template_versions.c
        wanted = or_(*(and_(columns.id == key, columns.version == version) for key, version in keys))
        query = select(columns.source).where(wanted)
        return await self._database.read(lambda connection: list(connection.execute(query).scalars()))
