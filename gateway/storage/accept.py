"""Storing what is accepted: one transaction for a batch of drafts, durable before anyone is told.

Two unique claims are taken here, by the database, in the transaction that stores the notification: the
idempotency key (the same request again) and the dedup key (another request with the same meaning). They are
exact however many processes accept at once, and there is nothing to lose or rebuild when Redis goes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Table, select
from sqlalchemy.dialects import postgresql, sqlite

from gateway.core.codec import body_of, stated_by, verdict_view
from gateway.core.model import Notification, PolicyReason, State, Verdict, VerdictKind, new_id
from gateway.core.ports import AcceptResult, DecidedRequest, Unavailable
from gateway.storage.bulk import inserting, updating
from gateway.storage.deferral_spreader import DeferralSpreader
from gateway.storage.events import Chain, Event
from gateway.storage.facts import matching
from gateway.storage.schema import dedup_claims, deliveries, notifications
from gateway.storage.statements import Statement, StatementTemplate, execute_pipelined

# A request that came to nothing does not stand in the way of the next one with the same meaning.
_CAME_TO_NOTHING = (State.CANCELLED, State.EXPIRED, State.SUPPRESSED, State.FAILED)

_STATE = {
    VerdictKind.SEND: State.ACCEPTED,
    VerdictKind.DEFER: State.DEFERRED,
    VerdictKind.REVIEW: State.REVIEW,
    VerdictKind.SUPPRESS: State.SUPPRESSED,
}


def insert_new(connection: Connection, table: Table) -> Any:
    """INSERT … ON CONFLICT DO NOTHING, which both databases have and spell alike."""
    dialect = sqlite if connection.dialect.name == "sqlite" else postgresql
    return dialect.insert(table).on_conflict_do_nothing()


def store(
    connection: Connection, drafts: Sequence[DecidedRequest], now: datetime, releases: DeferralSpreader
) -> list[AcceptResult]:
    """Store each draft that is new; answer for each, in order."""
    # One order everywhere, so that two processes storing the same keys wait for each other and never deadlock.
    order = sorted(range(len(drafts)), key=lambda at: _key_of(drafts[at]))
    slots = releases.slots(connection, [(last.reason, last.until) for last in map(_decided_last, drafts)])
    entries = {drafts[at].notification.id: InsertPlan(drafts[at], now, slots[at]) for at in order}
    created, owners = _claim(connection, list(entries.values()))
    fresh = [entry for key, entry in entries.items() if key in created]
    taken_over = _contest(connection, [entry for entry in fresh if entry.draft.notification.id not in owners])
    _insert_rest(connection, fresh, taken_over)
    repeated = [_key_of(each.draft) for key, each in entries.items() if key not in created]
    existing = _existing(connection, repeated)
    return [
        entries[draft.notification.id].answer()
        if draft.notification.id in created
        else _answered(draft.fingerprint, existing[_key_of(draft)])
        for draft in drafts
    ]


def replays(connection: Connection, tenant: str, asked: Sequence[tuple[str, str]]) -> list[AcceptResult | None]:
    """The answers to requests that were taken before: by idempotency key and fingerprint; None for the others."""
    existing = _existing(connection, [(tenant, key) for key, _ in asked])
    found = [(mark, existing.get((tenant, key))) for key, mark in asked]
    return [_answered(mark, row) if row is not None and row.fingerprint == mark else None for mark, row in found]


def _decided_last(draft: DecidedRequest) -> Verdict:
    return draft.steps[-1].verdict


class InsertPlan:
    """One draft on its way into the tables; ``slot`` is when a deferral is looked at."""

    def __init__(self, draft: DecidedRequest, now: datetime, slot: datetime | None) -> None:
        self.draft = draft
        self.now = now
        self.duplicate_of: str | None = None
        last = _decided_last(draft)
        self.state = _STATE[last.kind]
        self.reason: str = "" if last.kind is VerdictKind.SEND else last.reason
        self.defer_until = slot
        self.deliveries = [self._delivery(at) for at in range(len(draft.steps))]
        self._first_events()

    def _delivery(self, at: int) -> dict[str, Any]:
        notification, step = self.draft.notification, self.draft.steps[at]
        state = _STATE[step.verdict.kind]
        due_at = {State.ACCEPTED: self.now, State.DEFERRED: self.defer_until, State.REVIEW: step.verdict.valid_until}
        return {
            "id": new_id("dlv", self.now),
            "notification_id": notification.id,
            "tenant": notification.tenant,
            "borrower_id": notification.borrower.id,
            "case_id": notification.case.id,
            "step": step.step,
            "channel": step.channel,
            "address_digest": step.address_digest,
            "state": state,
            "reason": "" if state is State.ACCEPTED else step.verdict.reason,
            "due_at": due_at.get(state),
            "created_at": self.now,
        }

    def row(self) -> dict[str, Any]:
        notification = self.draft.notification
        return {
            "id": notification.id,
            "tenant": notification.tenant,
            "idempotency_key": notification.idempotency_key,
            "fingerprint": self.draft.fingerprint,
            "dedup_key": notification.dedup_key,
            "borrower_id": notification.borrower.id,
            "case_id": notification.case.id,
            "stage": notification.case.stage,
            "category": notification.category,
            "template": notification.template,
            "template_version": notification.template_version,
            "state": self.state,
            "reason": self.reason,
            "defer_until": self.defer_until,
            "step": self.draft.steps[-1].step,
            "accepted_at": notification.accepted_at,
            "expires_at": notification.expires_at,
            "updated_at": self.now,
            "event_hash": self.head,
            "body": body_of(notification),
            "client": notification.client,
        }

    def becomes_duplicate(self, original: str) -> None:
        self.duplicate_of = original
        self.state, self.reason, self.defer_until = State.SUPPRESSED, PolicyReason.DUPLICATE, None
        self.deliveries = []
        self._first_events()

    def _first_events(self) -> None:
        """The chain's beginning: what was accepted, and what was decided about it."""
        self.chain, self.head = Chain(), ""
        self._event("accepted", State.ACCEPTED, "", {"template_version": self.draft.notification.template_version})
        if self.duplicate_of is not None:
            self._event("suppressed", self.state, self.reason, {"duplicate_of": self.duplicate_of})
            return
        for step, delivery in zip(self.draft.steps, self.deliveries, strict=True):
            detail = {"when": "accept", "channel": step.channel, "verdict": verdict_view(step.verdict)}
            self._event("decided", delivery["state"], step.verdict.reason, detail, delivery["id"])

    def _event(
        self, kind: str, state: str, reason: str, detail: dict[str, Any], delivery_id: str | None = None
    ) -> None:
        notification = self.draft.notification
        zones = notification.borrower.time_zones
        self.head = self.chain.append(
            self.head,
            Event(
                tenant=notification.tenant,
                subject=notification.id,
                borrower_id=notification.borrower.id,
                delivery_id=delivery_id,
                at=self.now,
                kind=kind,
                state=state,
                reason=reason,
                actor="gateway",
                zone=zones[0] if zones else "",
                detail=detail,
            ),
        )

    def answer(self) -> AcceptResult:
        live = self.deliveries[-1] if self.deliveries else None
        due = live is not None and live["state"] is State.ACCEPTED
        return AcceptResult(
            "created",
            self.draft.notification.id,
            self.state,
            self.reason,
            self.defer_until,
            self.duplicate_of,
            live["id"] if live and due else None,
            due,
        )


