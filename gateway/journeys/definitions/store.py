"""Versions of definitions in the ledger: draft → submitted → approved → live → rolled back, as a template's.

A text that was submitted never changes again, and a second person approves it. Each move is an event in the chain of
the definition's name. Journeys are pinned to the version that they entered by.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, and_, insert, select, update

from gateway.core.clock import Clock
from gateway.core.codec import instant
from gateway.core.states import TEMPLATE_TRANSITIONS, TemplateState
from gateway.journeys.cases.store import is_open
from gateway.journeys.definitions.findings import JourneyFinding
from gateway.journeys.definitions.model import JourneyDefinition, parse, parse_pinned, sha_of
from gateway.storage.accept import insert_new
from gateway.storage.database import Database
from gateway.storage.events import Chain, Event, journey_definition_subject
from gateway.storage.tables.journeys import case_records, journey_names, journey_versions, journeys

Lint = Callable[[str, JourneyDefinition], Sequence[JourneyFinding]]

_versions = journey_versions.c


class JourneyRefusal(Exception):
    """What was asked is not possible. ``kind`` is the problem type (gateway/api/http/problems.py)."""

    def __init__(self, kind: str, detail: str, findings: Sequence[JourneyFinding] = ()) -> None:
        super().__init__(detail)
        self.kind = kind
        self.findings = findings


@dataclass(frozen=True, slots=True)
class LiveDefinition:
    """The version of a name that new journeys enter by; ``definition`` is None where its text can't be used."""

    name: str
    version: str
    definition: JourneyDefinition | None


