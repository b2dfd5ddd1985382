"""WhatsApp through Meta and through Twilio: forms of a message, codes, webhooks, states of templates, sign-off."""

from __future__ import annotations

import json
import random
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any
from urllib.parse import urlencode

import pytest

from channels.base import (
    BadSignature,
    CallbackEvents,
    CallbackRequest,
    Capability,
    Content,
    LookupResult,
    MalformedCallback,
    PermanentFailure,
    ProviderReason,
    Receipt,
    ReceiptStatus,
    Reply,
    SendFailure,
    TemplateCall,
    TemplateReport,
    TemplateStatus,
    TransientFailure,
    UnknownOutcome,
)
from channels.outcomes import OutcomeClass, load_table
from channels.rcs import CHANNEL as RCS
from channels.sms.simulator import SmsSimulator
from channels.twilio.shapes import sign as twilio_sign
from channels.whatsapp import CHANNEL
from channels.whatsapp.cloud import CloudProvider
from channels.whatsapp.simulator import SimulatedTemplate, WhatsAppSimulator, sign
from tests.support.providers.fake_servers import NAME, TEXT, CallbackCatcher, clock, closed_port, message

SECRET, TO = "It's a Secret to Everybody", "+12025550100"
OPTIONS = {
    "phone_number_id": "111",
    "business_account_id": "222",
    "access_token": "EAAtoken",
    "app_secret": SECRET,
    "verify_token": "verify-me",
}
CALL = TemplateCall("due", "en", (("name", NAME),))
R = ProviderReason


def _cloud(base_url: str = "http://127.0.0.1:1", **options: Any) -> CloudProvider:
    built = CHANNEL.build("cloud", "meta", OPTIONS | {"base_url": base_url} | options, {"clock": clock})
    assert isinstance(built, CloudProvider)
    return built


@pytest.fixture
async def catcher() -> AsyncIterator[CallbackCatcher]:
    made = CallbackCatcher()
    await made.start()
    yield made
    await made.stop()


@pytest.fixture
async def simulator(catcher: CallbackCatcher) -> AsyncIterator[WhatsAppSimulator]:
    made = WhatsAppSimulator("111", "EAAtoken", SECRET, catcher.url)
    made.templates["due", "en"] = SimulatedTemplate(TEXT.replace(NAME, "{{name}}"), "en")
    made.templates["numbered", "zh_TW"] = SimulatedTemplate("{{1}}, {{2}}", "zh_TW")
    await made.start()
    yield made
    await made.stop()


def _signed(body: Any) -> CallbackRequest:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    headers = {name.lower(): value for name, value in sign(SECRET, raw).items()}
    return CallbackRequest("http://gw/v1/receipts/meta", headers, {}, raw)


def _change(value: dict[str, Any], field: str = "messages") -> dict[str, Any]:
    metadata = {"metadata": {"phone_number_id": "111"}}
    return {"entry": [{"changes": [{"field": field, "value": metadata | value}]}]}


# ── sending ─────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("call", "text"),
    [(CALL, TEXT), (TemplateCall("numbered", "zh_TW", (("1", "陈雅婷"), ("2", "3,913.00"))), "陈雅婷, 3,913.00")],
)
async def test_a_template_goes_with_its_parameters(simulator: WhatsAppSimulator, call: TemplateCall, text: str) -> None:
    """Named and numbered parameters reach their gaps, and the person sees the approved text."""
    provider = _cloud(simulator.url)
    await provider.send(message(TO, content=Content(text, template=call)))
    await provider.close()
    assert [(each.text, each.template) for each in simulator.messages] == [(text, call.reference)]


@pytest.mark.parametrize("minutes", [None, -1, 0])
@pytest.mark.parametrize("kind", ["cloud", "twilio"])
async def test_free_text_outside_the_window_is_not_sent(kind: str, minutes: int | None) -> None:
    """Without a template and without a message of the person's in 24 hours nothing is handed over."""
    twilio = {"account_sid": "AC1", "auth_token": "t", "from_number": "+15005550006"}
    provider = _cloud() if kind == "cloud" else CHANNEL.build("twilio", "tw", twilio, {"clock": clock})
    until = None if minutes is None else clock() + timedelta(minutes=minutes)
    with pytest.raises(PermanentFailure) as failure:
        await provider.send(message(TO, window_until=until))
    assert failure.value.reason is R.WINDOW_CLOSED
    await provider.close()


