"""Conversations in the ledger: each act is one transaction under the borrower's lock, with an event in their chain.

An act reads the row under its lock, is checked against it, and writes what follows: of two people who act at once, the
second one finds what the first one has written. The borrower's version does not move: their permissions are the same.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, and_, func, select, tuple_, update

from gateway.conversations.conversation import Conversation, NoSuchConversation, conversation_of
from gateway.core.clock import Clock
from gateway.core.conversations import ConversationState
from gateway.core.reasons import Intent
from gateway.storage.accept import insert_new
from gateway.storage.database import Database
from gateway.storage.events import Chain, Event, borrower_subject
from gateway.storage.tables.borrowers import borrowers, replies
from gateway.storage.tables.conversations import conversations


@dataclass(frozen=True, slots=True)
class Act:
    """What an act writes: columns of the conversation, and its event. ``reads``: its replies count as read by a person.

    A possible stop is never resolved by that: it stays for a reviewer, who decides whether it was one.
    """

    kind: str
    values: Mapping[str, Any]
    reason: str = ""
    detail: Mapping[str, Any] = field(default_factory=dict)
    reads: bool = False


Decide = Callable[[Conversation, datetime], Act | None]

_since = func.coalesce(conversations.c.review_by, conversations.c.replied_at)
Position = tuple[int, datetime, str]  # urgency, since when, id: where a page of the queue ends


def position(conversation: Conversation) -> Position:
    """The place of a conversation in the queue."""
    return (-int(conversation.urgency), conversation.review_by or conversation.replied_at, conversation.id)


class ConversationStore:
    """Reads and changes the conversations of one tenant at a time. Raises Unavailable."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    async def queue(
        self, tenant: str, state: ConversationState, limit: int, after: Position | None = None, borrower_id: str = ""
    ) -> list[Conversation]:
        """The most urgent first, then those whose clock ends first; with ``borrower_id`` that borrower's."""
        query = select(conversations).where(conversations.c.tenant == tenant, conversations.c.state == state)
        if borrower_id:
            query = query.where(conversations.c.borrower_id == borrower_id)
        order = (-conversations.c.urgency, _since, conversations.c.id)
        if after is not None:
            query = query.where(tuple_(*order) > after)
        rows = await self._database.read(lambda connection: connection.execute(query.order_by(*order).limit(limit)))
        return [conversation_of(row) for row in rows]

    async def find(self, tenant: str, identifier: str) -> Conversation:
        """Raises NoSuchConversation."""
        query = _one(tenant, identifier)
        row = await self._database.read(lambda connection: connection.execute(query).first())
        if row is None:
            raise NoSuchConversation
        return conversation_of(row)

    async def due(self, tenants: Sequence[str], now: datetime, limit: int) -> list[Conversation]:
        """Those that the assistant may answer now, of tenants that have it, the longest waiting first."""
        waits = and_(conversations.c.due_at.is_not(None), conversations.c.due_at <= now)
        query = select(conversations).where(waits, conversations.c.tenant.in_(tenants))
        query = query.order_by(conversations.c.due_at, conversations.c.id).limit(limit)
        rows = await self._database.read(lambda connection: connection.execute(query).all())
        return [conversation_of(row) for row in rows]

    async def act(self, tenant: str, identifier: str, actor: str, decide: Decide) -> Conversation:
        """Do what ``decide`` says of the conversation as it stands; None: nothing. Raises NoSuchConversation.

        What ``decide`` raises is raised, and nothing is written.
        """
        now = self._clock()

        def write(connection: Connection) -> Conversation:
            found = connection.execute(_one(tenant, identifier)).first()
            if found is None:
                raise NoSuchConversation
            head = _lock_borrower(connection, tenant, found.borrower_id)
            row = connection.execute(_one(tenant, identifier).with_for_update()).one()
            act = decide(conversation_of(row), now)
            if act is None:
                return conversation_of(row)
            values = {**act.values, "revision": row.revision + 1}
            this = conversations.c.id == identifier
            changed = connection.execute(update(conversations).where(this).values(values).returning(conversations))
            after = conversation_of(changed.one())
            _record(connection, after, act, actor, now, head)
            if act.reads:
                _read(connection, after, now)
            return after

        return await self._database.write(write)


def _one(tenant: str, identifier: str) -> Any:
    return select(conversations).where(conversations.c.id == identifier, conversations.c.tenant == tenant)


def _lock_borrower(connection: Connection, tenant: str, borrower_id: str) -> str:
    """Lock the borrower's row before the conversation's, as recording a reply does; the head of their chain."""
    connection.execute(insert_new(connection, borrowers), [{"tenant": tenant, "id": borrower_id}])
    mine = and_(borrowers.c.tenant == tenant, borrowers.c.id == borrower_id)
    return str(connection.execute(select(borrowers.c.event_hash).where(mine).with_for_update()).scalar_one())


def _record(connection: Connection, conversation: Conversation, act: Act, actor: str, now: datetime, head: str) -> None:
    tenant, borrower_id = conversation.tenant, conversation.borrower_id
    detail = {"conversation_id": conversation.id, "case_id": conversation.case_id, **act.detail}
    chain, subject = Chain(), borrower_subject(tenant, borrower_id)
    event = Event(tenant, subject, borrower_id, now, act.kind, actor, reason=act.reason, detail=detail)
    head = chain.append(head, event)
    mine = and_(borrowers.c.tenant == tenant, borrowers.c.id == borrower_id)
    connection.execute(update(borrowers).where(mine).values(event_hash=head))
    chain.write(connection)


def _read(connection: Connection, conversation: Conversation, now: datetime) -> None:
    mine = and_(
        replies.c.tenant == conversation.tenant,
        replies.c.borrower_id == conversation.borrower_id,
        replies.c.conversation_id == conversation.id,
    )
    unread = and_(replies.c.resolved_at.is_(None), ~replies.c.intents.contains(Intent.MAYBE_STOP))
    connection.execute(update(replies).where(mine, unread).values(resolved_at=now))