_CLAIM_MEANINGS = StatementTemplate(
    # Ids are of this very request, so one that is not there met an idempotency key that was taken. Asked for each by
    # itself, and not with EXISTS, which a planner who knows nothing of the table yet may answer by reading all of it.
    lambda sql: (
        f"WITH claims (tenant, dedup_key, notification_id) AS ({sql.tuples('claims', 3)})"
        " INSERT INTO dedup_claims (tenant, dedup_key, notification_id)"
        " SELECT tenant, dedup_key, notification_id FROM claims"
        " WHERE (SELECT id FROM notifications WHERE id = claims.notification_id) IS NOT NULL"
        " ON CONFLICT DO NOTHING RETURNING notification_id"
    )
)


def claim_meanings(connection: Connection, claims: Sequence[tuple[str, str, str]]) -> Statement:
    """Claim meanings, as (tenant, dedup key, notification's id), for the notifications that are there.

    Answers the ids of those whose meaning was free.
    """
    return _CLAIM_MEANINGS.of(connection, claims=list(claims))


def _claim(connection: Connection, entries: Sequence[InsertPlan]) -> tuple[set[str], set[str]]:
    """Store the notifications whose keys are new, and claim the meaning of each; the ids of which either was free."""
    claims = [(*_meaning_of(entry), entry.draft.notification.id) for entry in sorted(entries, key=_meaning_of)]
    stored = inserting(connection, notifications, [entry.row() for entry in entries], new_only=True, returning="id")
    created, claimed = execute_pipelined(connection, [*stored, claim_meanings(connection, claims)])
    return {key for (key,) in created}, {key for (key,) in claimed}


def _meaning_of(entry: InsertPlan) -> tuple[str, str]:
    return entry.draft.notification.tenant, entry.draft.notification.dedup_key


_LOCK_CLAIMS = StatementTemplate(
    lambda sql: (
        f"SELECT tenant, dedup_key FROM dedup_claims WHERE {sql.matching(('tenant', 'dedup_key'), 'keys')}"
        f" ORDER BY tenant, dedup_key {sql.lock()}"
    )
)
# A statement of its own: what another transaction changed while the lock was waited for is seen only by the next one.
_OWNERS = StatementTemplate(
    lambda sql: (
        "SELECT dedup_claims.tenant, dedup_claims.dedup_key, notifications.id, notifications.state,"
        " (SELECT max(contacted_at) FROM deliveries WHERE notification_id = notifications.id)"
        " FROM dedup_claims JOIN notifications ON notifications.id = dedup_claims.notification_id"
        f" WHERE {sql.matching(('dedup_claims.tenant', 'dedup_claims.dedup_key'), 'keys')}"
    )
)