async def test_free_text_goes_inside_the_window(simulator: WhatsAppSimulator, catcher: CallbackCatcher) -> None:
    """Who has written gets free text, and an answer to the message."""
    await simulator.write_as("12025550100", "hello")
    provider = _cloud(simulator.url)
    (reply,) = provider.read_events((await catcher.wait_for(1))[0]).replies
    assert (reply.address, reply.text, reply.identity) == (TO, "hello", "")
    await provider.send(message(TO, window_until=clock() + timedelta(hours=1)))
    await provider.answer_reply(reply, "You are opted out.")
    await provider.close()
    assert [each.text for each in simulator.messages] == [TEXT, "You are opted out."]


@pytest.mark.parametrize(
    ("status", "failure", "reason", "code"),
    [
        ("PAUSED", TransientFailure, R.TEMPLATE_UNAVAILABLE, "132015"),
        ("DISABLED", PermanentFailure, R.TEMPLATE_UNAVAILABLE, "132016"),
    ],
)
async def test_an_unusable_template_is_refused_and_never_sent_as_text(
    simulator: WhatsAppSimulator, status: str, failure: type[SendFailure], reason: str, code: str
) -> None:
    """A pause is for now, a disabled template for good; nothing goes instead of it."""
    simulator.templates["due", "en"].status = status
    provider = _cloud(simulator.url)
    with pytest.raises(failure) as raised:
        await provider.send(
            message(TO, content=Content(TEXT, template=CALL), window_until=clock() + timedelta(hours=1))
        )
    await provider.close()
    assert (raised.value.reason, raised.value.code) == (reason, code)
    assert simulator.messages == []


async def test_a_server_error_may_be_a_message(simulator: WhatsAppSimulator) -> None:
    """131000 is unknown, and Meta can't be asked: the status that repeats the reference decides."""
    provider = _cloud(simulator.url)
    sent = message("+12025550197", content=Content(TEXT, template=CALL))
    with pytest.raises(UnknownOutcome):
        await provider.send(sent)
    assert (await provider.lookup(sent, "", clock())).result is LookupResult.UNSUPPORTED
    await provider.close()


def test_codes_are_in_the_class_that_the_route_needs() -> None:
    """The codes of Meta's that decide what happens next."""
    table = load_table("channels.whatsapp", "cloud_codes.toml")
    transient, permanent, unknown = OutcomeClass.TRANSIENT, OutcomeClass.PERMANENT, OutcomeClass.UNKNOWN
    expected = {
        "130429": (transient, R.RATE_LIMITED), "131056": (transient, R.RATE_LIMITED),
        "190": (transient, R.PROVIDER_CONFIG), "131000": (unknown, R.SERVER_ERROR),
        "131026": (permanent, R.NOT_ON_CHANNEL), "131047": (permanent, R.WINDOW_CLOSED),
        "131049": (permanent, R.FREQUENCY_LIMITED), "131050": (permanent, R.OPTED_OUT_AT_PROVIDER),
        "132015": (transient, R.TEMPLATE_UNAVAILABLE), "132016": (permanent, R.TEMPLATE_UNAVAILABLE),
        "132099": (permanent, R.TEMPLATE_UNAVAILABLE),
    }  # fmt: skip
    assert {code: (table.find(code).kind, table.find(code).reason) for code in expected} == expected
    twilio = load_table("channels.twilio", "codes.toml")
    assert (twilio.find("63016").reason, twilio.find("63018").kind) == (R.WINDOW_CLOSED, transient)


