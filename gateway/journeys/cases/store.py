"""Cases in the ledger: what a case system feeds is merged into its record, in one transaction with all that follows.

That is the events of the case's chain, the flag by which the policy suppresses messages for a case that is over, the
cancellation of what is pending for it, the holds of promises and plans, and the waking of its journeys. Locks are taken
in one order: case records, journeys, then as in gateway/storage/unit_of_work.py.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy import Connection, and_, or_, select, update

from gateway.borrowers.changes import ChangeRecord, cancel_pending, change_borrower, wait_for_in_flight
from gateway.core.clock import Clock
from gateway.core.codec import encode, holds_from, instant
from gateway.core.facts import Hold
from gateway.core.reasons import HoldKind, PolicyReason
from gateway.core.states import PENDING_STATES
from gateway.journeys.cases.events import changes, holds_of, managed_kinds
from gateway.journeys.cases.record import CaseEnd, CaseRecord, ended_by, merged
from gateway.journeys.journey import JourneyState
from gateway.stages.route_rules import Digest, route_rules
from gateway.storage.accept import insert_new
from gateway.storage.bulk import inserting, updating
from gateway.storage.database import Database
from gateway.storage.events import Chain, Event, case_subject
from gateway.storage.facts import matching
from gateway.storage.statements import execute_pipelined
from gateway.storage.tables.borrowers import cases
from gateway.storage.tables.journeys import case_records, journeys
from gateway.storage.tables.path import deliveries
from gateway.storage.unit_of_work import UnitOfWork

decode_record = msgspec.json.Decoder(CaseRecord).decode


@dataclass(frozen=True, slots=True)
class FeedResult:
    """What became of one part: the record after it, whether that is news, and how many messages it cancelled."""

    record: CaseRecord
    changed: bool
    cancelled: int


@dataclass(frozen=True, slots=True)
class FeedOrigin:
    """Who feeds, whose case it is where the record does not say, and a person's reason."""

    actor: str
    borrower_id: str = ""
    why: str = ""

    @property
    def detail(self) -> dict[str, str]:
        return {"why": self.why} if self.why else {}


class CaseStore:
    """Feeds and reads the cases of one tenant at a time."""

    def __init__(self, database: Database, digest: Digest, clock: Clock) -> None:
        self._database = database
        self._rules = route_rules(digest)
        self._clock = clock

    async def feed(
        self, tenant: str, parts: Sequence[CaseRecord], actor: str, *, borrower_id: str = "", why: str = ""
    ) -> list[FeedResult]:
        """Merge parts of records, each of one case; several of one case follow each other. Safe to repeat.

        ``borrower_id`` is whose a case is of which nothing else was fed; ``why``: a person's reason, for the events.
        When this returns, nothing that a part forbids can be handed over any more. Raises Unavailable, InvalidData.
        """
        now, results = self._clock(), []
        by = FeedOrigin(actor, borrower_id, why)
        for batch in _batches(parts):

            def write(connection: Connection, batch: Sequence[CaseRecord] = batch) -> list[FeedResult]:
                return _feed(connection, self._rules, tenant, batch, by, now)

            fed = await self._database.write(write)
            results += fed
            ended = [each.record.id for each in fed if each.changed and ended_by(each.record) is not None]
            await self._after(tenant, fed, ended, actor, now)
        return results

    async def _after(
        self, tenant: str, fed: Sequence[FeedResult], ended: Sequence[str], actor: str, now: datetime
    ) -> None:
        """What may follow in transactions of its own: lifting holds that no longer apply, and waiting for sends."""
        for each in fed:
            if each.changed and managed_kinds(each.record) and ended_by(each.record) is not None:
                record = each.record

                def lift(connection: Connection, record: CaseRecord = record) -> None:
                    _set_holds(connection, self._rules, tenant, record, actor, now)

                await self._database.write(lift)
        if ended:
            of_cases = and_(deliveries.c.tenant == tenant, deliveries.c.case_id.in_(ended))
            await wait_for_in_flight(self._database, of_cases, self._clock)

    async def bodies(self, tenant: str, most: int) -> list[str]:
        """The stored records of a tenant's cases that are open, as they are stored, by id; for a simulation."""
        mine = and_(case_records.c.tenant == tenant, case_records.c.borrower_id != "")
        over = select(cases.c.id).where(cases.c.tenant == tenant, cases.c.closed_at.is_not(None))
        query = select(case_records.c.body).where(mine, case_records.c.id.not_in(over)).order_by(case_records.c.id)
        return await self._database.read(lambda connection: list(connection.execute(query.limit(most)).scalars()))

    async def find(self, tenant: str, case_id: str) -> CaseRecord | None:
        """One case; None where nothing was fed of it."""
        query = select(case_records.c.body).where(case_records.c.tenant == tenant, case_records.c.id == case_id)
        body = await self._database.read(lambda connection: connection.execute(query).scalar())
        return None if body is None else decode_record(body)


