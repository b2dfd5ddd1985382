"""Twilio: the outcome of each kind of failure, validity periods, look-up and signatures."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import parse_qs, urlencode

import pytest

from channels.base import (
    BadSignature,
    CallbackRequest,
    Content,
    Keyword,
    LookupResult,
    PermanentFailure,
    ProviderReason,
    Receipt,
    ReceiptStatus,
    SendFailure,
    TransientFailure,
    UnknownOutcome,
)
from channels.sms import CHANNEL
from channels.sms.simulator import SmsSimulator
from channels.sms.twilio import TwilioProvider
from channels.twilio.shapes import sign
from tests.support.providers.fake_servers import TEXT, CallbackCatcher, Scripted, clock, closed_port, message
from tests.support.waiting import eventually

SID, TOKEN, TO = "AC" + "1" * 32, "token", "+12025550100"


def _provider(base_url: str, now: Any = clock, **options: Any) -> TwilioProvider:
    values = {"account_sid": SID, "auth_token": TOKEN, "from_number": "+15005550006", "base_url": base_url}
    built = CHANNEL.build("twilio", "tw", values | {"timeout_seconds": 120} | options, {"clock": now})
    assert isinstance(built, TwilioProvider)
    return built


@pytest.fixture
async def simulator() -> AsyncIterator[SmsSimulator]:
    made = SmsSimulator(SID, TOKEN, clock)
    await made.start()
    yield made
    await made.stop()


class Answering:
    """An HTTP server that reads one request whole, gives one raw answer, and counts."""

    def __init__(self, answer: bytes | None, hang: bool = False) -> None:
        self.answer, self.hang = answer, hang
        self.bodies: list[str] = []

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
        length = int(head.partition("content-length:")[2].split("\r\n")[0] or 0)
        self.bodies.append((await reader.readexactly(length)).decode())
        if self.hang:
            await asyncio.sleep(30)
        if self.answer:
            writer.write(self.answer)
            await writer.drain()


def _http(status: int, body: Any, headers: str = "") -> bytes:
    raw = body.encode() if isinstance(body, str) else json.dumps(body).encode()
    return f"HTTP/1.1 {status} X\r\nContent-Length: {len(raw)}\r\n{headers}\r\n".encode() + raw


R = ProviderReason
_TROUBLE = [
    ("hangs", None, True, UnknownOutcome, R.TIMEOUT, "", None),
    ("hangs up", None, False, UnknownOutcome, R.CONNECTION_LOST, "", None),
    ("speaks no HTTP", b"220 hello\r\n\r\n", False, UnknownOutcome, R.CONNECTION_LOST, "", None),
    ("cut short", b"HTTP/1.1 201 X\r\nContent-Length: 99\r\n\r\n{", False, UnknownOutcome, R.CONNECTION_LOST, "", None),
    ("no JSON", _http(201, "<html>"), False, UnknownOutcome, R.UNMAPPED, "", None),
    ("no sid", _http(201, {"status": "queued"}), False, UnknownOutcome, R.UNMAPPED, "", None),
    ("500", _http(500, {"code": 20500, "message": "x"}), False, UnknownOutcome, R.SERVER_ERROR, "20500", None),
    ("503 without JSON", _http(503, "down", "Retry-After: 3\r\n"), False,
     UnknownOutcome, R.PROVIDER_UNAVAILABLE, "503", 3.0),
    ("500 with a harmless code", _http(500, {"code": 30001}), False, UnknownOutcome, R.SERVER_ERROR, "500", None),
    ("429", _http(429, {"code": 20429}, "Retry-After: 7\r\n"), False, TransientFailure, R.RATE_LIMITED, "20429", 7.0),
    ("429 until a date", _http(429, {"code": 20429}, "Date: Tue, 24 Nov 2026 10:00:00 GMT\r\n"
                               "Retry-After: Tue, 24 Nov 2026 10:01:30 GMT\r\n"), False,
     TransientFailure, R.RATE_LIMITED, "20429", 90.0),
    ("429 until soon", _http(429, {"code": 20429}, "Retry-After: soon\r\n"), False,
     TransientFailure, R.RATE_LIMITED, "20429", None),
    ("429 with a strange code", _http(429, {"code": 21999}), False, TransientFailure, R.UNMAPPED, "21999", None),
    ("401", _http(401, {"code": 20003}), False, TransientFailure, R.PROVIDER_CONFIG, "20003", None),
    ("400 STOP", _http(400, {"code": 21610}), False, PermanentFailure, R.OPTED_OUT_AT_PROVIDER, "21610", None),
    ("400 unlisted", _http(400, {"code": 69999}), False, PermanentFailure, R.UNMAPPED, "69999", None),
    ("400 by RFC 9457", _http(400, {"type": "t", "title": "x", "status": 400, "code": 21211}), False,
     PermanentFailure, R.INVALID_ADDRESS, "21211", None),
    ("redirect", _http(302, "", "Location: http://127.0.0.1:1/\r\n"), False, UnknownOutcome, R.UNMAPPED, "302", None),
    ("failed at once", _http(201, {"sid": "SM1", "status": "failed", "error_code": 30005}), False,
     PermanentFailure, R.INVALID_ADDRESS, "30005", None),
]  # fmt: skip


@pytest.mark.parametrize(
    ("answer", "hang", "failure", "reason", "code", "wait"),
    [case[1:] for case in _TROUBLE],
    ids=[case[0] for case in _TROUBLE],
)
async def test_trouble_on_the_wire(
    answer: bytes | None, hang: bool, failure: type[SendFailure], reason: str, code: str, wait: float | None
) -> None:
    """Each trouble is one of three outcomes, and no trouble makes the POST go out twice."""
    talk = Answering(answer, hang)
    async with Scripted(talk) as server:
        # Short only where it runs out: a busy machine may take seconds to answer.
        provider = _provider(f"http://127.0.0.1:{server.port}", timeout_seconds=3 if hang else 120)
        with pytest.raises(SendFailure) as raised:
            await provider.send(message(TO))
        await provider.close()
    assert (type(raised.value), raised.value.reason, raised.value.code) == (failure, reason, code)
    assert raised.value.retry_after == wait
    assert len(talk.bodies) == 1


async def test_no_such_host_is_transient() -> None:
    """A name that does not resolve means that nothing was sent."""
    provider = _provider("http://nowhere.invalid")
    with pytest.raises(TransientFailure, match="connection_failed"):
        await provider.send(message(TO))
    await provider.close()


@pytest.mark.parametrize(("seconds", "period"), [(1.5, "1"), (3600.5, "3600"), (999_999, "36000"), (None, None)])
async def test_the_validity_ends_with_the_window(seconds: float | None, period: str | None) -> None:
    """Twilio is told to drop what it could not deliver in time, within the range that it takes."""
    now = clock()
    talk = Answering(_http(201, {"sid": "SM1", "status": "queued"}))
    async with Scripted(talk) as server:
        provider = _provider(f"http://127.0.0.1:{server.port}", now=lambda: now)
        until = None if seconds is None else now + timedelta(seconds=seconds)
        await provider.send(message(TO, valid_until=until))
        await provider.close()
    assert parse_qs(talk.bodies[0]).get("ValidityPeriod", [None]) == [period]


async def test_under_a_second_left_is_too_late() -> None:
    """A fraction of a second cannot be said to Twilio, so nothing is sent."""
    now = clock()
    provider = _provider("http://127.0.0.1:1", now=lambda: now)
    with pytest.raises(TransientFailure, match="too_late"):
        await provider.send(message(TO, valid_until=now + timedelta(seconds=0.9)))


async def test_a_messaging_service_takes_the_numbers_place(simulator: SmsSimulator) -> None:
    """Either sender will do; with both the service chooses."""
    provider = _provider(simulator.url, messaging_service_sid="MG1")
    await provider.send(message(TO))
    await provider.close()
    assert [stored.sender for stored in simulator.messages.values()] == ["MG1"]


async def test_the_wrong_token_is_our_trouble_not_the_borrowers(simulator: SmsSimulator) -> None:
    """A credential fault keeps the message waiting."""
    provider = _provider(simulator.url, auth_token="wrong")
    with pytest.raises(TransientFailure, match="provider_config 20003"):
        await provider.send(message(TO))
    await provider.close()


async def test_lookup_finds_what_timed_out(simulator: SmsSimulator) -> None:
    """A message whose answer never came is found by number, text and time, with its state and our reference."""
    provider, sent, since = _provider(simulator.url, timeout_seconds=5), message("+12025550194"), clock()
    with pytest.raises(UnknownOutcome):
        await provider.send(sent)
    answer = await provider.lookup(sent, "", since)
    await provider.close()
    assert answer.result is LookupResult.FOUND
    assert answer.receipt is not None
    assert (answer.receipt.status, answer.receipt.reference) == (ReceiptStatus.DELIVERED, sent.reference)


async def test_lookup_by_id(simulator: SmsSimulator) -> None:
    """With Twilio's id the very message is asked for, and its failure is told."""
    provider = _provider(simulator.url)
    accepted = await provider.send(message("+12025550199"))

    async def told() -> Receipt | None:
        answer = await provider.lookup(message("+12025550199"), accepted.provider_message_id, clock())
        return answer.receipt if answer.receipt and answer.receipt.status is ReceiptStatus.UNDELIVERED else None

    receipt = await eventually(told)
    assert receipt is not None
    assert receipt.code == "30005"
    assert (await provider.lookup(message(TO), "SM" + "0" * 32, clock())).result is LookupResult.ABSENT
    await provider.close()


