"""Whether a message goes as free text or by its provider's template: a table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from channels.base import (
    Capability,
    Content,
    PermanentFailure,
    ProviderReason,
    SlotRules,
    TemplateCall,
    TemplateStatus,
    TransientFailure,
)
from channels.profile import ChannelProfile, Frame, Part, Wording
from gateway.core.deliveries import ClaimedDelivery, Delivery, Outgoing
from gateway.core.facts import BorrowerFacts, Facts
from gateway.core.notifications import Category, Notification, Step
from gateway.core.provider_templates import ProviderTemplate, Slot
from gateway.core.reasons import EndReason
from gateway.core.states import State
from gateway.stages.message_form import (
    FormFacts,
    choose_form,
    template_key,
    template_report,
    template_reports,
    window_key,
)
from tests.support.storage.ledgers import NOW, SEND, draft, ended, later

WORDS = Wording("WhatsApp", "WhatsApp")
PROFILES = {
    "whatsapp": ChannelProfile(
        WORDS, WORDS, (Part("whatsapp.liquid", "text", WORDS),), Frame.BUBBLE, service_window=timedelta(hours=24)
    ),
    "sms": ChannelProfile(WORDS, WORDS, (Part("sms.liquid", "text", WORDS),), Frame.BUBBLE),
}
TEXT = "Bank: please pay 12.00 by 1 November."
CALL = TemplateCall("due_soon", "en", (("amount", "12.00"), ("day", "1 November")))
SLOTS = (Slot("amount", "{{ amount }}", 10), Slot("day", "{{ due_date }}"))


def outgoing(
    category: Category = Category.SERVICE, route: tuple[str, ...] = ("whatsapp", "email"), text: str = TEXT
) -> Outgoing:
    notification = replace(draft("k", route=tuple(map(Step, route))).notification, category=category)
    delivery = Delivery("dlv_1", notification.id, 0, route[0], "digest", State.ACCEPTED)
    work = ClaimedDelivery(delivery, notification, BorrowerFacts(0, Facts()), State.ACCEPTED, True)
    return Outgoing(work, Content(text), SEND, "meta")


def evaluate(notification: Notification, channel: str, expressions: Sequence[str]) -> list[str]:
    return [{"{{ amount }}": "12.00", "{{ due_date }}": "1 November"}.get(each, each) for each in expressions]


def template(**changes: object) -> ProviderTemplate:
    made = ProviderTemplate(
        template_key(outgoing(), "en-US"),
        "due_soon",
        "en",
        "Bank:  please pay {{amount}} by {{ day }}.",
        SLOTS,
        TemplateStatus.APPROVED,
    )
    return replace(made, **changes)  # type: ignore[arg-type]


def formed(
    message: Outgoing, found: ProviderTemplate | None, wrote: datetime | None = None, *others: ProviderTemplate
) -> tuple[Outgoing | None, str]:
    """The message in its form, or the reason for which it is not sent."""
    templates = {each.key: each for each in (*filter(None, [found]), *others)}
    facts = FormFacts(templates, {window_key(message): wrote} if wrote is not None else {})
    going, transitions = choose_form(
        [message],
        PROFILES,
        {"dlv_1": "en-US"},
        facts,
        evaluate,
        NOW,
        {"meta": Capability(slots=SlotRules(20, links=False))},
    )
    return (going[0], "") if going else (None, transitions[0].reason)


def test_an_approved_template_is_called_with_its_parameters_in_order() -> None:
    """The text of the ledger is ours, which is what the provider's template says, white space aside."""
    made, _ = formed(outgoing(Category.COLLECTIONS), template())
    assert made is not None
    assert made.content == Content(TEXT, template=CALL)


@pytest.mark.parametrize(
    "changes",
    [
        *({"status": each} for each in TemplateStatus if each is not TemplateStatus.APPROVED),
        {"approved_text": "Bank: please pay {{amount}} at once."},
        {"approved_text": "Bank: please pay {{amount}} by {{other}}."},
        {"slots": (Slot("amount", "{{ amount }}", 4), SLOTS[1])},
        {"slots": (SLOTS[0], Slot("day", "1\nNovember"))},
        {"slots": (SLOTS[0], Slot("day", ""))},
        {"slots": (SLOTS[0], Slot("day", "by the end of next November"))},
        {"slots": (SLOTS[0], Slot("day", "pay.example/x"))},
    ],
)
def test_an_unusable_template_is_routed_round_and_never_replaced_by_free_text(changes: dict[str, object]) -> None:
    """Not approved, saying something else, lacking a slot, or with a value that the provider refuses."""
    unusable = template(**changes)
    assert formed(outgoing(Category.COLLECTIONS), unusable) == (None, EndReason.TEMPLATE_UNAVAILABLE)
    assert formed(outgoing(Category.COLLECTIONS), unusable, NOW) == (None, EndReason.TEMPLATE_UNAVAILABLE)


