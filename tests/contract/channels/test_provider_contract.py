"""What every provider promises, whatever it talks to. A new provider adds a rig here and passes as it is."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any
from urllib.parse import parse_qsl

import pytest

from channels.base import (
    Accepted,
    BadSignature,
    CallbackRequest,
    Channel,
    Content,
    LookupAnswer,
    LookupResult,
    MalformedCallback,
    Message,
    PermanentFailure,
    Provider,
    ProviderReason,
    ReceiptStatus,
    TemplateCall,
    TransientFailure,
    UnknownOutcome,
)
from channels.email import CHANNEL as EMAIL
from channels.email.sink import SmtpSink
from channels.inapp import CHANNEL as INAPP
from channels.line import CHANNEL as LINE
from channels.line import NOTIFICATIONS as LINE_NOTIFICATION
from channels.line.simulator import LineSimulator
from channels.rcs import CHANNEL as RCS
from channels.sms import CHANNEL as SMS
from channels.sms.simulator import SmsSimulator
from channels.twilio.shapes import sign
from channels.wechat import CHANNEL as WECHAT
from channels.wechat.simulator import WeChatSimulator
from channels.whatsapp import CHANNEL as WHATSAPP
from channels.whatsapp.simulator import SimulatedTemplate, WhatsAppSimulator
from channels.whatsapp.simulator import sign as meta_sign
from tests.support.providers.chinese_sms import AliyunServer, TencentServer
from tests.support.providers.fake_servers import NAME, TEXT, CallbackCatcher, clock, closed_port, message
from tests.support.providers.smsc import Smsc

SECRET = "s3cr3t-of-the-provider"
SID = "AC" + "0" * 32


class FakeInbox:
    """A feed in memory: the same promise as the real one, once for each delivery."""

    def __init__(self) -> None:
        self.entries: dict[str, tuple[str, str, str, str]] = {}
        self.down = False

    async def put(self, tenant: str, borrower_id: str, delivery_id: str, title: str, text: str) -> bool:
        if self.down:
            raise ConnectionError(f"no database for {borrower_id}: {text}")
        new = delivery_id not in self.entries
        self.entries.setdefault(delivery_id, (tenant, borrower_id, title, text))
        return new


@dataclass
class Rig:
    """A provider with its real counterpart, and what the suite must know to play with it."""

    channel: Channel
    kind: str
    options: dict[str, Any]
    services: dict[str, Any]
    good: str
    catcher: CallbackCatcher
    required: tuple[str, ...] = ()
    refused: str = ""  # an address that the counterpart refuses for good
    busy: str = ""  # one that it refuses the first time
    vanishing: str = ""  # one for which the answer never comes, though the message is stored
    undelivered: str = ""  # one whose message is accepted and later reported as not delivered
    received: Callable[[], int] = lambda: 0
    break_down: Callable[[], Awaitable[dict[str, Any]]] | None = None  # options under which nothing answers
    sign_nonsense: Callable[[str], CallbackRequest] | None = None
    callbacks: dict[str, int] = field(default_factory=lambda: {"good": 1, "undelivered": 1})  # until the end is known
    contents: dict[str, str] = field(default_factory=dict)  # Twilio's templates
    secret: str = ""  # of the callbacks' URL, where they are not signed
    carries_reference: bool = True  # else its receipts are known by the provider's id alone
    template: TemplateCall | None = None  # where messages are a template of the provider's
    built: list[Provider] = field(default_factory=list)

    def provider(self, **changes: Any) -> Provider:
        built = self.channel.build(self.kind, "primary", self.options | changes, self.services)
        self.built.append(built)
        return built

    def message(self, address: str, number: int = 1, **changes: Any) -> Message:
        return message(
            address, number, **{"content": Content(TEXT, "Reminder", f"<p>{TEXT}</p>", self.template)} | changes
        )


_SENT_FIRST = {"good": 2, "undelivered": 2}


async def _sms(catcher: CallbackCatcher) -> AsyncIterator[Rig]:
    contents: dict[str, str] = {}
    simulator = SmsSimulator(SID, SECRET, clock, contents=contents)
    await simulator.start()
    options = {
        "account_sid": SID,
        "auth_token": SECRET,
        "from_number": "+15005550006",
        "base_url": simulator.url,
        "timeout_seconds": 1.5,
    }

    async def break_down() -> dict[str, Any]:
        return {"base_url": f"http://127.0.0.1:{await closed_port()}"}

    def nonsense(url: str) -> CallbackRequest:
        signature = sign(SECRET, url, {"Nonsense": "1"})
        return CallbackRequest(url, {"x-twilio-signature": signature}, {}, b"Nonsense=1")

    yield Rig(
        SMS, "twilio", options, {"clock": clock}, "+12025550100", catcher,
        required=("account_sid", "auth_token", "from_number"),
        refused="+12025550195", busy="+12025550196", vanishing="+12025550194", undelivered="+12025550199",
        received=lambda: simulator.received.messages, break_down=break_down, sign_nonsense=nonsense,
        callbacks=_SENT_FIRST, contents=contents,
    )  # fmt: skip
    await simulator.stop()


async def _smpp(catcher: CallbackCatcher) -> AsyncIterator[Rig]:
    smsc = Smsc()
    await smsc.start()
    options = {
        "host": "127.0.0.1",
        "port": smsc.port,
        "system_id": "lender",
        "password": SECRET[:8],
        "source_address": "+15005550006",
        "timeout_seconds": 1.5,
    }

    async def break_down() -> dict[str, Any]:
        return {"port": await closed_port()}

    yield Rig(
        SMS, "smpp", options, {"clock": clock}, "+12025550100", catcher,
        required=("host", "system_id", "password", "source_address"),
        refused="+12025550195", busy="+12025550196", vanishing="+12025550194", undelivered="+12025550199",
        received=lambda: len(smsc.submitted), break_down=break_down,
    )  # fmt: skip
    await smsc.stop()


async def _email(catcher: CallbackCatcher) -> AsyncIterator[Rig]:
    sink = SmtpSink(clock, dsn_url=catcher.url, dsn_token=SECRET)
    await sink.start()
    options = {
        "host": "127.0.0.1",
        "port": sink.port,
        "tls": "none",
        "domain": "lender.example",
        "from_address": "no-reply@lender.example",
        "callback_token": SECRET,
        "timeout_seconds": 1.5,
        "data_timeout_seconds": 1.5,
    }

    async def break_down() -> dict[str, Any]:
        return {"port": await closed_port()}

    yield Rig(
        EMAIL, "smtp", options, {"clock": clock}, "chen@example.com", catcher,
        required=("host", "domain", "from_address"),
        refused="bounce+chen@example.com", busy="full+chen@example.com", vanishing="drop+chen@example.com",
        undelivered="dsnfail+chen@example.com",
        received=lambda: sink.received.messages, break_down=break_down,
        sign_nonsense=lambda url: CallbackRequest(url, {"authorization": f"Bearer {SECRET}"}, {}, b"Subject: x\n\nhi"),
    )  # fmt: skip
    await sink.stop()


async def _inapp(catcher: CallbackCatcher) -> AsyncIterator[Rig]:
    inbox = FakeInbox()

    async def break_down() -> dict[str, Any]:
        inbox.down = True
        return {}

    yield Rig(
        INAPP, "feed", {}, {"inbox": inbox}, "B-1001", catcher,
        received=lambda: len(inbox.entries), break_down=break_down,
    )  # fmt: skip


async def _whatsapp_twilio(catcher: CallbackCatcher) -> AsyncIterator[Rig]:
    async for rig in _sms(catcher):
        rig.channel, rig.template = WHATSAPP, TemplateCall("HX1", "en", (("1", NAME),))
        rig.contents["HX1"] = TEXT.replace(NAME, "{{1}}")
        yield rig


async def _rcs(catcher: CallbackCatcher) -> AsyncIterator[Rig]:
    async for rig in _sms(catcher):
        rig.channel = RCS
        yield rig


async def _whatsapp_cloud(catcher: CallbackCatcher) -> AsyncIterator[Rig]:
    simulator = WhatsAppSimulator("111", "token-of-meta", SECRET, catcher.url)
    simulator.templates["due", "en"] = SimulatedTemplate(TEXT.replace(NAME, "{{name}}"), "en")
    await simulator.start()
    options = {
        "phone_number_id": "111",
        "business_account_id": "222",
        "access_token": "token-of-meta",
        "app_secret": SECRET,
        "verify_token": SECRET,
        "base_url": simulator.url,
        "timeout_seconds": 1.5,
    }

    async def break_down() -> dict[str, Any]:
        return {"base_url": f"http://127.0.0.1:{await closed_port()}"}

    yield Rig(
        WHATSAPP, "cloud", options, {"clock": clock}, "+12025550100", catcher,
        required=("phone_number_id", "business_account_id", "access_token", "app_secret", "verify_token"),
        refused="+12025550195", busy="+12025550196", vanishing="+12025550194", undelivered="+12025550190",
        received=lambda: simulator.received.messages, break_down=break_down,
        sign_nonsense=lambda url: CallbackRequest(url, _lower(meta_sign(SECRET, b"[]")), {}, b"[]"),
        callbacks={"good": 2, "undelivered": 1}, template=TemplateCall("due", "en", (("name", NAME),)),
    )  # fmt: skip
    await simulator.stop()


_LINE = {"channel_access_token": "token-of-line", "channel_secret": SECRET, "timeout_seconds": 1.5}


async def _line(catcher: CallbackCatcher) -> AsyncIterator[Rig]:
    simulator = LineSimulator("token-of-line", SECRET, catcher.url)
    simulator.templates["due"] = frozenset({"name_010"})
    await simulator.start()

    async def break_down() -> dict[str, Any]:
        return {"base_url": f"http://127.0.0.1:{await closed_port()}"}

    def user(last: int) -> str:
        return f"U{last:032d}"

    yield Rig(
        LINE, "messaging", _LINE | {"base_url": simulator.url}, {"clock": clock}, user(0), catcher,
        required=("channel_access_token", "channel_secret"),
        received=lambda: len(simulator.messages), break_down=break_down,
    )  # fmt: skip
    await simulator.stop()


async def _line_notification(catcher: CallbackCatcher) -> AsyncIterator[Rig]:
    async for rig in _line(catcher):
        rig.channel, rig.good, rig.template = (
            LINE_NOTIFICATION,
            "+12025550100",
            TemplateCall("due", "", (("name_010", NAME),)),
        )
        yield rig


async def _wechat(catcher: CallbackCatcher) -> AsyncIterator[Rig]:
    key = "kWxPEV2UEDyxWpmPdKC3F4dgPDmOvfKX1HGnEUDS1aR"
    simulator = WeChatSimulator("wx1", SECRET, "token-of-wechat", key, catcher.url)
    simulator.templates["T1"] = frozenset({"name"})
    await simulator.start()
    options = {
        "app_id": "wx1",
        "app_secret": SECRET,
        "token": "token-of-wechat",
        "encoding_aes_key": key,
        "base_url": simulator.url,
        "timeout_seconds": 1.5,
    }

    async def break_down() -> dict[str, Any]:
        return {"base_url": f"http://127.0.0.1:{await closed_port()}"}

    def nonsense(url: str) -> CallbackRequest:
        query, body = simulator.encrypted("o", {})
        return CallbackRequest(url, {}, dict(parse_qsl(query)), body)

    def user(last: int) -> str:
        return f"o{last:027d}"

    yield Rig(
        WECHAT, "service_account", options, {"clock": clock}, user(0), catcher,
        required=("app_id", "app_secret", "token", "encoding_aes_key"),
        refused=user(95), busy=user(96), vanishing=user(94), undelivered=user(91),
        received=lambda: len(simulator.messages), break_down=break_down, sign_nonsense=nonsense,
        template=TemplateCall("T1", "", (("name", NAME),)), carries_reference=False,
    )  # fmt: skip
    await simulator.stop()


async def _chinese(catcher: CallbackCatcher, kind: str, options: dict[str, str]) -> AsyncIterator[Rig]:
    server = {"aliyun": AliyunServer, "tencent": TencentServer}[kind]("key-id", SECRET, catcher.url)
    server.templates["100"] = ("name",)
    await server.start()
    callback = {"callback_secret": "secret-of-the-url", "base_url": server.url, "timeout_seconds": 1.5}

    async def break_down() -> dict[str, Any]:
        return {"base_url": f"http://127.0.0.1:{await closed_port()}"}

    yield Rig(
        SMS, kind, {**options, "sign_name": "行", **callback}, {"clock": clock}, "+8613800138000", catcher,
        required=(*options, "sign_name", "callback_secret"),
        refused="+8613800138095", busy="+8613800138096", vanishing="+8613800138094", undelivered="+8613800138090",
        received=lambda: len(server.taken), break_down=break_down, secret="secret-of-the-url",
        sign_nonsense=lambda url: CallbackRequest(url, {}, {}, b"7", secret="secret-of-the-url"),
        template=TemplateCall("100", "", (("name", NAME),)), carries_reference=kind == "aliyun",
    )  # fmt: skip
    await server.stop()


async def _aliyun(catcher: CallbackCatcher) -> AsyncIterator[Rig]:
    async for rig in _chinese(catcher, "aliyun", {"access_key_id": "key-id", "access_key_secret": SECRET}):
        yield rig


async def _tencent(catcher: CallbackCatcher) -> AsyncIterator[Rig]:
    options = {"secret_id": "key-id", "secret_key": SECRET, "sdk_app_id": "1400"}
    async for rig in _chinese(catcher, "tencent", options):
        yield rig


def _lower(headers: dict[str, str]) -> dict[str, str]:
    return {name.lower(): value for name, value in headers.items()}


_CHANNELS: tuple[Channel, ...] = (SMS, EMAIL, INAPP, LINE, LINE_NOTIFICATION, RCS, WECHAT, WHATSAPP)
_RIGS = {
    "line.messaging": _line,
    "line_notification.messaging": _line_notification,
    "rcs.twilio": _rcs,
    "wechat.service_account": _wechat,
    "whatsapp.twilio": _whatsapp_twilio,
    "whatsapp.cloud": _whatsapp_cloud,
    "sms.twilio": _sms,
    "sms.smpp": _smpp,
    "sms.aliyun": _aliyun,
    "sms.tencent": _tencent,
    "email.smtp": _email,
    "inapp.feed": _inapp,
}
# Those whose counterpart refuses, reports and calls back.
_REPORTING = (
    "sms.twilio",
    "sms.aliyun",
    "sms.tencent",
    "email.smtp",
    "rcs.twilio",
    "wechat.service_account",
    "whatsapp.twilio",
    "whatsapp.cloud",
)


@pytest.fixture(params=list(_RIGS))
async def rig(request: pytest.FixtureRequest) -> AsyncIterator[Rig]:
    catcher = CallbackCatcher()
    await catcher.start()
    async for made in _RIGS[request.param](catcher):
        yield made
        for provider in made.built:
            await provider.close()
    await catcher.stop()


reporting = pytest.mark.parametrize("rig", _REPORTING, indirect=True)


def test_every_kind_of_every_channel_has_a_rig() -> None:
    """A provider kind that is offered is under contract."""
    offered = {f"{channel.name}.{kind}" for channel in _CHANNELS for kind in channel.kinds}
    assert offered == set(_RIGS)


async def test_it_says_who_it_is(rig: Rig) -> None:
    """A provider has the name it was given, its channel's name, and a capability."""
    provider = rig.provider()
    assert isinstance(provider, Provider)
    assert (provider.name, provider.channel) == ("primary", rig.channel.name)
    assert provider.capability.concurrency >= 1