async def test_lookup_is_not_fooled(simulator: SmsSimulator) -> None:
    """Another text, another number or an older message is not ours; and before it has settled nothing is ABSENT."""
    provider = _provider(simulator.url, lookup_settle_seconds=60)
    await provider.send(message(TO, 1, content=Content("another text")))
    await provider.send(message("+12025550101", 2))
    for stored in simulator.messages.values():
        assert stored.body != TEXT or stored.to != TO
    long_ago = clock() - timedelta(minutes=5)
    assert (await provider.lookup(message(TO), "", long_ago)).result is LookupResult.ABSENT
    with pytest.raises(TransientFailure):
        await provider.lookup(message(TO), "", clock())
    await provider.send(message(TO, 3))
    next(s for s in simulator.messages.values() if s.body == TEXT and s.to == TO).created = long_ago
    assert (await provider.lookup(message(TO), "", clock() - timedelta(minutes=2))).result is LookupResult.ABSENT
    assert (await provider.lookup(message(TO), "", long_ago)).result is LookupResult.FOUND
    await provider.close()


async def test_lookup_of_a_queued_message(simulator: SmsSimulator) -> None:
    """What Twilio has queued and not sent has no DateSent, and is found all the same."""
    provider = _provider(simulator.url)
    sent, since = message("+12025550193"), clock()
    await provider.send(sent)
    answer = await provider.lookup(sent, "", since)
    assert answer.receipt is not None
    assert answer.receipt.status is ReceiptStatus.SENT
    await provider.close()


