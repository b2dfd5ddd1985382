"""A tenant's template held open in the ledger: its versions under one lock, and what happens to them.

This is the only place where a version changes its state. Each change is an event of the template's own chain; what
changes what is live moves the stamp that every process looks at.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, and_, func, insert, select, update

from gateway.core.states import TEMPLATE_TRANSITIONS, TemplateState
from gateway.storage.accept import insert_new
from gateway.storage.events import Chain, Event, template_subject
from gateway.storage.schema import template_editions, templates
from gateway.templates.workflow.refusals import NoSuchVersion, NothingToRollBack, WrongState

_LOCK = 0x7E4B1A7E  # any number that nothing else in this database uses for an advisory lock
_GATEWAY = "gateway"
_TOLD = ("version", "publish_at", "published_at", "approved_by")  # what an event says of a move besides who and why

Key = tuple[str, str, int]  # (tenant, template, number)


@dataclass(frozen=True, slots=True)
class StoredVersion:
    """One version of a tenant's template. ``version`` is what requests are pinned to, "" while it is a draft.

    ``replaced`` is the number that was live before it (0: the version of the files). Times are UTC.
    """

    tenant: str
    template: str
    number: int
    state: TemplateState
    revision: int
    version: str
    based_on: str
    replaced: int
    editors: tuple[str, ...]
    created_at: datetime
    updated_at: datetime
    updated_by: str
    submitted_by: str
    approved_by: str
    publish_at: datetime | None
    published_at: datetime | None

    @property
    def key(self) -> Key:
        return (self.tenant, self.template, self.number)


@dataclass(frozen=True, slots=True)
class Text:
    """An edition with what is written in it. ``source`` is "" while it is a draft."""

    edition: StoredVersion
    files: Mapping[str, str]
    source: str


@dataclass(frozen=True, slots=True)
class Change:
    """One thing that was done to a template, by whom, when and why."""

    at: datetime
    actor: str
    kind: str
    number: int
    state: str
    comment: str
    detail: Mapping[str, Any]


COLUMNS = [template_editions.c[each.name] for each in fields(StoredVersion)]


def edition_from(row: Any) -> StoredVersion:
    known = {each.name: getattr(row, each.name) for each in fields(StoredVersion)}
    return StoredVersion(**{**known, "state": TemplateState(row.state), "editors": tuple(json.loads(row.editors))})


def text_from(row: Any) -> Text:
    return Text(edition_from(row), json.loads(row.files), row.source)


def encode_files(files: Mapping[str, str]) -> str:
    return json.dumps(dict(files), ensure_ascii=False, sort_keys=True)


class TemplateUnitOfWork:
    """A tenant's template, held locked until the transaction ends, and what happens to its editions."""

    def __init__(self, connection: Connection, tenant: str, template: str, now: datetime) -> None:
        self.connection, self.tenant, self.template, self.now = connection, tenant, template, now
        self._same = and_(templates.c.tenant == tenant, templates.c.id == template)
        connection.execute(insert_new(connection, templates), [{"tenant": tenant, "id": template}])
        row = connection.execute(select(templates).where(self._same).with_for_update()).one()
        self._head: str = row.event_hash
        self._numbers: int = row.numbers
        self._chain = Chain()
        self._live_changed = False
        self._publish_due()

    def _publish_due(self) -> None:
        """What was to be live by now is live since its own time, whoever notices it first."""
        planned = self.standing(TemplateState.SCHEDULED)
        if planned is not None and planned.publish_at is not None and planned.publish_at <= self.now:
            self.go_live(planned, planned.publish_at, _GATEWAY, "as planned")

    def text(self, number: int) -> Text:
        query = select(template_editions).where(self._is(number))
        row = self.connection.execute(query).first()
        if row is None:
            raise NoSuchVersion(f"{self.template} has no version {number} here")
        return text_from(row)

    def standing(self, state: TemplateState) -> StoredVersion | None:
        """The one edition in a state of which there is at most one: draft, scheduled, published."""
        columns = template_editions.c
        query = select(*COLUMNS).where(
            columns.tenant == self.tenant, columns.template == self.template, columns.state == state
        )
        row = self.connection.execute(query).first()
        return None if row is None else edition_from(row)

    def begin(self, files: Mapping[str, str], based_on: str, actor: str, comment: str) -> Text:
        self._numbers += 1
        row = {
            "tenant": self.tenant,
            "template": self.template,
            "number": self._numbers,
            "state": TemplateState.DRAFT,
            "revision": 1,
            "files": encode_files(files),
            "based_on": based_on,
            "editors": json.dumps([actor]),
            "created_at": self.now,
            "updated_at": self.now,
            "updated_by": actor,
        }
        self.connection.execute(insert(template_editions), [row])
        self.record("template_begun", self._numbers, TemplateState.DRAFT, actor, comment, {"based_on": based_on})
        return self.text(self._numbers)

    def move(
        self, edition: StoredVersion, to: TemplateState, kind: str, actor: str, comment: str, **changes: Any
    ) -> None:
        if to not in TEMPLATE_TRANSITIONS[edition.state]:
            raise WrongState(f"version {edition.number} is {edition.state}, so it can't become {to}")
        self.change(edition.number, state=to, updated_by=actor, **changes)
        detail = {name: str(value) for name, value in changes.items() if name in _TOLD and value is not None}
        self.record(kind, edition.number, to, actor, comment, detail)

    def change(self, number: int, **values: Any) -> None:
        changed = update(template_editions).where(self._is(number)).values(updated_at=self.now, **values)
        self.connection.execute(changed)

    def go_live(self, edition: StoredVersion, at: datetime, actor: str, comment: str) -> None:
        """Put it in the place of what is live."""
        current = self.standing(TemplateState.PUBLISHED)
        if current is not None:
            self.move(current, TemplateState.SUPERSEDED, "template_superseded", actor, f"by version {edition.number}")
        self.move(
            edition,
            TemplateState.PUBLISHED,
            "template_published",
            actor,
            comment,
            replaced=current.number if current else 0,
            publish_at=None,
            published_at=at,
        )
        self._live_changed = True

    def roll_back(self, to: int | None, shipped: bool, actor: str, comment: str) -> StoredVersion | None:
        """Have an earlier edition live again; None where that is the version of the files, if they have it."""
        current = self.standing(TemplateState.PUBLISHED)
        if current is None:
            raise NothingToRollBack("the version of the files is live already")
        number = current.replaced if to is None else to
        if number == current.number:
            raise NothingToRollBack(f"version {number} is live already")
        if number == 0 and not shipped:
            raise NothingToRollBack("nothing was live before it; an operator can pause the template instead")
        self.move(current, TemplateState.ROLLED_BACK, "template_rolled_back", actor, comment)
        self._live_changed = True
        if number == 0:
            return None
        earlier = self.text(number).edition
        self.move(earlier, TemplateState.PUBLISHED, "template_published", actor, comment, published_at=self.now)
        return self.text(number).edition

    def planned_changed(self) -> None:
        """What will be live has changed: other processes have to hear of it as well."""
        self._live_changed = True

    def record(self, kind: str, number: int, state: str, actor: str, comment: str, detail: Mapping[str, Any]) -> None:
        event = Event(
            self.tenant,
            template_subject(self.tenant, self.template),
            "",
            self.now,
            kind,
            actor,
            state=state,
            detail={"number": number, "comment": comment, **detail},
        )
        self._head = self._chain.append(self._head, event)

    def close(self) -> None:
        values: dict[str, Any] = {"event_hash": self._head, "numbers": self._numbers}
        if self._live_changed:
            values["stamp"] = self._next_stamp()
        self.connection.execute(update(templates).where(self._same).values(**values))
        self._chain.write(self.connection)

    def _next_stamp(self) -> int:
        """One more than any there is. One transaction at a time: who has seen a stamp must never miss a smaller one."""
        if self.connection.dialect.name == "postgresql":
            self.connection.execute(select(func.pg_advisory_xact_lock(_LOCK)))
        return int(self.connection.execute(select(func.coalesce(func.max(templates.c.stamp), 0) + 1)).scalar_one())

    def _is(self, number: int) -> Any:
        columns = template_editions.c
        return and_(columns.tenant == self.tenant, columns.template == self.template, columns.number == number)


def change_from(row: Any) -> Change:
    detail = json.loads(row.detail)
    number, comment = detail.pop("number"), detail.pop("comment")
    return Change(row.at, row.actor, row.kind, number, row.state, comment, detail)
