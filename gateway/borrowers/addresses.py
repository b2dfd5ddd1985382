"""Facts about an address, independent of the borrower: one row for each, by its digest.

Channels of one identity (``ChannelProfile.identity``) have the same digest of the same address, so a row is found by
tenant and digest; its channel is the one on which the address was first known. Two processes that come to know it on
two channels at once may make two rows: both are written, and the stricter one counts.

An opt-out of an address is one of them. It is written before the rows of borrowers are locked, and the borrowers who
are about to be written to there are changed after it is committed (``change_borrowers_at``): a hand-over that was
decided before, and had not read it, has then either begun, and is waited for, or finds its borrower changed.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from datetime import datetime
from functools import partial
from typing import Any

from sqlalchemy import Connection, and_, select, update

from gateway.borrowers.changes import ChangeRecord, change_borrower, wait_for_in_flight
from gateway.core.clock import Clock
from gateway.core.routes import RouteRules
from gateway.core.security.digests import DigestVersions, digests_of
from gateway.core.states import PENDING_STATES
from gateway.storage.accept import insert_new
from gateway.storage.database import Database
from gateway.storage.facts import AddressKey, Key
from gateway.storage.tables.borrowers import addresses
from gateway.storage.tables.path import deliveries


def know_address(connection: Connection, key: AddressKey, **values: Any) -> None:
    """Set columns of the address ``key`` (tenant, channel, digest), which is made where it is missing.

    A row under another version of the digest, or of another channel of the identity, is the address's too.
    """
    here = _same(connection, key)
    if not _locked(connection, here):
        tenant, channel, digest = key
        names = {"tenant": tenant, "channel": channel, "digest": digests_of(connection).current(digest)}
        made = insert_new(connection, addresses).returning(addresses.c.digest)
        if connection.execute(made, [{**names, **values}]).first() is not None:
            return
    connection.execute(update(addresses).where(here).values(**values))


def opt_out_address(connection: Connection, key: AddressKey, source: str, now: datetime) -> bool:
    """Record that the address opted out; False where that stands already, and keeps its instant and source."""
    query = select(addresses.c.opted_out_at, addresses.c.opted_in_at).where(_same(connection, key))
    known = connection.execute(query).all()
    if any(row.opted_out_at is not None and row.opted_in_at is None for row in known):
        return False
    know_address(connection, key, opted_out_at=now, opted_in_at=None, opt_out_source=source)
    return True


def opt_in_address(connection: Connection, key: AddressKey, now: datetime) -> None:
    """Lift the opt-out of the address, where there is one. Since when it stood remains, for the audit."""
    here = _same(connection, key)
    _locked(connection, here)
    standing = and_(here, addresses.c.opted_out_at.is_not(None), addresses.c.opted_in_at.is_(None))
    connection.execute(update(addresses).where(standing).values(opted_in_at=now))


async def change_borrowers_at(
    database: Database,
    rules: RouteRules,
    keys: Iterable[AddressKey],
    source: str,
    clock: Clock,
    *,
    changed: Collection[Key] = (),
    wait: bool = True,
) -> None:
    """After an opt-out of these addresses was committed: when this returns, nothing starts there any more.

    Every borrower with a message that may still start there gets a new version, with an event that says why, but for
    those who were ``changed`` with the opt-out. ``wait``: wait for what is in flight.
    """
    for key in sorted(set(keys)):
        tenant, channel, digest = key
        here, now = _deliveries_at(key, database.digests), clock()
        people = await database.read(partial(_waiting_at, here=here))
        what = ChangeRecord("address_opted_out", source, detail={"channel": channel, "address_digest": digest})
        # A transaction for each borrower: two borrowers' rows in one would be locked out of order.
        for person in [(tenant, borrower_id) for borrower_id in people if (tenant, borrower_id) not in changed]:
            change = partial(change_borrower, rules=rules, key=person, what=what, change=_new_version, now=now)
            await database.write(change)
        if wait:
            await wait_for_in_flight(database, here, clock)


def _waiting_at(connection: Connection, here: Any) -> list[str]:
    """The borrowers who have a message there that may start."""
    pending = deliveries.c.state.in_(sorted(PENDING_STATES))
    return sorted(connection.execute(select(deliveries.c.borrower_id).where(here, pending).distinct()).scalars())


def _new_version(_row: Any) -> Mapping[str, Any]:
    return {}


def _same(connection: Connection, key: AddressKey) -> Any:
    """The rows of an address, by every version of its digest."""
    tenant, _, digest = key
    return and_(addresses.c.tenant == tenant, addresses.c.digest.in_(digests_of(connection).versions(digest)))


def _locked(connection: Connection, here: Any) -> bool:
    """Lock an address's rows in one order, so that no two changes of it deadlock; whether there are any."""
    order = (addresses.c.digest, addresses.c.channel)
    return bool(connection.execute(select(addresses.c.digest).where(here).order_by(*order).with_for_update()).all())


def _deliveries_at(key: AddressKey, digests: DigestVersions) -> Any:
    tenant, _, digest = key
    return and_(deliveries.c.tenant == tenant, deliveries.c.address_digest.in_(digests.versions(digest)))
