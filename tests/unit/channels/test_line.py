"""LINE: retry keys, notification messages and their tags, the published signature, who unfollows."""

from __future__ import annotations

import hashlib
import json
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest

from channels.base import (
    BadSignature,
    CallbackEvents,
    CallbackRequest,
    Content,
    InvalidAddress,
    Keyword,
    LookupResult,
    MalformedCallback,
    PermanentFailure,
    Provider,
    ProviderReason,
    Receipt,
    ReceiptStatus,
    Reply,
    SendFailure,
    Silence,
    TemplateCall,
    TransientFailure,
    UnknownOutcome,
)
from channels.line import CHANNEL, NOTIFICATIONS
from channels.line.simulator import LineSimulator, sign
from tests.support.providers.fake_servers import TEXT, CallbackCatcher, clock, message

SECRET, NUMBER = "channel_secret", "+12025550100"
R = ProviderReason


def _user(last: int = 0) -> str:
    return f"U{last:032d}"


def _push(base_url: str = "http://127.0.0.1:1", **options: Any) -> Any:
    values = {"channel_access_token": "token", "channel_secret": SECRET, "base_url": base_url}
    return CHANNEL.build("messaging", "line", values | options, {"clock": clock})


def _notifications(base_url: str = "http://127.0.0.1:1", **options: Any) -> Any:
    values = {"channel_access_token": "token", "channel_secret": SECRET, "base_url": base_url}
    return NOTIFICATIONS.build("messaging", "line", values | options, {"clock": clock})


@pytest.fixture
async def catcher() -> AsyncIterator[CallbackCatcher]:
    made = CallbackCatcher()
    await made.start()
    yield made
    await made.stop()


@pytest.fixture
async def simulator(catcher: CallbackCatcher) -> AsyncIterator[LineSimulator]:
    made = LineSimulator("token", SECRET, catcher.url)
    made.templates["due_ja"] = frozenset({"date_002_ja", "name_010_ja"})
    await made.start()
    yield made
    await made.stop()


def _signed(*events: Any) -> CallbackRequest:
    body = json.dumps({"destination": _user(), "events": events}).encode()
    headers = {name.lower(): value for name, value in sign(SECRET, body).items()}
    return CallbackRequest("http://gw/v1/receipts/line", headers, {}, body)


def test_the_published_signature() -> None:
    """The vector of LINE's own SDK."""
    body, digest = b"bodybodybodybody", "/gg9a+LvFevTH1sd7XCQycD7tsWclCsInj7MhBHxN7k="
    assert sign(SECRET, body)["X-Line-Signature"] == digest
    with pytest.raises(MalformedCallback):  # signed, and no JSON
        _push().read_events(CallbackRequest("http://gw", {"x-line-signature": digest}, {}, body))
    for forged in ("", digest.lower(), "\udce9", digest[:-2]):
        with pytest.raises(BadSignature):
            _push().read_events(CallbackRequest("http://gw", {"x-line-signature": forged}, {}, body))


def test_addresses() -> None:
    """A push goes to a user's id alone; a notification message to a number, whose owner is the one of its SMS."""
    assert CHANNEL.normalise(f" {_user(7)} ") == _user(7)
    for wrong in (NUMBER, "U123", _user().lower(), "C" + "0" * 32, ""):
        with pytest.raises(InvalidAddress):
            CHANNEL.normalise(wrong)
    assert NOTIFICATIONS.normalise("+1 202 555 0100") == NUMBER
    assert (CHANNEL.profile.identity, NOTIFICATIONS.profile.identity) == ("", "sms")


