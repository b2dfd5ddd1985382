"""Facts about an address, independent of the borrower: one row for each, by its digest."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, and_, update

from gateway.storage.accept import insert_new
from gateway.storage.schema import addresses


def know_address(connection: Connection, key: tuple[str, str, str], **values: Any) -> None:
    """Set columns of the address ``key`` (tenant, channel, digest), which is made where it is missing."""
    names = dict(zip(("tenant", "channel", "digest"), key, strict=True))
    connection.execute(insert_new(connection, addresses), [names])
    same = and_(*(addresses.c[name] == value for name, value in names.items()))
    connection.execute(update(addresses).where(same).values(**values))
