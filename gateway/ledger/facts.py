"""What the ledger knows of borrowers, for a decision: one round trip per kind of fact, whatever the batch."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, and_, false, or_, select

from gateway.codec import holds_from, opt_outs_from, stated_from
from gateway.ledger.schema import addresses, borrowers, cases, deliveries
from gateway.model import AddressFacts, Category, Contact, Facts
from gateway.ports import BorrowerFacts

# The longest period that any cap counts over is a calendar week or seven consecutive dates; 31 days leave room
# for packs with monthly caps. Our choice.
HORIZON = timedelta(days=31)

Key = tuple[str, str]  # (tenant, borrower id)


def _grouped(keys: Iterable[Key]) -> dict[str, list[str]]:
    groups: dict[str, list[str]] = {}
    for tenant, identifier in sorted(set(keys)):
        groups.setdefault(tenant, []).append(identifier)
    return groups


def matching(tenant_column: Any, id_column: Any, keys: Iterable[Key]) -> Any:
    """A condition for (tenant, id) pairs that uses the index of both on SQLite and PostgreSQL."""
    # Of no keys none match: an empty or_() would be no condition at all.
    return or_(false(), *(and_(tenant_column == tenant, id_column.in_(ids)) for tenant, ids in _grouped(keys).items()))


def read_facts(
    connection: Connection,
    keys: Sequence[Key],
    case_keys: Sequence[Key],
    address_keys: Sequence[Key],
    now: datetime,
) -> Mapping[Key, BorrowerFacts]:
    """Facts for each borrower of ``keys``.

    ``case_keys`` and ``address_keys`` are the (tenant, case id) and (tenant, address digest) pairs of interest.
    """
    if not keys:
        return {}
    # The versions first: what is committed while we read then shows in the contacts and not in the version, and the
    # start is refused. The other way round an over-cap contact could start on a version newer than its facts.
    query = select(borrowers).where(matching(borrowers.c.tenant, borrowers.c.id, keys))
    people = connection.execute(query).all()
    contacts = _contacts(connection, keys, now)
    closed = _closed_cases(connection, case_keys)
    used = _addresses(connection, address_keys)
    found: dict[Key, BorrowerFacts] = {}
    for row in people:
        key = (row.tenant, row.id)
        found[key] = BorrowerFacts(
            row.version,
            Facts(
                contacts=tuple(contacts.get(key, ())),
                holds=tuple(holds_from(row.holds)),
                opt_outs=tuple(stored.opt_out for stored in opt_outs_from(row.opt_outs)),
                consents=frozenset(Category(each) for each in row.consents.split()),
                addresses=used,
                stated=stated_from(row.stated),
            ),
            closed,
        )
    nobody = BorrowerFacts(0, Facts(addresses=used), closed)
    return {key: found.get(key, nobody) for key in keys}


def _contacts(connection: Connection, keys: Sequence[Key], now: datetime) -> dict[Key, list[Contact]]:
    rows = connection.execute(
        select(
            deliveries.c.tenant,
            deliveries.c.borrower_id,
            deliveries.c.contacted_at,
            deliveries.c.channel,
            deliveries.c.case_id,
            deliveries.c.address_digest,
            deliveries.c.notification_id,
        )
        .where(matching(deliveries.c.tenant, deliveries.c.borrower_id, keys))
        .where(deliveries.c.contacted_at > now - HORIZON)
        .order_by(deliveries.c.contacted_at)
    )
    contacts: dict[Key, list[Contact]] = {}
    for tenant, borrower_id, *rest in rows:
        contacts.setdefault((tenant, borrower_id), []).append(Contact(*rest))
    return contacts


def _closed_cases(connection: Connection, case_keys: Sequence[Key]) -> frozenset[str]:
    if not case_keys:
        return frozenset()
    rows = connection.execute(
        select(cases.c.id).where(matching(cases.c.tenant, cases.c.id, case_keys)).where(cases.c.closed_at.is_not(None))
    )
    return frozenset(row.id for row in rows)


def _addresses(connection: Connection, keys: Sequence[Key]) -> dict[str, AddressFacts]:
    if not keys:
        return {}
    rows = connection.execute(select(addresses).where(matching(addresses.c.tenant, addresses.c.digest, keys)))
    return {row.digest: AddressFacts(row.suppressed, row.confirmed_at) for row in rows}


def lock_borrowers(connection: Connection, keys: Sequence[Key]) -> dict[Key, int]:
    """Take the borrowers' row locks, in order, and answer their versions."""
    rows = connection.execute(
        select(borrowers.c.tenant, borrowers.c.id, borrowers.c.version)
        .where(matching(borrowers.c.tenant, borrowers.c.id, keys))
        .order_by(borrowers.c.tenant, borrowers.c.id)
        .with_for_update()
    )
    return {(row.tenant, row.id): row.version for row in rows}
