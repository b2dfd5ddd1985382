"""Stores the versions of tenants' templates, and enforces their life cycle: draft, review, publication, roll-back.

States and transitions are ``TEMPLATE_TRANSITIONS`` in core/states.py. Must not know the template language: texts are
files, stored as written; the source for rendering is an argument of ``submit``.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime
from typing import Any, TypeVar

from sqlalchemy import Connection, and_, select

from gateway.core.clock import Clock
from gateway.core.states import TemplateState
from gateway.storage.database import Database
from gateway.storage.events import template_subject
from gateway.storage.tables.path import events
from gateway.storage.tables.templates import template_editions
from gateway.templates.versions.refusals import (
    AlreadyScheduled,
    DraftExists,
    EditedMeanwhile,
    NoSuchVersion,
    SamePerson,
    WrongState,
)
from gateway.templates.versions.stored_version import (
    COLUMNS,
    Change,
    Key,
    StoredVersion,
    VersionText,
    change_from,
    encode_files,
    stored_version_from,
    text_from,
)
from gateway.templates.versions.unit_of_work import TemplateUnitOfWork

REVIEWED_ELSEWHERE = "elsewhere"  # the approver of a text that was reviewed outside of the gateway

T = TypeVar("T")


class VersionStore:
    """The commands on versions. Each is one transaction, durable when it returns. All raise Unavailable."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    async def begin(
        self, tenant: str, template: str, files: Mapping[str, str], based_on: str, actor: str, comment: str = ""
    ) -> VersionText:
        """Begin a draft. Raises DraftExists (with its text) where one is open."""

        def work(opened: TemplateUnitOfWork) -> VersionText:
            existing = opened.in_state(TemplateState.DRAFT)
            if existing is not None:
                raise DraftExists(opened.text(existing.number))
            return opened.begin(files, based_on, actor, comment)

        return await self._with(tenant, template, work)

    async def save(
        self, key: Key, revision: int, files: Mapping[str, str], actor: str, comment: str = ""
    ) -> VersionText:
        """Store a draft's new text. Raises EditedMeanwhile (with the stored text) unless it is at ``revision``."""

        def work(opened: TemplateUnitOfWork) -> VersionText:
            before = opened.text(key[2])
            _require_draft(before, revision)
            changed = sorted(
                name for name in before.files.keys() | files.keys() if before.files.get(name) != files.get(name)
            )
            if not changed:
                return before
            editors = dict.fromkeys((*before.stored.editors, actor))
            opened.change(
                key[2],
                revision=revision + 1,
                files=encode_files(files),
                editors=json.dumps(list(editors)),
                updated_by=actor,
            )
            detail = {"revision": revision + 1, "changed": changed}
            opened.record("template_saved", key[2], TemplateState.DRAFT, actor, comment, detail)
            return opened.text(key[2])

        return await self._with(*key[:2], work)

    async def discard(self, key: Key, revision: int, actor: str, comment: str) -> StoredVersion:
        """Discard a draft."""

        def work(opened: TemplateUnitOfWork) -> StoredVersion:
            before = opened.text(key[2])
            _require_draft(before, revision)
            opened.move(before.stored, TemplateState.DISCARDED, "template_discarded", actor, comment)
            return opened.text(key[2]).stored

        return await self._with(*key[:2], work)

    async def submit(
        self, key: Key, revision: int, version: str, source: str, actor: str, comment: str
    ) -> StoredVersion:
        """Submit a draft for review. Its text can't change from then on; ``source`` is stored for rendering."""

        def work(opened: TemplateUnitOfWork) -> StoredVersion:
            before = opened.text(key[2])
            _require_draft(before, revision)
            opened.move(
                before.stored,
                TemplateState.SUBMITTED,
                "template_submitted",
                actor,
                comment,
                version=version,
                source=source,
                submitted_by=actor,
            )
            return opened.text(key[2]).stored

        return await self._with(*key[:2], work)

    async def approve(self, key: Key, actor: str, comment: str = "") -> StoredVersion:
        """Approve a submitted version. Raises SamePerson for an actor that has edited or submitted it."""

        def work(opened: TemplateUnitOfWork) -> StoredVersion:
            stored = opened.text(key[2]).stored
            if actor in (*stored.editors, stored.submitted_by):
                raise SamePerson("a second person has to approve: you wrote in this version, or submitted it")
            opened.move(stored, TemplateState.APPROVED, "template_approved", actor, comment, approved_by=actor)
            return opened.text(key[2]).stored

        return await self._with(*key[:2], work)

    async def reject(self, key: Key, actor: str, comment: str) -> StoredVersion:
        """Reject a submitted or approved version; the editor can begin another draft from it."""

        def work(opened: TemplateUnitOfWork) -> StoredVersion:
            stored = opened.text(key[2]).stored
            opened.move(stored, TemplateState.REJECTED, "template_rejected", actor, comment)
            return opened.text(key[2]).stored

        return await self._with(*key[:2], work)

    async def publish(self, key: Key, actor: str, comment: str, at: datetime | None = None) -> StoredVersion:
        """Publish an approved version at ``at``; at once for None or a time in the past."""

        def work(opened: TemplateUnitOfWork) -> StoredVersion:
            stored = opened.text(key[2]).stored
            if stored.state not in (TemplateState.APPROVED, TemplateState.SCHEDULED):
                raise WrongState(f"version {stored.number} is {stored.state}; only an approved one can be published")
            if at is None or at <= opened.now:
                opened.go_live(stored, opened.now, actor, comment)
                return opened.text(key[2]).stored
            planned = opened.in_state(TemplateState.SCHEDULED)
            if planned is not None:
                raise AlreadyScheduled(f"version {planned.number} is to be published at {planned.publish_at}")
            opened.move(stored, TemplateState.SCHEDULED, "template_scheduled", actor, comment, publish_at=at)
            opened.mark_publication_changed()
            return opened.text(key[2]).stored

        return await self._with(*key[:2], work)

    async def publish_reviewed(
        self,
        tenant: str,
        template: str,
        files: Mapping[str, str],
        freeze: Callable[[int], tuple[str, str]],
        based_on: str,
        actor: str,
        comment: str,
    ) -> StoredVersion:
        """Publish a text that was reviewed elsewhere, as ``comment`` says: all steps at once, each recorded.

        ``freeze`` returns version and source for a number. Raises DraftExists.
        """

        def work(opened: TemplateUnitOfWork) -> StoredVersion:
            existing = opened.in_state(TemplateState.DRAFT)
            if existing is not None:
                raise DraftExists(opened.text(existing.number))
            stored = opened.begin(files, based_on, actor, comment).stored
            version, source = freeze(stored.number)
            frozen = {"version": version, "source": source, "submitted_by": actor}
            opened.move(stored, TemplateState.SUBMITTED, "template_submitted", actor, comment, **frozen)
            stored = opened.text(stored.number).stored
            second = {"approved_by": REVIEWED_ELSEWHERE}
            opened.move(stored, TemplateState.APPROVED, "template_approved", actor, comment, **second)
            opened.go_live(opened.text(stored.number).stored, opened.now, actor, comment)
            return opened.text(stored.number).stored

        return await self._with(tenant, template, work)

    async def unschedule(self, key: Key, actor: str, comment: str) -> StoredVersion:
        """Cancel a scheduled publication; the version is approved as before."""

        def work(opened: TemplateUnitOfWork) -> StoredVersion:
            stored = opened.text(key[2]).stored
            if stored.state is not TemplateState.SCHEDULED:
                raise WrongState(f"version {stored.number} is {stored.state}, not scheduled")
            opened.move(stored, TemplateState.APPROVED, "template_unscheduled", actor, comment, publish_at=None)
            opened.mark_publication_changed()
            return opened.text(key[2]).stored

        return await self._with(*key[:2], work)

    async def roll_back(
        self, tenant: str, template: str, to: int | None, shipped: bool, actor: str, comment: str
    ) -> StoredVersion | None:
        """Make an earlier version live again, and return it; None for the built-in one.

        ``to``: its number (0: the built-in one; None: the one before). ``shipped``: whether there is a built-in one.
        Raises NothingToRollBack.
        """
        return await self._with(tenant, template, lambda opened: opened.roll_back(to, shipped, actor, comment))

    async def publish_due(self, tenant: str, template: str) -> None:
        """Record a scheduled publication that is due; idempotent."""
        await self._with(tenant, template, lambda opened: None)

    async def text(self, key: Key) -> VersionText:
        """A version with its text. Raises NoSuchVersion."""
        columns = template_editions.c
        same = and_(columns.tenant == key[0], columns.template == key[1], columns.number == key[2])
        row = await self._database.read(
            lambda connection: connection.execute(select(template_editions).where(same)).first()
        )
        if row is None:
            raise NoSuchVersion(f"{key[1]} has no version {key[2]} here")
        return text_from(row)

    async def listed(self, tenant: str, template: str | None = None) -> list[StoredVersion]:
        """A tenant's versions, of one template or all; the newest first within a template."""
        columns = template_editions.c
        query = select(*COLUMNS).where(columns.tenant == tenant)
        if template is not None:
            query = query.where(columns.template == template)
        query = query.order_by(columns.template, columns.number.desc())
        return await self._database.read(
            lambda connection: [stored_version_from(row) for row in connection.execute(query)]
        )

    async def earlier_files(self, key: Key, most: int) -> list[Mapping[str, str]]:
        """The files of the versions before one, the newest first; without those that were discarded."""
        columns = template_editions.c
        query = select(columns.files).where(columns.tenant == key[0], columns.template == key[1])
        query = query.where(columns.number < key[2], columns.state != TemplateState.DISCARDED)
        query = query.order_by(columns.number.desc()).limit(most)
        return await self._database.read(
            lambda connection: [json.loads(each) for each in connection.execute(query).scalars()]
        )

    async def changed_since(self, since: datetime, states: Collection[TemplateState]) -> list[StoredVersion]:
        """The versions of all tenants that are in one of ``states`` and have changed since then."""
        columns = template_editions.c
        query = select(*COLUMNS).where(columns.updated_at >= since, columns.state.in_(states))
        return await self._database.read(
            lambda connection: [stored_version_from(row) for row in connection.execute(query)]
        )

    async def note(
        self,
        key: Key,
        kind: str,
        actor: str,
        detail: Mapping[str, Any],
        comment: str = "",
        write: Callable[[Connection, datetime], None] = lambda connection, now: None,
    ) -> None:
        """Record an event that does not change the version; number 0 is the built-in one.

        ``write`` writes what the event is about, in its transaction.
        """

        def work(opened: TemplateUnitOfWork) -> None:
            write(opened.connection, opened.now)
            opened.record(kind, key[2], "", actor, comment, detail)

        await self._with(*key[:2], work)

    async def history(
        self, tenant: str, template: str, number: int | None = None, since: datetime | None = None
    ) -> list[Change]:
        """All changes, in order."""
        query = select(events).where(events.c.subject == template_subject(tenant, template)).order_by(events.c.seq)
        if since is not None:
            query = query.where(events.c.at >= since)
        rows: Sequence[Any] = await self._database.read(lambda connection: connection.execute(query).all())
        changes = [change_from(row) for row in rows]
        return [each for each in changes if number is None or each.number == number]

    async def _with(self, tenant: str, template: str, work: Callable[[TemplateUnitOfWork], T]) -> T:
        now = self._clock()

        def write(connection: Connection) -> T:
            opened = TemplateUnitOfWork(connection, tenant, template, now)
            answer = work(opened)
            opened.close()
            return answer

        return await self._database.write(write)


def _require_draft(text: VersionText, revision: int) -> None:
    if text.stored.state is not TemplateState.DRAFT:
        raise WrongState(f"version {text.stored.number} is {text.stored.state}: its text can't change any more")
    if text.stored.revision != revision:
        raise EditedMeanwhile(text)
