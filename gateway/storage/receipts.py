"""Receipts in the ledger: each recorded once, matched now or parked until its delivery is known.

One that is matched leaves an event of its delivery's chain, which says all of it, and a mark in the delivery's row, by
which a repetition is known under the row's lock. One that is parked has a row.

Result for each receipt: ``moved`` (the delivery changed state), ``recorded`` (kept, without a change of state),
``duplicate`` (the same receipt came before), ``orphan`` (no delivery yet: parked, and matched later), ``invalid`` (it
can't be stored, such as an id of 300 characters).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime

from sqlalchemy import Connection, and_, literal_column, select, union_all

from channels.base import ProviderReason, Receipt, ReceiptStatus
from gateway.core.deliveries import ReceiptFor, Transition
from gateway.core.routes import RouteRules
from gateway.storage.bulk import inserting, updating
from gateway.storage.statements import Rows, Statement, StatementTemplate, execute_pipelined, is_backward_compatible
from gateway.storage.tables.columns import shorter
from gateway.storage.tables.path import attempts, deliveries, receipts
from gateway.storage.unit_of_work import UnitOfWork

# A literal and not a parameter: only then do the planners use the partial index.
_WAITING = receipts.c.delivery_id == literal_column("''")
_TAGGED = and_(_WAITING, receipts.c.tag != literal_column("''"))
# The delivery's latest message, by the index of the attempts: its own id changes with a step, and is in none.
_LATEST_MESSAGE = and_(
    attempts.c.delivery_id == deliveries.c.id,
    attempts.c.provider_message_id == deliveries.c.provider_message_id,
    attempts.c.provider_message_id != literal_column("''"),  # as the index has it
)
_AT_ONCE = 500  # our choice: as many as one batch of receipts
# Hexadecimal digits of a receipt's digest in its mark, 96 bits: among the few receipts of one delivery, two different
# ones with the same mark can't be expected (RFC 6234 has the hash; the length is our choice). Written in base64url, and
# known as earlier versions wrote it.
_MARK = 24


def digest_of(arrived: ReceiptFor) -> str:
    """The identity of a receipt: two with the same digest are one, received twice."""
    receipt = arrived.receipt
    identity = (
        receipt.provider,
        receipt.provider_message_id,
        arrived.delivery_id,
        str(arrived.attempt),
        receipt.status,
        receipt.code,
    )
    return hashlib.sha256("\x1f".join(identity).encode()).hexdigest()


def record(
    connection: Connection,
    rules: RouteRules,
    arrived: Sequence[ReceiptFor],
    now: datetime,
    decide: Callable[..., Transition],
    *,
    lock: bool,
) -> tuple[list[str], list[str]]:
    """Record a batch of receipts and apply what ``decide`` says of each, in one transaction.

    ``lock`` False: rows are not locked; nothing is written and InvalidData raised where one was changed meanwhile.
    """
    owners = _by_provider_id(connection, arrived)
    matched = [each.delivery_id or next(filter(None, map(owners.get, _names(each.receipt))), "") for each in arrived]
    digests = [digest_of(each) for each in arrived]
    *rows, stored = execute_pipelined(
        connection,
        [
            *UnitOfWork.statements(connection, filter(None, matched), lock=lock),
            _STORED.of(connection, digests=sorted(set(digests))),
        ],
    )
    known, unit_of_work = {key for (key,) in stored}, UnitOfWork(connection, rows, rules, {}, lock=lock)
    parked: dict[str, ReceiptFor] = {}
    results: list[str] = []
    before = is_backward_compatible(connection)
    for each, delivery_id, digest in zip(arrived, matched, digests, strict=True):
        if digest in known or not unit_of_work.mark(delivery_id, *_marks(digest, before)):
            results.append("duplicate")
            continue
        results.append(_apply(unit_of_work, delivery_id, each, now, decide))
        if results[-1] == "orphan":
            known.add(digest)  # a repetition within this batch is a duplicate, too
            parked[digest] = each
    unit_of_work.write(*_parking(connection, parked, now))
    return results, unit_of_work.opened


def _marks(digest: str, before: bool) -> tuple[str, str]:
    """The mark that is written and the other form of it; ``before``: as the version before knows it."""
    full = digest[:_MARK]
    return (full, shorter(full)) if before else (shorter(full), full)


_STORED = StatementTemplate(lambda sql: f"SELECT digest FROM receipts WHERE {sql.among('digest', 'digests')}")


_PARKED = StatementTemplate(
    lambda sql: (
        "SELECT digest, provider, provider_message_id, status, reason, code FROM receipts"
        f" WHERE delivery_id = '' AND {sql.among('provider_message_id', 'ids')} ORDER BY received_at"
    )
)


def ask_parked(connection: Connection, sent: Mapping[tuple[str, str], str]) -> Statement:
    """The statement for receipts that came before their message's provider id: what ``match_parked`` reads.

    ``sent`` maps (provider, provider's message id) to the delivery.
    """
    return _PARKED.of(connection, ids=sorted({key for _, key in sent}))


def match_parked(
    connection: Connection,
    unit_of_work: UnitOfWork,
    parked: Rows,
    sent: Mapping[tuple[str, str], str],
    now: datetime,
    decide: Callable[..., Transition],
) -> list[Statement]:
    """Apply parked receipts; the statements to write with the unit of work, which is not written here."""
    matched = []
    for key, provider, provider_message_id, status, reason, code in parked:
        delivery_id = sent.get((provider, provider_message_id))
        if delivery_id is None:
            continue
        known = ProviderReason(reason) if reason else None
        receipt = Receipt(provider, ReceiptStatus(status), provider_message_id, reason=known, code=code)
        _apply(unit_of_work, delivery_id, ReceiptFor(receipt), now, decide)
        matched.append({"digest": key, "delivery_id": delivery_id})
    return updating(connection, receipts, ("digest",), matched)


def match_again(
    connection: Connection, rules: RouteRules, now: datetime, decide: Callable[..., Transition]
) -> list[str]:
    """Match receipts that were parked while their attempt was being recorded: neither transaction saw the other."""
    known_by = [
        (receipts.c.provider_message_id, and_(_WAITING, receipts.c.provider_message_id != "")),
        (receipts.c.tag, _TAGGED),
    ]
    found = union_all(
        *(
            select(receipts.c.provider, receipts.c.provider_message_id, deliveries.c.id, receipts.c.received_at)
            .distinct()
            .select_from(receipts)
            .join(attempts, attempts.c.provider_message_id == name)
            .join(deliveries, and_(_LATEST_MESSAGE, deliveries.c.provider == receipts.c.provider))
            .where(waiting)
            for name, waiting in known_by
        )
    ).subquery()
    late = connection.execute(select(found).order_by(found.c.received_at).limit(_AT_ONCE)).all()
    if not late:
        return []
    sent = {(row.provider, row.provider_message_id): row.id for row in late}
    *rows, parked = execute_pipelined(
        connection, [*UnitOfWork.statements(connection, sent.values()), ask_parked(connection, sent)]
    )
    unit_of_work = UnitOfWork(connection, rows, rules, {})
    unit_of_work.write(*match_parked(connection, unit_of_work, parked, sent, now, decide))
    return unit_of_work.opened


def owner(connection: Connection, provider: str, provider_message_id: str) -> str | None:
    """The delivery whose latest message has this id at its provider; None where there is none."""
    query = select(deliveries.c.id).select_from(deliveries.join(attempts, _LATEST_MESSAGE))
    mine = and_(deliveries.c.provider == provider, attempts.c.provider_message_id == provider_message_id)
    return connection.execute(query.where(mine)).scalars().first()


def under_tag(connection: Connection, provider: str, tag: str, since: datetime) -> Receipt | None:
    """The latest receipt that came under this tag, and whose message is not known by its id."""
    row = connection.execute(
        select(receipts)
        .where(_TAGGED, receipts.c.provider == provider, receipts.c.tag == tag, receipts.c.received_at >= since)
        .order_by(receipts.c.received_at.desc())
    ).first()
    if row is None:
        return None
    known = ProviderReason(row.reason) if row.reason else None
    return Receipt(provider, ReceiptStatus(row.status), row.provider_message_id, reason=known, code=row.code, tag=tag)


def _apply(
    unit_of_work: UnitOfWork, delivery_id: str, each: ReceiptFor, now: datetime, decide: Callable[..., Transition]
) -> str:
    delivery = unit_of_work.deliveries.get(delivery_id)
    if delivery is None:
        return "orphan"
    transition = decide(
        delivery,
        unit_of_work.owner(delivery.id).route.notification,
        each.receipt,
        each.attempt or delivery.attempt,
        now,
    )
    return "moved" if unit_of_work.apply(transition) and transition.to is not None else "recorded"


def _names(receipt: Receipt) -> list[tuple[str, str]]:
    """The ids under which its message may be known at its provider, the surest first."""
    return [(receipt.provider, name) for name in (receipt.provider_message_id, receipt.tag) if name]


_BY_PROVIDER_ID = StatementTemplate(
    lambda sql: (
        "SELECT deliveries.provider, deliveries.provider_message_id, deliveries.id"
        " FROM attempts JOIN deliveries ON deliveries.id = attempts.delivery_id"
        " AND deliveries.provider_message_id = attempts.provider_message_id"
        f" WHERE {sql.among('attempts.provider_message_id', 'ids')} AND attempts.provider_message_id != ''"
    )
)


def _by_provider_id(connection: Connection, arrived: Sequence[ReceiptFor]) -> dict[tuple[str, str], str]:
    """Deliveries of receipts without a signed reference, by the provider's message id or else our tag."""
    names = {name for each in arrived if not each.delivery_id for name in _names(each.receipt)}
    if not names:
        return {}
    ids = sorted({key for _, key in names})
    [rows] = execute_pipelined(connection, [_BY_PROVIDER_ID.of(connection, ids=ids)])
    found = {(provider, key): delivery_id for provider, key, delivery_id in rows}
    return {name: found[name] for name in names & found.keys()}


def _parking(connection: Connection, arrived: Mapping[str, ReceiptFor], now: datetime) -> list[Statement]:
    """The statement that stores receipts, by digest, whose delivery is not known yet."""
    rows = [
        {
            "digest": digest,
            "provider": each.receipt.provider,
            "provider_message_id": each.receipt.provider_message_id,
            "delivery_id": each.delivery_id,
            "status": each.receipt.status,
            "reason": each.receipt.reason or "",
            "code": each.receipt.code[:40],
            "received_at": now,
            "tag": each.receipt.tag,
        }
        for digest, each in sorted(arrived.items())
    ]
    return inserting(connection, receipts, rows, new_only=True)
