"""Providers' templates and people's last messages in the ledger; on SQLite and on PostgreSQL."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta

from channels.base import ProviderReason, Reply, TemplateReport, TemplateStatus, TransientFailure
from gateway.core.notifications import Category, Step
from gateway.core.provider_templates import ProviderTemplate, Slot
from gateway.core.reasons import EndReason, Intent
from gateway.core.requests import DecidedRequest
from gateway.core.states import State
from gateway.replies.store import ReplyStore
from gateway.storage.database import Database
from gateway.storage.reads import Reads
from gateway.storage.tables.identity import api_keys
from gateway.templates.message_forms import MessageForms
from tests.support.providers.channel_profiles import PROFILES
from tests.support.rules.replies import understood
from tests.support.storage.ledgers import NOW, SEND, digest, draft, later, outgoing, store_on
from tests.support.templates.template_services import started_again

WITH_WINDOW = {**PROFILES, "sms": replace(PROFILES["sms"], service_window=timedelta(hours=24))}
CATALOG = started_again()
VERSION = next(each.version for each in CATALOG.live() if each.id == "overdue-first")
KEY = ("acme", "twilio", "overdue-first", VERSION, "zh-TW")
TEMPLATE = ProviderTemplate(KEY, "HX1", "zh_TW", "hello", (), TemplateStatus.APPROVED, timedelta(hours=1))


def forms_on(database: Database, seconds: float = 0) -> MessageForms:
    return MessageForms(database, WITH_WINDOW, CATALOG, lambda: later(seconds), {})


def of_this_version(request: DecidedRequest) -> DecidedRequest:
    return replace(request, notification=replace(request.notification, template_version=VERSION))


async def test_a_template_is_kept_and_its_state_follows_what_the_provider_says(database: Database) -> None:
    """Pushed states change the rows of the reference, in one language where the report names it."""
    forms = forms_on(database)
    slot = replace(TEMPLATE, slots=(Slot("a", "{{ amount | money: currency }}", 6),))
    other = replace(TEMPLATE, key=(*KEY[:4], "en-US"), language="en_US")
    for each in (TEMPLATE, slot, other):
        await forms.put(each)
    [english, chinese] = await forms.listed("acme", "overdue-first")
    assert (replace(chinese, seen_at=None), replace(english, seen_at=None)) == (slot, other)
    await forms.report("twilio", [TemplateReport("HX1", TemplateStatus.PAUSED, "zh_TW", "low quality")])
    states = [(each.status, each.reason) for each in await forms.listed("acme", "overdue-first")]
    assert states == [(TemplateStatus.APPROVED, ""), (TemplateStatus.PAUSED, "low quality")]
    await forms.report("another", [TemplateReport("HX1", TemplateStatus.DISABLED)])
    assert [each.status for each in await forms.listed("acme", "overdue-first")] == [row[0] for row in states]


async def test_states_are_polled_and_a_provider_that_is_away_changes_none(database: Database) -> None:
    """Pushes get lost; a failed poll is no state."""

    class Reporting:
        def __init__(self, fails: bool) -> None:
            self.fails = fails

        async def template_states(self, references: Sequence[str]) -> Sequence[TemplateReport]:
            if self.fails:
                raise TransientFailure(ProviderReason.TIMEOUT)
            return [TemplateReport(each, TemplateStatus.REJECTED) for each in references]

    forms = forms_on(database)
    await forms.put(TEMPLATE)
    await forms.poll({"twilio": Reporting(True)})
    assert [each.status for each in await forms.listed("acme", "overdue-first")] == [TemplateStatus.APPROVED]
    await forms.poll({"twilio": Reporting(False)})
    assert [each.status for each in await forms.listed("acme", "overdue-first")] == [TemplateStatus.REJECTED]


async def test_a_claimed_message_gets_its_form_from_the_ledger(database: Database) -> None:
    """By template while it is approved; when it is paused, in no form, though the person has not written."""
    store, forms = store_on(database), forms_on(database)
    [answer] = await store.accept([of_this_version(draft("k1", route=(Step("sms"), Step("email"))))], NOW)
    [work] = await store.claim([answer.first_delivery or ""], NOW, 60)
    await forms.put(TEMPLATE)
    [ready], none = await forms.choose([outgoing(work)], NOW)
    assert none == []
    assert ready.content.template is not None
    assert (ready.content.template.reference, ready.content.template.language) == ("HX1", "zh_TW")
    await forms.report("twilio", [TemplateReport("HX1", TemplateStatus.PAUSED)])
    going, [ended] = await forms.choose([outgoing(work)], NOW)
    assert (going, ended.reason, ended.next_step) == ([], EndReason.TEMPLATE_UNAVAILABLE, True)
    assert await store.apply([replace(ended, fence=work.delivery.fence)])  # the next step opens


async def test_at_the_last_step_a_message_waits_for_its_template_and_goes_when_it_is_approved(
    database: Database,
) -> None:
    """Held in the ledger with its reason, one event for all looks, and claimed again when it is due."""
    store, forms = store_on(database), forms_on(database)
    [answer] = await store.accept([of_this_version(draft("k1", route=(Step("sms"),)))], NOW)
    identifier = answer.first_delivery or ""
    await forms.put(replace(TEMPLATE, status=TemplateStatus.PAUSED, ttl=None))
    for seconds in (0, 300, 600):
        [work] = await store.claim([identifier], later(seconds), 60)
        message = replace(outgoing(work), verdict=replace(SEND, valid_until=later(3600)))
        _, [held] = await forms.choose([message], later(seconds))
        await store.apply([replace(held, fence=work.delivery.fence)])
        assert (held.to, held.due_at) == (State.DEFERRED, later(seconds + 300))
    [work] = await store.claim([identifier], later(900), 60)
    assert (work.delivery.state, work.delivery.reason) == (State.DEFERRED, EndReason.TEMPLATE_UNAVAILABLE)
    found = await Reads(database).notification("acme", work.notification.id)
    assert found is not None
    assert [each["kind"] for each in found["events"]].count("held") == 1
    await forms.report("twilio", [TemplateReport("HX1", TemplateStatus.APPROVED)])
    [ready], none = await forms.choose([replace(outgoing(work), verdict=SEND)], later(900))
    assert (none, ready.content.template is not None) == ([], True)


async def test_a_persons_message_opens_the_window_of_that_sender_alone(database: Database) -> None:
    """It is kept by provider and address, for every tenant with a key; an earlier message does not move it back."""
    row = {"id": "k", "tenant": "acme", "name": "", "digest": "k", "scopes": "", "created_at": NOW}
    await database.write(lambda connection: connection.execute(api_keys.insert(), [row]))
    store = store_on(database)
    service = draft("k1", route=(Step("sms"),))
    [answer] = await store.accept([service], NOW)
    [work] = await store.claim([answer.first_delivery or ""], NOW, 60)
    for seconds in (50, 10):
        replies = ReplyStore(database, digest, lambda seconds=seconds: later(seconds))  # type: ignore[misc]
        reply = Reply("twilio", f"SM{seconds}", "+12025550123", "ok")
        await replies.record(reply, "sms", reply.address, lambda *_: understood(Intent.OTHER), window="twilio")
    message = outgoing(work)
    free = replace(work, notification=replace(work.notification, category=Category.SERVICE))
    [ready], _ = await forms_on(database).choose([replace(message, work=free)], later(60))
    assert ready.window_until == later(50) + timedelta(hours=24)
    _, [closed] = await forms_on(database).choose([replace(message, work=free, provider="another")], later(60))
    assert closed.reason == EndReason.WINDOW_CLOSED
