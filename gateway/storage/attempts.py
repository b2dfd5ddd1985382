"""Attempts in the ledger: claimed under a lease, begun before the provider is called, and ended by its answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection

from channels.base import Accepted as ProviderAccepted
from gateway.core.deliveries import Attempt, ClaimedDelivery, Delivery, Outgoing
from gateway.core.routes import RouteRules
from gateway.core.security.digests import DigestVersions, digests_of
from gateway.core.states import State
from gateway.storage.bulk import inserting, updating
from gateway.storage.controls import ask_in_force, switches_from
from gateway.storage.facts import AddressKey, Key, ask_borrowers, ask_facts, ask_opted_out, facts_from
from gateway.storage.messages import SealedWords, seal_words, storing
from gateway.storage.rows import DELIVERY, NOTIFICATION, delivery_of, notification_of
from gateway.storage.statements import ROW_VERSION, Dialect, Statement, StatementTemplate, execute_pipelined
from gateway.storage.tables.borrowers import borrowers
from gateway.storage.tables.path import attempts
from gateway.storage.unit_of_work import UnitOfWork

_OWNED_BY = ("tenant", "borrower_id", "case_id")


def _claiming(sql: Dialect) -> str:
    # Row by row in the order of ids, which is the lock order. A row that another claim has at this moment is waited
    # for, and found leased then: to lock first those that are free would write a record for each to PostgreSQL's log.
    return (
        f"UPDATE deliveries SET lease_until = {sql.value('until')}, fence = fence + 1"
        f" FROM {sql.given('id', 'ids')} WHERE deliveries.id = given.id AND due_at <= {sql.value('now')}"
        f" AND (lease_until IS NULL OR lease_until <= {sql.value('now')})"
        f" RETURNING {', '.join(f'deliveries.{column}' for column in (*DELIVERY, *_OWNED_BY))}"
    )


_CLAIM = StatementTemplate(_claiming)
_CLAIMED = StatementTemplate(
    lambda sql: f"SELECT {', '.join(NOTIFICATION)}, state, step FROM notifications WHERE {sql.among('id', 'ids')}"
)


def claim(
    connection: Connection, ids: Sequence[str], now: datetime, lease_seconds: float, contact_horizon: timedelta
) -> list[ClaimedDelivery]:
    """Lease the deliveries that are due and free, by compare-and-set, and read what deciding on them needs."""
    until = now + timedelta(seconds=lease_seconds)
    [rows] = execute_pipelined(connection, [_CLAIM.of(connection, ids=sorted(set(ids)), now=now, until=until)])
    if not rows:
        return []
    digests = digests_of(connection)
    claimed = [(_in_current(delivery_of(row[: len(DELIVERY)]), digests), *row[len(DELIVERY) :]) for row in rows]
    keys = [(tenant, borrower_id) for _, tenant, borrower_id, _ in claimed]
    cases = [(tenant, case_id) for _, tenant, _, case_id in claimed]
    addresses = [(tenant, delivery.channel, delivery.address_digest) for delivery, tenant, _, _ in claimed]
    owners, known = execute_pipelined(
        connection,
        [
            _CLAIMED.of(connection, ids=sorted({delivery.notification_id for delivery, *_ in claimed})),
            ask_facts(connection, keys, cases, addresses, now - contact_horizon),
        ],
    )
    facts, owned = facts_from(known, keys, digests), {row[0]: row for row in owners}
    found = []
    for (delivery, *_), key in zip(claimed, keys, strict=True):
        *owner, state, step = owned[delivery.notification_id]
        last = step == delivery.step
        found.append(ClaimedDelivery(delivery, notification_of(owner), facts[key], State(state), is_last_opened=last))
    return found


_NEXT_VERSION = StatementTemplate(
    lambda sql: f"UPDATE borrowers SET version = version + 1 WHERE {sql.matching(('tenant', 'id'), 'keys')}",
    returns_rows=False,
)


def start(
    connection: Connection,
    rules: RouteRules,
    outgoing: Sequence[Outgoing],
    now: datetime,
    lease_seconds: float,
    *,
    lock: bool,
    words_apart: bool,
) -> set[str]:
    """Begin attempts; the ids that have begun. ``words_apart``: their words go where the version before reads them.

    Their borrowers, notifications and deliveries are locked before they are read, or else (``lock`` False) have to be
    as they were read when they are written: nothing is written and InvalidData raised where one of them is not.

    An address that was opted out since the decision is a change of the borrower, whoever's reply it was
    (ops/decisions/0020-opt-outs-of-addresses.md).
    """
    keys = [(each.work.notification.tenant, each.work.notification.borrower.id) for each in outgoing]
    known = {each.work.notification.id: each.work.notification for each in outgoing}
    # In the order in which locks are taken.
    people, opted_out, *switched, owners, steps = execute_pipelined(
        connection,
        [
            ask_borrowers(connection, keys, lock=lock),
            ask_opted_out(connection, map(_address_of, outgoing)),
            *ask_in_force(connection, now),
            *UnitOfWork.statements(connection, (each.work.delivery.id for each in outgoing), known=True, lock=lock),
        ],
    )
    versions = {(tenant, borrower_id): version for tenant, borrower_id, version, _ in people}
    current = digests_of(connection).current
    refusing = {(tenant, current(digest)) for tenant, digest in opted_out}
    switches, lease_until = switches_from(switched), now + timedelta(seconds=lease_seconds)
    unit_of_work = UnitOfWork(connection, (owners, steps), rules, known, lock=lock)
    started: dict[str, Key] = {}
    words: dict[str, SealedWords] = {}
    for each, key in zip(outgoing, keys, strict=True):
        delivery = unit_of_work.deliveries[each.work.delivery.id]
        changed = (_address_of(each)[0], _address_of(each)[2]) in refusing and not _known_as_opted_out(each)
        transition = rules.start(each, delivery, None if changed else versions.get(key), switches, now, lease_until)
        if transition is not None and transition.to is State.SENDING:
            sealed = seal_words(delivery.id, each.work.delivery.attempt + 1, each.content, apart=words_apart)
            transition = replace(transition, detail={**transition.detail, "words": sealed.digest})
            if unit_of_work.apply(transition):
                started[delivery.id] = key
                words[delivery.id] = sealed
        elif transition is not None:
            unit_of_work.apply(transition)
    begun = [each for each in outgoing if each.work.delivery.id in started]
    writes = _begin_attempts(connection, begun, now, {} if words_apart else words)
    if words_apart:
        writes += storing(connection, list(words.values()))
    reminded = set(started.values())
    if lock:
        next_versions = [_NEXT_VERSION.of(connection, keys=sorted(reminded))] if reminded else []
        unit_of_work.write(*writes, *next_versions)
    else:
        raised = _raising(connection, [row for row in people if (row[0], row[1]) in reminded])
        unit_of_work.write(*writes, counted=raised)
    return set(started)


def _raising(connection: Connection, read: Sequence[Sequence[Any]]) -> list[tuple[Statement, int]]:
    """The statement that raises the versions of borrowers whose rows are as they were read, and how many they are."""
    rows = [
        {"tenant": tenant, "id": borrower_id, ROW_VERSION: row_version, "version": version + 1}
        for tenant, borrower_id, version, row_version in read
    ]
    return [(each, len(rows)) for each in updating(connection, borrowers, ("tenant", "id", ROW_VERSION), rows)]


def _in_current(delivery: Delivery, digests: DigestVersions) -> Delivery:
    """The delivery with its address's digest as the facts have it."""
    if digests.single:
        return delivery
    return replace(delivery, address_digest=digests.current(delivery.address_digest))


