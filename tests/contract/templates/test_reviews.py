"""Reviews in the ledger: what waits for whom, comments at a place, findings that need no change, mails to authors."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import pytest

from channels.base import Accepted, Capability, Message, PermanentFailure, ProviderReason, TransientFailure
from gateway.identity.users import Users
from gateway.storage.database import Database
from gateway.templates.checks.lint import LintFinding
from gateway.templates.versions.refusals import BadComment, WrongState
from gateway.templates.workflow.author_mails import AuthorMails
from gateway.templates.workflow.reviews import Waits, finding_key
from tests.support.templates.template_services import SMS, TEMPLATE, TemplateHarness

PASSWORD = "correct horse battery staple"
FOUND = LintFinding("warning", "long", f"{TEMPLATE}/{SMS}", 1, "takes 4 segments", "Shorten it.", 5)


@pytest.fixture
def harness(database: Database) -> TemplateHarness:
    """Templates as shipped, and nobody has edited anything."""
    return TemplateHarness(database)


async def _waits(harness: TemplateHarness, who: str) -> dict[int, Waits]:
    return {each.stored.number: each.waits for each in await harness.workflow.reviews.waiting("acme", who)}


async def test_a_version_waits_for_everybody_who_can_take_its_next_step(harness: TemplateHarness) -> None:
    """For an approver but never its authors; sent back, for its authors until they begin the next one."""
    number = await harness.submitted()
    assert await _waits(harness, "user:bob") == {number: Waits.APPROVE}
    assert await _waits(harness, "user:ann") == {number: Waits.OTHERS}
    [waiting] = await harness.workflow.reviews.waiting("acme", "user:bob")
    assert (waiting.title, waiting.comment) == ("First reminder after the due date", "please read")
    assert await harness.workflow.reviews.waiting("other", "user:bob") == []
    await harness.workflow.reject("acme", TEMPLATE, number, "user:bob", "kinder, please")
    assert await _waits(harness, "user:bob") == {}
    assert await _waits(harness, "user:ann") == {number: Waits.REVISE}
    text = await harness.workflow.text("acme", TEMPLATE, number)
    again = await harness.workflow.begin("acme", TEMPLATE, "user:ann", "", text.files)
    assert await _waits(harness, "user:ann") == {}
    await harness.workflow.submit("acme", TEMPLATE, again.number, 1, "user:ann", "kinder")
    await harness.workflow.approve("acme", TEMPLATE, again.number, "user:bob")
    assert await _waits(harness, "user:ann") == {again.number: Waits.PUBLISH}


async def test_a_comment_stands_at_words_that_borrowers_read(harness: TemplateHarness) -> None:
    """With who said it; the next draft shows it, words that aren't there are refused, and a draft has none."""
    number, reviews = await harness.submitted("thank you, {{ borrower.name }}"), harness.workflow.reviews
    place = ("sms", "en-US", "thank  you, Alexandra")
    await reviews.comment("acme", TEMPLATE, number, "user:bob", place, "Which one of us?")
    await reviews.comment("acme", TEMPLATE, number, "user:bob", ("email", "zh-TW", ""), "Good.")
    for field_name, wrong in (
        ("words", ("sms", "en-US", "{{ borrower.name }}")),
        ("channel", ("pigeon", "en-US", "")),
        ("channel", ("sms", "fr-CA", "")),
    ):
        with pytest.raises(BadComment) as refused:
            await reviews.comment("acme", TEMPLATE, number, "user:bob", wrong, "?")
        assert refused.value.field == field_name
    await harness.workflow.reject("acme", TEMPLATE, number, "user:bob", "see the comment")
    draft = await harness.workflow.begin("acme", TEMPLATE, "user:ann")
    assert draft.stored is not None
    found = await reviews.comments(draft.stored)
    assert [(each.actor, each.channel, each.locale, each.words, each.comment) for each in found] == [
        ("user:bob", "sms", "en-US", "thank you, Alexandra", "Which one of us?"),
        ("user:bob", "email", "zh-TW", "", "Good."),
    ]
    with pytest.raises(WrongState):
        await reviews.comment("acme", TEMPLATE, draft.number, "user:bob", place, "?")


