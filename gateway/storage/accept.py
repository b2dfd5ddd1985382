"""Accepting: one transaction for a batch of decided requests, durable before the API answers.

Two unique keys are claimed by the database in the transaction that stores the notification: the idempotency key (the
same request again) and the dedup key (another request with the same meaning). They are exact for any number of
processes, and nothing of them is in Redis.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Table, select
from sqlalchemy.dialects import postgresql, sqlite

from gateway.core.codec import body_of, stated_by, verdict_view
from gateway.core.errors import Unavailable
from gateway.core.notifications import Notification, new_delivery_id
from gateway.core.reasons import PolicyReason
from gateway.core.requests import AcceptResult, DecidedRequest
from gateway.core.states import State
from gateway.core.verdicts import Verdict, VerdictKind
from gateway.storage.bulk import inserting, updating
from gateway.storage.deferral_spreader import DeferralSpreader
from gateway.storage.events import Chain, Event
from gateway.storage.facts import matching
from gateway.storage.packing.request_bodies import compressed
from gateway.storage.statements import (
    Statement,
    StatementTemplate,
    all_or_nothing,
    execute_pipelined,
    is_backward_compatible,
)
from gateway.storage.tables.columns import shorter
from gateway.storage.tables.path import dedup_claims, deliveries, notifications

# As many are stored in one statement, on the chance that all are new; where they are not, in several. Our choice.
_MOST_AT_ONCE = 50

# States in which a notification no longer occupies its dedup key, unless it made a contact.
_RELEASES_KEY = (State.CANCELLED, State.EXPIRED, State.SUPPRESSED, State.FAILED)

_STATE = {
    VerdictKind.SEND: State.ACCEPTED,
    VerdictKind.DEFER: State.DEFERRED,
    VerdictKind.REVIEW: State.REVIEW,
    VerdictKind.SUPPRESS: State.SUPPRESSED,
}


def insert_new(connection: Connection, table: Table) -> Any:
    """INSERT … ON CONFLICT DO NOTHING, in the connection's dialect."""
    dialect = sqlite if connection.dialect.name == "sqlite" else postgresql
    return dialect.insert(table).on_conflict_do_nothing()


def store(
    connection: Connection,
    requests: Sequence[DecidedRequest],
    now: datetime,
    releases: DeferralSpreader,
) -> list[AcceptResult]:
    """Store each request that is new; a result for each, in order."""
    # One lock order, so that two processes that store the same keys wait for each other and never deadlock.
    order = sorted(range(len(requests)), key=lambda at: _key_of(requests[at]))
    slots = releases.slots(connection, [(last.reason, last.until) for last in map(_decided_last, requests)])
    plans = {requests[at].notification.id: InsertPlan(requests[at], now, slots[at]) for at in order}
    created, owners = _claim(connection, list(plans.values()))
    fresh = [plan for key, plan in plans.items() if key in created]
    taken_over = _contest(connection, [plan for plan in fresh if plan.request.notification.id not in owners])
    _insert_rest(connection, fresh, taken_over)
    repeated = [_key_of(each.request) for key, each in plans.items() if key not in created]
    existing = _existing(connection, repeated)
    return [
        plans[request.notification.id].answer()
        if request.notification.id in created
        else _answered(request.fingerprint, existing[_key_of(request)])
        for request in requests
    ]


def is_plain(requests: Sequence[DecidedRequest]) -> bool:
    """Whether ``store_new`` can store them: few, and none to be put off, for which a slot has to be found first."""
    return len(requests) <= _MOST_AT_ONCE and all(
        _decided_last(each).kind is not VerdictKind.DEFER for each in requests
    )


def store_new(connection: Connection, plans: Sequence[InsertPlan]) -> Statement:
    """The statement that stores requests that are all new, with new meanings; it fails where one is not.

    For PostgreSQL, where a statement by itself is a transaction: one round trip, and one commit.
    """
    ordered = sorted(plans, key=lambda each: _key_of(each.request))
    claims = [
        {"tenant": tenant, "dedup_key": dedup_key, "notification_id": each.request.notification.id}
        for each in sorted(plans, key=_dedup_key_of)
        for tenant, dedup_key in [_dedup_key_of(each)]
    ]
    rows = _rows(connection, ordered)
    changes = [
        *inserting(connection, notifications, rows, new_only=True, returning="id"),
        *inserting(connection, dedup_claims, claims, new_only=True, returning="notification_id"),
        *_rest(connection, ordered),
    ]
    return all_or_nothing(changes, expected=(len(plans), len(plans)))


