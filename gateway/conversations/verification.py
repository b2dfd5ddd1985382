"""One-time links and codes: a borrower shows that they read what goes to an address on file.

A link is random, kept as a digest alone, works once and for half an hour. Opening it (a GET, which mail scanners and
previews make, too) shows the same page for every token and uses nothing up; confirming it does. Where the conversation
goes on in messages, a code of six digits comes with the link, for whoever can't or won't open links: it is answered
with, from the same address, and counts for its conversation alone. Either uses up both. A wrong, old or used one is
answered alike, so that nobody learns from a guess what exists; a wrong code is a person's, so there is one try.
"""

from __future__ import annotations

import hashlib
import re
import secrets
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, Connection, and_, delete, func, insert, select, update

from gateway.conversations.conversation import Conversation
from gateway.conversations.decide import IDENTITY
from gateway.conversations.store import Act, ConversationStore
from gateway.core.clock import Clock
from gateway.core.conversations import ConversationState, Handler, VerificationResult
from gateway.core.reasons import Intent
from gateway.storage.database import Database
from gateway.storage.tables.conversations import conversations, verifications

LINK_LASTS = timedelta(minutes=30)  # our choice: long enough to find the message, short enough for a lost phone
PERSON_WITHIN = timedelta(days=1)  # where it comes to nothing; the ordinary clock of replies/intents.toml
VERIFIED_LASTS = timedelta(days=1)  # our choice: the conversation of that day
_MOST_LINKS, _PER = 3, timedelta(days=1)  # for one conversation; our choice
_TOKEN_BYTES = 24  # 192 bits: not guessed, so that no count of wrong tries is needed
_LONGEST = 64

# What goes on in the conversation once the borrower is known; the rest stands on the link's page.
GOES_ON = frozenset({Intent.PAID, Intent.PROMISE, Intent.PLAN, Intent.NEW_ADDRESS})

BORROWER = "borrower"  # the actor of what a borrower does by a link


_CODE = re.compile(r"\d{6}")
_CODE_DIGITS = 6  # one try in a million: 19.9 bits, where NIST SP 800-63B, 5.1.3.2, asks for 20 with many tries


@dataclass(frozen=True, slots=True)
class IssuedVerification:
    """A new link; ``code`` is "" where none was wanted."""

    link: str
    code: str = ""


def code_in(text: str) -> str:
    """The code that is the whole of a reply, however its digits are written; "" for other replies."""
    digits = "".join(unicodedata.normalize("NFKC", text).split()).strip(".。").replace("-", "")
    return digits if digits.isascii() and _CODE.fullmatch(digits) else ""


class OneTimeLinks:
    """Makes links and codes, and takes them. ``digest`` is that of a conversation's code. Raises Unavailable."""

    def __init__(
        self,
        database: Database,
        store: ConversationStore,
        public_url: str,
        digest: Callable[[str, str], str],
        observe: Callable[[VerificationResult], None],
        clock: Clock,
    ) -> None:
        self._database = database
        self._store = store
        self._public_url = public_url
        self._code_digest = digest
        self._observe = observe
        self._clock = clock

    async def issue(self, conversation: Conversation, *, code: bool = False) -> IssuedVerification | None:
        """A new link, with a code where it is wanted; None where the conversation has had as many as a day allows."""
        now, token = self._clock(), secrets.token_urlsafe(_TOKEN_BYTES)
        number = f"{secrets.randbelow(10**_CODE_DIGITS):0{_CODE_DIGITS}}" if code else ""
        mine = verifications.c.conversation_id == conversation.id
        lately = select(func.count()).where(mine, verifications.c.created_at > now - _PER)

        def write(connection: Connection) -> bool:
            # Locked: two processes that count at once would both find room for one more.
            connection.execute(
                select(conversations.c.id).where(conversations.c.id == conversation.id).with_for_update()
            )
            if connection.execute(lately).scalar_one() >= _MOST_LINKS:
                return False
            connection.execute(delete(verifications).where(mine, verifications.c.created_at <= now - _PER))
            row = {"digest": _digest(token), "tenant": conversation.tenant, "conversation_id": conversation.id}
            row |= {"code_digest": self._code_digest(conversation.id, number) if code else ""}
            row |= {"reply_id": conversation.reply_id}
            times = {"created_at": now, "expires_at": now + LINK_LASTS}
            connection.execute(insert(verifications), [{**row, **times}])
            return True

        if not await self._database.write(write):
            self._observe(VerificationResult.LIMITED)
            return None
        self._observe(VerificationResult.ISSUED)
        return IssuedVerification(f"{self._public_url}/v/{token}", number)

    async def take(self, token: str) -> Conversation | None:
        """Use a link up: the borrower is verified, and the reply that led to it is answered anew.

        None for one that is not known, old or used.
        """
        known = verifications.c.digest == _digest(token) if len(token) <= _LONGEST else None
        found = await self._use(known) if known is not None else None
        self._observe(VerificationResult.REFUSED if found is None else VerificationResult.BY_LINK)
        return None if found is None else await self._store.act(found[0], found[1], BORROWER, _verified)

    async def take_code(self, conversation: Conversation, code: str) -> Conversation | None:
        """Use a code up: the borrower is verified; the conversation as it was at the reply that led to it.

        None for one that is not known, old or used, and where no code is awaited.
        """
        mine = and_(verifications.c.conversation_id == conversation.id, verifications.c.tenant == conversation.tenant)
        awaited = select(verifications.c.digest).where(mine, _valid(self._clock()), verifications.c.code_digest != "")
        if await self._database.read(lambda each: each.execute(awaited).first()) is None:
            return None
        found = await self._use(and_(mine, verifications.c.code_digest == self._code_digest(conversation.id, code)))
        self._observe(VerificationResult.REFUSED if found is None else VerificationResult.BY_CODE)
        if found is None:
            return None
        after = await self._store.act(found[0], found[1], BORROWER, _verified)
        return replace(after, reply_id=found[2])

    async def _use(self, which: ColumnElement[bool]) -> tuple[str, str, str] | None:
        """Use one up: its tenant, conversation and reply; None where there is none that is valid."""
        now = self._clock()
        valid = and_(which, _valid(now))
        columns = verifications.c.tenant, verifications.c.conversation_id, verifications.c.reply_id
        used = update(verifications).where(valid).values(used_at=now).returning(*columns)
        exists = select(verifications.c.digest).where(valid)

        def write(connection: Connection) -> tuple[str, str, str] | None:
            row = connection.execute(used).first()
            return None if row is None else (row.tenant, row.conversation_id, row.reply_id)

        if not await self._database.read(lambda each: each.execute(exists).first()):
            return None  # a guess takes no turn of the writer
        return await self._database.write(write)


def _valid(now: datetime) -> ColumnElement[bool]:
    return and_(verifications.c.used_at.is_(None), verifications.c.expires_at > now)


def _verified(conversation: Conversation, now: datetime) -> Act:
    values: dict[str, object] = {"verified_until": now + VERIFIED_LASTS}
    if conversation.asked == IDENTITY:
        values |= {"asked": "", "due_at": None}
    answered = conversation.handler is Handler.ASSISTANT and conversation.state is ConversationState.ANSWERED
    if answered and conversation.intent in GOES_ON:
        values["due_at"] = now
    return Act("conversation_verified", values)


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()
