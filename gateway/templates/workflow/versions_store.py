"""The verbs of a tenant's template versions in the ledger: who may follow whom, and what is live when.

A version has one life, from a draft to its end (``TEMPLATE_TRANSITIONS`` in core/states.py).
Knows nothing of the templates' language: texts are files, kept as they were written; what rendering needs is frozen at
submission and handed in.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, TypeVar

from sqlalchemy import Connection, and_, select

from gateway.core.clock import Clock
from gateway.core.states import TemplateState
from gateway.storage.database import Database
from gateway.storage.events import template_subject
from gateway.storage.schema import events, template_editions
from gateway.templates.workflow.refusals import (
    AlreadyScheduled,
    DraftExists,
    EditedMeanwhile,
    NoSuchVersion,
    SamePerson,
    WrongState,
)
from gateway.templates.workflow.stored_version import (
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
from gateway.templates.workflow.unit_of_work import TemplateUnitOfWork

REVIEWED_ELSEWHERE = "elsewhere"  # stands for the second person of a text that was reviewed before it came here

T = TypeVar("T")


class VersionStore:
    """The verbs of a version's life. Each is one transaction, durable when it returns. All raise Unavailable."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    async def begin(
        self, tenant: str, template: str, files: Mapping[str, str], based_on: str, actor: str, comment: str = ""
    ) -> VersionText:
        """Begin a draft. Raises DraftExists (with its text) where one is open: there is one at a time."""

        def work(opened: TemplateUnitOfWork) -> VersionText:
            existing = opened.in_state(TemplateState.DRAFT)
            if existing is not None:
                raise DraftExists(opened.text(existing.number))
            return opened.begin(files, based_on, actor, comment)

        return await self._with(tenant, template, work)

    async def save(
        self, key: Key, revision: int, files: Mapping[str, str], actor: str, comment: str = ""
    ) -> VersionText:
        """Keep a draft's new text. Raises EditedMeanwhile (with the present text) unless it is at ``revision``."""

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
        """Give a draft up."""

        def work(opened: TemplateUnitOfWork) -> StoredVersion:
            before = opened.text(key[2])
            _require_draft(before, revision)
            opened.move(before.stored, TemplateState.DISCARDED, "template_discarded", actor, comment)
            return opened.text(key[2]).stored

        return await self._with(*key[:2], work)

    async def submit(
        self, key: Key, revision: int, version: str, source: str, actor: str, comment: str
    ) -> StoredVersion:
        """Hand a draft to a second person. From then on its text can't change, and ``source`` is what is rendered."""

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
        """Raises SamePerson for who wrote in it or submitted it."""

        def work(opened: TemplateUnitOfWork) -> StoredVersion:
            stored = opened.text(key[2]).stored
            if actor in (*stored.editors, stored.submitted_by):
                raise SamePerson("a second person has to approve: you wrote in this version, or submitted it")
            opened.move(stored, TemplateState.APPROVED, "template_approved", actor, comment, approved_by=actor)
            return opened.text(key[2]).stored

        return await self._with(*key[:2], work)

    async def reject(self, key: Key, actor: str, comment: str) -> StoredVersion:
        """Say no to what is submitted or approved; its editor begins another draft from it."""

        def work(opened: TemplateUnitOfWork) -> StoredVersion:
            stored = opened.text(key[2]).stored
            opened.move(stored, TemplateState.REJECTED, "template_rejected", actor, comment)
            return opened.text(key[2]).stored

        return await self._with(*key[:2], work)

    async def publish(self, key: Key, actor: str, comment: str, at: datetime | None = None) -> StoredVersion:
        """Have it live from ``at`` on; None, or a time that has passed: from now on."""

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
        """Have a text live that a second person read elsewhere, as ``comment`` says: all steps at once, each recorded.

        ``freeze`` answers version and source for the number that it gets. Raises DraftExists.
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
        """Take back a planned publication; it is approved as before."""

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
        """Have an earlier version live again at once: ``to``, or the one before. None: that of the files (0).

        ``shipped`` is whether the files have one. Raises NothingToRollBack.
        """
        return await self._with(tenant, template, lambda opened: opened.roll_back(to, shipped, actor, comment))

    async def publish_due(self, tenant: str, template: str) -> None:
        """Write down that a planned publication has taken place; safe to repeat."""
        await self._with(tenant, template, lambda opened: None)

    async def text(self, key: Key) -> VersionText:
        """Raises NoSuchVersion."""
        columns = template_editions.c
        same = and_(columns.tenant == key[0], columns.template == key[1], columns.number == key[2])
        row = await self._database.read(
            lambda connection: connection.execute(select(template_editions).where(same)).first()
        )
        if row is None:
            raise NoSuchVersion(f"{key[1]} has no version {key[2]} here")
        return text_from(row)

    async def listed(self, tenant: str, template: str | None = None) -> list[StoredVersion]:
        """A tenant's versions, of one template or all, the newest first within each."""
        columns = template_editions.c
        query = select(*COLUMNS).where(columns.tenant == tenant)
        if template is not None:
            query = query.where(columns.template == template)
        query = query.order_by(columns.template, columns.number.desc())
        return await self._database.read(
            lambda connection: [stored_version_from(row) for row in connection.execute(query)]
        )

    async def note(self, key: Key, kind: str, actor: str, detail: Mapping[str, Any]) -> None:
        """Write down what was done with a version without changing it; number 0 is that of the files."""
        await self._with(*key[:2], lambda opened: opened.record(kind, key[2], "", actor, "", detail))

    async def history(
        self, tenant: str, template: str, number: int | None = None, since: datetime | None = None
    ) -> list[Change]:
        """All that was done, in order."""
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