async def test_a_repeated_push_has_no_further_effect(simulator: LineSimulator) -> None:
    """The retry key is the delivery's: after an answer that never came, the next attempt gets 409 and sends nothing."""
    provider = _push(simulator.url, timeout_seconds=3)
    with pytest.raises(UnknownOutcome):
        await provider.send(message(_user(94)))
    repeated = await provider.send(message(_user(94), attempt=2))
    await provider.close()
    assert repeated.provider_message_id
    assert [each.text for each in simulator.messages] == [TEXT]
    assert provider.capability.repeatable(clock(), clock() + timedelta(hours=22))
    assert not provider.capability.repeatable(clock(), clock() + timedelta(hours=24))


async def test_lines_own_client_and_ours_speak_to_the_same_server(
    simulator: LineSimulator, catcher: CallbackCatcher
) -> None:
    """Its requests are taken like ours, a repeated key too; and it reads the webhook's signature like we do."""
    # Here, as they take a second, which each test process would spend on collecting.
    import linebot.v3.messaging as sdk
    from linebot.v3 import WebhookParser
    from linebot.v3.exceptions import InvalidSignatureError

    configuration = sdk.Configuration(access_token="token", host=simulator.url)
    request = sdk.PushMessageRequest(to=_user(), messages=[sdk.TextMessage(text=TEXT)])
    async with sdk.AsyncApiClient(configuration) as client:
        theirs = sdk.AsyncMessagingApi(client)
        accepted = await theirs.push_message(request, x_line_retry_key=str(UUID(int=7)))
        assert accepted.sent_messages
        with pytest.raises(sdk.ApiException) as repeated:
            await theirs.push_message(request, x_line_retry_key=str(UUID(int=7)))
        assert repeated.value.status == 409
        assert (await theirs.get_bot_info()).display_name == "Lender"
    provider = _push(simulator.url)
    await provider.send(message(_user()))
    await provider.close()
    assert [(each.to, each.text) for each in simulator.messages] == [(_user(), TEXT)] * 2
    source = {"type": "user", "userId": _user()}
    event = {"type": "unfollow", "webhookEventId": "01F", "source": source, "timestamp": 1, "mode": "active",
             "deliveryContext": {"isRedelivery": False}}  # fmt: skip
    await simulator.tell(event)
    [came] = await catcher.wait_for(1)
    [read] = WebhookParser(SECRET).parse(came.body.decode(), came.headers["x-line-signature"])
    [ours] = _push().read_events(came).replies
    assert read.source.user_id == ours.address == _user()
    with pytest.raises(InvalidSignatureError):
        WebhookParser("other").parse(came.body.decode(), came.headers["x-line-signature"])


@pytest.mark.parametrize(
    ("last", "failure", "reason"),
    [
        (95, PermanentFailure, R.NOT_ON_CHANNEL),
        (96, TransientFailure, R.RATE_LIMITED),
        (97, UnknownOutcome, R.SERVER_ERROR),
    ],
)
async def test_refusals(simulator: LineSimulator, last: int, failure: type[SendFailure], reason: str) -> None:
    """What LINE answers, in the class that decides what happens next."""
    provider = _push(simulator.url)
    with pytest.raises(failure) as raised:
        await provider.send(message(_user(last)))
    assert raised.value.reason is reason
    with pytest.raises(PermanentFailure) as raised:
        await provider.send(message("nobody"))
    assert raised.value.reason is R.INVALID_ADDRESS
    await provider.close()


async def test_a_notification_message_is_known_by_its_tag(simulator: LineSimulator, catcher: CallbackCatcher) -> None:
    """The digest of the number goes out, never the number; the delivery event repeats our reference."""
    provider = _notifications(simulator.url)
    call = TemplateCall("due_ja", "ja", (("emphasized__date_002_ja", "11/1"), ("name_010_ja", "Loan")))
    sent = message(NUMBER, content=Content(TEXT, template=call))
    await provider.send(sent)
    (stored,) = simulator.messages
    assert (stored.to, stored.template, stored.tag) == (
        hashlib.sha256(NUMBER.encode()).hexdigest(),
        "due_ja",
        sent.reference,
    )
    request = (await catcher.wait_for(1))[0]
    expected = [Receipt("line", ReceiptStatus.DELIVERED, reference=sent.reference, reason=R.DELIVERED)]
    assert provider.read_receipts(request) == expected
    assert _push().read_receipts(request) == expected  # one account, one webhook: either provider reads it
    await provider.close()