async def test_a_message_is_handed_over_once(rig: Rig) -> None:
    """An accepted message has an id, and the counterpart has it exactly once."""
    accepted = await rig.provider().send(rig.message(rig.good))
    assert accepted.provider_message_id
    assert rig.received() == 1


async def test_idempotent_means_what_it_says(rig: Rig) -> None:
    """Who claims to be idempotent may be sent the same delivery twice with one effect."""
    provider = rig.provider()
    for attempt in (1, 2):
        await provider.send(rig.message(rig.good, attempt=attempt))
    assert rig.received() == (1 if provider.capability.idempotent_for else 2)


async def test_nothing_there_is_transient(rig: Rig) -> None:
    """Where nobody answers, surely nothing was sent."""
    assert rig.break_down is not None
    provider = rig.provider(**await rig.break_down())
    with pytest.raises(TransientFailure) as failure:
        await provider.send(rig.message(rig.good))
    assert failure.value.reason in (ProviderReason.CONNECTION_FAILED, ProviderReason.PROVIDER_UNAVAILABLE)


@reporting
async def test_a_refusal_is_permanent(rig: Rig) -> None:
    """An address refused for good is a permanent failure with the provider's code, and nothing was stored."""
    with pytest.raises(PermanentFailure) as failure:
        await rig.provider().send(rig.message(rig.refused))
    assert failure.value.reason is ProviderReason.INVALID_ADDRESS
    assert failure.value.code
    assert rig.received() == 0


