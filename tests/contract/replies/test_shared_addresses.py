"""Two channels of one identity: a number is one person on both; an app's own id is not. On SQLite and on PostgreSQL."""

from __future__ import annotations

from dataclasses import replace

import pytest

from channels.base import Reply
from gateway import policy
from gateway.core.facts import AddressFacts
from gateway.core.notifications import Step
from gateway.core.reasons import Intent, PolicyReason
from gateway.core.requests import DecidedRequest
from gateway.core.security.signing import Signer
from gateway.core.verdicts import VerdictKind
from gateway.replies.store import ReplyStore
from gateway.storage.database import Database
from gateway.storage.tables.identity import api_keys
from tests.support.rules.made_packs import MARK, packs
from tests.support.rules.replies import understood
from tests.support.storage.ledgers import NOW, draft, later, outgoing, people_on, store_on

PHONE = "+12025550123"
RULES = packs(opt_out={"value": "suppress", "mark": MARK}, suppression={"value": "suppress", "mark": MARK})
SIGNER = Signer(b"0123456789abcdef", lambda channel: {"whatsapp": "sms"}.get(channel, channel))
DIGEST = SIGNER.digest


def at_number(key: str, channel: str, borrower: str = "B-1") -> DecidedRequest:
    """A request whose one step is ``channel``, to the same number."""
    made = draft(key, borrower=borrower, route=(Step(channel),))
    person = replace(made.notification.borrower, addresses={channel: PHONE})
    step = replace(made.steps[0], address_digest=DIGEST("acme", channel, PHONE))
    return replace(made, notification=replace(made.notification, borrower=person), steps=(step,))


async def known(database: Database) -> None:
    row = {"id": "k", "tenant": "acme", "name": "", "digest": "k", "scopes": "", "created_at": NOW}
    await database.write(lambda connection: connection.execute(api_keys.insert(), [row]))


async def said(database: Database, channel: str, intent: Intent, message: str) -> None:
    replies = ReplyStore(database, DIGEST, lambda: later(100))
    await replies.record(Reply("p", message, PHONE, "text"), channel, PHONE, lambda *_: understood(intent))


async def facts_at(database: Database, channel: str) -> AddressFacts:
    key = DIGEST("acme", channel, PHONE)
    found = await store_on(database).facts([("acme", "B-9")], [], [("acme", channel, key)], NOW)
    return found[("acme", "B-9")].facts.addresses.get(key, AddressFacts())


@pytest.mark.parametrize(
    ("stopped", "other", "holds"),
    [("sms", "whatsapp", True), ("whatsapp", "sms", True), ("line", "sms", False), ("sms", "line", False)],
)
async def test_a_stop_follows_the_person_where_the_identity_is_shared(
    database: Database, stopped: str, other: str, holds: bool
) -> None:
    """STOP by SMS stops WhatsApp on the same number, also for a borrower who comes later; LINE stops alone."""
    await known(database)
    store = store_on(database)
    for channel in (stopped, other):
        [answer] = await store.accept([at_number(channel, channel)], NOW)
        [work] = await store.claim([answer.first_delivery or ""], NOW, 60)
        assert await store.start([outgoing(work)], NOW, 60)
    await said(database, stopped, Intent.STOP, "m1")

    [answer] = await store.accept([at_number("later", other, "B-2")], later(200))
    [work] = await store.claim([answer.first_delivery or ""], later(200), 60)
    verdict = policy.decide(
        work.notification, other, work.borrower.facts, RULES, later(200), address_digest=work.delivery.address_digest
    )
    expected = (VerdictKind.SUPPRESS, PolicyReason.OPTED_OUT) if holds else (VerdictKind.SEND, PolicyReason.PERMITTED)
    assert (verdict.kind, verdict.reason) == expected
    assert (await facts_at(database, other)).opted_out_at == (later(100) if holds else None)

    await said(database, other, Intent.START, "m2")  # taken back where it was not said: for a shared number it counts
    assert ((await facts_at(database, stopped)).opted_out_at is None) is holds


async def test_a_message_decided_before_the_stop_does_not_start_on_the_other_channel(database: Database) -> None:
    """The decision on WhatsApp was made with facts from before the SMS's STOP."""
    await known(database)
    store = store_on(database)
    [answer] = await store.accept([at_number("k1", "whatsapp")], NOW)
    [work] = await store.claim([answer.first_delivery or ""], NOW, 600)
    await said(database, "sms", Intent.STOP, "m1")
    assert not await store.start([outgoing(work)], later(110), 60)


async def test_a_wrong_number_is_wrong_on_both_channels(database: Database) -> None:
    """Whoever answers that they are somebody else is written to on neither."""
    await known(database)
    store = store_on(database)
    [answer] = await store.accept([at_number("k1", "sms")], NOW)
    [work] = await store.claim([answer.first_delivery or ""], NOW, 60)
    assert await store.start([outgoing(work)], NOW, 60)
    await said(database, "sms", Intent.WRONG_PARTY, "m1")
    assert (await facts_at(database, "whatsapp")).suppressed == "wrong_party"
    assert (await facts_at(database, "line")).suppressed == ""


async def test_an_invalid_address_is_suppressed_once_for_both(database: Database) -> None:
    """What one channel's provider reports of a number holds for the other, and lifting it lifts it for both."""
    store = store_on(database)
    [answer] = await store.accept([at_number("k1", "sms")], NOW)
    await people_on(database).suppress_address(answer.first_delivery or "", "invalid_address")
    assert (await facts_at(database, "whatsapp")).suppressed == "invalid_address"