# ── policy ──────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("kind", ["cloud", "twilio"])
def test_collections_need_a_recorded_sign_off(kind: str) -> None:
    """WhatsApp's policy forbids debt collection: service alone, until the options name counsel and day."""
    twilio = {"account_sid": "AC1", "auth_token": "t", "from_number": "+15005550006"}
    options = OPTIONS if kind == "cloud" else twilio

    def categories(**more: str) -> frozenset[str]:
        return CHANNEL.build(kind, "wa", options | more, {"clock": clock}).capability.categories

    signed = {"collections_approved_by": "Jane Doe, General Counsel", "collections_approved_on": "2026-11-01"}
    assert categories() == {"service"}
    assert categories(**signed) == {"service", "collections"}
    for name in signed:
        with pytest.raises(ValueError, match=rf"wa.*{name}"):
            categories(**{**signed, name: ""})
    with pytest.raises(ValueError, match="collections_approved_on must be a date"):
        categories(**{**signed, "collections_approved_on": "last week"})


def test_every_category_needs_consent_to_whatsapp() -> None:
    """The policy of WhatsApp wants an opt-in that names the business, whatever the message is for."""
    assert CHANNEL.profile.consent_categories == Capability().categories


def test_it_shares_its_addresses_with_sms() -> None:
    """One number is one person: an opt-out by SMS holds on WhatsApp."""
    assert CHANNEL.profile.identity == "sms"
    assert CHANNEL.normalise("+1 202 555 0100") == TO


# ── webhooks ────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_published_signature() -> None:
    """The vector of the same construction that GitHub publishes."""
    body = b"Hello, World!"
    digest = "757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"
    with pytest.raises(MalformedCallback):  # signed, and no JSON
        _cloud().read_events(CallbackRequest("http://gw", {"x-hub-signature-256": f"sha256={digest}"}, {}, body))
    for forged in (f"sha256={digest[:-1]}8", digest, "", "sha256=\udce9"):
        with pytest.raises(BadSignature):
            _cloud().read_events(CallbackRequest("http://gw", {"x-hub-signature-256": forged}, {}, body))


def test_the_handshake_repeats_the_challenge() -> None:
    """Meta tries a URL with GET; only who knows the token gets its challenge back."""
    query = {"hub.mode": "subscribe", "hub.challenge": "1158201444", "hub.verify_token": "verify-me"}
    events = _cloud().read_events(CallbackRequest("http://gw", {}, query, b"", "GET"))
    assert (events.body, events.receipts) == (b"1158201444", ())
    for wrong in ("", "verify", "é"):
        with pytest.raises(BadSignature):
            _cloud().read_events(CallbackRequest("http://gw", {}, query | {"hub.verify_token": wrong}, b"", "GET"))


async def test_statuses_read_the_same_in_any_order_and_number(
    simulator: WhatsAppSimulator, catcher: CallbackCatcher
) -> None:
    """Sent, delivered and read carry our reference; repeated and shuffled they say the same."""
    provider = _cloud(simulator.url)
    sent = message("+12025550188", content=Content(TEXT, template=CALL))
    accepted = await provider.send(sent)
    requests = list(await catcher.wait_for(3)) * 2
    random.shuffle(requests)
    read = {receipt for request in requests for receipt in provider.read_receipts(request)}
    await provider.close()
    known = ("meta", accepted.provider_message_id, sent.reference)
    assert {(each.provider, each.provider_message_id, each.reference) for each in read} == {known}
    assert {each.status for each in read} == {ReceiptStatus.SENT, ReceiptStatus.DELIVERED, ReceiptStatus.READ}


def test_failures_in_statuses() -> None:
    """A failed status says why; an opt-out is one."""

    def read(code: int) -> tuple[ReceiptStatus, ProviderReason | None]:
        status = {"id": "w1", "status": "failed", "errors": [{"code": code}]}
        (receipt,) = _cloud().read_receipts(_signed(_change({"statuses": [status]})))
        return receipt.status, receipt.reason

    assert read(131026) == (ReceiptStatus.UNDELIVERED, R.NOT_ON_CHANNEL)
    assert read(131047) == (ReceiptStatus.UNDELIVERED, R.WINDOW_CLOSED)
    assert read(131050) == (ReceiptStatus.OPTED_OUT, R.OPTED_OUT_AT_PROVIDER)