async def test_lookup_that_cannot_ask_is_transient() -> None:
    """A look-up that fails says nothing about the message."""
    provider = _provider(f"http://127.0.0.1:{await closed_port()}")
    with pytest.raises(TransientFailure):
        await provider.lookup(message(TO), "", clock())
    async with Scripted(Answering(_http(503, "down"))) as server:
        provider = _provider(f"http://127.0.0.1:{server.port}")
        with pytest.raises(TransientFailure):
            await provider.lookup(message(TO), "", clock())
        await provider.close()


def _callback(url: str, params: dict[str, str], signed_url: str = "", **headers: str) -> CallbackRequest:
    signature = sign(TOKEN, signed_url or url, params)
    query = {"ref": "dlv_1.1.ab"}
    return CallbackRequest(url, {"x-twilio-signature": signature, **headers}, query, urlencode(params).encode())


URL = "https://gw.example/v1/receipts/tw?ref=dlv_1.1.ab"


@pytest.mark.parametrize(
    ("status", "code", "expected", "reason"),
    [
        ("queued", "", ReceiptStatus.SENT, None),
        ("sent", "", ReceiptStatus.SENT, None),
        ("delivered", "", ReceiptStatus.DELIVERED, R.DELIVERED),
        ("read", "", ReceiptStatus.READ, None),
        ("undelivered", "30003", ReceiptStatus.UNDELIVERED, R.UNREACHABLE),
        ("undelivered", "30007", ReceiptStatus.UNDELIVERED, R.FILTERED),
        ("failed", "30005", ReceiptStatus.FAILED, R.INVALID_ADDRESS),
        ("failed", "21610", ReceiptStatus.OPTED_OUT, R.OPTED_OUT_AT_PROVIDER),
        ("undelivered", "30777", ReceiptStatus.UNDELIVERED, R.UNMAPPED),
        ("undelivered", "", ReceiptStatus.UNDELIVERED, R.UNMAPPED),
        ("canceled", "", ReceiptStatus.FAILED, R.UNMAPPED),
    ],
)
def test_statuses(status: str, code: str, expected: ReceiptStatus, reason: ProviderReason | None) -> None:
    """Each of Twilio's statuses and codes has one meaning."""
    params = {"MessageSid": "SM1", "MessageStatus": status} | ({"ErrorCode": code} if code else {})
    (receipt,) = _provider("http://127.0.0.1:1").read_receipts(_callback(URL, params))
    assert (receipt.status, receipt.reason, receipt.code) == (expected, reason, code)
    assert (receipt.provider_message_id, receipt.reference) == ("SM1", "dlv_1.1.ab")


PARAMS = {"MessageSid": "SM1", "MessageStatus": "delivered", "To": TO}


