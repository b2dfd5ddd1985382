"""WeChat: the published vectors, the token that all workers share, repeats, and the encrypted callbacks."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any
from urllib.parse import parse_qsl

import pytest

from channels.base import (
    BadSignature,
    CallbackEvents,
    CallbackRequest,
    Content,
    InvalidAddress,
    Keyword,
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
from channels.wechat import CHANNEL
from channels.wechat.crypto import WeChatCipher, signature
from channels.wechat.simulator import WeChatSimulator
from tests.support.providers.fake_servers import TEXT, CallbackCatcher, clock, message

APP, SECRET, TOKEN, KEY = "wx1", "app-secret", "token-1", "kWxPEV2UEDyxWpmPdKC3F4dgPDmOvfKX1HGnEUDS1aR"
R = ProviderReason


def _user(last: int = 0) -> str:
    return f"o{last:027d}"


def _provider(base_url: str = "http://127.0.0.1:1", now: Any = clock, **options: Any) -> Any:
    values = {"app_id": APP, "app_secret": SECRET, "token": TOKEN, "encoding_aes_key": KEY, "base_url": base_url}
    return CHANNEL.build("service_account", "wechat", values | options, {"clock": now})


def _message(last: int = 0, reference: str = "T1", **changes: Any) -> Any:
    call = TemplateCall(reference, "", (("amount", "3,913.00"), ("day", "11月1日")))
    return message(_user(last), content=Content(TEXT, template=call), **changes)


@pytest.fixture
async def catcher() -> AsyncIterator[CallbackCatcher]:
    made = CallbackCatcher()
    await made.start()
    yield made
    await made.stop()


@pytest.fixture
async def simulator(catcher: CallbackCatcher) -> AsyncIterator[WeChatSimulator]:
    made = WeChatSimulator(APP, SECRET, TOKEN, KEY, catcher.url)
    made.templates["T1"] = frozenset({"amount", "day"})
    await made.start()
    yield made
    await made.stop()


def _callback(fields: dict[str, str], **changes: str) -> CallbackRequest:
    query, body = WeChatSimulator(APP, SECRET, TOKEN, KEY).encrypted(_user(), fields)
    return CallbackRequest("http://gw/v1/receipts/wechat", {}, dict(parse_qsl(query)) | changes, body)


# ── vectors ─────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_published_vectors() -> None:
    """The signature of WeChat's documentation, and the signature and cipher text of a well-known library's tests."""
    assert signature("AAAAA", "1714037059", "486452656") == "899cf89e464efb63f54ddac96b0a0a235f53aa78"
    sealed = "4ByGGj+sVCYcvGeQYhaKIk1o0pQRNbRjxybjTGblXrBaXlTXeOo1+bXFXDQQb1o6co6Yh9Bv41n7hOchLF6p+Q=="
    assert signature("123456", "1411443780", "437374425", sealed) == "dd6b9c95b495b3f7e2901bfbc76c664930ffdb96"
    assert WeChatCipher(KEY).decrypt(sealed) == (b"5927782489442352469", "wx49f0ab532d5d035a")


@pytest.mark.parametrize("sealed", ["", "AAAA", "!", "A" * 24, "A" * 88])
def test_a_cipher_text_that_is_none(sealed: str) -> None:
    """Whatever can't be decrypted is a ValueError."""
    with pytest.raises(ValueError):  # noqa: PT011 – of base64, of the blocks, of the padding or of the length
        WeChatCipher(KEY).decrypt(sealed)


def test_options_and_addresses() -> None:
    """A key of the wrong length is named; an openid is one of this form."""
    with pytest.raises(ValueError, match=r"wechat.*encoding_aes_key"):
        _provider(encoding_aes_key="short")
    assert CHANNEL.normalise(_user()) == _user()
    for wrong in ("", "+12025550100", "o1", "x" + "0" * 27):
        with pytest.raises(InvalidAddress):
            CHANNEL.normalise(wrong)


# ── sending ─────────────────────────────────────────────────────────────────────────────────────────────────


