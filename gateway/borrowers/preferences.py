"""What borrowers choose on the pages behind a message's link: hours, language, and the channels that they want none of.

Hours and language are columns of the borrower's row; a channel that is switched off is an opt-out of that channel.
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime
from functools import partial
from typing import Any

from sqlalchemy import Connection, select

from gateway.borrowers.changes import ChangeRecord, change_borrower, of_borrower, wait_for_in_flight
from gateway.borrowers.link_changes import too_many_changes
from gateway.borrowers.store import BorrowerStore
from gateway.core.clock import Clock
from gateway.core.codec import OWN_PAGE, StoredOptOut, chosen_from, encode, opt_outs_from
from gateway.core.facts import ChosenPreferences
from gateway.stages.route_rules import Digest, route_rules
from gateway.storage.database import Database
from gateway.storage.tables.borrowers import borrowers

_NOTHING = ChosenPreferences()


class PreferenceStore:
    """Reads and records borrowers' choices."""

    def __init__(self, database: Database, people: BorrowerStore, digest: Digest, clock: Clock) -> None:
        self._database = database
        self._people = people
        self._rules = route_rules(digest)
        self._clock = clock

    async def read(self, tenant: str, borrower_id: str) -> tuple[ChosenPreferences, list[StoredOptOut]]:
        """The hours and language that are in force, and the opt-outs that stand. Raises Unavailable."""
        row = await self._database.read(partial(_row, tenant=tenant, borrower_id=borrower_id))
        return (_NOTHING, []) if row is None else (chosen_from(row.chosen), opt_outs_from(row.opt_outs))

    async def choose(self, tenant: str, borrower_id: str, chosen: ChosenPreferences) -> bool:
        """Record hours and language; False where they are in force already.

        When this returns, nothing that was decided by the former ones starts any more. Raises Unavailable.
        """
        what = ChangeRecord("preferences_chosen", OWN_PAGE, detail={"chosen": encode(chosen)})

        def change(row: Any) -> dict[str, Any] | None:
            return None if chosen_from(row.chosen) == chosen else {"chosen": encode(chosen)}

        def write(connection: Connection, now: datetime) -> bool:
            return change_borrower(connection, self._rules, (tenant, borrower_id), what, change, now)

        changed = await self._database.write(partial(write, now=self._clock()))
        if changed:
            await wait_for_in_flight(self._database, of_borrower(tenant, borrower_id), self._clock)
        return changed

    async def may_change(self, tenant: str, borrower_id: str) -> bool:
        """False after so many changes within an hour that more can only decline. Raises Unavailable."""
        now = self._clock()
        return not await self._database.read(partial(too_many_changes, tenant=tenant, borrower_id=borrower_id, now=now))

    async def switch(self, tenant: str, borrower_id: str, changeable: Collection[str], wanted: Collection[str]) -> None:
        """Of the ``changeable`` channels, switch those that are ``wanted`` on and the others off.

        On: the opt-outs that were recorded here are lifted; those of others stay. Raises Unavailable.
        """
        _, standing = await self.read(tenant, borrower_id)
        own = [each for each in standing if switched_off_here(each)]
        off = {each.opt_out.channel for each in own}
        for each in own:
            if each.opt_out.channel in wanted and each.opt_out.channel in changeable:
                await self._people.lift_opt_out(tenant, borrower_id, each.id, OWN_PAGE)
        for channel in sorted(set(changeable) - set(wanted) - off):
            await self._people.add_opt_out(tenant, borrower_id, channel, None, OWN_PAGE, OWN_PAGE)


def switched_off_here(opt_out: StoredOptOut) -> bool:
    """Whether this is a channel that the borrower switched off on their page, and may switch on there."""
    return opt_out.source == OWN_PAGE and opt_out.opt_out.channel is not None and opt_out.opt_out.address is None


def _row(connection: Connection, tenant: str, borrower_id: str) -> Any:
    mine = select(borrowers).where(borrowers.c.tenant == tenant, borrowers.c.id == borrower_id)
    return connection.execute(mine).first()