@reporting
async def test_not_now_is_transient_and_the_next_try_goes_through(rig: Rig) -> None:
    """A provider that is busy has nothing of ours; the same provider object sends it later."""
    provider = rig.provider()
    with pytest.raises(TransientFailure):
        await provider.send(rig.message(rig.busy))
    assert rig.received() == 0
    assert (await provider.send(rig.message(rig.busy, attempt=2))).provider_message_id
    assert rig.received() == 1


@reporting
async def test_no_answer_after_the_message_is_unknown(rig: Rig) -> None:
    """A message that left us without an answer is never called unsent."""
    with pytest.raises(UnknownOutcome):
        await rig.provider().send(rig.message(rig.vanishing))
    assert rig.received() == 1


@reporting
async def test_after_an_unknown_outcome_the_provider_still_works(rig: Rig) -> None:
    """A broken connection is not given to the next message."""
    provider = rig.provider()
    with pytest.raises(UnknownOutcome):
        await provider.send(rig.message(rig.vanishing))
    assert (await provider.send(rig.message(rig.good, 2))).provider_message_id


@reporting
async def test_too_late_is_not_sent(rig: Rig) -> None:
    """A message whose window has closed is given back to the policy."""
    late = rig.message(rig.good, valid_until=clock() - timedelta(seconds=1))
    with pytest.raises(TransientFailure) as failure:
        await rig.provider().send(late)
    assert failure.value.reason is ProviderReason.TOO_LATE
    assert rig.received() == 0


