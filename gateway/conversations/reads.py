"""What was said in a conversation, in order: the borrower's replies, the answers, and what was done about it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec
from sqlalchemy import Connection, and_, select

from gateway.conversations.conversation import Conversation
from gateway.core.codec import instant, notification_from
from gateway.storage.database import Database
from gateway.storage.events import borrower_subject
from gateway.storage.rows import WHOLE_NOTIFICATION
from gateway.storage.tables.borrowers import replies
from gateway.storage.tables.path import deliveries, events, notifications

_MOST = 200  # replies or events of a conversation that are shown, the latest; our choice
PREFIX = "conversation_"  # of the kinds of a conversation's events


class ConversationReads:
    """Reads conversations with their words. Raises Unavailable."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def entries(self, conversation: Conversation) -> list[dict[str, Any]]:
        """Everything in the order in which it happened. Words that were erased are ""."""
        return await self._database.read(lambda connection: _entries(connection, conversation))

    async def locale(self, conversation: Conversation) -> str:
        """The borrower's language, by the message that was replied to; "" where that is gone."""
        query = (
            select(*WHOLE_NOTIFICATION)
            .join(deliveries, deliveries.c.notification_id == notifications.c.id)
            .join(replies, replies.c.delivery_id == deliveries.c.id)
            .where(replies.c.id == conversation.reply_id, replies.c.tenant == conversation.tenant)
        )
        row = await self._database.read(lambda connection: connection.execute(query).first())
        return "" if row is None else notification_from(row).borrower.locale


def _entries(connection: Connection, conversation: Conversation) -> list[dict[str, Any]]:
    found = [*_replies(connection, conversation), *_acts(connection, conversation)]
    return [entry for _, entry in sorted(found, key=lambda each: each[0])]


def _replies(connection: Connection, conversation: Conversation) -> list[tuple[Any, dict[str, Any]]]:
    mine = and_(
        replies.c.tenant == conversation.tenant,
        replies.c.borrower_id == conversation.borrower_id,
        replies.c.conversation_id == conversation.id,
    )
    rows = connection.execute(select(replies).where(mine).order_by(replies.c.id.desc()).limit(_MOST)).all()
    addresses = _addresses(connection, {row.delivery_id for row in rows})
    return [
        (
            (row.received_at, 0, row.id),
            {
                "kind": "reply",
                "id": row.id,
                "at": instant(row.received_at),
                "by": "borrower",
                "channel": row.channel,
                "address": addresses.get((row.delivery_id, row.channel), ""),
                "text": row.text,
                "intents": row.intents.split(",") if row.intents else [row.intent],
                "reason": "",
                "template": "",
                "notification_id": "",
                "state": "",
            },
        )
        for row in rows
    ]


def _addresses(connection: Connection, ids: Iterable[str]) -> dict[tuple[str, str], str]:
    """By message and channel: the address of the message that a reply answered; gone with the message's contents."""
    query = (
        select(deliveries.c.id.label("delivery_id"), deliveries.c.channel, *WHOLE_NOTIFICATION)
        .join(notifications, notifications.c.id == deliveries.c.notification_id)
        .where(deliveries.c.id.in_(sorted(ids)))
    )
    return {
        (row.delivery_id, row.channel): notification_from(row).address(row.channel) or ""
        for row in connection.execute(query)
    }


def _acts(connection: Connection, conversation: Conversation) -> list[tuple[Any, dict[str, Any]]]:
    subject = borrower_subject(conversation.tenant, conversation.borrower_id)
    query = select(events).where(events.c.subject == subject, events.c.kind.startswith(PREFIX, autoescape=True))
    rows = connection.execute(query.order_by(events.c.seq.desc()).limit(_MOST)).all()
    known = [(row, msgspec.json.decode(row.detail)) for row in rows]
    mine = [(row, detail) for row, detail in known if detail.get("conversation_id") == conversation.id]
    answers = _notifications(connection, [detail.get("notification_id", "") for _, detail in mine])
    return [((row.at, 1, row.seq), _act(row, detail, answers)) for row, detail in mine]


def _act(row: Any, detail: Mapping[str, Any], answers: Mapping[str, tuple[Any, str]]) -> dict[str, Any]:
    identifier = detail.get("notification_id", "")
    notification, state = answers.get(identifier, (None, ""))
    # A person's own words are the one variable of their template.
    text = str(notification.variables.get("text", "")) if notification is not None else ""
    return {
        "kind": row.kind.removeprefix(PREFIX),
        "id": str(row.seq),
        "at": instant(row.at),
        "by": row.actor,
        "channel": detail.get("channel", ""),
        "address": "",
        "text": text,
        "intents": [],
        "reason": row.reason,
        "template": detail.get("template", ""),
        "notification_id": identifier,
        "state": state,
    }


def _notifications(connection: Connection, ids: Sequence[str]) -> dict[str, tuple[Any, str]]:
    query = select(*WHOLE_NOTIFICATION).where(notifications.c.id.in_(sorted({each for each in ids if each})))
    return {row.id: (notification_from(row), row.state) for row in connection.execute(query)}
