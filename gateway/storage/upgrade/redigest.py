"""Brings the ledger's digests of addresses to the version that is written, in batches, while the gateway runs.

Every version of a digest follows from every other one (core/security/digests.py), and all processes find rows by each
version, so rows may be changed in any order, and the work may be interrupted and begun again at any time. Events keep
the digests that they were written with: they are chained, and nothing looks an address up by them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from sqlalchemy import Connection, Row, and_, bindparam, delete, func, select, text, tuple_, update

from gateway.core.codec import encode, opt_outs_from
from gateway.core.errors import Unavailable
from gateway.core.security.digests import DigestVersions, digests_of
from gateway.storage.database import Database
from gateway.storage.tables.borrowers import addresses, borrowers
from gateway.storage.tables.path import deliveries
from gateway.storage.tables.webhooks import webhook_endpoints

_BATCH = 500  # rows of one transaction; our choice: some ten milliseconds
# A row that the gateway holds longer is left for the next round. Our choice: well below the second after which
# PostgreSQL looks for a deadlock (deadlock_timeout), so that this work gives way and never a message's.
_LOCK_MS = 200
_RETRIES = 50  # ten seconds: longer than any transaction of ours may take (gateway/storage/database.py)

_Place = tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class DigestsByVersion:
    """How many rows have a digest of another version than the one that is written."""

    addresses: int
    deliveries: int
    opt_outs: int  # borrowers who have such opt-outs
    webhooks: int  # whose secret comes from an earlier key: rotating the endpoint's secret changes that

    @property
    def total(self) -> int:
        return self.addresses + self.deliveries + self.opt_outs


@dataclass(frozen=True, slots=True)
class _DigestTable:
    """One table: which rows may have to be changed, and how a batch of them is counted or changed."""

    columns: tuple[Any, ...]
    key: tuple[Any, ...]  # of ``columns``: the order in which rows are locked
    which: Callable[[DigestVersions], Any]
    change: Callable[[Connection, Sequence[Row[Any]], DigestVersions, bool], int]  # the last: only count


class Redigest:
    """Counts and changes digests of other versions than ``database.digests.writes``. Raises Unavailable."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def remaining(self) -> DigestsByVersion:
        """What is left, counted in one pass over each table."""
        other = webhook_endpoints.c.key_version != self._database.digests.writes
        webhooks = select(func.count()).select_from(webhook_endpoints).where(other)
        by_address, by_delivery, by_opt_out = [await self._pages(part, count=True) for part in _PARTS]
        by_webhook = await self._database.read(lambda connection: int(connection.execute(webhooks).scalar_one()))
        return DigestsByVersion(by_address, by_delivery, by_opt_out, by_webhook)

    async def run(self, changed: Callable[[int], None] = lambda _: None) -> int:
        """Change what is left but for rows that are in use; how many. ``changed`` gets the number of each batch."""
        return sum([await self._pages(part, changed) for part in _PARTS])

    async def _pages(
        self, part: _DigestTable, changed: Callable[[int], None] = lambda _: None, *, count: bool = False
    ) -> int:
        total, after = 0, None
        run = self._database.read if count else self._patient
        while True:
            number, after = await run(partial(_page, part=part, after=after, count=count))
            total += number
            changed(number)
            if after is None:
                return total

    async def _patient(self, work: Callable[[Connection], tuple[int, _Place | None]]) -> tuple[int, _Place | None]:
        """Again after a lock was not given in time. Raises Unavailable when that does not end."""
        for _ in range(_RETRIES):
            try:
                return await self._database.write(work)
            except Unavailable:
                await asyncio.sleep(_LOCK_MS / 1000)
        return await self._database.write(work)