@reporting
@pytest.mark.parametrize(
    ("which", "status"), [("good", ReceiptStatus.DELIVERED), ("undelivered", ReceiptStatus.UNDELIVERED)]
)
async def test_the_counterparts_own_callback_is_read(rig: Rig, which: str, status: ReceiptStatus) -> None:
    """The last callback of a real send carries our reference and the end, and reads the same every time."""
    provider = rig.provider()
    sent = rig.message(getattr(rig, which), callback_url=rig.catcher.url)
    accepted = await provider.send(sent)
    request = replace((await rig.catcher.wait_for(rig.callbacks[which]))[-1], secret=rig.secret)
    (receipt,) = provider.read_receipts(request)
    assert (receipt.provider, receipt.status) == ("primary", status)
    known_by = sent.reference if rig.carries_reference else accepted.provider_message_id
    assert known_by == (receipt.reference if rig.carries_reference else receipt.provider_message_id)
    assert receipt.reason is not None
    assert provider.read_receipts(request) == [receipt]


@reporting
@pytest.mark.parametrize("tampering", ["unsigned", "wrong signature", "not ASCII"])
async def test_a_callback_without_the_secret_is_refused(rig: Rig, tampering: str) -> None:
    """Whoever cannot sign is not the provider."""
    provider = rig.provider()
    await provider.send(rig.message(rig.good, callback_url=rig.catcher.url))
    request = (await rig.catcher.wait_for(1))[0]
    forged = {"unsigned": "", "wrong signature": "Bearer x", "not ASCII": "Bearer \udce9é"}[tampering]
    names = ("x-twilio-signature", "authorization", "x-hub-signature-256")
    headers: dict[str, str] = dict.fromkeys(names, forged) if forged else {}
    with pytest.raises(BadSignature):
        provider.read_receipts(replace(request, headers=headers, query={}))