def replays(connection: Connection, tenant: str, keys: Sequence[tuple[str, str]]) -> list[AcceptResult | None]:
    """The results of requests accepted before, by idempotency key and fingerprint; None for the others."""
    existing = _existing(connection, [(tenant, key) for key, _ in keys])
    found = [(mark, existing.get((tenant, key))) for key, mark in keys]
    return [_answered(mark, row) if row is not None and row.fingerprint == mark else None for mark, row in found]


def _decided_last(request: DecidedRequest) -> Verdict:
    return request.steps[-1].verdict


class InsertPlan:
    """The rows of one decided request; ``slot`` is when its deferral becomes due."""

    def __init__(self, request: DecidedRequest, now: datetime, slot: datetime | None) -> None:
        self.request = request
        self.now = now
        self.duplicate_of: str | None = None
        last = _decided_last(request)
        self.state = _STATE[last.kind]
        self.reason: str = "" if last.kind is VerdictKind.SEND else last.reason
        self.defer_until = slot
        self.deliveries = [self._delivery(at) for at in range(len(request.steps))]
        self._first_events()

    def _delivery(self, at: int) -> dict[str, Any]:
        notification, step = self.request.notification, self.request.steps[at]
        state = _STATE[step.verdict.kind]
        due_at = {State.ACCEPTED: self.now, State.DEFERRED: self.defer_until, State.REVIEW: step.verdict.valid_until}
        return {
            "id": new_delivery_id(self.now),
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

    def row(self, *, shortly: bool) -> dict[str, Any]:
        """Of ``notifications``; ``shortly``: not as the version before reads it."""
        notification, mark = self.request.notification, self.request.fingerprint
        return {
            "id": notification.id,
            "tenant": notification.tenant,
            "idempotency_key": notification.idempotency_key,
            "fingerprint": shorter(mark) if shortly else mark,
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
            "step": self.request.steps[-1].step,
            "accepted_at": notification.accepted_at,
            "expires_at": notification.expires_at,
            "updated_at": self.now,
            "event_hash": self.head,
            "body": compressed(body_of(notification)),
            "client": notification.client,
        }

    def becomes_duplicate(self, original: str) -> None:
        self.duplicate_of = original
        self.state, self.reason, self.defer_until = State.SUPPRESSED, PolicyReason.DUPLICATE, None
        self.deliveries = []
        self._first_events()

    def _first_events(self) -> None:
        """The first events of its chain: accepted, and what was decided.

        Both are one event where the first step is allowed, as nearly always.
        """
        self.chain, self.head = Chain(), ""
        accepted = {"template_version": self.request.notification.template_version}
        if self.duplicate_of is None and len(self.deliveries) == 1 and self.state is State.ACCEPTED:
            self._decision("accepted", 0, accepted)
            return
        self._event("accepted", State.ACCEPTED, "", accepted)
        if self.duplicate_of is not None:
            self._event("suppressed", self.state, self.reason, {"duplicate_of": self.duplicate_of})
            return
        for at in range(len(self.deliveries)):
            self._decision("decided", at, {})

    def _decision(self, kind: str, at: int, more: dict[str, Any]) -> None:
        step, delivery = self.request.steps[at], self.deliveries[at]
        detail = {**more, "when": "accept", "channel": step.channel, "verdict": verdict_view(step.verdict)}
        self._event(kind, delivery["state"], step.verdict.reason, detail, delivery["id"])

    def _event(
        self, kind: str, state: str, reason: str, detail: dict[str, Any], delivery_id: str | None = None
    ) -> None:
        notification = self.request.notification
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
            self.request.notification.id,
            self.state,
            self.reason,
            self.defer_until,
            self.duplicate_of,
            live["id"] if live and due else None,
            due,
        )


_CLAIM_DEDUP_KEYS = StatementTemplate(
    # The ids are new, so one that is not there met a taken idempotency key. One subquery for each, and not EXISTS,
    # which a planner without statistics may answer by a sequential scan.
    lambda sql: (
        f"WITH claims (tenant, dedup_key, notification_id) AS ({sql.tuples('claims', 3)})"
        " INSERT INTO dedup_claims (tenant, dedup_key, notification_id)"
        " SELECT tenant, dedup_key, notification_id FROM claims"
        " WHERE (SELECT id FROM notifications WHERE id = claims.notification_id) IS NOT NULL"
        " ON CONFLICT DO NOTHING RETURNING notification_id"
    )
)


def claim_dedup_keys(connection: Connection, claims: Sequence[tuple[str, str, str]]) -> Statement:
    """The statement that claims dedup keys, as (tenant, dedup key, notification's id), for the stored notifications.

    It gives the ids of those whose key was free.
    """
    return _CLAIM_DEDUP_KEYS.of(connection, claims=list(claims))


