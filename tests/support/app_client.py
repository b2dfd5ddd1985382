"""A client of a whole gateway that can look into its ledger."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import func, select

from gateway.app.app import Gateway
from gateway.storage.tables.borrowers import inbox
from gateway.storage.tables.path import attempts, deliveries, events, notifications
from tests.support.api_gateway import Client


@dataclass(frozen=True)
class AppClient(Client):
    """A client whose key may send, read and manage, with the gateway behind it."""

    gateway: Gateway

    async def stored(self) -> int:
        """Rows of everything that a request can leave behind."""
        tables = (notifications, deliveries, attempts, events, inbox)
        queries = [select(func.count()).select_from(table) for table in tables]
        return await self.gateway.ledger.database.read(
            lambda connection: sum(int(connection.execute(query).scalar_one()) for query in queries)
        )