async def test_a_finding_is_explained_with_its_text_and_no_further(harness: TemplateHarness) -> None:
    """The approver reads who said why. Moved to another line it stays explained; with other words it isn't."""
    draft = await harness.workflow.begin("acme", TEMPLATE, "user:ann")
    reviews, error = harness.workflow.reviews, replace(FOUND, level="error", rule="threat")
    harness.findings = [FOUND, error]
    text = await harness.workflow.text("acme", TEMPLATE, draft.number)
    keys = [each.key for each in await reviews.findings(text)]
    await reviews.explain("acme", TEMPLATE, draft.number, "user:ann", keys[0], "The address has to be whole.")
    for key in (keys[1], "0" * 16):
        with pytest.raises(BadComment):
            await reviews.explain("acme", TEMPLATE, draft.number, "user:ann", key, "because")
    harness.findings = [FOUND]
    await harness.workflow.submit("acme", TEMPLATE, draft.number, 1, "user:ann", "please")
    [found] = await reviews.findings(await harness.workflow.text("acme", TEMPLATE, draft.number))
    assert found.explanation is not None
    assert (found.explanation.actor, found.explanation.reason) == ("user:ann", "The address has to be whole.")
    moved, line = replace(FOUND, line=2), text.files[SMS]
    assert finding_key(moved, {SMS: f"\n{line}"}) == finding_key(FOUND, {SMS: line})
    assert finding_key(FOUND, {SMS: "other words"}) != finding_key(FOUND, {SMS: line})
    assert finding_key(replace(FOUND, where=f"{TEMPLATE}/zh-TW/sms.liquid"), {"zh-TW/sms.liquid": line}) != keys[0]
    with pytest.raises(WrongState):
        await reviews.explain("acme", TEMPLATE, draft.number, "user:ann", keys[0], "too late")


# ── mails to the authors ────────────────────────────────────────────────────────────────────────────────────────────


@dataclass
class Relay:
    """A provider of mail to people; ``answers``: what it does in turn, then it accepts."""

    answers: list[Exception] = field(default_factory=list)
    sent: list[Message] = field(default_factory=list)
    name: str = "relay"
    channel: str = "email"
    capability: Capability = field(default_factory=Capability)

    async def send(self, message: Message) -> Accepted:
        if self.answers:
            raise self.answers.pop(0)
        self.sent.append(message)
        return Accepted("m")

    async def close(self) -> None:
        pass


async def _office(database: Database, answers: Sequence[Exception] = ()) -> tuple[TemplateHarness, Relay, AuthorMails]:
    harness, relay, users = TemplateHarness(database), Relay(list(answers)), Users(database)
    ann = await users.add("acme", "Ann", "ann@example.com", "editor", PASSWORD, harness.clock())
    bob = await users.add("acme", "Bob", "bob@example.com", "approver", PASSWORD, harness.clock())
    begun = await harness.workflow.begin("acme", TEMPLATE, ann.actor)
    await harness.workflow.submit("acme", TEMPLATE, begun.number, 1, ann.actor, "please")
    await harness.workflow.reject("acme", TEMPLATE, begun.number, bob.actor, "kinder, please")
    mails = AuthorMails(harness.store, users, relay, "https://gateway.example", harness.clock)  # type: ignore[arg-type]
    return harness, relay, mails


async def test_the_author_is_told_once_by_mail(database: Database) -> None:
    """By whichever process is first, with who, what, why and the way there; nobody who decided, and no borrower."""
    harness, relay, mails = await _office(database)
    await asyncio.gather(mails.run_once(), mails.run_once())
    await mails.run_once()
    [message] = relay.sent
    assert message.address == "ann@example.com"
    for words in (f"{TEMPLATE}, version 1, was sent back by Bob", "退回", "kinder, please"):
        assert words in message.content.text
    assert f"https://gateway.example/editor/templates/{TEMPLATE}/1" in message.content.text
    kinds = [each.kind for each in await harness.workflow.history("acme", TEMPLATE)]
    assert kinds[-2:] == ["template_mail_started", "template_mail_ended"]


async def test_a_relay_that_is_away_is_tried_again_and_one_that_refuses_is_not(database: Database) -> None:
    """Three times at most; a refusal is final, and what is unknown is not repeated."""
    away = TransientFailure(ProviderReason.CONNECTION_FAILED)
    _, relay, mails = await _office(database, [away, away])
    for _ in range(4):
        await mails.run_once()
    assert len(relay.sent) == 1


@pytest.mark.parametrize(
    "answer", [PermanentFailure(ProviderReason.INVALID_ADDRESS), RuntimeError("a fault"), ConnectionError()]
)
async def test_a_refusal_of_the_relay_is_final(database: Database, answer: Exception) -> None:
    """It is on record, and the page says the same as the mail would have said."""
    harness, relay, mails = await _office(database, [answer])
    for _ in range(2):
        await mails.run_once()
    assert relay.sent == []
    assert (await harness.workflow.history("acme", TEMPLATE))[-1].detail["outcome"] not in ("sent", "failed")