def test_one_webhook_may_say_everything() -> None:
    """Receipts, replies and templates in one body; kinds of event that nobody knows are no error."""
    changes = [
        *_change({"statuses": [{"id": "w1", "status": "delivered"}, {"id": "w2", "status": "warning"}]})["entry"],
        *_change({"messages": [
            {"id": "m1", "from": "12025550100", "type": "text", "text": {"body": "STOP"}},
            {"id": "m2", "from": "12025550100", "type": "button", "button": {"text": "Pay", "payload": "p"}},
            {"id": "m3", "from": "12025550100", "type": "interactive",
             "interactive": {"type": "button_reply", "button_reply": {"id": "1", "title": "Call me"}}},
            {"id": "m4", "from_user_id": "US.13491208655302741918", "type": "image", "image": {"id": "9"}},
            {"id": "m5", "from": "12025550100", "type": "reaction", "reaction": {"emoji": "x"}},
        ]})["entry"],
        *_change({"event": "PAUSED", "message_template_name": "due", "message_template_language": "en",
                  "reason": "NONE"}, "message_template_status_update")["entry"],
        *_change({"new_category": "MARKETING", "message_template_name": "due", "message_template_language": "zh_TW"},
                 "template_category_update")["entry"],
        *_change({"anything": 1}, "flows")["entry"],
        *_change({"metadata": {"phone_number_id": "999"}, "statuses": [{"id": "w9", "status": "read"}]})["entry"],
    ]  # fmt: skip
    assert _cloud().read_events(_signed({"entry": changes})) == CallbackEvents(
        [Receipt("meta", ReceiptStatus.DELIVERED, "w1", reason=R.DELIVERED)],
        [
            Reply("meta", "m1", TO, "STOP"),
            Reply("meta", "m2", TO, "Pay"),
            Reply("meta", "m3", TO, "Call me"),
            Reply("meta", "m4", "US.13491208655302741918", "[image]", identity="whatsapp_user"),
        ],
        [
            TemplateReport("due", TemplateStatus.PAUSED, "en"),
            TemplateReport("due", TemplateStatus.RECATEGORISED, "zh_TW", "MARKETING"),
        ],
    )


@pytest.mark.parametrize(
    "body",
    [b"", b"[]", b"{}", b'{"entry": 1}', b"[" * 100_000, _change({"statuses": [{}]}), _change({"statuses": 7}),
     _change({"messages": [{"id": "m", "type": "text"}]}), _change({}, "message_template_status_update")],
)  # fmt: skip
def test_signed_nonsense_is_malformed(body: Any) -> None:
    """Whatever is signed and can't be read is refused in one way."""
    with pytest.raises(MalformedCallback):
        _cloud().read_events(_signed(body))


# ── templates and doctor ────────────────────────────────────────────────────────────────────────────────────


async def test_states_of_templates_are_polled_over_all_pages(simulator: WhatsAppSimulator) -> None:
    """All pages are read, and marketing counts as recategorised."""
    for number in range(150):
        simulator.templates[f"t{number}", "en"] = SimulatedTemplate("x", "en")
    simulator.templates["t149", "en"].category = "MARKETING"
    simulator.templates["due", "en"].status = "REJECTED"
    provider = _cloud(simulator.url)
    assert await provider.template_states(["due", "t149", "t0"]) == [
        TemplateReport("due", TemplateStatus.REJECTED, "en"),
        TemplateReport("t0", TemplateStatus.APPROVED, "en"),
        TemplateReport("t149", TemplateStatus.RECATEGORISED, "en"),
    ]
    await provider.close()


async def test_the_check_finds_what_is_not_set_up(simulator: WhatsAppSimulator) -> None:
    """The doctor learns of a wrong token, a webhook that leads elsewhere, and templates that are not approved."""
    provider = _cloud(simulator.url)
    [elsewhere] = await provider.check()
    assert "leads elsewhere" in elsewhere.what
    assert "/v1/receipts/meta" in elsewhere.remedy
    for url in ("https://gateway.example.com/prefix/v1/receipts/meta", ""):  # "": it says nothing of it
        simulator.callback_url = url
        assert await provider.check() == []
    simulator.account_subscribed = False
    simulator.templates["due", "en"].status = "PAUSED"
    what = [each.what for each in await provider.check()]
    assert "webhooks" in what[0]
    assert what[1] == "template due (en) is paused"
    await provider.close()
    wrong = _cloud(simulator.url, access_token="other")
    with pytest.raises(TransientFailure) as failure:
        await wrong.check()
    assert (failure.value.reason, failure.value.code) == (R.PROVIDER_CONFIG, "190")
    await wrong.close()
    nobody = _cloud(f"http://127.0.0.1:{await closed_port()}")
    with pytest.raises(TransientFailure):
        await nobody.check()
    await nobody.close()