class JourneyDefinitions:
    """The versions of one tenant's definitions. ``lint`` checks one for a tenant; errors keep it from submission."""

    def __init__(self, database: Database, lint: Lint, clock: Clock) -> None:
        self._database = database
        self._lint = lint
        self._clock = clock

    def check(self, tenant: str, source: str) -> Sequence[JourneyFinding]:
        """The findings on a text. Raises BadDefinition."""
        return self._lint(tenant, parse(source))

    async def save(self, tenant: str, source: str, actor: str) -> dict[str, Any]:
        """Make the text the open draft of its name. Raises BadDefinition."""
        name, now = parse(source).name, self._clock()

        def write(connection: Connection) -> dict[str, Any]:
            names = _Names(connection, tenant, name, now)
            draft = names.in_state(TemplateState.DRAFT)
            values = {"source": source, "version": sha_of(source), "updated_at": now}
            if draft is None:
                number = names.begin({**values, "editors": json.dumps([actor])})
            else:
                number = draft.number
                editors = sorted({*json.loads(draft.editors), actor})
                names.change(number, **values, editors=json.dumps(editors))
            names.record("journey_draft_saved", number, TemplateState.DRAFT, actor)
            names.write()
            return _view(names.version(number))

        return await self._database.write(write)

    async def submit(self, tenant: str, name: str, number: int, actor: str) -> dict[str, Any]:
        """Give a draft to a second person. Raises JourneyRefusal, also for lint errors."""
        found = await self.find(tenant, name, number)
        errors = [each for each in self.check(tenant, found["source"]) if each.level == "error"]
        if errors:
            raise JourneyRefusal("lint_errors", "The definition has errors.", errors)
        return await self._move(tenant, name, number, TemplateState.SUBMITTED, actor, submitted_by=actor)

    async def approve(self, tenant: str, name: str, number: int, actor: str) -> dict[str, Any]:
        """Raises JourneyRefusal where the same person submitted it or wrote in it."""
        return await self._move(tenant, name, number, TemplateState.APPROVED, actor, approved_by=actor)

    async def reject(self, tenant: str, name: str, number: int, actor: str) -> dict[str, Any]:
        return await self._move(tenant, name, number, TemplateState.REJECTED, actor)

    async def publish(self, tenant: str, name: str, number: int, actor: str) -> dict[str, Any]:
        """New journeys enter by this version; those under way finish on theirs."""
        return await self._move(tenant, name, number, TemplateState.PUBLISHED, actor)

    async def roll_back(self, tenant: str, name: str, actor: str) -> dict[str, Any]:
        """The version before the live one is live again. Raises JourneyRefusal where there is none."""
        now = self._clock()

        def write(connection: Connection) -> dict[str, Any]:
            names = _Names(connection, tenant, name, now)
            live = names.in_state(TemplateState.PUBLISHED)
            if live is None or not live.replaced:
                raise JourneyRefusal("nothing_to_roll_back", "There is no earlier version; stop the live one instead.")
            _refuse_stopped(names.version(live.replaced))
            names.move(live, TemplateState.ROLLED_BACK, actor)
            names.move(names.version(live.replaced), TemplateState.PUBLISHED, actor)
            names.write()
            return _view(names.version(live.replaced))

        return await self._database.write(write)

    async def stop(self, tenant: str, name: str, number: int, actor: str) -> dict[str, Any]:
        """End every journey of a version, at their next look, and let none enter by it."""
        now = self._clock()

        def write(connection: Connection) -> dict[str, Any]:
            names = _Names(connection, tenant, name, now)
            row = names.version(number)
            if row.state == TemplateState.PUBLISHED:
                names.move(row, TemplateState.ROLLED_BACK, actor)
            names.change(number, stopped_at=now)
            names.record("journey_stopped", number, TemplateState(row.state), actor)
            names.write()
            mine = and_(journeys.c.tenant == tenant, journeys.c.definition == name, journeys.c.version == row.version)
            woken = update(journeys).where(mine, is_open())
            connection.execute(woken.values(due_at=now, lease_until=None, revision=journeys.c.revision + 1))
            return _view(names.version(number))

        return await self._database.write(write)

    async def listed(self, tenant: str) -> list[dict[str, Any]]:
        """All versions, by name and newest first, without their texts."""
        query = select(journey_versions).where(_versions.tenant == tenant)
        query = query.order_by(_versions.name, _versions.number.desc())
        rows = await self._database.read(lambda connection: connection.execute(query).all())
        return [{name: value for name, value in _view(row).items() if name != "source"} for row in rows]

    async def find(self, tenant: str, name: str, number: int = 0) -> dict[str, Any]:
        """One version, or with 0 the live one, else the newest. Raises JourneyRefusal."""
        query = select(journey_versions).where(_versions.tenant == tenant, _versions.name == name)
        if number:
            query = query.where(_versions.number == number)
        query = query.order_by((_versions.state == TemplateState.PUBLISHED).desc(), _versions.number.desc())
        row = await self._database.read(lambda connection: connection.execute(query.limit(1)).first())
        if row is None:
            raise JourneyRefusal("not_found", "There is no such definition or version.")
        return _view(row)

    async def _move(
        self, tenant: str, name: str, number: int, to: TemplateState, actor: str, **changes: Any
    ) -> dict[str, Any]:
        now = self._clock()

        def write(connection: Connection) -> dict[str, Any]:
            names = _Names(connection, tenant, name, now)
            row = names.version(number)
            if to is TemplateState.APPROVED and (actor == row.submitted_by or actor in json.loads(row.editors)):
                raise JourneyRefusal("same_person", "Ask somebody who did not write or submit it.")
            if to is TemplateState.PUBLISHED:
                _refuse_stopped(row)
                live = names.in_state(TemplateState.PUBLISHED)
                if live is not None:
                    names.move(live, TemplateState.SUPERSEDED, actor)
                changes["replaced"] = live.number if live is not None else 0
                # Cases that wait for nothing may meet the conditions of the new version.
                connection.execute(update(case_records).where(case_records.c.tenant == tenant).values(check_at=now))
            names.move(row, to, actor, **changes)
            names.write()
            return _view(names.version(number))

        return await self._database.write(write)