@pytest.mark.parametrize(
    ("changes", "reference"),
    [
        ({}, "older"),
        ({"status": TemplateStatus.PAUSED}, ""),
        ({"approved_text": "Bank: please pay {{amount}} at once."}, ""),
        ({"key": ("acme", "meta", "another-template", "1", "en-US")}, ""),
        ({"key": (*template_key(outgoing(), "en-US")[:3], "1", "zh-TW")}, ""),
        ({"key": ("globex", *template_key(outgoing(), "en-US")[1:3], "1", "en-US")}, ""),
    ],
)
@pytest.mark.parametrize("own", [None, template(status=TemplateStatus.PAUSED)])
def test_an_approved_template_of_another_version_serves_where_it_says_the_same(
    own: ProviderTemplate | None, changes: dict[str, Any], reference: str
) -> None:
    """While ours is paused, or not entered yet; never one of another tenant, template or locale."""
    older = template(**{"key": (*template_key(outgoing(), "en-US")[:3], "1", "en-US"), "reference": "older", **changes})
    made, _ = formed(outgoing(), own, None, older)
    called = made.content.template if made else None
    assert (called.reference if called else "") == reference


@pytest.mark.parametrize(
    ("category", "wrote", "goes"),
    [
        (Category.SERVICE, later(-3600), True),
        (Category.SERVICE, later(-24 * 3600), False),
        (Category.SERVICE, None, False),
        (Category.COLLECTIONS, later(-3600), False),
    ],
)
def test_free_text_goes_within_the_service_window_and_in_service_alone(
    category: Category, wrote: datetime | None, goes: bool
) -> None:
    """24 hours after the person's own message."""
    made, reason = formed(outgoing(category), None, wrote)
    if goes:
        assert made is not None
        assert made.window_until == later(23 * 3600)
        assert made.content.template is None
    else:
        assert (made, reason) == (None, EndReason.WINDOW_CLOSED)


def test_a_template_that_could_be_delivered_too_late_is_not_called() -> None:
    """The provider keeps the message for an hour, and half an hour of the permitted time is left."""
    message = replace(outgoing(), verdict=replace(SEND, valid_until=later(1800)))
    assert formed(message, template(ttl=timedelta(hours=1))) == (None, EndReason.TEMPLATE_UNAVAILABLE)
    assert formed(message, template(ttl=timedelta(minutes=10)))[0] is not None


@pytest.mark.parametrize(
    ("route", "to", "next_step"), [(("whatsapp", "email"), State.FAILED, True), (("whatsapp",), State.REVIEW, False)]
)
def test_the_route_goes_on_and_at_its_end_a_person_decides(route: tuple[str, ...], to: State, next_step: bool) -> None:
    """Nothing is lost in silence."""
    _, [transition] = choose_form(
        [outgoing(route=route)], PROFILES, {"dlv_1": "en-US"}, FormFacts({}, {}), evaluate, NOW, {}
    )
    assert (transition.to, transition.next_step) == (to, next_step)


HELD = (EndReason.TEMPLATE_UNAVAILABLE, State.DEFERRED, later(300))