async def test_a_callback_from_nowhere_is_refused(rig: Rig) -> None:
    """Every provider refuses an empty request, also one that has no callbacks."""
    with pytest.raises(BadSignature):
        rig.provider().read_receipts(CallbackRequest("http://127.0.0.1/x", {}, {}, b""))


@reporting
async def test_a_signed_callback_without_sense_is_malformed(rig: Rig) -> None:
    """A callback that is signed and says nothing is told apart from a forged one."""
    assert rig.sign_nonsense is not None
    with pytest.raises(MalformedCallback):
        rig.provider().read_receipts(rig.sign_nonsense(rig.catcher.url))


async def test_lookup_says_only_what_it_can_prove(rig: Rig) -> None:
    """ABSENT comes only from those who claim to look up."""
    provider = rig.provider()
    try:
        answer = await provider.lookup(rig.message(rig.good), "", clock() - timedelta(minutes=5))
    except TransientFailure:
        answer = LookupAnswer(LookupResult.UNSUPPORTED)
    expected = LookupResult.ABSENT if provider.capability.looks_up else LookupResult.UNSUPPORTED
    assert answer.result is expected


async def test_closing_is_repeatable_and_not_the_end(rig: Rig) -> None:
    """Close twice is as good as once, and a later send opens anew."""
    provider = rig.provider()
    await provider.close()
    await provider.send(rig.message(rig.good))
    await provider.close()
    await provider.close()
    assert isinstance(await provider.send(rig.message(rig.good, 2)), Accepted)


