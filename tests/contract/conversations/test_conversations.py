"""Conversations in the ledger, on SQLite and on PostgreSQL: one for each case, and one person at a time."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select

from channels.base import Reply
from gateway.conversations.conversation import (
    CLAIM_LASTS,
    ConversationConflict,
    ConversationRefusal,
    NoSuchConversation,
)
from gateway.conversations.free_text import FreeTextLint
from gateway.conversations.origin import Origins
from gateway.conversations.people import AnswerRefused, ConversationDesk, PersonAnswer
from gateway.conversations.reads import ConversationReads
from gateway.conversations.store import ConversationStore, position
from gateway.core.conversations import ConversationOutcome, ConversationState, Handler
from gateway.core.reasons import Intent
from gateway.core.requests import AcceptResult, NotificationRequest, RejectedRequest
from gateway.core.states import State
from gateway.core.understanding import Urgency
from gateway.replies.store import ReplyStore
from gateway.storage.database import Database
from gateway.storage.reads import Reads
from gateway.storage.tables.borrowers import replies
from gateway.storage.tables.identity import api_keys
from gateway.templates.checks.word_lists import load_words
from tests.support.rules.replies import understood
from tests.support.storage.ledgers import NOW, digest, draft, later, store_on

PHONE = "+12025550123"
LINT = FreeTextLint(load_words(Path(__file__).parents[3] / "templates" / "_lint"))
WAITING = ConversationState.WAITING


class ConversationOffice:
    """Persons at one ledger. ``accepted`` are the requests that they made; each key is accepted once."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.accepted: dict[str, NotificationRequest] = {}
        self.now = NOW
        self.store = ConversationStore(database, lambda: self.now)
        self.desk = ConversationDesk(self.store, Origins(database), self.accept, LINT, lambda: self.now)
        self.state = State.ACCEPTED

    async def accept(
        self, tenant: str, requests: Sequence[NotificationRequest], client: str
    ) -> list[AcceptResult | RejectedRequest]:
        [request] = requests
        first = self.accepted.setdefault(request.idempotency_key, request)
        outcome = "created" if first is request else "replayed" if first.raw == request.raw else "conflict"
        return [AcceptResult(outcome, f"ntf_{len(self.accepted)}", self.state, "")]

    async def one(self) -> Any:
        found = [each for state in ConversationState for each in await self.store.queue("acme", state, 10)]
        assert len(found) == 1
        return found[0]


@pytest.fixture
async def office(database: Database) -> ConversationOffice:
    row = {"id": "k", "tenant": "acme", "name": "", "digest": "", "scopes": "", "created_at": NOW}
    await database.write(lambda connection: connection.execute(api_keys.insert(), [row]))
    await store_on(database).accept([draft("k1")], NOW)
    return ConversationOffice(database)


async def says(database: Database, intent: Intent, message: str, at: datetime = NOW) -> None:
    said = replace(understood(intent), urgency=Urgency.NOW if intent is Intent.DANGER else Urgency.ROUTINE)
    reply = Reply("twilio", message, PHONE, f"words of {message}")
    await ReplyStore(database, digest, lambda: at).record(reply, "sms", PHONE, lambda *_: said)


async def test_a_person_and_a_case_have_one_conversation(office: ConversationOffice) -> None:
    """Two replies about a case are in one, another case has its own, and the same reply twice changes nothing."""
    await says(office.database, Intent.BALANCE, "SM1")
    first = await office.one()
    await says(office.database, Intent.PLAN, "SM2", later(10))
    await says(office.database, Intent.PLAN, "SM2", later(20))
    again = await office.one()
    assert (again.id, again.intent, again.revision) == (first.id, Intent.PLAN, first.revision + 1)
    await store_on(office.database).accept([draft("k2", case="C-2", now=later(30))], later(30))
    await says(office.database, Intent.DANGER, "SM3", later(40))
    found = await office.store.queue("acme", WAITING, 10)
    assert [(each.case_id, each.urgency) for each in found] == [("C-2", Urgency.NOW), ("C-1", Urgency.ROUTINE)]
    rest = await office.store.queue("acme", WAITING, 10, position(found[0]))
    assert [each.case_id for each in rest] == ["C-1"]
    assert await office.store.queue("other", WAITING, 10) == []


async def test_two_people_never_hold_one_conversation(office: ConversationOffice) -> None:
    """Of eight who claim at once one gets it; a claim that lapsed is free, and the holder may renew it."""
    await says(office.database, Intent.BALANCE, "SM1")
    key = (await office.one()).id
    people = [f"user:{n}" for n in range(8)]
    tried = await asyncio.gather(*(office.desk.claim("acme", key, who) for who in people), return_exceptions=True)
    refused = [each.refusal for each in tried if isinstance(each, ConversationConflict)]
    assert refused == [ConversationRefusal.CLAIMED] * 7
    holder = (await office.one()).holder
    office.now += CLAIM_LASTS / 2
    await office.desk.claim("acme", key, holder)
    office.now += CLAIM_LASTS / 2
    other = next(each for each in people if each != holder)
    with pytest.raises(ConversationConflict):
        await office.desk.claim("acme", key, other)
    office.now += CLAIM_LASTS
    assert (await office.desk.claim("acme", key, other)).holder == other
    with pytest.raises(ConversationConflict, match="conversation_claimed"):
        await office.desk.release("acme", key, holder)
    with pytest.raises(NoSuchConversation):
        await office.desk.claim("other", key, holder)


