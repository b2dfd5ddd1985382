"""Stores the sources of versions that requests are pinned to, so that an accepted request can always be rendered.

Two kinds: built-in versions, for every tenant (tenant ""), and versions that a tenant published, for this tenant only.
The live versions of tenants are read by stamp; versions_store.py has the rules for publishing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, and_, bindparam, or_, select, update

from gateway.core.states import TemplateState
from gateway.storage.accept import insert_new
from gateway.storage.database import Database
from gateway.storage.statements import StatementTemplate
from gateway.storage.tables.templates import template_editions, template_versions, templates

Key = tuple[str, str, str]  # (tenant, template id, version)

# States of versions that a request may be pinned to: live, replaced, or scheduled.
_USABLE = (
    TemplateState.PUBLISHED,
    TemplateState.SCHEDULED,
    TemplateState.SUPERSEDED,
    TemplateState.ROLLED_BACK,
)
_NEWEST_STAMP = StatementTemplate(lambda _: "SELECT coalesce(max(stamp), 0) FROM templates")


@dataclass(frozen=True, slots=True)
class VersionSource:
    """The source of a version, with everything that rendering depends on."""

    tenant: str
    template: str
    version: str
    source: str


@dataclass(frozen=True, slots=True)
class PublicationState:
    """The live version of a tenant's template. ``published`` "": the built-in one.

    ``planned`` replaces it at ``planned_at``. ``withdrawn`` were rolled back, and refused for new requests.
    """

    tenant: str
    template: str
    stamp: int
    published: str = ""
    planned: str = ""
    planned_at: datetime | None = None
    withdrawn: frozenset[str] = frozenset()

    def live(self, now: datetime) -> str:
        return self.planned if self.planned_at is not None and self.planned_at <= now else self.published


class PublishedVersions:
    """Stores and loads the sources of versions."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def keep(self, versions: Sequence[tuple[str, str, str]], now: datetime) -> None:
        """Store the (id, version, source) of new built-in versions; a stored version never changes."""
        rows = [{"id": key, "version": version, "source": text, "created_at": now} for key, version, text in versions]

        def write(connection: Connection) -> None:
            connection.execute(insert_new(connection, template_versions), rows)

        if rows:
            await self._database.write(write)

    async def valid_marks(self) -> set[str]:
        """The marks (see ValidationCache) of built-in versions that passed every check in any process."""
        query = select(template_versions.c.found_good).where(template_versions.c.found_good != "")
        return await self._database.read(lambda connection: set(connection.execute(query).scalars()))

    async def record_valid(self, marks: Sequence[tuple[str, str, str]]) -> None:
        """Store the (id, version, mark) of stored versions that passed every check."""
        own = template_versions.c
        statement = (
            update(template_versions)
            .where(own.id == bindparam("of_id"), own.version == bindparam("of_version"))
            .values(found_good=bindparam("mark"))
        )
        # In one order, so that two processes that start at the same time can't deadlock.
        rows = [{"of_id": key, "of_version": version, "mark": mark} for key, version, mark in sorted(marks)]
        if rows:
            await self._database.write(lambda connection: connection.execute(statement, rows))

    async def fetch(self, keys: Sequence[Key]) -> list[VersionSource]:
        """The versions that exist: of the tenants, and built-in ones with the tenant ""."""
        own, shared = template_editions.c, template_versions.c
        requested = or_(*(and_(own.tenant == t, own.template == key, own.version == v) for t, key, v in keys))
        files = or_(*(and_(shared.id == key, shared.version == v) for _, key, v in keys))
        of_tenants = select(own.tenant, own.template, own.version, own.source).where(requested, own.state.in_(_USABLE))
        of_files = select(shared.id, shared.version, shared.source).where(files)

        def read(connection: Connection) -> list[VersionSource]:
            found = [VersionSource(*row) for row in connection.execute(of_tenants)]
            return found + [VersionSource("", *row) for row in connection.execute(of_files)]

        return await self._database.read(read)

    async def newest_stamp(self) -> int:
        """The highest publication stamp, which grows with each change of a live version."""
        [(stamp,)] = await self._database.query(_NEWEST_STAMP.of)
        return int(stamp)

    async def changed(self, since: int) -> list[PublicationState]:
        """The publication states with a stamp above ``since``, in the order of their stamps."""
        own = template_editions.c
        query = (
            select(templates.c.tenant, templates.c.id, templates.c.stamp, own.version, own.state, own.publish_at)
            .join(
                template_editions,
                and_(own.tenant == templates.c.tenant, own.template == templates.c.id, own.state.in_(_USABLE)),
                isouter=True,
            )
            .where(templates.c.stamp > since)
            .order_by(templates.c.stamp)
        )
        rows = await self._database.read(lambda connection: connection.execute(query).all())
        grouped: dict[tuple[str, str], list[Any]] = {}
        for row in rows:
            grouped.setdefault((row.tenant, row.id), []).append(row)
        return [_publication_state(each) for each in grouped.values()]


def _publication_state(rows: Sequence[Any]) -> PublicationState:
    by_state: dict[str, list[Any]] = {}
    for row in rows:
        by_state.setdefault(row.state, []).append(row)
    published = next(iter(by_state.get(TemplateState.PUBLISHED, [])), None)
    planned = next(iter(by_state.get(TemplateState.SCHEDULED, [])), None)
    return PublicationState(
        rows[0].tenant,
        rows[0].id,
        rows[0].stamp,
        published=published.version if published else "",
        planned=planned.version if planned else "",
        planned_at=planned.publish_at if planned else None,
        withdrawn=frozenset(row.version for row in by_state.get(TemplateState.ROLLED_BACK, [])),
    )
