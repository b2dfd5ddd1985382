"""Whether this process has the key by which the ledger's digests were made.

Opt-outs, suppressions and contact counts are found by digests of addresses, API keys and sessions by digests of their
secrets. Under another key none would be found, and a borrower who said stop would be written to.
"""

from __future__ import annotations

from sqlalchemy import Connection, select

from gateway.storage.accept import insert_new
from gateway.storage.database import Database
from gateway.storage.schema import digest_key

_ID = 1  # the table has one row


async def has_digest_key(database: Database, key_check: str) -> bool:
    """Whether the ledger's digests are this key's; a ledger that has not seen any takes this one. Raises Unavailable.

    ``key_check`` is ``Signer.key_check()``, which reveals nothing of the key.
    """

    def write(connection: Connection) -> bool:
        connection.execute(insert_new(connection, digest_key), [{"id": _ID, "key_check": key_check}])
        known: str = connection.execute(select(digest_key.c.key_check)).scalar_one()
        return known == key_check

    return await database.write(write)
