"""One-time links and codes in the ledger, on SQLite and on PostgreSQL: two processes take and issue them at once."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from datetime import datetime, timedelta

import pytest
from sqlalchemy import func, select

from channels.base import Reply
from gateway.conversations.conversation import Conversation
from gateway.conversations.store import ConversationStore
from gateway.conversations.verification import IssuedVerification, OneTimeLinks
from gateway.core.conversations import ConversationState, VerificationResult
from gateway.core.reasons import Intent
from gateway.replies.store import ReplyStore
from gateway.storage.database import Database
from gateway.storage.tables.conversations import verifications
from gateway.storage.tables.identity import api_keys
from gateway.storage.tables.path import events
from tests.support.rules.replies import understood
from tests.support.storage.ledgers import NOW, digest, draft, later, store_on

PHONE = "+12025550123"


class VerifyingProcess:
    """One process of the gateway, with its own connections where the database is a server."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.now = NOW
        self.seen: Counter[VerificationResult] = Counter()
        self.store = ConversationStore(database, self.clock)
        self.links = OneTimeLinks(
            database,
            self.store,
            "https://gateway.example.com",
            lambda conversation, code: digest("acme", conversation, code),
            lambda result: self.seen.update([result]),
            self.clock,
        )

    def clock(self) -> datetime:
        return self.now

    async def conversation(self, case_id: str = "C-1") -> Conversation:
        found = [each for state in ConversationState for each in await self.store.queue("acme", state, 10)]
        [mine] = [each for each in found if each.case_id == case_id]
        return mine

    async def issue(self) -> tuple[Conversation, IssuedVerification]:
        conversation = await self.conversation()
        issued = await self.links.issue(conversation, code=True)
        assert issued is not None
        return conversation, issued


@pytest.fixture
async def processes(database: Database) -> AsyncIterator[list[VerifyingProcess]]:
    """Two, on a ledger with two conversations of a borrower. SQLite has one process."""
    row = {"id": "k", "tenant": "acme", "name": "", "digest": "", "scopes": "", "created_at": NOW}
    await database.write(lambda connection: connection.execute(api_keys.insert(), [row]))
    for number in (1, 2):
        at = later(number)
        await store_on(database).accept([draft(f"k{number}", case=f"C-{number}", now=at)], at)
        reply = Reply("twilio", f"SM{number}", PHONE, "words")
        replies = ReplyStore(database, digest, lambda at=at: at)
        await replies.record(reply, "sms", PHONE, lambda *_: understood(Intent.PROMISE))
    url = database.engine.url.render_as_string(hide_password=False)
    other = database if database.is_sqlite else Database(url)
    yield [VerifyingProcess(database), VerifyingProcess(other)]
    await other.close()


def _token(issued: IssuedVerification) -> str:
    return issued.link.rpartition("/")[2]


async def test_of_those_who_take_a_code_at_once_one_does(processes: list[VerifyingProcess]) -> None:
    """Four times the code and four times its link, in two processes: one verifies, once in the record."""
    first, second = processes
    conversation, issued = await first.issue()
    tries = [each.links.take_code(conversation, issued.code) for each in processes * 2]
    tries += [each.links.take(_token(issued)) for each in processes * 2]
    taken = [each for each in await asyncio.gather(*tries) if each is not None]
    assert [(each.id, each.verified(NOW)) for each in taken] == [(conversation.id, True)]
    done = first.seen + second.seen
    assert done[VerificationResult.BY_CODE] + done[VerificationResult.BY_LINK] == 1
    verified = select(func.count()).where(events.c.kind == "conversation_verified")
    assert await first.database.read(lambda connection: connection.execute(verified).scalar_one()) == 1


async def test_a_wrong_an_old_and_anothers_code_verify_nobody(processes: list[VerifyingProcess]) -> None:
    """And the right one does after them: what is refused uses nothing up. Half an hour is the end."""
    process, other = processes
    conversation, issued = await process.issue()
    wrong = f"{(int(issued.code) + 1) % 1_000_000:06}"
    anothers = await other.conversation("C-2")
    assert await process.links.take_code(conversation, wrong) is None
    assert await other.links.take_code(anothers, issued.code) is None
    assert await process.links.take(f"{_token(issued)}x") is None
    for each in processes:
        each.now = NOW + timedelta(minutes=30)
    assert await process.links.take_code(conversation, issued.code) is None
    assert await process.links.take(_token(issued)) is None
    for each in processes:
        each.now = NOW + timedelta(minutes=29)
    assert await other.links.take_code(conversation, issued.code) is not None


async def test_a_conversation_has_three_links_a_day_however_many_ask_at_once(processes: list[VerifyingProcess]) -> None:
    """Ten are asked for by two processes; the next day there are three again, and the old ones are gone."""
    first, second = processes
    conversation = await first.conversation()
    issued = await asyncio.gather(*(each.links.issue(conversation, code=True) for each in processes * 5))
    assert sum(each is not None for each in issued) == 3
    assert (first.seen + second.seen)[VerificationResult.LIMITED] == 7
    for each in processes:
        each.now = NOW + timedelta(days=1)
    assert await second.links.issue(conversation, code=True) is not None
    count = select(func.count()).select_from(verifications)
    assert await first.database.read(lambda connection: connection.execute(count).scalar_one()) == 1