@pytest.mark.parametrize(
    ("status", "left", "expected"),
    [
        (TemplateStatus.PAUSED, 3600, HELD),
        (TemplateStatus.SUBMITTED, 3600, HELD),
        (TemplateStatus.RECATEGORISED, 301, HELD),
        (TemplateStatus.PAUSED, 300, (EndReason.TEMPLATE_UNAVAILABLE, State.REVIEW, None)),
        (TemplateStatus.PAUSED, None, (EndReason.TEMPLATE_UNAVAILABLE, State.REVIEW, None)),
        (TemplateStatus.REJECTED, 3600, (EndReason.TEMPLATE_UNAVAILABLE, State.REVIEW, None)),
        (TemplateStatus.DRAFT, 3600, (EndReason.TEMPLATE_UNAVAILABLE, State.REVIEW, None)),
    ],
)
def test_at_the_last_step_it_waits_while_the_permitted_time_lasts(
    status: TemplateStatus, left: int | None, expected: tuple[EndReason, State, datetime | None]
) -> None:
    """For a template that may come back by itself; else, and near the end of the permitted time, a person decides."""
    message = outgoing(route=("whatsapp",))
    message = replace(message, verdict=replace(SEND, valid_until=None if left is None else later(left)))
    found = template(status=status)
    facts = FormFacts({found.key: found}, {})
    _, [held] = choose_form([message], PROFILES, {"dlv_1": "en-US"}, facts, evaluate, NOW, {})
    assert (held.reason, held.to, held.due_at) == expected
    assert held.next_step is False


def test_a_held_message_goes_when_the_template_is_approved_again_and_leaves_one_event() -> None:
    """It is deferred again and again without an event of each look."""
    message = replace(outgoing(route=("whatsapp",)), verdict=replace(SEND, valid_until=later(3600)))
    delivery = replace(message.work.delivery, state=State.DEFERRED, reason=EndReason.TEMPLATE_UNAVAILABLE)
    held = replace(message, work=replace(message.work, delivery=delivery))
    found = template(status=TemplateStatus.PAUSED)
    facts = FormFacts({found.key: found}, {})
    _, [again] = choose_form([held], PROFILES, {"dlv_1": "en-US"}, facts, evaluate, NOW, {})
    assert (again.kind, again.to) == ("", State.DEFERRED)
    assert formed(held, template())[0] is not None


def test_a_repetition_of_an_unknown_outcome_has_no_second_copy_by_the_next_channel() -> None:
    """Its template was paused meanwhile; the first request may have arrived."""
    message = outgoing()
    delivery = replace(message.work.delivery, state=State.RETRYING, reason=EndReason.SENT_AGAIN)
    message = replace(message, work=replace(message.work, delivery=delivery))
    _, [ended] = choose_form([message], PROFILES, {"dlv_1": "en-US"}, FormFacts({}, {}), evaluate, NOW, {})
    assert (ended.to, ended.reason, ended.next_step) == (State.REVIEW, EndReason.UNRESOLVED, False)


def test_channels_of_free_text_are_left_alone() -> None:
    """No template is wanted for an SMS."""
    message = outgoing(route=("sms",))
    assert choose_form([message], PROFILES, {}, FormFacts({}, {}), evaluate, NOW, {}) == ([message], [])


def test_a_refused_attempt_says_so_of_its_template() -> None:
    """Paused where it may come back, rejected where it is final; other refusals say nothing of it."""
    made, _ = formed(outgoing(), template())
    assert made is not None
    attempt = ended(made.work, TransientFailure(ProviderReason.TEMPLATE_UNAVAILABLE, "132015"))
    attempt = replace(attempt, message=replace(attempt.message, content=made.content))
    paused = template_report(attempt)
    assert paused is not None
    assert (paused.reference, paused.status, paused.reason) == ("due_soon", TemplateStatus.PAUSED, "132015")
    final = template_report(replace(attempt, result=PermanentFailure(ProviderReason.TEMPLATE_UNAVAILABLE)))
    assert final is not None
    assert final.status is TemplateStatus.REJECTED
    other = replace(attempt, result=TransientFailure(ProviderReason.RATE_LIMITED))
    assert template_report(other) is None
    assert template_reports([attempt, other, attempt]) == {attempt.provider: (paused,)}


@pytest.mark.parametrize("found", [template(key=template_key(outgoing(route=("sms",)), "en-US")), None])
def test_a_provider_that_sends_templates_alone_needs_one_on_any_channel(found: ProviderTemplate | None) -> None:
    """Free text of a channel never goes through it: without a template the route goes on."""
    message = outgoing(route=("sms", "email"))
    facts = FormFacts({found.key: found} if found else {}, {})
    going, transitions = choose_form(
        [message], PROFILES, {"dlv_1": "en-US"}, facts, evaluate, NOW, {"meta": Capability(templates_only=True)}
    )
    assert [each.content.template for each in going] == ([CALL] if found else [])
    assert [(each.reason, each.next_step) for each in transitions] == (
        [] if found else [(EndReason.TEMPLATE_UNAVAILABLE, True)]
    )