def _contest(connection: Connection, entries: Sequence[InsertPlan]) -> dict[tuple[str, str], str]:
    """Decide who owns meanings that were claimed before; one round trip, however many there are.

    A request takes a meaning over from an owner that came to nothing; otherwise it becomes a duplicate. Answers the
    new owners of the meanings that were taken over. Raises Unavailable where a claim was removed meanwhile.
    """
    if not entries:
        return {}
    keys = sorted({_meaning_of(entry) for entry in entries})
    asked = [each.of(connection, keys=keys) for each in (_LOCK_CLAIMS, _OWNERS)]
    _, rows = execute_pipelined(connection, asked)
    # An owner may be of this very batch: it is in the table already, with the state it was accepted in.
    owners = {
        (tenant, dedup_key): (owner, State(state) in _CAME_TO_NOTHING and contacted_at is None)
        for tenant, dedup_key, owner, state, contacted_at in rows
    }
    taken_over: dict[tuple[str, str], str] = {}
    for entry in sorted(entries, key=_meaning_of):
        meaning = _meaning_of(entry)
        if meaning not in owners:
            raise Unavailable("ledger: a claim was removed while it was contested")
        owner, came_to_nothing = owners[meaning]
        if came_to_nothing:
            taken_over[meaning] = entry.draft.notification.id
            owners[meaning] = (entry.draft.notification.id, entry.state in _CAME_TO_NOTHING)
        else:
            entry.becomes_duplicate(owner)
    return taken_over


def _insert_rest(
    connection: Connection, entries: Sequence[InsertPlan], taken_over: Mapping[tuple[str, str], str]
) -> None:
    if not entries:
        return
    first, *others = [entry.chain for entry in entries]
    execute_pipelined(
        connection,
        [
            *inserting(connection, deliveries, [row for entry in entries for row in entry.deliveries]),
            _remember_stated(connection, [entry.draft.notification for entry in entries]),
            *first.statements(connection, others),
            *_rewrite_duplicates(connection, [entry for entry in entries if entry.duplicate_of is not None]),
            *_move_claims(connection, taken_over),
        ],
    )


_STATED = StatementTemplate(
    # Without WHERE, SQLite can't tell ON CONFLICT from a join.
    lambda sql: (
        f"INSERT INTO borrowers (tenant, id, stated) {sql.tuples('rows', 3)} WHERE true"
        " ON CONFLICT (tenant, id) DO UPDATE SET stated = excluded.stated, version = borrowers.version + 1"
        " WHERE borrowers.stated != excluded.stated"
    ),
    returns_rows=False,
)


def _remember_stated(connection: Connection, accepted: Sequence[Notification]) -> Statement:
    """Make the borrowers' rows, and note where they are and when they may be written to, where that is news.

    News moves the version on: what was decided before it, and has not started, is decided anew.
    """
    ordered = sorted(accepted, key=lambda each: each.id)
    latest = {(each.tenant, each.borrower.id): stated_by(each.borrower) for each in ordered}
    return _STATED.of(connection, rows=[(*key, latest[key]) for key in sorted(latest)])


def _rewrite_duplicates(connection: Connection, entries: Sequence[InsertPlan]) -> list[Statement]:
    """A duplicate was stored before it was known to be one: its row gets the state that it really has."""
    rows = [
        {
            "id": entry.draft.notification.id,
            "event_hash": entry.head,
            "state": entry.state,
            "reason": entry.reason,
            "defer_until": None,
            "duplicate_of": entry.duplicate_of,
        }
        for entry in entries
    ]
    return updating(connection, notifications, ("id",), rows)


def _move_claims(connection: Connection, taken_over: Mapping[tuple[str, str], str]) -> list[Statement]:
    rows = [
        {"tenant": tenant, "dedup_key": dedup_key, "notification_id": owner}
        for (tenant, dedup_key), owner in taken_over.items()
    ]
    return updating(connection, dedup_claims, ("tenant", "dedup_key"), rows)


def _key_of(draft: DecidedRequest) -> tuple[str, str]:
    return draft.notification.tenant, draft.notification.idempotency_key


def _existing(connection: Connection, keys: Sequence[tuple[str, str]]) -> dict[tuple[str, str], Any]:
    if not keys:
        return {}
    rows = connection.execute(
        select(notifications).where(matching(notifications.c.tenant, notifications.c.idempotency_key, keys))
    )
    return {(row.tenant, row.idempotency_key): row for row in rows}


def _answered(fingerprint: str, row: Any) -> AcceptResult:
    outcome = "replayed" if row.fingerprint == fingerprint else "conflict"
    return AcceptResult(outcome, row.id, State(row.state), row.reason, row.defer_until, row.duplicate_of)
