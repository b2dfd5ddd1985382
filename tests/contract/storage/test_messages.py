"""The words that were sent are kept as they were handed over, on SQLite and on PostgreSQL."""

from __future__ import annotations

import asyncio
import json
from base64 import urlsafe_b64encode
from dataclasses import replace
from datetime import timedelta
from hashlib import sha256

import pytest
from sqlalchemy import delete, select, update

from channels.base import Accepted, Content, ProviderReason, TemplateCall, TransientFailure
from gateway.retention.erasing import RetentionPeriods
from gateway.retention.retention import Retention
from gateway.storage.database import Database
from gateway.storage.messages import seal_words, words_by_attempt
from gateway.storage.reads import Reads
from gateway.storage.tables.path import attempts, deliveries, events, messages, notifications
from gateway.storage.tables.templates import template_versions
from tests.support.storage.ledgers import NOW, draft, ended, later, outgoing, store_on
from tests.support.storage.settling import RECORDER

DAY = timedelta(days=1)
MAIL = Content("Dear Chen Mei, …", "Your payment", "<p>Dear <b>Chen Mei</b>, …</p>")


async def handed_over(database: Database, content: Content, key: str = "k1", *, before: bool = False) -> str:
    """A notification whose first delivery went out with this content; ``before``: as the version before reads it."""
    store = store_on(database)
    database.backward_compatible = before
    [answer] = await store.accept([draft(key)], NOW)
    [work] = await store.claim([answer.first_delivery or ""], NOW, 60)
    await store.start([replace(outgoing(work), content=content)], NOW, 60)
    await store.settle([ended(work, Accepted(f"SM-{key}"))], RECORDER.after_attempt, RECORDER.after_receipt)
    return answer.id


@pytest.mark.parametrize("before", [False, True])
async def test_the_words_are_those_that_were_handed_over(database: Database, before: bool) -> None:
    """Subject, text and HTML come back letter for letter, with their channel, attempt and template version."""
    found = await Reads(database).messages("acme", await handed_over(database, MAIL, before=before))
    assert found is not None
    [sent] = found
    assert (sent["text"], sent["subject"], sent["html"]) == (MAIL.text, MAIL.subject, MAIL.html)
    assert (sent["channel"], sent["attempt"], sent["outcome"]) == ("sms", 1, "accepted")
    assert (sent["template"], sent["template_version"], sent["erased"]) == ("overdue-first", "1", False)
    assert sent["provider_template"] is None


async def test_the_parameters_of_a_providers_template_are_kept(database: Database) -> None:
    """Where the provider renders, its template's reference, language and parameters are the words that were sent."""
    call = TemplateCall("HX12", "zh_TW", (("name", "陳美"), ("amount", "NT$3,913")))
    found = await Reads(database).messages("acme", await handed_over(database, Content("…", template=call)))
    assert found is not None
    assert found[0]["provider_template"] == {
        "reference": "HX12",
        "language": "zh_TW",
        "parameters": [{"name": "name", "value": "陳美"}, {"name": "amount", "value": "NT$3,913"}],
    }


async def test_a_template_that_is_gone_changes_nothing(database: Database) -> None:
    """After the template's versions were removed from the ledger, the same words are shown."""
    notification = await handed_over(database, MAIL)
    before = await Reads(database).messages("acme", notification)
    await database.write(lambda connection: connection.execute(delete(template_versions)))
    assert await Reads(database).messages("acme", notification) == before


async def test_each_attempt_has_its_own_words(database: Database) -> None:
    """A retry after its text was corrected shows both texts, each with its attempt."""
    store = store_on(database)
    [answer] = await store.accept([draft("k1")], NOW)
    for number, text in enumerate(("NT$3,913", "NT$3,931"), 1):
        now = later(3600 * number)
        [work] = await store.claim([answer.first_delivery or ""], now, 60)
        await store.start([replace(outgoing(work), content=Content(text))], now, 60)
        failed = ended(work, TransientFailure(ProviderReason.PROVIDER_UNAVAILABLE), now)
        await store.settle([failed], RECORDER.after_attempt, RECORDER.after_receipt)
    found = await Reads(database).messages("acme", answer.id)
    assert found is not None
    assert [(each["attempt"], each["text"]) for each in found] == [(1, "NT$3,913"), (2, "NT$3,931")]


@pytest.mark.parametrize("before", [False, True])
async def test_the_chain_of_events_proves_the_words(database: Database, before: bool) -> None:
    """The event of the attempt has the digest of what is stored, so words that are exchanged later are found."""
    await handed_over(database, MAIL, before=before)
    [delivery_id] = await database.read(lambda connection: connection.execute(select(deliveries.c.id)).scalars().all())
    started = select(events.c.detail).where(events.c.kind == "attempt_started")
    detail = await database.read(lambda connection: connection.execute(started).scalar_one())
    words = await database.read(lambda connection: words_by_attempt(connection, [delivery_id]))
    digest = urlsafe_b64encode(sha256(words[delivery_id, 1].encode()).digest()).decode().rstrip("=")
    assert json.loads(detail)["words"] == digest


async def test_other_tenants_see_nothing(database: Database) -> None:
    """A notification of another tenant is as unknown as one that never was."""
    notification = await handed_over(database, MAIL)
    assert await Reads(database).messages("other", notification) is None
    assert await Reads(database).messages("acme", "ntf_" + "0" * 32) is None


@pytest.mark.parametrize("before", [False, True])
async def test_erasure_takes_the_words(database: Database, before: bool) -> None:
    """When a notification's contents are erased, its words go with them, and the attempt says so."""
    notification = await handed_over(database, MAIL, before=before)
    ends = {"state": "delivered", "updated_at": NOW}
    aged = update(notifications).where(notifications.c.id == notification).values(ends)
    await database.write(lambda connection: connection.execute(aged))
    keep = RetentionPeriods(records=0 * DAY, contents=30 * DAY, feed=0 * DAY, orphans=0 * DAY)
    then = NOW + 31 * DAY
    removed = await Retention(database, keep, lambda: then, 9 * DAY).prune(None, most=10, stop=asyncio.Event())
    found = await Reads(database).messages("acme", notification)
    assert removed.contents == 1
    assert found is not None
    assert [(each["erased"], each["text"]) for each in found] == [(True, "")]
    assert await database.read(lambda connection: connection.execute(select(messages)).all()) == []
    assert await database.read(lambda connection: connection.execute(select(attempts.c.words)).all()) == [(None,)]


def test_an_sms_takes_no_more_than_its_text_and_a_little() -> None:
    """Of a usual SMS the ledger keeps its text and at most 48 bytes: the salt and the form."""
    text = (
        "Sunrise Bank: your card payment of NT$3,913 was due on 1 November and has not reached us. Pay or call"
        " 0800-000-000. If you have paid, thank you. Stop: sunrise.example/s/abc"
    )
    assert len(seal_words("dlv", 1, Content(text)).content) <= len(text.encode()) + 48