async def test_two_answers_at_once_are_one(office: ConversationOffice) -> None:
    """The same person in two windows: one answer is accepted, and the record says which."""
    await says(office.database, Intent.BALANCE, "SM1")
    found = await office.one()
    found = await office.desk.claim("acme", found.id, "user:a")
    answers = [PersonAnswer(found.revision, f"We will look at it, {n}.") for n in range(4)]
    await asyncio.gather(
        *(office.desk.answer("acme", found.id, "user:a", each) for each in answers), return_exceptions=True
    )
    assert len(office.accepted) == 1
    [request] = office.accepted.values()
    assert request.route[0].channel == "sms"
    assert request.dedup_key == request.idempotency_key


async def test_a_persons_answer_is_recorded_with_who(office: ConversationOffice) -> None:
    """It needs a claim, is checked for words, and answers what its writer has read; then nobody waits any more."""
    await says(office.database, Intent.BALANCE, "SM1")
    found = await office.one()
    answer = PersonAnswer(found.revision, "We will call you today.")
    with pytest.raises(ConversationConflict, match="conversation_not_claimed"):
        await office.desk.answer("acme", found.id, "user:a", answer)
    answer = replace(answer, revision=(await office.desk.claim("acme", found.id, "user:a")).revision)
    with pytest.raises(AnswerRefused) as refused:
        await office.desk.answer("acme", found.id, "user:a", replace(answer, text="Pay or the police will come."))
    assert [each.found for each in refused.value.findings][:1] == ["police"]
    await says(office.database, Intent.PLAN, "SM2", later(5))
    with pytest.raises(ConversationConflict, match="conversation_changed"):
        await office.desk.answer("acme", found.id, "user:a", answer)
    newest, office.now = await office.one(), later(10)
    await office.desk.answer("acme", found.id, "user:a", replace(answer, revision=newest.revision))
    after = await office.one()
    assert (after.state, after.handler, after.review_by) == (ConversationState.ANSWERED, Handler.PERSON, None)
    entries = await ConversationReads(office.database).entries(after)
    assert [(each["kind"], each["by"]) for each in entries] == [
        ("reply", "borrower"),
        ("claimed", "user:a"),
        ("reply", "borrower"),
        ("answered", "user:a"),
    ]
    assert entries[0]["address"] == PHONE
    assert entries[0]["text"] == "words of SM1"
    unread = select(func.count()).where(replies.c.resolved_at.is_(None))
    assert await office.database.read(lambda connection: connection.execute(unread).scalar_one()) == 0
    timeline = await Reads(office.database).timeline("acme", "B-1", 50)
    assert "conversation_answered" in [each["kind"] for each in timeline]
    assert "words" not in str([each for each in timeline if each["kind"].startswith("conversation_")])


async def test_a_refused_answer_leaves_the_borrower_waiting(office: ConversationOffice) -> None:
    """The policy suppresses it: the record says so, and the person may try another way under another key."""
    await says(office.database, Intent.BALANCE, "SM1")
    found = await office.one()
    await office.desk.claim("acme", found.id, "user:a")
    office.state = State.SUPPRESSED
    for _ in range(2):
        answer = PersonAnswer((await office.one()).revision, "We will call you today.")
        with pytest.raises(AnswerRefused):
            await office.desk.answer("acme", found.id, "user:a", answer)
    assert len(office.accepted) == 2
    assert (await office.one()).state is WAITING


async def test_a_possible_stop_stays_for_its_reviewer(office: ConversationOffice) -> None:
    """Whoever closes the conversation has not decided whether it was a stop; the next reply begins it anew."""
    await says(office.database, Intent.MAYBE_STOP, "SM1")
    key = (await office.one()).id
    await office.desk.claim("acme", key, "user:a")
    closed = await office.desk.close("acme", key, "user:a", ConversationOutcome.ANSWERED, "told by telephone")
    assert (closed.state, closed.outcome, closed.holder) == (ConversationState.CLOSED, "answered", "")
    unread = select(func.count()).where(replies.c.resolved_at.is_(None))
    assert await office.database.read(lambda connection: connection.execute(unread).scalar_one()) == 1
    with pytest.raises(ConversationConflict, match="conversation_closed"):
        await office.desk.claim("acme", key, "user:a")
    await says(office.database, Intent.BALANCE, "SM2", later(60))
    again = await office.one()
    assert (again.id, again.state, again.handler, again.outcome) == (key, WAITING, Handler.ASSISTANT, "")


async def test_handed_back_the_assistant_answers_the_next_reply(office: ConversationOffice) -> None:
    """A person keeps a conversation until they hand it back, also through further replies."""
    await says(office.database, Intent.DANGER, "SM1")
    key = (await office.one()).id
    assert await office.store.due(["acme"], later(100), 10) == []
    await office.desk.claim("acme", key, "user:a")
    await says(office.database, Intent.BALANCE, "SM2", later(5))
    assert await office.store.due(["acme"], later(100), 10) == []
    await office.desk.hand_back("acme", key, "user:a")
    await says(office.database, Intent.BALANCE, "SM3", later(10))
    assert [each.id for each in await office.store.due(["acme"], later(100), 10)] == [key]
    assert await office.store.due([], later(100), 10) == []