def _batches(parts: Sequence[CaseRecord]) -> list[list[CaseRecord]]:
    """Parts that are fed together: each case once, and a promise or a plan alone, for it locks its borrower."""
    batches: list[list[CaseRecord]] = []
    ids: set[str] = set()
    open_to_more = False
    for each in parts:
        alone = bool(each.promises or each.plans)
        if alone or not open_to_more or each.id in ids:
            batches.append([])
            ids.clear()
        batches[-1].append(each)
        ids.add(each.id)
        open_to_more = not alone
    return batches


def _feed(
    connection: Connection, rules: Any, tenant: str, parts: Sequence[CaseRecord], by: FeedOrigin, now: datetime
) -> list[FeedResult]:
    ids = sorted(each.id for each in parts)
    new = [{"tenant": tenant, "id": each, "body": encode(CaseRecord(each)), "updated_at": now} for each in ids]
    execute_pipelined(connection, inserting(connection, case_records, new, new_only=True))
    mine = matching(case_records.c.tenant, case_records.c.id, [(tenant, each) for each in ids])
    locked = connection.execute(select(case_records).where(mine).order_by(case_records.c.id).with_for_update())
    rows = {row.id: row for row in locked}
    before = {key: decode_record(row.body) for key, row in rows.items()}
    after = {each.id: merged(before[each.id], each) for each in parts}
    changed = sorted(key for key in after if after[key] != before[key])
    _write_records(connection, rows, before, {key: after[key] for key in changed}, by, now)
    wake_cases(connection, tenant, changed, now)
    ended = {key: ended_by(after[key]) for key in changed}
    _flag(connection, tenant, {key: (ended[key], after[key]) for key in changed}, now)
    over = [key for key in changed if ended[key] is not None]
    cancelled = _cancel(connection, rules, tenant, over, by, now) if over else {}
    if not over:
        for key in changed:
            _set_holds(connection, rules, tenant, after[key], by.actor, now)
    return [FeedResult(after[each.id], each.id in changed, cancelled.get(each.id, 0)) for each in parts]


def _write_records(
    connection: Connection,
    rows: Mapping[str, Any],
    before: Mapping[str, CaseRecord],
    after: Mapping[str, CaseRecord],
    by: FeedOrigin,
    now: datetime,
) -> None:
    chain, written = Chain(), []
    for key, record in after.items():
        row, snapshot = rows[key], record.snapshot
        borrower = snapshot.borrower if snapshot is not None else None
        head = row.event_hash
        for each in changes(before[key], record):
            event = Event(
                tenant=row.tenant,
                subject=case_subject(row.tenant, key),
                borrower_id=borrower.id if borrower else by.borrower_id,
                at=now,
                kind=each.kind,
                actor=by.actor,
                reason=each.reason,
                zone=borrower.time_zones[0] if borrower and borrower.time_zones else "",
                detail={"case_id": key, **each.detail, **by.detail},
            )
            head = chain.append(head, event)
        written.append(
            {
                "tenant": row.tenant,
                "id": key,
                "borrower_id": borrower.id if borrower else "",
                "body": encode(record),
                "check_at": now if snapshot is not None and ended_by(record) is None else None,
                "updated_at": now,
                "event_hash": head,
            }
        )
    execute_pipelined(
        connection,
        [*updating(connection, case_records, ("tenant", "id"), written), *chain.statements(connection)],
    )