@pytest.mark.parametrize("change", ["body", "query", "host", "algorithm"])
def test_whatever_is_changed_breaks_the_signature(change: str) -> None:
    """Body, query, host and the algorithm's name are all under the signature."""
    request = _callback(URL, PARAMS)
    changed = {
        "body": replace(request, body=request.body.replace(b"delivered", b"failed")),
        "query": replace(request, url=URL.replace("dlv_1", "dlv_2")),
        "host": replace(request, url=URL.replace("gw.", "gv.")),
        "algorithm": _callback(URL, PARAMS, **{"x-twilio-webhooks-signature-settings": "key=x,algorithm=HMAC_SHA256"}),
    }[change]
    provider = _provider("http://127.0.0.1:1")
    assert provider.read_receipts(request)
    with pytest.raises(BadSignature):
        provider.read_receipts(changed)


def test_a_port_or_fragment_in_the_signed_url_is_tolerated() -> None:
    """Twilio signs now with and now without the port; and our retry settings ride in the fragment."""
    provider = _provider("http://127.0.0.1:1")
    assert provider.read_receipts(_callback(URL, PARAMS, signed_url=URL.replace("gw.example", "gw.example:443")))
    assert provider.read_receipts(_callback(URL, PARAMS, signed_url=f"{URL}#rc=5&rp=ct,rt,5xx"))


async def test_callbacks_are_repeated_until_taken(simulator: SmsSimulator) -> None:
    """A gateway that is down for a moment still gets every receipt, signed for the URL without its fragment."""
    catcher = CallbackCatcher()
    await catcher.start()
    catcher.fail_first = 2
    provider = _provider(simulator.url)
    await provider.send(message(TO, callback_url=catcher.url))
    read = [provider.read_receipts(request)[0].status for request in await catcher.wait_for(2)]
    assert read == [ReceiptStatus.SENT, ReceiptStatus.DELIVERED]
    await provider.close()
    await catcher.stop()


async def test_the_simulator_tells_a_duplicate_from_a_retry(simulator: SmsSimulator) -> None:
    """A second message for one delivery is a duplicate, unless the first was reported as not delivered."""
    catcher = CallbackCatcher()
    await catcher.start()
    provider = _provider(simulator.url)
    for attempt in (1, 2):
        await provider.send(message("+12025550190", 1, callback_url=catcher.url, attempt=attempt))
        await catcher.wait_for(2 * attempt)  # sent, then undelivered
    assert simulator.received.summary() == {"messages": 2, "duplicates": 0, "retries": 1}
    for attempt in (1, 2):
        await provider.send(message(TO, 2, callback_url=catcher.url, attempt=attempt))
    assert simulator.received.summary() == {"messages": 4, "duplicates": 1, "retries": 1}
    await provider.close()
    await catcher.stop()


async def test_a_frozen_clock_is_the_callers(simulator: SmsSimulator) -> None:
    """The provider asks the clock it was lent, never the system's."""
    future: datetime = clock() + timedelta(days=400)
    provider = _provider(simulator.url, now=lambda: future)
    with pytest.raises(TransientFailure, match="too_late"):
        await provider.send(message(TO))
    await provider.send(message(TO, valid_until=future + timedelta(hours=1)))
    await provider.close()


@pytest.mark.parametrize(
    ("headers", "body"),
    [({}, b"a=1"), ({"x-twilio-signature": "x"}, b"a" * 64_001), ({"x-twilio-signature": "x"}, b"a=1&" * 201)],
    ids=["no signature", "too large", "too many fields"],
)
def test_what_cannot_be_twilios_costs_no_signature(
    headers: dict[str, str], body: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A callback without a signature, or larger than any of Twilio's, is refused before a signature is computed."""
    provider = _provider("http://127.0.0.1:9")
    monkeypatch.setattr(provider._validator, "validate", lambda *_: pytest.fail("a signature was computed"))
    for read in (provider.read_receipts, provider.read_replies):
        with pytest.raises(BadSignature):
            read(CallbackRequest("http://x/", headers, {}, body))


@pytest.mark.parametrize(
    ("kind", "keyword"),
    [("STOP", Keyword.STOP), ("START", Keyword.START), ("HELP", Keyword.HELP), ("", None), ("NEW", None)],
)
def test_what_twilio_took_a_reply_for_comes_with_it(kind: str, keyword: Keyword | None) -> None:
    """OptOutType is Advanced Opt-Out's word, in the account's own keywords; Twilio has answered already."""
    form = {"MessageSid": "SM1", "From": "+12025550100", "Body": "UNFOLLOW"} | ({"OptOutType": kind} if kind else {})
    url = "http://127.0.0.1/v1/inbound/twilio"
    headers = {"x-twilio-signature": sign(TOKEN, url, form)}
    [reply] = _provider("http://127.0.0.1:9").read_replies(CallbackRequest(url, headers, {}, urlencode(form).encode()))
    assert (reply.keyword, reply.answered, reply.text) == (keyword, bool(kind), "UNFOLLOW")