def _claim(connection: Connection, plans: Sequence[InsertPlan]) -> tuple[set[str], set[str]]:
    """Store the notifications with new idempotency keys, and claim their dedup keys; the ids that got each."""
    claims = [(*_dedup_key_of(plan), plan.request.notification.id) for plan in sorted(plans, key=_dedup_key_of)]
    rows = _rows(connection, plans)
    stored = inserting(connection, notifications, rows, new_only=True, returning="id")
    created, claimed = execute_pipelined(connection, [*stored, claim_dedup_keys(connection, claims)])
    return {key for (key,) in created}, {key for (key,) in claimed}


def _rows(connection: Connection, plans: Sequence[InsertPlan]) -> list[dict[str, Any]]:
    return [plan.row(shortly=not is_backward_compatible(connection)) for plan in plans]


def _dedup_key_of(plan: InsertPlan) -> tuple[str, str]:
    return plan.request.notification.tenant, plan.request.notification.dedup_key


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


def _contest(connection: Connection, plans: Sequence[InsertPlan]) -> dict[tuple[str, str], str]:
    """Decide who owns meanings that were claimed before; one round trip, however many there are.

    A request takes a meaning over from an owner that came to nothing; otherwise it becomes a duplicate. Answers the
    new owners of the meanings that were taken over. Raises Unavailable where a claim was removed meanwhile.
    """
    if not plans:
        return {}
    keys = sorted({_dedup_key_of(plan) for plan in plans})
    asked = [each.of(connection, keys=keys) for each in (_LOCK_CLAIMS, _OWNERS)]
    _, rows = execute_pipelined(connection, asked)
    # An owner may be of this very batch: it is in the table already, with the state it was accepted in.
    owners = {
        (tenant, dedup_key): (owner, State(state) in _RELEASES_KEY and contacted_at is None)
        for tenant, dedup_key, owner, state, contacted_at in rows
    }
    taken_over: dict[tuple[str, str], str] = {}
    for plan in sorted(plans, key=_dedup_key_of):
        meaning = _dedup_key_of(plan)
        if meaning not in owners:
            raise Unavailable("ledger: a claim was removed while it was contested")
        owner, came_to_nothing = owners[meaning]
        if came_to_nothing:
            taken_over[meaning] = plan.request.notification.id
            owners[meaning] = (plan.request.notification.id, plan.state in _RELEASES_KEY)
        else:
            plan.becomes_duplicate(owner)
    return taken_over


def _insert_rest(
    connection: Connection,
    plans: Sequence[InsertPlan],
    taken_over: Mapping[tuple[str, str], str],
) -> None:
    if not plans:
        return
    execute_pipelined(
        connection,
        [
            *_rest(connection, plans),
            *_rewrite_duplicates(connection, [plan for plan in plans if plan.duplicate_of is not None]),
            *_move_claims(connection, taken_over),
        ],
    )


def _rest(connection: Connection, plans: Sequence[InsertPlan]) -> list[Statement]:
    """The statements for what belongs to notifications that are stored."""
    first, *others = [plan.chain for plan in plans]
    accepted = [plan.request.notification for plan in plans]
    return [
        *inserting(connection, deliveries, [row for plan in plans for row in plan.deliveries]),
        _remember_stated(connection, accepted),
        *first.statements(connection, others),
    ]


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
    """Insert the borrowers' rows, or update their declared time zones and windows where they differ.

    A difference increments the version: what was decided before it, and has not started, is decided anew.
    """
    ordered = sorted(accepted, key=lambda each: each.id)
    latest = {(each.tenant, each.borrower.id): stated_by(each.borrower) for each in ordered}
    return _STATED.of(connection, rows=[(*key, latest[key]) for key in sorted(latest)])


def _rewrite_duplicates(connection: Connection, plans: Sequence[InsertPlan]) -> list[Statement]:
    """A duplicate was stored before it was known to be one: its row gets its real state."""
    rows = [
        {
            "id": plan.request.notification.id,
            "event_hash": plan.head,
            "state": plan.state,
            "reason": plan.reason,
            "defer_until": None,
            "duplicate_of": plan.duplicate_of,
        }
        for plan in plans
    ]
    return updating(connection, notifications, ("id",), rows)


def _move_claims(connection: Connection, taken_over: Mapping[tuple[str, str], str]) -> list[Statement]:
    rows = [
        {"tenant": tenant, "dedup_key": dedup_key, "notification_id": owner}
        for (tenant, dedup_key), owner in taken_over.items()
    ]
    return updating(connection, dedup_claims, ("tenant", "dedup_key"), rows)


def _key_of(request: DecidedRequest) -> tuple[str, str]:
    return request.notification.tenant, request.notification.idempotency_key


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
