"""One-time links: a borrower shows that they read what goes to an address on file.

A link is random, kept as a digest alone, works once and for half an hour. Opening it (a GET, which mail scanners and
previews make, too) shows the same page for every token and uses nothing up; confirming it does. A wrong, old or used
one is answered alike, so that nobody learns from a guess what exists.
"""

from __future__ import annotations

import hashlib
import secrets
from datetime import datetime, timedelta

from sqlalchemy import Connection, and_, delete, func, insert, select, update

from gateway.conversations.conversation import Conversation
from gateway.conversations.store import Act, ConversationStore
from gateway.core.clock import Clock
from gateway.core.conversations import ConversationState, Handler
from gateway.core.reasons import Intent
from gateway.storage.conversation_tables import verifications
from gateway.storage.database import Database

LINK_LASTS = timedelta(minutes=30)  # our choice: long enough to find the message, short enough for a lost phone
VERIFIED_LASTS = timedelta(days=1)  # our choice: the conversation of that day
_MOST_LINKS, _PER = 3, timedelta(days=1)  # for one conversation; our choice
_TOKEN_BYTES = 24  # 192 bits: not guessed, so that no count of wrong tries is needed
_LONGEST = 64

# What goes on in the conversation once the borrower is known; the rest stands on the link's page.
GOES_ON = frozenset({Intent.PAID, Intent.PROMISE, Intent.NEW_ADDRESS})

BORROWER = "borrower"  # the actor of what a borrower does by a link


class OneTimeLinks:
    """Makes links and takes them. Raises Unavailable."""

    def __init__(self, database: Database, store: ConversationStore, public_url: str, clock: Clock) -> None:
        self._database = database
        self._store = store
        self._public_url = public_url
        self._clock = clock

    async def issue(self, conversation: Conversation) -> str | None:
        """A new link; None where the conversation has had as many as a day allows."""
        now, token = self._clock(), secrets.token_urlsafe(_TOKEN_BYTES)
        mine = verifications.c.conversation_id == conversation.id
        lately = select(func.count()).where(mine, verifications.c.created_at > now - _PER)

        def write(connection: Connection) -> bool:
            if connection.execute(lately).scalar_one() >= _MOST_LINKS:
                return False
            connection.execute(delete(verifications).where(mine, verifications.c.created_at <= now - _PER))
            row = {"digest": _digest(token), "tenant": conversation.tenant, "conversation_id": conversation.id}
            times = {"created_at": now, "expires_at": now + LINK_LASTS}
            connection.execute(insert(verifications), [{**row, **times}])
            return True

        return f"{self._public_url}/v/{token}" if await self._database.write(write) else None

    async def take(self, token: str) -> Conversation | None:
        """Use a link up: the borrower is verified, and the reply that led to it is answered anew.

        None for one that is not known, old or used.
        """
        now = self._clock()
        valid = and_(
            verifications.c.digest == _digest(token),
            verifications.c.used_at.is_(None),
            verifications.c.expires_at > now,
        )
        used = update(verifications).where(valid).values(used_at=now)
        columns = verifications.c.tenant, verifications.c.conversation_id
        exists = select(verifications.c.digest).where(valid)

        def write(connection: Connection) -> tuple[str, str] | None:
            row = connection.execute(used.returning(*columns)).first()
            return None if row is None else (row.tenant, row.conversation_id)

        if len(token) > _LONGEST or not await self._database.read(lambda each: each.execute(exists).first()):
            return None  # a guess takes no turn of the writer
        found = await self._database.write(write)
        return None if found is None else await self._store.act(*found, BORROWER, _verified)


def _verified(conversation: Conversation, now: datetime) -> Act:
    values: dict[str, object] = {"verified_until": now + VERIFIED_LASTS}
    answered = conversation.handler is Handler.ASSISTANT and conversation.state is ConversationState.ANSWERED
    if answered and conversation.intent in GOES_ON:
        values["due_at"] = now
    return Act("conversation_verified", values)


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()