# ── through Twilio ──────────────────────────────────────────────────────────────────────────────────────────


async def test_twilio_gets_a_content_template_and_finds_it_by_its_text(
    catcher: CallbackCatcher,
) -> None:
    """The prefix, the content SID and its variables go out; the look-up compares with the text that Twilio made."""
    simulator = SmsSimulator("AC1", "t", clock, contents={"HX1": TEXT.replace(NAME, "{{name}}").replace(" ", "  ")})
    await simulator.start()
    options = {"account_sid": "AC1", "auth_token": "t", "from_number": "+15005550006", "base_url": simulator.url}
    provider = CHANNEL.build("twilio", "tw", options, {"clock": clock})
    call = TemplateCall("HX1", "en", (("name", NAME),))
    sent = message(TO, content=Content(TEXT, template=call), callback_url=catcher.url)
    accepted = await provider.send(sent)
    (stored,) = simulator.messages.values()
    assert (stored.to, stored.sender) == (f"whatsapp:{TO}", "whatsapp:+15005550006")
    answer = await provider.lookup(sent, "", clock() - timedelta(minutes=1))
    assert answer.receipt is not None
    assert answer.receipt.provider_message_id == accepted.provider_message_id
    await provider.close()
    await simulator.stop()


async def test_rcs_is_forced_by_its_prefix() -> None:
    """Never a silent SMS: the numbers have the prefix, and who has no RCS is for the route's next step."""
    simulator = SmsSimulator("AC1", "t", clock)
    await simulator.start()
    options = {"account_sid": "AC1", "auth_token": "t", "from_number": "lender_agent", "base_url": simulator.url}
    provider: Any = RCS.build("twilio", "rcs", options, {"clock": clock})
    await provider.send(message(TO))
    (stored,) = simulator.messages.values()
    assert (stored.to, stored.sender, stored.body) == (f"rcs:{TO}", "rcs:lender_agent", TEXT)
    failed = _from_twilio("http://gw/x", MessageSid="SM1", MessageStatus="undelivered", ErrorCode="63036")
    assert provider.read_receipts(failed)[0].reason is R.NOT_ON_CHANNEL
    await provider.close()
    await simulator.stop()


def _from_twilio(url: str, **form: str) -> CallbackRequest:
    headers = {"x-twilio-signature": twilio_sign("t", url, form)}
    return CallbackRequest(url, headers, {}, urlencode(form).encode())


def test_twilios_callbacks_for_whatsapp() -> None:
    """Read receipts, closed windows, and replies whose sender is a number or a user's id."""
    options = {"account_sid": "AC1", "auth_token": "t", "messaging_service_sid": "MG1"}
    provider: Any = CHANNEL.build("twilio", "tw", options, {"clock": clock})
    url = "http://gw/v1/receipts/tw"
    (read,) = provider.read_receipts(_from_twilio(url, MessageSid="SM1", MessageStatus="read"))
    assert read.status is ReceiptStatus.READ
    failed = _from_twilio(url, MessageSid="SM1", MessageStatus="undelivered", ErrorCode="63016")
    assert provider.read_receipts(failed)[0].reason is R.WINDOW_CLOSED
    (reply,) = provider.read_replies(_from_twilio(url, MessageSid="SM2", From=f"whatsapp:{TO}", Body="STOP"))
    assert (reply.address, reply.identity) == (TO, "")
    (reply,) = provider.read_replies(_from_twilio(url, MessageSid="SM3", From="whatsapp:US.1349", Body="hi"))
    assert (reply.address, reply.identity) == ("US.1349", "whatsapp_user")