async def test_a_template_that_line_does_not_have(simulator: LineSimulator) -> None:
    """A wrong key or item is the template's fault; without a template nothing goes."""
    provider = _notifications(simulator.url)
    unknown = TemplateCall("other", "ja")
    wrong = TemplateCall("due_ja", "ja", (("price_001_ja", "1"),))
    for call in (unknown, wrong, None):
        with pytest.raises(PermanentFailure) as raised:
            await provider.send(message(NUMBER, content=Content(TEXT, template=call)))
        assert raised.value.reason is R.TEMPLATE_UNAVAILABLE
    assert simulator.messages == []
    await provider.close()


async def test_what_silence_means() -> None:
    """A push proves nothing; a notification message without an event in 24 hours did not arrive."""
    push, notification = _push(), _notifications()
    assert push.capability.silence is Silence.UNPROVEN
    assert (notification.capability.silence, notification.capability.receipt_within) == (
        Silence.FAILED,
        timedelta(hours=24),
    )
    assert notification.capability.categories == {"service"}
    assert (await push.lookup(message(_user()), "", clock())).result is LookupResult.UNSUPPORTED


def test_events() -> None:
    """Who writes replies; who unfollows declines, on LINE; a repeated event reads the same; others are left out."""
    user = {"source": {"type": "user", "userId": _user()}}
    events = [
        {"type": "message", "message": {"id": "m1", "type": "text", "text": "I paid"}, **user},
        {"type": "message", "message": {"id": "m2", "type": "sticker"}, **user},
        {"type": "message", "message": {"id": "m3", "type": "text", "text": "x"}, "source": {"type": "group"}},
        {"type": "unfollow", "webhookEventId": "e1", **user},
        {"type": "follow", "webhookEventId": "e2", **user},
        {"type": "somethingNew", **user},
    ]
    stop = Reply("line", "e1", _user(), "", answered=True, keyword=Keyword.STOP)
    expected = [Reply("line", "m1", _user(), "I paid"), Reply("line", "m2", _user(), "[sticker]"), stop]
    assert _push().read_events(_signed(*events)) == CallbackEvents([], expected)
    assert _push().read_events(_signed()) == CallbackEvents([], [])  # the verification of the URL
    through_notifications = _notifications().read_events(_signed(*events)).replies
    assert {each.identity for each in through_notifications} == {"line"}  # a user's id, not a number


@pytest.mark.parametrize("event", [7, {}, {"type": "delivery"}, {"type": "unfollow", "source": {"userId": "U"}}])
def test_signed_nonsense_is_malformed(event: Any) -> None:
    """Whatever is signed and can't be read is refused in one way."""
    with pytest.raises(MalformedCallback):
        _push().read_events(_signed(event))


async def test_the_check_finds_what_is_not_set_up(simulator: LineSimulator) -> None:
    """The doctor learns of a wrong token, and of a webhook that leads elsewhere or is off."""
    provider: Any = _push(simulator.url)
    simulator.webhook = {"endpoint": "https://gw.example/base/v1/receipts/line", "active": True}
    assert await provider.check() == []
    for hook in ({"endpoint": "https://gw.example/other", "active": True}, {**simulator.webhook, "active": False}):
        simulator.webhook = hook
        (advice,) = await provider.check()
        assert "/v1/receipts/line" in advice.remedy
    await provider.close()
    wrong = _push(simulator.url, channel_access_token="other")
    with pytest.raises(TransientFailure) as failure:
        await wrong.check()
    assert failure.value.reason is R.PROVIDER_CONFIG
    assert isinstance(wrong, Provider)
    await wrong.close()
