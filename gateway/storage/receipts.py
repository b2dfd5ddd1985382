"""Receipts in the ledger: each recorded once, matched now or parked until its delivery is known.

One that is matched leaves an event of its delivery's chain, which says all of it. A repetition is known by that event,
and by a mark in the delivery's row where that was written anyhow. One that is parked has a row.

Result for each receipt: ``moved`` (the delivery changed state), ``recorded`` (kept, without a change of state),
``duplicate`` (the same receipt came before), ``orphan`` (no delivery yet: parked, and matched later), ``invalid`` (it
can't be stored, such as an id of 300 characters).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime

import msgspec
from sqlalchemy import Connection, and_, literal_column, select, union_all

from channels.base import ProviderReason, Receipt, ReceiptStatus
from gateway.core.deliveries import Delivery, ReceiptFor, Transition
from gateway.core.routes import RouteRules
from gateway.storage.bulk import inserting, updating
from gateway.storage.packing.event_details import unpacked
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
    digests = [digest_of(each) for each in arrived]
    matched, rows, known = _read(connection, arrived, digests, lock=lock)
    unit_of_work = UnitOfWork(connection, rows, rules, {}, lock=lock)
    parked: dict[str, ReceiptFor] = {}
    results: list[str] = []
    before = is_backward_compatible(connection)
    for original, each, digest in zip(arrived, matched, digests, strict=True):
        delivery = unit_of_work.deliveries.get(each.delivery_id)
        said = delivery and (delivery.id, each.receipt.status, each.receipt.code, each.attempt or delivery.attempt)
        if known & {digest, said} or (delivery and _is_marked(delivery, digest)):
            results.append("duplicate")
            continue
        results.append(_apply(unit_of_work, each.delivery_id, each, now, decide))
        known |= {digest, said or digest}
        if delivery is None:
            parked[digest] = original
        elif before or unit_of_work.is_changed(delivery.id):
            unit_of_work.mark(delivery.id, digest[:_MARK] if before else shorter(digest[:_MARK]))
    unit_of_work.write(*_parking(connection, parked, now))
    return results, unit_of_work.opened


def _read(
    connection: Connection, arrived: Sequence[ReceiptFor], digests: Sequence[str], *, lock: bool
) -> tuple[list[ReceiptFor], Sequence[Rows], set[object]]:
    """The receipts as they are matched, the rows of a unit of work on their deliveries, and what is known already."""
    messages = _by_provider_id(connection, arrived)
    matched = [_matched(each, messages) for each in arrived]
    ids = sorted({each.delivery_id for each in matched if each.delivery_id})
    statements = [
        *UnitOfWork.statements(connection, ids, lock=lock),
        _RECORDED.of(connection, ids=ids),  # after the rows, whose locks or versions say that there are no others
        _STORED.of(connection, digests=sorted(set(digests))),
    ]
    *rows, events, stored = execute_pipelined(connection, statements)
    return matched, rows, {key for (key,) in stored} | _said(events)


def _matched(arrived: ReceiptFor, messages: Mapping[tuple[str, str], tuple[str, int]]) -> ReceiptFor:
    """The receipt with the delivery and the attempt of its message, where its provider's id is known."""
    if arrived.delivery_id:
        return arrived
    found = next(filter(None, map(messages.get, _names(arrived.receipt))), None)
    return replace(arrived, delivery_id=found[0], attempt=found[1]) if found else arrived


def _said(events: Rows) -> set[tuple[object, ...]]:
    """What receipts have said by these events: delivery, status, code and attempt."""
    told = ((delivery_id, msgspec.json.decode(unpacked(detail))) for delivery_id, detail in events)
    return {(delivery_id, each.get("status"), each.get("code"), each.get("attempt")) for delivery_id, each in told}


def _is_marked(delivery: Delivery, digest: str) -> bool:
    """Whether the delivery's row says that the receipt was taken; as the version before wrote it, or as it is now."""
    if not delivery.receipts:
        return False
    return not {digest[:_MARK], shorter(digest[:_MARK])}.isdisjoint(delivery.receipts.split())


_RECORDED = StatementTemplate(
    lambda sql: (
        "SELECT delivery_id, detail FROM events WHERE kind IN ('receipt', 'ignored') AND "
        + sql.one_of("subject", f"SELECT notification_id FROM deliveries WHERE {sql.among('id', 'ids')}")
    )
)
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
        "SELECT deliveries.provider, deliveries.provider_message_id, deliveries.id, attempts.number"
        " FROM attempts JOIN deliveries ON deliveries.id = attempts.delivery_id"
        " AND deliveries.provider_message_id = attempts.provider_message_id"
        f" WHERE {sql.among('attempts.provider_message_id', 'ids')} AND attempts.provider_message_id != ''"
    )
)


def _by_provider_id(connection: Connection, arrived: Sequence[ReceiptFor]) -> dict[tuple[str, str], tuple[str, int]]:
    """Delivery and attempt of receipts without a signed reference, by the provider's message id or else our tag.

    Of several attempts with one id, which a provider gives that knows a repetition, it is the latest.
    """
    names = {name for each in arrived if not each.delivery_id for name in _names(each.receipt)}
    if not names:
        return {}
    ids = sorted({key for _, key in names})
    [rows] = execute_pipelined(connection, [_BY_PROVIDER_ID.of(connection, ids=ids)])
    found: dict[tuple[str, str], tuple[str, int]] = {}
    for provider, key, delivery_id, number in rows:
        found[provider, key] = max((delivery_id, number), found.get((provider, key), ("", 0)))
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
