"""The unsubscribe link of a delivery: what who has it may do at the address that the message went to, and no more."""

from __future__ import annotations

from datetime import timedelta
from functools import partial

from sqlalchemy import select, tuple_

from gateway.borrowers.link_changes import too_many_changes
from gateway.borrowers.store import BorrowerStore
from gateway.core.clock import Clock
from gateway.core.codec import ONE_CLICK, opt_outs_from
from gateway.core.facts import OptOut
from gateway.storage.database import Database
from gateway.storage.tables.borrowers import addresses, borrowers
from gateway.storage.tables.path import deliveries

_UNDO = timedelta(days=1)  # our choice: who pressed by mistake notices at once; a lender's case system by the next day


class OneClick:
    """Opting out by a link, and taking that back. Links are identified by delivery."""

    def __init__(self, database: Database, people: BorrowerStore, clock: Clock) -> None:
        self._database = database
        self._people = people
        self._clock = clock

    async def opt_out(self, delivery_id: str) -> None:
        """Record the opt-out; in force when this returns. Repeating it is fine. Raises Unavailable."""
        await self._people.opt_out_delivery(delivery_id, ONE_CLICK, wait=True)

    async def undo(self, delivery_id: str) -> bool:
        """Lift the opt-out that this link recorded at most ``_UNDO`` ago; False where there is none, or too often.

        Not an opt-out by other words or another link, of which who has this link may know nothing. Raises Unavailable.
        """
        mine = select(deliveries.c.tenant, deliveries.c.borrower_id).where(deliveries.c.id == delivery_id)
        query = select(borrowers.c.tenant, borrowers.c.id, borrowers.c.opt_outs).where(
            tuple_(borrowers.c.tenant, borrowers.c.id).in_(mine)
        )
        row = await self._database.read(lambda connection: connection.execute(query).first())
        if row is None:
            return False
        now = self._clock()
        if await self._database.read(partial(too_many_changes, tenant=row.tenant, borrower_id=row.id, now=now)):
            return False
        for each in opt_outs_from(row.opt_outs):
            recorded_here = (each.source, each.evidence) == (ONE_CLICK, delivery_id) and now - each.opt_out.at <= _UNDO
            if recorded_here and await self._address_opted_out_by(row.tenant, each.opt_out):
                return await self._people.lift_opt_out(row.tenant, row.id, each.id, ONE_CLICK)
        return False

    async def _address_opted_out_by(self, tenant: str, opt_out: OptOut) -> bool:
        """Whether the address's opt-out is that one, and not an earlier one, which stays."""
        query = select(addresses.c.opted_out_at).where(
            addresses.c.tenant == tenant, addresses.c.channel == opt_out.channel, addresses.c.digest == opt_out.address
        )
        row = await self._database.read(lambda connection: connection.execute(query).first())
        return row is None or row.opted_out_at is None or row.opted_out_at >= opt_out.at