async def test_workers_share_one_token(simulator: WeChatSimulator) -> None:
    """Each worker asks once however many messages wait; all get the same token, and none invalidates another's."""
    workers = [_provider(simulator.url) for _ in range(2)]
    await asyncio.gather(*(worker.send(_message(0, number=n)) for n, worker in enumerate(workers * 10)))
    assert simulator.tokens_given == 2
    assert len(simulator.messages) == 20
    for worker in workers:
        await worker.close()


async def test_a_token_that_ended_before_its_time_is_renewed_once(simulator: WeChatSimulator) -> None:
    """The refusal of a token is none of the message's: it goes on with a new one, and is sent once."""
    provider = _provider(simulator.url)
    await provider.send(_message(0, number=1))
    simulator.expire_token()
    await asyncio.gather(*(provider.send(_message(0, number=n)) for n in range(2, 7)))
    assert simulator.tokens_given <= 2 + 4  # those that were refused at the same time may each ask again
    assert len(simulator.messages) == 6
    await provider.close()


async def test_a_token_is_renewed_in_time(simulator: WeChatSimulator) -> None:
    """After two hours less five minutes the token is asked for again."""
    moment = [clock()]
    provider = _provider(simulator.url, now=lambda: moment[0])
    for minutes, given in ((0, 1), (114, 1), (116, 2)):
        now = moment[0] = clock() + timedelta(minutes=minutes)
        await provider.send(_message(0, number=minutes, valid_until=now + timedelta(hours=1)))
        assert simulator.tokens_given == given
    await provider.close()


async def test_a_wrong_secret_sends_nothing(simulator: WeChatSimulator) -> None:
    """Without a token nothing goes, and the account's people are called."""
    provider = _provider(simulator.url, app_secret="other")
    for call in (provider.send(_message()), provider.check()):
        with pytest.raises(TransientFailure) as failure:
            await call
        assert (failure.value.reason, failure.value.code) == (R.PROVIDER_CONFIG, "40125")
    await provider.close()


async def test_a_repeated_message_goes_once(simulator: WeChatSimulator) -> None:
    """After an answer that never came, the next attempt of the delivery gets the id of the first one."""
    provider = _provider(simulator.url, timeout_seconds=3)
    with pytest.raises(UnknownOutcome):
        await provider.send(_message(94))
    accepted = await provider.send(_message(94, attempt=2))
    assert [str(each.number) for each in simulator.messages] == [accepted.provider_message_id]
    assert simulator.messages[0].values == {"amount": "3,913.00", "day": "11月1日"}
    assert provider.capability.repeatable(clock(), clock() + timedelta(minutes=8))
    assert not provider.capability.repeatable(clock(), clock() + timedelta(minutes=10))
    await provider.close()


@pytest.mark.parametrize(
    ("last", "template", "failure", "reason"),
    [
        (95, "T1", PermanentFailure, R.INVALID_ADDRESS),
        (98, "T1", PermanentFailure, R.NOT_ON_CHANNEL),
        (0, "T2", PermanentFailure, R.TEMPLATE_UNAVAILABLE),
        (96, "T1", TransientFailure, R.RATE_LIMITED),
        (97, "T1", UnknownOutcome, R.SERVER_ERROR),
    ],
)
async def test_refusals(
    simulator: WeChatSimulator, last: int, template: str, failure: type[SendFailure], reason: str
) -> None:
    """What WeChat answers, in the class that decides what happens next."""
    provider = _provider(simulator.url)
    with pytest.raises(failure) as raised:
        await provider.send(_message(last, template))
    assert raised.value.reason is reason
    assert simulator.messages == []
    await provider.close()


async def test_states_of_templates(simulator: WeChatSimulator) -> None:
    """What the account's list has may be sent; what WeChat took away may not."""
    provider = _provider(simulator.url)
    assert await provider.template_states(["T1", "T9"]) == [
        TemplateReport("T1", TemplateStatus.APPROVED),
        TemplateReport("T9", TemplateStatus.DISABLED, reason="not in the account"),
    ]
    assert await provider.check() == []
    await provider.close()


# ── callbacks ───────────────────────────────────────────────────────────────────────────────────────────────