def _page(
    connection: Connection, part: _DigestTable, after: _Place | None, *, count: bool
) -> tuple[int, _Place | None]:
    """One batch from after a key, in the key's order: how many were changed or counted, and the last key; None: end."""
    digests = digests_of(connection)
    query = select(*part.columns).where(part.which(digests)).order_by(*part.key).limit(_BATCH)
    if after is not None:
        query = query.where(tuple_(*part.key) > tuple_(*after))
    if not count:
        query = query.with_for_update(skip_locked=True)
        if connection.dialect.name == "postgresql":
            connection.execute(text(f"SET LOCAL lock_timeout = {_LOCK_MS}"))
    rows = connection.execute(query).all()
    last = tuple(getattr(rows[-1], column.name) for column in part.key) if rows else None
    return part.change(connection, rows, digests, count), last


def _not_current(column: Any, digests: DigestVersions) -> Any:
    """A digest of another version; "" is none."""
    if digests.writes == 1:
        return column.contains(".")
    return and_(column != "", ~column.startswith(f"{digests.writes}."))


def _addresses(connection: Connection, rows: Sequence[Row[Any]], digests: DigestVersions, count: bool) -> int:
    """Rename each row, or merge it into the one that the address has under the new name already."""
    for row in [] if count else rows:
        new = digests.current(row.digest)
        mine = and_(addresses.c.tenant == row.tenant, addresses.c.channel == row.channel)
        twin = connection.execute(select(addresses).where(mine, addresses.c.digest == new).with_for_update()).first()
        if twin is None:
            connection.execute(update(addresses).where(mine, addresses.c.digest == row.digest).values(digest=new))
        else:
            connection.execute(update(addresses).where(mine, addresses.c.digest == new).values(**_merged(row, twin)))
            connection.execute(delete(addresses).where(mine, addresses.c.digest == row.digest))
    return len(rows)


def _merged(row: Row[Any], twin: Row[Any]) -> dict[str, Any]:
    """What both rows say. A standing opt-out or suppression of either stays: later changes were made to both."""
    suppressed = row if row.suppressed else twin
    out = max(row, twin, key=lambda each: (each.opted_out_at is not None, each.opted_in_at is None))
    return {
        "suppressed": suppressed.suppressed,
        "suppressed_at": suppressed.suppressed_at,
        "confirmed_at": max((each.confirmed_at for each in (row, twin) if each.confirmed_at), default=None),
        "opted_out_at": out.opted_out_at,
        "opted_in_at": out.opted_in_at,
        "opt_out_source": out.opt_out_source,
    }


def _deliveries(connection: Connection, rows: Sequence[Row[Any]], digests: DigestVersions, count: bool) -> int:
    if rows and not count:
        changes = [{"of": row.id, "digest": digests.current(row.address_digest)} for row in rows]
        renamed = update(deliveries).where(deliveries.c.id == bindparam("of"))
        connection.execute(renamed.values(address_digest=bindparam("digest")), changes)
    return len(rows)


def _borrowers(connection: Connection, rows: Sequence[Row[Any]], digests: DigestVersions, count: bool) -> int:
    """The borrowers' own opt-outs. Their version stays: they say the same as before."""
    found = 0
    for row in rows:
        stored = opt_outs_from(row.opt_outs)
        renamed = digests.opt_outs(stored)
        found += renamed != stored
        if renamed != stored and not count:
            mine = and_(borrowers.c.tenant == row.tenant, borrowers.c.id == row.id)
            connection.execute(update(borrowers).where(mine).values(opt_outs=encode(renamed)))
    return found


_PARTS = (
    _DigestTable(
        tuple(addresses.c),
        (addresses.c.tenant, addresses.c.channel, addresses.c.digest),
        partial(_not_current, addresses.c.digest),
        _addresses,
    ),
    _DigestTable(
        (deliveries.c.id, deliveries.c.address_digest),
        (deliveries.c.id,),
        partial(_not_current, deliveries.c.address_digest),
        _deliveries,
    ),
    _DigestTable(
        (borrowers.c.tenant, borrowers.c.id, borrowers.c.opt_outs),
        (borrowers.c.tenant, borrowers.c.id),
        lambda _: borrowers.c.opt_outs != "[]",
        _borrowers,
    ),
)
