"""A tenant's own versions of templates: every move under the template's lock, each with an event of its chain.

An *edition* is one version in its life, from an editor's draft to its end (``TEMPLATE_MOVES`` in gateway/model.py).
Owns who may follow whom and what is live when. Knows nothing of the templates' language: texts are files, kept as they
were written; what rendering needs is frozen at submission and handed in.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any, TypeVar

from sqlalchemy import Connection, and_, func, insert, select, update

from gateway.ledger.accept import insert_new
from gateway.ledger.database import Database
from gateway.ledger.events import Chain, Event, template_subject
from gateway.ledger.refusals import (
    AlreadyScheduled,
    DraftExists,
    EditedMeanwhile,
    NoSuchEdition,
    NothingToRollBack,
    SamePerson,
    WrongState,
)
from gateway.ledger.schema import events, template_editions, templates
from gateway.model import TEMPLATE_MOVES, TemplateState
from gateway.ports import Clock

_LOCK = 0x7E4B1A7E  # any number that nothing else in this database uses for an advisory lock
_GATEWAY = "gateway"

T = TypeVar("T")

Key = tuple[str, str, int]  # (tenant, template, number)


@dataclass(frozen=True, slots=True)
class Edition:
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

    edition: Edition
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


_COLUMNS = [template_editions.c[each.name] for each in fields(Edition)]


def _edition(row: Any) -> Edition:
    known = {each.name: getattr(row, each.name) for each in fields(Edition)}
    return Edition(**{**known, "state": TemplateState(row.state), "editors": tuple(json.loads(row.editors))})


def _text(row: Any) -> Text:
    return Text(_edition(row), json.loads(row.files), row.source)


def _files(files: Mapping[str, str]) -> str:
    return json.dumps(dict(files), ensure_ascii=False, sort_keys=True)


class _Open:
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
            raise NoSuchEdition(f"{self.template} has no version {number} here")
        return _text(row)

    def standing(self, state: TemplateState) -> Edition | None:
        """The one edition in a state of which there is at most one: draft, scheduled, published."""
        columns = template_editions.c
        query = select(*_COLUMNS).where(
            columns.tenant == self.tenant, columns.template == self.template, columns.state == state
        )
        row = self.connection.execute(query).first()
        return None if row is None else _edition(row)

    def begin(self, files: Mapping[str, str], based_on: str, actor: str, comment: str) -> Text:
        self._numbers += 1
        row = {
            "tenant": self.tenant,
            "template": self.template,
            "number": self._numbers,
            "state": TemplateState.DRAFT,
            "revision": 1,
            "files": _files(files),
            "based_on": based_on,
            "editors": json.dumps([actor]),
            "created_at": self.now,
            "updated_at": self.now,
            "updated_by": actor,
        }
        self.connection.execute(insert(template_editions), [row])
        self.record("template_begun", self._numbers, TemplateState.DRAFT, actor, comment, {"based_on": based_on})
        return self.text(self._numbers)

    def move(self, edition: Edition, to: TemplateState, kind: str, actor: str, comment: str, **changes: Any) -> None:
        if to not in TEMPLATE_MOVES[edition.state]:
            raise WrongState(f"version {edition.number} is {edition.state}, so it can't become {to}")
        self.change(edition.number, state=to, updated_by=actor, **changes)
        detail = {name: str(value) for name, value in changes.items() if name in ("version", "publish_at")}
        self.record(kind, edition.number, to, actor, comment, detail)

    def change(self, number: int, **values: Any) -> None:
        changed = update(template_editions).where(self._is(number)).values(updated_at=self.now, **values)
        self.connection.execute(changed)

    def go_live(self, edition: Edition, at: datetime, actor: str, comment: str) -> None:
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

    def roll_back(self, to: int | None, actor: str, comment: str) -> Edition | None:
        """Have an earlier edition live again; None where that is the version of the files."""
        current = self.standing(TemplateState.PUBLISHED)
        if current is None:
            raise NothingToRollBack("the version of the files is live already")
        number = current.replaced if to is None else to
        if number == current.number:
            raise NothingToRollBack(f"version {number} is live already")
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


class Editions:
    """The verbs of a version's life. Each is one transaction, durable when it returns. All raise Unavailable."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    async def begin(
        self, tenant: str, template: str, files: Mapping[str, str], based_on: str, actor: str, comment: str = ""
    ) -> Text:
        """Begin a draft. Raises DraftExists (with its text) where one is open: there is one at a time."""

        def work(opened: _Open) -> Text:
            existing = opened.standing(TemplateState.DRAFT)
            if existing is not None:
                raise DraftExists(opened.text(existing.number))
            return opened.begin(files, based_on, actor, comment)

        return await self._with(tenant, template, work)

    async def save(self, key: Key, revision: int, files: Mapping[str, str], actor: str, comment: str = "") -> Text:
        """Keep a draft's new text. Raises EditedMeanwhile (with the present text) unless it is at ``revision``."""

        def work(opened: _Open) -> Text:
            before = opened.text(key[2])
            _still(before, revision)
            changed = sorted(
                name for name in before.files.keys() | files.keys() if before.files.get(name) != files.get(name)
            )
            if not changed:
                return before
            editors = dict.fromkeys((*before.edition.editors, actor))
            opened.change(
                key[2],
                revision=revision + 1,
                files=_files(files),
                editors=json.dumps(list(editors)),
                updated_by=actor,
            )
            detail = {"revision": revision + 1, "changed": changed}
            opened.record("template_saved", key[2], TemplateState.DRAFT, actor, comment, detail)
            return opened.text(key[2])

        return await self._with(*key[:2], work)

    async def discard(self, key: Key, revision: int, actor: str, comment: str) -> Edition:
        """Give a draft up."""

        def work(opened: _Open) -> Edition:
            before = opened.text(key[2])
            _still(before, revision)
            opened.move(before.edition, TemplateState.DISCARDED, "template_discarded", actor, comment)
            return opened.text(key[2]).edition

        return await self._with(*key[:2], work)

    async def submit(self, key: Key, revision: int, version: str, source: str, actor: str, comment: str) -> Edition:
        """Hand a draft to a second person. From then on its text can't change, and ``source`` is what is rendered."""

        def work(opened: _Open) -> Edition:
            before = opened.text(key[2])
            _still(before, revision)
            opened.move(
                before.edition,
                TemplateState.SUBMITTED,
                "template_submitted",
                actor,
                comment,
                version=version,
                source=source,
                submitted_by=actor,
            )
            return opened.text(key[2]).edition

        return await self._with(*key[:2], work)

    async def approve(self, key: Key, actor: str, comment: str = "") -> Edition:
        """Raises SamePerson for who wrote in it or submitted it."""

        def work(opened: _Open) -> Edition:
            edition = opened.text(key[2]).edition
            if actor in (*edition.editors, edition.submitted_by):
                raise SamePerson("a second person has to approve: you wrote in this version, or submitted it")
            opened.move(edition, TemplateState.APPROVED, "template_approved", actor, comment, approved_by=actor)
            return opened.text(key[2]).edition

        return await self._with(*key[:2], work)

    async def reject(self, key: Key, actor: str, comment: str) -> Edition:
        """Say no to what is submitted or approved; its editor begins another draft from it."""

        def work(opened: _Open) -> Edition:
            edition = opened.text(key[2]).edition
            opened.move(edition, TemplateState.REJECTED, "template_rejected", actor, comment)
            return opened.text(key[2]).edition

        return await self._with(*key[:2], work)

    async def publish(self, key: Key, actor: str, comment: str, at: datetime | None = None) -> Edition:
        """Have it live from ``at`` on; None, or a time that has passed: from now on."""

        def work(opened: _Open) -> Edition:
            edition = opened.text(key[2]).edition
            if edition.state not in (TemplateState.APPROVED, TemplateState.SCHEDULED):
                raise WrongState(f"version {edition.number} is {edition.state}; only an approved one can be published")
            if at is None or at <= opened.now:
                opened.go_live(edition, opened.now, actor, comment)
                return opened.text(key[2]).edition
            planned = opened.standing(TemplateState.SCHEDULED)
            if planned is not None:
                raise AlreadyScheduled(f"version {planned.number} is to be published at {planned.publish_at}")
            opened.move(edition, TemplateState.SCHEDULED, "template_scheduled", actor, comment, publish_at=at)
            opened.planned_changed()
            return opened.text(key[2]).edition

        return await self._with(*key[:2], work)

    async def unschedule(self, key: Key, actor: str, comment: str) -> Edition:
        """Take back a planned publication; it is approved as before."""

        def work(opened: _Open) -> Edition:
            edition = opened.text(key[2]).edition
            if edition.state is not TemplateState.SCHEDULED:
                raise WrongState(f"version {edition.number} is {edition.state}, not scheduled")
            opened.move(edition, TemplateState.APPROVED, "template_unscheduled", actor, comment, publish_at=None)
            opened.planned_changed()
            return opened.text(key[2]).edition

        return await self._with(*key[:2], work)

    async def roll_back(
        self, tenant: str, template: str, actor: str, comment: str, to: int | None = None
    ) -> Edition | None:
        """Have an earlier version live again at once: ``to``, or the one before. None: that of the files (0).

        Raises: NothingToRollBack.
        """
        return await self._with(tenant, template, lambda opened: opened.roll_back(to, actor, comment))

    async def publish_due(self, tenant: str, template: str) -> None:
        """Write down that a planned publication has taken place; safe to repeat."""
        await self._with(tenant, template, lambda opened: None)

    async def text(self, key: Key) -> Text:
        """Raises NoSuchEdition."""
        columns = template_editions.c
        same = and_(columns.tenant == key[0], columns.template == key[1], columns.number == key[2])
        row = await self._database.read(
            lambda connection: connection.execute(select(template_editions).where(same)).first()
        )
        if row is None:
            raise NoSuchEdition(f"{key[1]} has no version {key[2]} here")
        return _text(row)

    async def listed(self, tenant: str, template: str | None = None) -> list[Edition]:
        """A tenant's editions, of one template or all, the newest first within each."""
        columns = template_editions.c
        query = select(*_COLUMNS).where(columns.tenant == tenant)
        if template is not None:
            query = query.where(columns.template == template)
        query = query.order_by(columns.template, columns.number.desc())
        return await self._database.read(lambda connection: [_edition(row) for row in connection.execute(query)])

    async def history(self, tenant: str, template: str, number: int | None = None) -> list[Change]:
        """All that was done, in order."""
        query = select(events).where(events.c.subject == template_subject(tenant, template)).order_by(events.c.seq)
        rows: Sequence[Any] = await self._database.read(lambda connection: connection.execute(query).all())
        changes = [_change(row) for row in rows]
        return [each for each in changes if number is None or each.number == number]

    async def _with(self, tenant: str, template: str, work: Callable[[_Open], T]) -> T:
        now = self._clock()

        def write(connection: Connection) -> T:
            opened = _Open(connection, tenant, template, now)
            answer = work(opened)
            opened.close()
            return answer

        return await self._database.write(write)


def _still(text: Text, revision: int) -> None:
    if text.edition.state is not TemplateState.DRAFT:
        raise WrongState(f"version {text.edition.number} is {text.edition.state}: its text can't change any more")
    if text.edition.revision != revision:
        raise EditedMeanwhile(text)


def _change(row: Any) -> Change:
    detail = json.loads(row.detail)
    number, comment = detail.pop("number"), detail.pop("comment")
    return Change(row.at, row.actor, row.kind, number, row.state, comment, detail)