async def test_nothing_personal_and_no_secret_leaks(rig: Rig, caplog: pytest.LogCaptureFixture) -> None:
    """Neither exceptions nor logs at any level carry an address, a text, a name or a secret."""
    caplog.set_level(logging.DEBUG)
    provider = rig.provider()
    said: list[str] = []
    for number, address in enumerate(a for a in (rig.good, rig.refused, rig.busy, rig.vanishing) if a):
        try:
            await provider.send(rig.message(address, number, callback_url=rig.catcher.url))
        except (TransientFailure, PermanentFailure, UnknownOutcome) as failure:
            said += [str(failure), repr(failure), repr(failure.__cause__)]
    if rig.break_down is not None:
        try:
            await rig.provider(**await rig.break_down()).send(rig.message(rig.good))
        except TransientFailure as failure:
            said += [str(failure), repr(failure), repr(failure.__cause__)]
    # The counterpart and the event loop's own debug lines are not ours to silence.
    ours = [record.getMessage() for record in caplog.records if record.name not in ("mail.log", "asyncio")]
    everything = "\n".join(said + ours)
    for private in (rig.good, rig.good.partition("@")[0], TEXT[:30], NAME, SECRET):
        assert private not in everything


async def test_each_missing_option_is_named(rig: Rig) -> None:
    """A setting that is missing stops the start and is named, with the provider."""
    for option in rig.required:
        with pytest.raises(ValueError, match=rf"primary.*{option}"):
            rig.provider(**{option: None})
    for lent in rig.services:
        with pytest.raises(ValueError, match=rf"primary.*{lent}"):
            rig.channel.build(rig.kind, "primary", rig.options, {})


async def test_an_unknown_option_or_kind_is_refused(rig: Rig) -> None:
    """A mistyped setting is an error, not a default."""
    with pytest.raises(ValueError, match="pasword"):
        rig.provider(pasword=SECRET)
    with pytest.raises(ValueError, match="pigeon"):
        rig.channel.build("pigeon", "primary", rig.options, rig.services)
