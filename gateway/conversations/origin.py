"""The message that a conversation's latest reply answered: its borrower, its case, and the address written from."""

from __future__ import annotations

from sqlalchemy import Connection, and_, select

from gateway.conversations.conversation import Conversation
from gateway.core.codec import notification_from
from gateway.core.notifications import Notification
from gateway.storage.database import Database
from gateway.storage.rows import WHOLE_NOTIFICATION
from gateway.storage.tables.borrowers import replies
from gateway.storage.tables.path import deliveries, notifications

_RECENT = 20  # messages of a case that are looked at for its currency; our choice


class Origins:
    """Reads them. Raises Unavailable."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def of(self, conversation: Conversation) -> Notification | None:
        """None where retention has removed the message, or erased its addresses."""

        def read(connection: Connection) -> Notification | None:
            row = connection.execute(
                select(*WHOLE_NOTIFICATION)
                .join(deliveries, deliveries.c.notification_id == notifications.c.id)
                .join(replies, replies.c.delivery_id == deliveries.c.id)
                .where(replies.c.id == conversation.reply_id, replies.c.tenant == conversation.tenant)
            ).first()
            return None if row is None else notification_from(row)

        found = await self._database.read(read)
        return found if found is not None and found.borrower.addresses.get(conversation.channel) else None

    async def currency(self, conversation: Conversation) -> str:
        """The currency of the case, by its latest messages that have one; "" where none has. Answers have none."""
        mine = and_(
            notifications.c.tenant == conversation.tenant,
            notifications.c.borrower_id == conversation.borrower_id,
            notifications.c.case_id == conversation.case_id,
        )
        query = select(*WHOLE_NOTIFICATION).where(mine).order_by(notifications.c.id.desc()).limit(_RECENT)
        rows = await self._database.read(lambda connection: connection.execute(query).all())
        found = (notification_from(row).variables.get("currency") for row in rows)
        return next((str(each) for each in found if each), "")

    async def text(self, conversation: Conversation, reply_id: str) -> str:
        """The words of one of its replies; "" where they were erased."""
        query = select(replies.c.text).where(replies.c.id == reply_id, replies.c.tenant == conversation.tenant)
        return str(await self._database.read(lambda connection: connection.execute(query).scalar()) or "")
