"""Queries about addresses: which are used for nobody, and why. An address appears as its keyed digest."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, and_, or_, select, tuple_

from gateway.core.codec import instant
from gateway.core.security.digests import digests_of
from gateway.storage.tables.borrowers import addresses
from gateway.storage.tables.path import deliveries

_OPTED_OUT = and_(addresses.c.opted_out_at.is_not(None), addresses.c.opted_in_at.is_(None))


def opted_out_addresses(connection: Connection, tenant: str, borrower_id: str) -> list[dict[str, Any]]:
    """Addresses of the borrower that somebody who uses them opted out, whoever was written to."""
    used = (
        select(deliveries.c.address_digest)
        .where(deliveries.c.tenant == tenant, deliveries.c.borrower_id == borrower_id)
        .distinct()
    )
    versions = digests_of(connection).versions
    names = {name for digest in connection.execute(used).scalars() for name in versions(digest)}
    mine = select(addresses).where(addresses.c.tenant == tenant, addresses.c.digest.in_(sorted(names)), _OPTED_OUT)
    rows = connection.execute(mine.order_by(addresses.c.opted_out_at))
    return [
        {
            "channel": row.channel,
            "address_digest": row.digest,
            "at": instant(row.opted_out_at),
            "source": row.opt_out_source,
        }
        for row in rows
    ]


def suppressions(connection: Connection, tenant: str, limit: int, after: tuple[str, str]) -> list[dict[str, Any]]:
    """Addresses that are suppressed or opted out, in order of (channel, digest), from after ``after``."""
    rows = connection.execute(
        select(addresses)
        .where(addresses.c.tenant == tenant, or_(addresses.c.suppressed != "", _OPTED_OUT))
        .where(tuple_(addresses.c.channel, addresses.c.digest) > after)
        .order_by(addresses.c.channel, addresses.c.digest)
        .limit(limit)
    )
    return [
        {
            "channel": row.channel,
            "address_digest": row.digest,
            "suppressed": row.suppressed or None,
            "suppressed_at": instant(row.suppressed_at),
            "opted_out_at": instant(row.opted_out_at if row.opted_in_at is None else None),
            "opt_out_source": row.opt_out_source if row.opted_out_at and row.opted_in_at is None else None,
        }
        for row in rows
    ]