def wake_cases(connection: Connection, tenant: str, case_ids: Sequence[str], now: datetime) -> None:
    """Have the open journeys of these cases decided anew at once; what is being decided on older facts is void."""
    if case_ids:
        mine = and_(matching(journeys.c.tenant, journeys.c.case_id, [(tenant, each) for each in case_ids]), is_open())
        locked = select(journeys.c.id).where(mine).order_by(journeys.c.id).with_for_update()
        ids = list(connection.execute(locked).scalars())
        if ids:
            woken = update(journeys).where(journeys.c.id.in_(ids))
            connection.execute(woken.values(due_at=now, lease_until=None, revision=journeys.c.revision + 1))


def is_open() -> Any:
    """The condition for journeys that have not ended, as the partial indexes have it."""
    return journeys.c.state != JourneyState.EXITED.value


def _flag(
    connection: Connection, tenant: str, ended: Mapping[str, tuple[CaseEnd | None, CaseRecord]], now: datetime
) -> None:
    """The flag by which the policy suppresses messages of a case: set where it is over, and taken back."""
    over = sorted(key for key, (end, _) in ended.items() if end is not None)
    again = sorted(ended.keys() - set(over))  # a case that was closed for another reason stays closed
    if over:
        connection.execute(insert_new(connection, cases), [{"tenant": tenant, "id": key} for key in over])
    for key in over:
        end, record = ended[key]
        reason = record.closing.reason if record.closing is not None else str(end)
        this = and_(cases.c.tenant == tenant, cases.c.id == key)
        differs = or_(cases.c.closed_at.is_(None), cases.c.closed_reason != reason)
        connection.execute(update(cases).where(this, differs).values(closed_at=now, closed_reason=reason))
    if again:
        mine = and_(
            matching(cases.c.tenant, cases.c.id, [(tenant, key) for key in again]),
            cases.c.closed_reason == CaseEnd.PAID,
        )
        connection.execute(update(cases).where(mine).values(closed_at=None, closed_reason=""))


def _cancel(
    connection: Connection, rules: Any, tenant: str, case_ids: Sequence[str], by: FeedOrigin, now: datetime
) -> dict[str, int]:
    """Cancel what is pending for cases that are over; how many of each."""
    mine = matching(deliveries.c.tenant, deliveries.c.case_id, [(tenant, each) for each in case_ids])
    query = select(deliveries.c.id, deliveries.c.case_id).where(mine, deliveries.c.state.in_(sorted(PENDING_STATES)))
    case_of = {row.id: row.case_id for row in connection.execute(query)}
    if not case_of:
        return {}
    page = UnitOfWork.of_deliveries(connection, case_of, rules)
    what = ChangeRecord("cancelled", by.actor, PolicyReason.CASE_CLOSED, by.detail)
    cancelled = cancel_pending(page, case_of, what, now)
    page.write()
    return dict(Counter(case_of[each] for each in cancelled))


def _set_holds(connection: Connection, rules: Any, tenant: str, record: CaseRecord, actor: str, now: datetime) -> None:
    """Have the borrower's holds say what the record's promises and plans say of this case."""
    kinds = managed_kinds(record)
    if not kinds or record.snapshot is None:
        return
    wanted = holds_of(record, now)

    def change(row: Any) -> dict[str, Any] | None:
        known = holds_from(row.holds)
        kept = [each for each in known if each.case_id != record.id or each.kind not in kinds]
        return None if _same(known, [*kept, *wanted]) else {"holds": encode([*kept, *wanted])}

    newest = wanted[0] if wanted else None
    kind = newest.kind if newest is not None else min(kinds)
    detail = {"hold": kind, "case_id": record.id, "end": instant(newest.end) if newest is not None else None}
    what = ChangeRecord("hold_set" if newest is not None else "hold_lifted", actor, HoldKind(kind), detail)
    change_borrower(connection, rules, (tenant, record.snapshot.borrower.id), what, change, now)


def _same(a: Sequence[Hold], b: Sequence[Hold]) -> bool:
    return len(a) == len(b) and all(each in b for each in a)
