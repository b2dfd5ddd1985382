"""The unit of work of a tenant's template: its versions under a row lock, and their state transitions.

The only place where a version changes its state. Each change is an event in the template's chain; a change of the live
version increases the publication stamp, which every process polls.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, and_, func, insert, select, update

from gateway.core.states import TEMPLATE_TRANSITIONS, TemplateState
from gateway.storage.accept import insert_new
from gateway.storage.events import Chain, Event, template_subject
from gateway.storage.tables.templates import template_editions, templates
from gateway.templates.versions.refusals import NoSuchVersion, NothingToRollBack, WrongState
from gateway.templates.versions.stored_version import (
    COLUMNS,
    StoredVersion,
    VersionText,
    encode_files,
    stored_version_from,
    text_from,
)

_LOCK = 0x7E4B1A7E  # arbitrary; the key of an advisory lock that nothing else in this database uses
_GATEWAY = "gateway"
_EVENT_DETAILS = (
    "version",
    "publish_at",
    "published_at",
    "approved_by",
)  # the details of a transition's event, besides actor and reason

_DECISIONS = ("template_approved", "template_rejected")


class TemplateUnitOfWork:
    """A tenant's template, locked until the transaction ends, with the transitions of its versions."""

    def __init__(self, connection: Connection, tenant: str, template: str, now: datetime) -> None:
        self.connection, self.tenant, self.template, self.now = connection, tenant, template, now
        self._same = and_(templates.c.tenant == tenant, templates.c.id == template)
        connection.execute(insert_new(connection, templates), [{"tenant": tenant, "id": template}])
        row = connection.execute(select(templates).where(self._same).with_for_update()).one()
        self._head: str = row.event_hash
        self._numbers: int = row.numbers
        self._chain = Chain()
        self._publication_changed = False
        self._publish_due()

    def _publish_due(self) -> None:
        """Record a scheduled publication that is due, with its scheduled time."""
        planned = self.in_state(TemplateState.SCHEDULED)
        if planned is not None and planned.publish_at is not None and planned.publish_at <= self.now:
            self.go_live(planned, planned.publish_at, _GATEWAY, "as planned")

    def text(self, number: int) -> VersionText:
        query = select(template_editions).where(self._is(number))
        row = self.connection.execute(query).first()
        if row is None:
            raise NoSuchVersion(f"{self.template} has no version {number} here")
        return text_from(row)

    def in_state(self, state: TemplateState) -> StoredVersion | None:
        """The version in a state that at most one version has: draft, scheduled, published."""
        columns = template_editions.c
        query = select(*COLUMNS).where(
            columns.tenant == self.tenant, columns.template == self.template, columns.state == state
        )
        row = self.connection.execute(query).first()
        return None if row is None else stored_version_from(row)

    def begin(self, files: Mapping[str, str], based_on: str, actor: str, comment: str) -> VersionText:
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
        self, stored: StoredVersion, to: TemplateState, kind: str, actor: str, comment: str, **changes: Any
    ) -> None:
        if to not in TEMPLATE_TRANSITIONS[stored.state]:
            raise WrongState(f"version {stored.number} is {stored.state}, so it can't become {to}")
        self.change(stored.number, state=to, updated_by=actor, **changes)
        detail: dict[str, Any] = {
            name: str(value) for name, value in changes.items() if name in _EVENT_DETAILS and value is not None
        }
        if kind in _DECISIONS:  # whoever reads the event can tell them
            detail["authors"] = list(dict.fromkeys((*stored.editors, stored.submitted_by)))
        self.record(kind, stored.number, to, actor, comment, detail)

    def change(self, number: int, **values: Any) -> None:
        changed = update(template_editions).where(self._is(number)).values(updated_at=self.now, **values)
        self.connection.execute(changed)

    def go_live(self, stored: StoredVersion, at: datetime, actor: str, comment: str) -> None:
        """Make a version live; the live one is superseded."""
        current = self.in_state(TemplateState.PUBLISHED)
        if current is not None:
            self.move(current, TemplateState.SUPERSEDED, "template_superseded", actor, f"by version {stored.number}")
        self.move(
            stored,
            TemplateState.PUBLISHED,
            "template_published",
            actor,
            comment,
            replaced=current.number if current else 0,
            publish_at=None,
            published_at=at,
        )
        self._publication_changed = True

    def roll_back(self, to: int | None, shipped: bool, actor: str, comment: str) -> StoredVersion | None:
        """Make an earlier version live again, and return it; None for the built-in one, if there is one."""
        current = self.in_state(TemplateState.PUBLISHED)
        if current is None:
            raise NothingToRollBack("the version of the files is live already")
        number = current.replaced if to is None else to
        if number == current.number:
            raise NothingToRollBack(f"version {number} is live already")
        if number == 0 and not shipped:
            raise NothingToRollBack("nothing was live before it; an operator can pause the template instead")
        self.move(current, TemplateState.ROLLED_BACK, "template_rolled_back", actor, comment)
        self._publication_changed = True
        if number == 0:
            return None
        earlier = self.text(number).stored
        self.move(earlier, TemplateState.PUBLISHED, "template_published", actor, comment, published_at=self.now)
        return self.text(number).stored

    def mark_publication_changed(self) -> None:
        """Increase the stamp after a change of the schedule, so that other processes read it, too."""
        self._publication_changed = True

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
        if self._publication_changed:
            values["stamp"] = self._next_stamp()
        self.connection.execute(update(templates).where(self._same).values(**values))
        self._chain.write(self.connection)

    def _next_stamp(self) -> int:
        """The next stamp. A lock serialises transactions: a reader of a stamp must never miss a smaller one."""
        if self.connection.dialect.name == "postgresql":
            self.connection.execute(select(func.pg_advisory_xact_lock(_LOCK)))
        return int(self.connection.execute(select(func.coalesce(func.max(templates.c.stamp), 0) + 1)).scalar_one())

    def _is(self, number: int) -> Any:
        columns = template_editions.c
        return and_(columns.tenant == self.tenant, columns.template == self.template, columns.number == number)
