"""The message that a signed link came with: whose it is, in which language they read, and whether the link still opens.

The link's token names a delivery. It opens the reader's pages for a time, because mails are forwarded and mailboxes
change hands; declining messages at the address is possible at any time.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Connection, and_, func, select

from gateway.core.clock import Clock
from gateway.core.codec import StoredOptOut, chosen_from, notification_from, opt_outs_from, stated_from
from gateway.core.facts import ChosenPreferences, DeclaredPreferences
from gateway.core.languages import written_language
from gateway.core.notifications import Notification
from gateway.core.security.digests import digests_of
from gateway.storage.database import Database
from gateway.storage.rows import WHOLE_NOTIFICATION
from gateway.storage.tables.borrowers import addresses, borrowers, replies
from gateway.storage.tables.path import deliveries, notifications

LONGEST_REPLY = 1_000  # characters that a borrower may write on their page or in the app; our choice, some six SMS
_MOST_REPLIES, _PER = 10, timedelta(hours=1)  # of a borrower, by whatever way; our choice


@dataclass(frozen=True, slots=True)
class LinkedMessage:
    """``address_gone``: the address is not the borrower's, or is not used any more. ``opens_until``: see above."""

    delivery_id: str
    channel: str
    sent_at: datetime
    opens_until: datetime
    address_gone: bool
    notification: Notification
    stated: DeclaredPreferences
    chosen: ChosenPreferences
    opt_outs: tuple[StoredOptOut, ...]

    def opens(self, now: datetime) -> bool:
        """Whether the link opens more than the page for declining messages."""
        return now < self.opens_until and not self.address_gone

    @property
    def language(self) -> str:
        """The written language of the reader: the chosen one, else that of the message."""
        return self.chosen.language or written_language(self.notification.borrower.locale)


class LinkedMessages:
    """Reads the messages of links. Raises Unavailable."""

    def __init__(self, database: Database, clock: Clock, opens_for: timedelta) -> None:
        self._database = database
        self._clock = clock
        self.opens_for = opens_for

    async def find(self, delivery_id: str) -> LinkedMessage | None:
        """The message of that delivery; None for one that retention removed, and for the trial of a template."""
        return await self._database.read(lambda connection: self._find(connection, delivery_id))

    def _find(self, connection: Connection, delivery_id: str) -> LinkedMessage | None:
        step = connection.execute(select(deliveries).where(deliveries.c.id == delivery_id)).first()
        if step is None:
            return None
        whole = select(*WHOLE_NOTIFICATION).where(notifications.c.id == step.notification_id)
        person = select(borrowers).where(borrowers.c.tenant == step.tenant, borrowers.c.id == step.borrower_id)
        names = digests_of(connection).versions(step.address_digest)
        here = and_(addresses.c.tenant == step.tenant, addresses.c.digest.in_(names), addresses.c.suppressed != "")
        known = connection.execute(person).first()
        sent_at = step.contacted_at or step.created_at
        return LinkedMessage(
            delivery_id,
            step.channel,
            sent_at,
            sent_at + self.opens_for,
            connection.execute(select(addresses.c.digest).where(here).limit(1)).first() is not None,
            notification_from(connection.execute(whole).one()),
            DeclaredPreferences() if known is None else stated_from(known.stated),
            ChosenPreferences() if known is None else chosen_from(known.chosen),
            () if known is None else tuple(opt_outs_from(known.opt_outs)),
        )

    async def may_reply(self, tenant: str, borrower_id: str) -> bool:
        """Whether a borrower has written so little in the last hour that their page and app take another reply."""
        since = self._clock() - _PER
        mine = and_(replies.c.tenant == tenant, replies.c.borrower_id == borrower_id, replies.c.received_at > since)
        query = select(func.count()).select_from(replies).where(mine)
        return int(await self._database.read(lambda connection: connection.execute(query).scalar_one())) < _MOST_REPLIES
