"""A reply's conversation: one for each borrower and case, opened or taken up again in the reply's own transaction."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import Connection, and_, select, update

from gateway.core.conversations import ConversationState, Handler, Turn, after_reply
from gateway.core.understanding import Understanding, Urgency
from gateway.storage.accept import insert_new
from gateway.storage.tables.conversations import conversations

Key = tuple[str, str, str]  # tenant, borrower, case


def conversation_of(connection: Connection, key: Key) -> str:
    """The id of the conversation that a reply belongs to; "" where there is none yet."""
    tenant, borrower_id, case_id = key
    mine = and_(conversations.c.tenant == tenant, conversations.c.borrower_id == borrower_id)
    query = select(conversations.c.id).where(mine, conversations.c.case_id == case_id)
    return str(connection.execute(query).scalar() or "")


def open_conversation(
    connection: Connection, key: Key, reply: dict[str, Any], said: Understanding, now: datetime
) -> bool:
    """Make the conversation with its first reply, whose ``conversation_id`` it has; False: another reply just did."""
    tenant, borrower_id, case_id = key
    new = {
        "id": reply["conversation_id"],
        "tenant": tenant,
        "borrower_id": borrower_id,
        "case_id": case_id,
        **values_of(after_reply(Turn(), said, now)),
        "channel": reply["channel"],
        "reply_id": reply["id"],
        "replied_at": now,
        "intent": reply["intent"],
        "opened_at": now,
        "revision": 1,
    }
    made = insert_new(connection, conversations).returning(conversations.c.id)
    return connection.execute(made, [new]).first() is not None


def take_up(connection: Connection, identifier: str, reply: dict[str, Any], said: Understanding, now: datetime) -> None:
    """Have a conversation wait for what its newest reply needs. The borrower's row is locked, as for every change."""
    this = conversations.c.id == identifier
    row = connection.execute(select(conversations).where(this).with_for_update()).one()
    before = turn_of(row)
    after = after_reply(before, said, now)
    again = before.state is ConversationState.CLOSED and after.state is not ConversationState.CLOSED
    values = {
        **values_of(after),
        "channel": reply["channel"],
        "reply_id": reply["id"],
        "replied_at": now,
        "intent": reply["intent"],
        "revision": row.revision + 1,
        **({"closed_at": None, "outcome": ""} if again else {}),
    }
    connection.execute(update(conversations).where(this).values(values))


def turn_of(row: Any) -> Turn:
    """The part of a row that a reply changes."""
    return Turn(
        ConversationState(row.state),
        Handler(row.handler),
        Urgency(row.urgency),
        row.review_by,
        row.due_at,
        row.answers,
        row.asked,
    )


def values_of(turn: Turn) -> dict[str, Any]:
    """The columns of a turn."""
    return {
        "state": turn.state,
        "handler": turn.handler,
        "urgency": int(turn.urgency),
        "review_by": turn.review_by,
        "due_at": turn.due_at,
        "answers": turn.answers,
        "asked": turn.asked,
    }