def _address_of(outgoing: Outgoing) -> AddressKey:
    delivery = outgoing.work.delivery
    return (outgoing.work.notification.tenant, delivery.channel, delivery.address_digest)


def _known_as_opted_out(outgoing: Outgoing) -> bool:
    """Whether the decision saw the address's opt-out, and the packs in force permit the message all the same."""
    known = outgoing.work.borrower.facts.addresses.get(outgoing.work.delivery.address_digest)
    return known is not None and known.opted_out_at is not None


def _begin_attempts(
    connection: Connection, outgoing: Sequence[Outgoing], now: datetime, words: Mapping[str, SealedWords]
) -> list[Statement]:
    rows: list[dict[str, Any]] = [
        {
            "delivery_id": each.work.delivery.id,
            "number": each.work.delivery.attempt + 1,
            "provider": each.provider,
            "started_at": now,
            **({"words": words[each.work.delivery.id].content} if words else {}),
        }
        for each in outgoing
    ]
    return inserting(connection, attempts, rows)


def finishing(connection: Connection, ended: Sequence[Attempt]) -> list[Statement]:
    """The statement that records how attempts ended."""
    rows = [
        {"delivery_id": attempt.work.delivery.id, "number": attempt.message.attempt, **_end_of(attempt)}
        for attempt in ended
    ]
    return updating(connection, attempts, ("delivery_id", "number"), rows)


def _end_of(attempt: Attempt) -> dict[str, Any]:
    outcome, reason, code = attempt.outcome()
    provider_message_id = attempt.result.provider_message_id if isinstance(attempt.result, ProviderAccepted) else ""
    return {
        "finished_at": attempt.finished_at,
        "outcome": outcome,
        "reason": reason,
        "code": code[:40],
        "provider_message_id": provider_message_id,
    }


def without_provider_words(attempt: Attempt) -> Attempt:
    """The attempt without the texts of its provider: a message id or an error code."""
    result = attempt.result
    if isinstance(result, ProviderAccepted):
        return replace(attempt, result=replace(result, provider_message_id=""))
    return replace(attempt, result=type(result)(result.reason, retry_after=result.retry_after))
