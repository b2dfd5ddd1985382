"""Whether this process has the keys by which the ledger's digests were made.

Opt-outs, suppressions and contact counts are found by digests of addresses, API keys and sessions by digests of their
secrets. Without a key some would not be found, and a borrower who said stop would be written to.
"""

from __future__ import annotations

from collections.abc import Mapping

from sqlalchemy import Connection, delete, select

from gateway.storage.accept import insert_new
from gateway.storage.database import Database
from gateway.storage.tables.identity import digest_key


async def has_digest_keys(database: Database, written: Mapping[int, str], known: Mapping[int, str]) -> bool:
    """Whether each version of the ledger's digests is by a key of ``known``. Raises Unavailable.

    Both map a version to the check of its key, which reveals nothing of it. Those ``written``, up to the version that
    this process writes, are the ledger's from now on, where it has had none by that number.
    """

    def write(connection: Connection) -> bool:
        rows = [{"id": number, "key_check": check} for number, check in sorted(written.items())]
        connection.execute(insert_new(connection, digest_key), rows)
        found = connection.execute(select(digest_key.c.id, digest_key.c.key_check))
        return all(known.get(number) == check for number, check in found)

    return await database.write(write)


async def forget_later_keys(database: Database, version: int) -> None:
    """Let the keys of versions after ``version`` be given up: no digest is by them any more."""
    await database.write(lambda connection: connection.execute(delete(digest_key).where(digest_key.c.id > version)))