def test_the_handshake() -> None:
    """WeChat tries a URL with GET; only who knows the token gets its string back."""
    query = {"timestamp": "1714037059", "nonce": "486452656", "echostr": "4375120948345356249"}
    signed = query | {"signature": "f464b24fc39322e44b38aa78f5edd27bd1441696"}  # with the token AAAAA it is another
    with pytest.raises(BadSignature):
        _provider().read_events(CallbackRequest("http://gw", {}, signed, b"", "GET"))
    right = query | {"signature": "899cf89e464efb63f54ddac96b0a0a235f53aa78"}
    assert _provider(token="AAAAA").read_events(CallbackRequest("http://gw", {}, right, b"", "GET")).body == (
        b"4375120948345356249"
    )


@pytest.mark.parametrize(
    ("said", "status", "reason"),
    [
        ("success", ReceiptStatus.DELIVERED, R.DELIVERED),
        ("failed:user block", ReceiptStatus.OPTED_OUT, R.OPTED_OUT_AT_PROVIDER),
        ("failed: system failed", ReceiptStatus.UNDELIVERED, R.UNREACHABLE),
    ],
)
def test_the_end_of_a_message(said: str, status: ReceiptStatus, reason: ProviderReason) -> None:
    """The event has the id of the message and what became of it; it is acknowledged, and repeated it reads the same."""
    request = _callback({"MsgType": "event", "Event": "TEMPLATESENDJOBFINISH", "MsgID": "7", "Status": said})
    events = _provider().read_events(request)
    (receipt,) = events.receipts
    assert (receipt.status, receipt.reason, receipt.provider_message_id) == (status, reason, "7")
    assert events.body == b"success"
    assert _provider().read_events(request) == events


def test_what_users_do() -> None:
    """Who writes replies, who stops following declines on WeChat; other events are left out."""
    text = _callback({"MsgType": "text", "Content": "已还款", "MsgId": "9"})
    assert _provider().read_events(text).replies == [Reply("wechat", "9", _user(), "已还款")]
    (stop,) = _provider().read_events(_callback({"MsgType": "event", "Event": "unsubscribe"})).replies
    assert (stop.keyword, stop.answered, stop.address, stop.identity) == (Keyword.STOP, True, _user(), "")
    voice = _callback({"MsgType": "voice", "MsgId": "9"})
    assert _provider().read_events(voice).replies[0].text == "[voice]"
    other = _callback({"MsgType": "event", "Event": "subscribe"})
    assert _provider().read_events(other) == CallbackEvents([], [], body=b"success")


def test_forged_and_nonsensical_callbacks() -> None:
    """A wrong signature, a body that is not what was signed, another account's message, and XML that is none."""
    good = {"MsgType": "event", "Event": "subscribe"}
    for changes in ({"msg_signature": ""}, {"msg_signature": "0" * 40}, {"nonce": "1"}, {"timestamp": "\udce9"}):
        with pytest.raises(BadSignature):
            _provider().read_events(_callback(good, **changes))
    request, other = _callback(good), _callback(good)
    with pytest.raises(BadSignature):
        _provider().read_events(CallbackRequest(request.url, {}, request.query, other.body))
    with pytest.raises(BadSignature):
        _provider(app_id="wx2").read_events(request)
    for fields in ({}, {"MsgType": "event"}, {"MsgType": "text", "Content": "]]><x>"}):
        with pytest.raises(MalformedCallback):
            _provider().read_events(_callback(fields))


async def test_an_answer_goes_as_a_customer_message(simulator: WeChatSimulator) -> None:
    """The confirmation of a stop reaches who wrote."""
    provider = _provider(simulator.url)
    await provider.answer_reply(Reply("wechat", "9", _user(), "退订"), "已为您停止发送。")
    assert [(each.openid, each.values) for each in simulator.messages] == [(_user(), {"content": "已为您停止发送。"})]
    await provider.close()


async def test_the_simulators_own_callback_is_read(simulator: WeChatSimulator, catcher: CallbackCatcher) -> None:
    """What the other side encrypts and signs is read, with the id that sending gave."""
    provider = _provider(simulator.url)
    accepted = await provider.send(_message())
    request = (await catcher.wait_for(1))[0]
    assert provider.read_receipts(request) == [
        Receipt("wechat", ReceiptStatus.DELIVERED, accepted.provider_message_id, reason=R.DELIVERED)
    ]
    await provider.close()