class _Names:
    """One name with its versions, locked for a transaction."""

    def __init__(self, connection: Connection, tenant: str, name: str, now: datetime) -> None:
        self._connection = connection
        self._key = (tenant, name)
        self._now = now
        self._chain = Chain()
        same = and_(journey_names.c.tenant == tenant, journey_names.c.name == name)
        connection.execute(insert_new(connection, journey_names), [{"tenant": tenant, "name": name}])
        row = connection.execute(select(journey_names).where(same).with_for_update()).one()
        self._same, self._head, self._numbers = same, str(row.event_hash), int(row.numbers)

    def _is(self, number: int) -> Any:
        tenant, name = self._key
        return and_(_versions.tenant == tenant, _versions.name == name, _versions.number == number)

    def version(self, number: int) -> Any:
        row = self._connection.execute(select(journey_versions).where(self._is(number))).first()
        if row is None:
            raise JourneyRefusal("not_found", "There is no such definition or version.")
        return row

    def in_state(self, state: TemplateState) -> Any:
        tenant, name = self._key
        mine = and_(_versions.tenant == tenant, _versions.name == name, _versions.state == state)
        return self._connection.execute(select(journey_versions).where(mine)).first()

    def begin(self, values: dict[str, Any]) -> int:
        tenant, name = self._key
        self._numbers += 1
        row = {"tenant": tenant, "name": name, "number": self._numbers, "state": TemplateState.DRAFT, **values}
        self._connection.execute(insert(journey_versions), [{**row, "created_at": self._now}])
        return self._numbers

    def change(self, number: int, **values: Any) -> None:
        changed = update(journey_versions).where(self._is(number))
        self._connection.execute(changed.values(**{"updated_at": self._now, **values}))

    def move(self, row: Any, to: TemplateState, actor: str, **changes: Any) -> None:
        if to not in TEMPLATE_TRANSITIONS[TemplateState(row.state)]:
            raise JourneyRefusal("wrong_state", f"Version {row.number} is {row.state}, so it can't become {to}.")
        self.change(row.number, state=to, **changes)
        self.record(f"journey_{to}", row.number, to, actor)

    def record(self, kind: str, number: int, state: TemplateState, actor: str) -> None:
        subject = journey_definition_subject(*self._key)
        detail = {"number": number, "version": self.version(number).version}
        event = Event(self._key[0], subject, "", self._now, kind, actor, state=state, detail=detail)
        self._head = self._chain.append(self._head, event)

    def write(self) -> None:
        self._chain.write(self._connection)
        head = update(journey_names).where(self._same)
        self._connection.execute(head.values(event_hash=self._head, numbers=self._numbers))


def _refuse_stopped(row: Any) -> None:
    """What enters a stopped version would end at once."""
    if row.stopped_at is not None:
        raise JourneyRefusal("wrong_state", f"Version {row.number} was stopped: save its text as a new version.")


def live_definitions(connection: Connection, tenants: Sequence[str]) -> dict[str, list[LiveDefinition]]:
    """The live versions of some tenants."""
    query = select(_versions.tenant, _versions.name, _versions.version, _versions.source)
    query = query.where(_versions.tenant.in_(tenants), _versions.state == TemplateState.PUBLISHED)
    found: dict[str, list[LiveDefinition]] = {}
    for row in connection.execute(query.order_by(_versions.name)):
        live = LiveDefinition(row.name, row.version, parse_pinned(row.source, row.version))
        found.setdefault(row.tenant, []).append(live)
    return found


def _view(row: Any) -> dict[str, Any]:
    return {
        "name": row.name,
        "number": row.number,
        "state": row.state,
        "version": row.version,
        "created_at": instant(row.created_at),
        "updated_at": instant(row.updated_at),
        "editors": json.loads(row.editors),
        "submitted_by": row.submitted_by or None,
        "approved_by": row.approved_by or None,
        "stopped_at": instant(row.stopped_at),
        "source": row.source,
    }
