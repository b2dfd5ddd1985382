"""SMTP: the outcome of each kind of failure of a relay, TLS and login, the pool, and reports."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from email import message_from_bytes
from pathlib import Path
from typing import Any

import pytest

from channels.base import (
    Accepted,
    CallbackRequest,
    MalformedCallback,
    PermanentFailure,
    ProviderReason,
    ReceiptStatus,
    SendFailure,
    TransientFailure,
    UnknownOutcome,
)
from channels.email import CHANNEL
from channels.email.reports import reply_address, return_path
from channels.email.sink import SmtpSink, report
from channels.email.smtp import SmtpProvider
from tests.support.providers.fake_servers import CallbackCatcher, Scripted, Talk, clock, message
from tests.support.providers.mails import COMPLAINT, MAIL, OWN_WORDS, REFERENCE, TO
from tests.support.waiting import LIMIT_SECONDS, eventually

CERTIFICATES = Path(__file__).parents[2] / "support" / "certificates"
R = ProviderReason


def _provider(port: int, **options: Any) -> SmtpProvider:
    values = {"host": "127.0.0.1", "port": port, "tls": "none", "domain": "lender.example"}
    values |= {"from_address": "no-reply@lender.example", "timeout_seconds": LIMIT_SECONDS}
    values["data_timeout_seconds"] = LIMIT_SECONDS
    built = CHANNEL.build("smtp", "relay", values | options, {"clock": clock})
    assert isinstance(built, SmtpProvider)
    return built


@asynccontextmanager
async def _sink(**options: Any) -> AsyncIterator[SmtpSink]:
    sink = SmtpSink(clock, **options)
    await sink.start()
    try:
        yield sink
    finally:
        await sink.stop()


def _relay(**replies: str | None) -> Talk:
    """A relay that says 250 to everything but the verbs given; None hangs, "" hangs up. ``body`` is after DATA."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async def say(verb: str, usual: str) -> bool:
            reply = replies.get(verb, usual)
            if reply is None:
                await asyncio.Event().wait()
            if reply:
                writer.write(f"{reply}\r\n".encode())
                await writer.drain()
            return bool(reply)

        if not await say("greeting", "220 relay"):
            return
        while line := (await reader.readline()).decode().strip():
            verb = line.split()[0].lower()
            if not await say(verb, "354 go on" if verb == "data" else "250 OK"):
                return
            if verb == "data" and replies.get("data", "354").startswith("354"):  # type: ignore[union-attr]
                await reader.readuntil(b"\r\n.\r\n")
                if not await say("body", "250 kept"):
                    return

    return talk


_TROUBLE = [
    ({"greeting": "421 4.3.2 not now"}, TransientFailure, R.PROVIDER_UNAVAILABLE, "4.3.2"),
    ({"greeting": "554 go away"}, TransientFailure, R.PROVIDER_CONFIG, "554"),
    (
        {"ehlo": "550 5.7.1 your address is listed", "helo": "550 5.7.1 no"},
        TransientFailure,
        R.PROVIDER_CONFIG,
        "5.7.1",
    ),
    ({"mail": "553 5.7.1 Sender address rejected: not owned by user"}, TransientFailure, R.PROVIDER_CONFIG, "5.7.1"),
    ({"mail": "550 5.7.1 we don't know you"}, TransientFailure, R.PROVIDER_CONFIG, "5.7.1"),
    ({"mail": "552 5.3.4 too large"}, PermanentFailure, R.CONTENT_REJECTED, "5.3.4"),
    ({"rcpt": "550 Invalid recipient: <x@else.example>"}, TransientFailure, R.PROVIDER_CONFIG, "550"),
    ({"rcpt": "554 5.7.1 <x>: Relay access denied"}, TransientFailure, R.PROVIDER_CONFIG, "5.7.1"),
    ({"rcpt": "550 relay not permitted"}, TransientFailure, R.PROVIDER_CONFIG, "550"),
    ({"rcpt": "550 5.7.54 Unable to relay recipient"}, TransientFailure, R.PROVIDER_CONFIG, "5.7.54"),
    ({"rcpt": "550 5.7.1 Client was not authenticated"}, TransientFailure, R.PROVIDER_CONFIG, "5.7.1"),
    ({"rcpt": "554 5.7.1 <x>: Client host rejected: Access denied"}, TransientFailure, R.PROVIDER_CONFIG, "5.7.1"),
    ({"rcpt": "550 5.7.1 blocked by the recipient"}, PermanentFailure, R.BLOCKED, "5.7.1"),
    ({"greeting": None}, TransientFailure, R.TIMEOUT, ""),
    ({"greeting": ""}, TransientFailure, R.CONNECTION_FAILED, ""),
    ({"mail": "451 4.7.1 greylisted"}, TransientFailure, R.RATE_LIMITED, "4.7.1"),
    ({"mail": "421 closing"}, TransientFailure, R.PROVIDER_UNAVAILABLE, "421"),
    ({"rcpt": "503 need MAIL first"}, TransientFailure, R.SERVER_ERROR, "503"),
    ({"mail": "530 5.7.0 authenticate first"}, TransientFailure, R.PROVIDER_CONFIG, "530"),
    ({"mail": "538 5.7.11 encrypt first"}, TransientFailure, R.PROVIDER_CONFIG, "538"),
    ({"mail": ""}, TransientFailure, R.CONNECTION_LOST, ""),
    ({"mail": None}, TransientFailure, R.TIMEOUT, ""),
    ({"rcpt": "550 5.1.1 who"}, PermanentFailure, R.INVALID_ADDRESS, "5.1.1"),
    ({"rcpt": "550 who"}, PermanentFailure, R.INVALID_ADDRESS, "550"),
    ({"rcpt": "452 4.2.2 full"}, TransientFailure, R.MAILBOX_FULL, "4.2.2"),
    ({"rcpt": "550 5.2.2 full"}, TransientFailure, R.MAILBOX_FULL, "5.2.2"),
    ({"rcpt": ""}, TransientFailure, R.CONNECTION_LOST, ""),
    ({"data": "451 later"}, TransientFailure, R.SERVER_ERROR, "451"),
    ({"data": ""}, UnknownOutcome, R.CONNECTION_LOST, ""),
    ({"body": "550 5.7.1 spam"}, PermanentFailure, R.BLOCKED, "5.7.1"),
    ({"body": "451 4.3.0 try later"}, TransientFailure, R.PROVIDER_UNAVAILABLE, "4.3.0"),
    ({"body": "451 4.9.9 what"}, TransientFailure, R.UNMAPPED, "4.9.9"),
    ({"body": ""}, UnknownOutcome, R.CONNECTION_LOST, ""),
    ({"body": None}, UnknownOutcome, R.TIMEOUT, ""),
    ({"body": "nonsense"}, UnknownOutcome, R.UNMAPPED, ""),
]


@pytest.mark.parametrize(("replies", "failure", "reason", "code"), _TROUBLE, ids=[str(case[0]) for case in _TROUBLE])
async def test_trouble_with_the_relay(
    replies: dict[str, str | None], failure: type[SendFailure], reason: ProviderReason, code: str
) -> None:
    """Before DATA nothing was sent; after it only a reply tells; and a reply is the relay's own word."""
    async with Scripted(_relay(**replies)) as server:
        # Short only where it runs out: a busy machine may take seconds to answer.
        short = {"greeting": "timeout_seconds", "mail": "timeout_seconds", "body": "data_timeout_seconds"}
        provider = _provider(server.port, **{short[verb]: 1.5 for verb, reply in replies.items() if reply is None})
        with pytest.raises(SendFailure) as raised:
            await provider.send(message(TO))
        await provider.close()
    assert (type(raised.value), raised.value.reason, raised.value.code) == (failure, reason, code)


async def test_a_relay_without_dsn_promises_no_receipt() -> None:
    """Where the relay will never say more, nobody waits for it."""
    async with _sink(offer_dsn=False) as sink:
        provider = _provider(sink.port)
        accepted = await provider.send(message(TO))
        await provider.close()
    assert accepted == Accepted(f"dlv_{1:032x}@lender.example", receipt_expected=False)


async def test_the_message_as_it_arrives() -> None:
    """One recipient, our id as Message-ID, the reference in the return path, both bodies, and no auto-replies."""
    async with _sink() as sink:
        provider = _provider(sink.port, from_name="貸款部")
        sent = message(TO, headers={"List-Unsubscribe": "<https://lender.example/u/x>"})
        accepted = await provider.send(sent)
        await provider.close()
        (mail,) = sink.mails
    parsed = message_from_bytes(mail.raw)
    assert mail.recipient == TO
    assert mail.sender == f"{sent.reference}@lender.example"
    assert parsed["Message-ID"] == f"<{accepted.provider_message_id}>"
    assert parsed["Auto-Submitted"] == "auto-generated"
    assert parsed["List-Unsubscribe"] == "<https://lender.example/u/x>"
    assert [part.get_content_type() for part in parsed.walk()] == ["multipart/alternative", "text/plain", "text/html"]


@pytest.mark.parametrize(
    ("options", "expected"),
    [({}, None), ({"callback_token": "tok"}, True), ({"listen_port": 2525}, True), ({"replies": "yes"}, True),
     ({"callback_token": "tok", "replies": "no"}, None)],
)  # fmt: skip
async def test_answers_go_to_a_signed_address_where_somebody_reads_them(
    options: dict[str, Any], expected: bool | None
) -> None:
    """E-mails say how to stop by a reply: Reply-To names the message, wherever mail that comes back is taken."""
    async with _sink() as sink:
        provider = _provider(sink.port, **options)
        sent = message(TO)
        await provider.send(sent)
        await provider.close()
        (mail,) = sink.mails
    assert message_from_bytes(mail.raw)["Reply-To"] == (expected and reply_address(sent.reference, "lender.example"))


async def test_a_mailbox_in_chinese() -> None:
    """A local part beyond ASCII goes by SMTPUTF8, and not at all where the relay can't."""
    async with _sink() as sink:
        provider = _provider(sink.port)
        await provider.send(message("张三@例子.公司"))
        await provider.close()
        assert sink.mails[0].recipient == "张三@例子.公司"
    async with Scripted(_relay()) as server:
        provider = _provider(server.port)
        with pytest.raises(PermanentFailure, match=r"invalid_address 5\.6\.7"):
            await provider.send(message("张三@例子.公司"))
        await provider.close()


# TLS and login


def _server_tls() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(CERTIFICATES / "loopback-cert.pem", CERTIFICATES / "loopback-key.pem")
    return context


async def test_starttls_and_login() -> None:
    """The message goes over TLS with a checked certificate, after logging in."""
    async with _sink(tls=_server_tls(), credentials=("gateway", "pass word")) as sink:
        provider = _provider(
            sink.port, tls="starttls", ca_file=str(CERTIFICATES / "loopback-cert.pem"),
            username="gateway", password="pass word",
        )  # fmt: skip
        await provider.send(message(TO))
        await provider.close()
        assert sink.received.messages == 1


async def test_tls_from_the_first_byte() -> None:
    """On a port for implicit TLS (RFC 8314) nothing is said in clear, and the certificate is checked."""
    server = await asyncio.start_server(_relay(), "127.0.0.1", 0, ssl=_server_tls())
    port = server.sockets[0].getsockname()[1]
    try:
        provider = _provider(port, tls="tls", ca_file=str(CERTIFICATES / "loopback-cert.pem"))
        assert (await provider.send(message(TO))).provider_message_id
        await provider.close()
        stranger = _provider(port, tls="tls")
        with pytest.raises(TransientFailure, match="provider_config"):
            await stranger.send(message(TO))
        await stranger.close()
    finally:
        server.close()


@pytest.mark.parametrize(
    ("tls", "options", "reason"),
    [
        (True, {"tls": "starttls"}, R.PROVIDER_CONFIG),  # nobody vouches for the certificate
        (True, {"tls": "none"}, None),  # the relay insists
        (False, {"tls": "starttls"}, R.PROVIDER_CONFIG),  # stripped on the way: never in clear
        (True, {"tls": "starttls", "ca": True, "username": "gateway", "password": "wrong"}, R.PROVIDER_CONFIG),
    ],
)
async def test_without_tls_and_login_nothing_is_sent(
    tls: bool, options: dict[str, Any], reason: ProviderReason | None
) -> None:
    """A relay that cannot be trusted, or does not trust us, gets no message; and it is not the borrower's fault."""
    if options.pop("ca", False):
        options |= {"ca_file": str(CERTIFICATES / "loopback-cert.pem")}
    credentials = ("gateway", "right") if "username" in options else None
    async with _sink(tls=_server_tls() if tls else None, credentials=credentials) as sink:
        provider = _provider(sink.port, **options)
        with pytest.raises(SendFailure) as raised:
            await provider.send(message(TO))
        await provider.close()
        assert sink.received.messages == 0
    assert reason is None or (type(raised.value), raised.value.reason) == (TransientFailure, reason)


@pytest.mark.parametrize("tls", ["starttls", "tls"])
async def test_a_private_ca_is_told_as_what_it_is(tls: str) -> None:
    """Not as a host that can't be reached: the certificate isn't trusted, and ca_file is what is missing."""
    context = _server_tls()
    server = await asyncio.start_server(_relay(), "127.0.0.1", 0, ssl=context)
    try:
        async with _sink(tls=context) as sink:
            port = server.sockets[0].getsockname()[1] if tls == "tls" else sink.port
            provider = _provider(port, tls=tls)
            with pytest.raises(TransientFailure) as failure:
                await provider.check()
            assert (failure.value.reason, failure.value.code) == (R.PROVIDER_CONFIG, "certificate_not_trusted")
            await provider.close()
    finally:
        server.close()


@pytest.mark.parametrize(("content", "what"), [(None, "can't be read"), ("no PEM", "has no certificate in PEM")])
def test_a_missing_ca_file_stops_the_start(tmp_path: Path, content: str | None, what: str) -> None:
    """It is named, with what is wrong with it; it was told as a host that can't be reached."""
    path = tmp_path / "ca.pem"
    if content is not None:
        path.write_text(content)
    with pytest.raises(ValueError, match=rf"relay.*ca_file {what}"):
        _provider(25, tls="starttls", ca_file=str(path))


# The pool


async def test_connections_are_reused_and_bounded() -> None:
    """A hundred at once share the pool's connections, and each message arrives once."""
    async with _sink() as sink:
        provider = _provider(sink.port, connections=4, max_messages=1000)
        await asyncio.gather(*(provider.send(message(TO, number)) for number in range(100)))
        await provider.close()
        assert sink.connections <= 4
        assert sink.received.summary() == {"messages": 100, "duplicates": 0, "retries": 0}
        assert len({mail.message_id for mail in sink.mails}) == 100


async def test_connections_are_recycled() -> None:
    """No connection carries more messages than allowed."""
    async with _sink() as sink:
        provider = _provider(sink.port, connections=1, max_messages=3)
        for number in range(7):
            await provider.send(message(TO, number))
        await provider.close()
        assert sink.connections == 3


async def test_a_refusal_keeps_the_connection_clean() -> None:
    """After a refused recipient the next message goes over the same connection, to its own recipient only."""
    async with _sink() as sink:
        provider = _provider(sink.port, connections=1)
        with pytest.raises(PermanentFailure):
            await provider.send(message("bounce@example.com", 1))
        await provider.send(message(TO, 2))
        await provider.close()
        assert sink.connections == 1
        assert [mail.recipient for mail in sink.mails] == [TO]


async def test_a_connection_that_died_idle_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """An idle connection is asked whether it lives; a dead one costs no message."""
    monkeypatch.setattr("channels.email.pool._TRUSTED_IDLE", -1.0)
    async with _sink() as sink:
        provider = _provider(sink.port, connections=1)
        await provider.send(message(TO, 1))
        for conversation in list(sink._open):
            conversation.transport.close()  # type: ignore[union-attr]
        await provider.send(message(TO, 2))
        await provider.close()
        assert sink.connections == 2
        assert sink.received.messages == 2


async def test_a_cancelled_send_gives_its_place_back() -> None:
    """A worker that is stopped in the middle of a message leaves no half-finished envelope behind."""
    async with Scripted(_relay(body=None)) as slow, _sink() as sink:
        provider = _provider(slow.port, connections=1)
        task = asyncio.create_task(provider.send(message(TO, 1)))
        await eventually(lambda: slow.conversations)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert provider._pool is not None
        assert not provider._pool._idle
        assert not provider._pool._gate.locked()
        await provider.close()
        other = _provider(sink.port)
        await other.send(message(TO, 2))
        await other.close()


# Reports


def _posted(raw: bytes) -> CallbackRequest:
    return CallbackRequest("http://x/", {"authorization": "Bearer tok"}, {}, raw)


def _edit(old: bytes, new: bytes) -> Callable[[bytes], bytes]:
    return lambda raw: raw.replace(old, new)


@pytest.mark.parametrize(
    ("edit", "expected"),
    [
        (_edit(b"", b""), [(ReceiptStatus.DELIVERED, R.DELIVERED, "2.1.5")]),
        (_edit(b"Action: delivered", b"Action: Relayed"), [(ReceiptStatus.RELAYED, None, "2.1.5")]),
        (_edit(b"Action: delivered", b"Action: delayed"), []),
        (
            _edit(b"Action: delivered\r\nStatus: 2.1.5", b"Action: failed\r\nStatus: 5.2.2 (mailbox full)"),
            [(ReceiptStatus.UNDELIVERED, R.MAILBOX_FULL, "5.2.2")],
        ),
        (
            _edit(b"Action: delivered\r\nStatus: 2.1.5", b"Action: failed\r\nStatus: what"),
            [(ReceiptStatus.UNDELIVERED, R.UNMAPPED, "")],
        ),
    ],
)
def test_reports(edit: Callable[[bytes], bytes], expected: list[Any]) -> None:
    """Each action of RFC 3464 has one meaning; what has not changed yet is no receipt."""
    raw = edit(report(MAIL, REFERENCE, False, "Tue, 24 Nov 2026 00:00:00 +0000"))
    receipts = _provider(25, callback_token="tok").read_receipts(_posted(raw))
    assert [(each.status, each.reason, each.code) for each in receipts] == expected
    assert all(each.reference == REFERENCE for each in receipts)


def test_a_report_without_envelope_id_is_known_by_its_return_path() -> None:
    """Not every server returns the envelope id; ours is the address that the report was sent to."""
    raw = report(MAIL, "", True, "Tue, 24 Nov 2026 00:00:00 +0000")
    (receipt,) = _provider(25, callback_token="tok").read_receipts(_posted(raw))
    assert (receipt.reference, receipt.status) == (REFERENCE, ReceiptStatus.UNDELIVERED)


def test_a_bounce_in_a_servers_own_words_is_understood() -> None:
    """A server that knows no RFC 3464 says so in prose; our return path says which message it means."""
    raw = OWN_WORDS.format(to=return_path(REFERENCE, "lender.example")).encode()
    (receipt,) = _provider(25, callback_token="tok").read_receipts(_posted(raw))
    assert (receipt.reference, receipt.status, receipt.reason) == (
        REFERENCE,
        ReceiptStatus.UNDELIVERED,
        R.INVALID_ADDRESS,
    )


def test_an_automatic_reply_is_no_bounce() -> None:
    """Out-of-office replies come to the return path as well (RFC 3834): taken, and nothing follows."""
    path = return_path(REFERENCE, "lender.example")
    raw = f"From: b@e.example\nTo: {path}\nAuto-Submitted: auto-replied\n\nI am away.\n".encode()
    assert _provider(25, callback_token="tok").read_receipts(_posted(raw)) == []


@pytest.mark.parametrize(
    ("kind", "field", "original", "expected"),
    [
        ("abuse", "Original-Mail-From: <{path}>", "Subject: x", (REFERENCE, "")),
        ("Fraud", "X: y", "Return-Path: <{path}>", (REFERENCE, "")),
        ("opt-out", "Original-Envelope-Id: {reference}", "Subject: x", (REFERENCE, "")),
        ("abuse", "X: y", "Reply-To: {reply}", (REFERENCE, "")),
        ("abuse", "X: y", "Message-ID: <dlv_1@lender.example>", ("", "")),
        ("not-spam", "Original-Mail-From: <{path}>", "Subject: x", None),
        ("virus", "Original-Mail-From: <{path}>", "Subject: x", None),
    ],
)
def test_complaints(kind: str, field: str, original: str, expected: tuple[str, str] | None) -> None:
    """A complaint (RFC 5965) names our message by a signed reference; a Message-ID alone names nothing."""
    names = {"path": return_path(REFERENCE, "lender.example"), "reference": REFERENCE}
    names["reply"] = reply_address(REFERENCE, "lender.example")
    raw = COMPLAINT.format(kind=kind, field=field.format(**names), original=original.format(**names)).encode()
    receipts = _provider(25, callback_token="tok").read_receipts(_posted(raw))
    found = [(each.reference, each.provider_message_id) for each in receipts]
    assert found == ([expected] if expected else [])
    assert all(each.status is ReceiptStatus.COMPLAINED for each in receipts)


@pytest.mark.parametrize(
    ("raw", "field"),
    [
        (b"From: b@e.example\nTo: someone@else.example\n\nHello.\n", "delivery-status"),
        (b"To: someone@else.example\n\nHello.\n", "From"),
        (OWN_WORDS.format(to="someone@else.example").encode(), "To"),
    ],
)
def test_mail_that_is_no_report_names_what_is_missing(raw: bytes, field: str) -> None:
    """Mail that is neither a report nor sent to our return path is refused, with what it lacks."""
    with pytest.raises(MalformedCallback, match=f"^{field}$"):
        _provider(25, callback_token="tok").read_receipts(_posted(raw))


@pytest.mark.parametrize(
    ("edit", "field"),
    [
        (_edit(b"Action: delivered", b"X: y"), "Action"),
        (_edit(b"Action: delivered", b"Action: exploded"), "Action"),
        (_edit(b"@lender.example", b"@elsewhere.example"), "Original-Envelope-Id"),
    ],
)
def test_a_report_without_sense_names_what_is_missing(edit: Callable[[bytes], bytes], field: str) -> None:
    """A malformed report says which field is wrong, and not what it said."""
    with_id = b"" if field == "Original-Envelope-Id" else REFERENCE.encode()
    raw = edit(report(MAIL, with_id.decode(), False, "Tue, 24 Nov 2026 00:00:00 +0000"))
    with pytest.raises(MalformedCallback, match=f"^{field}$"):
        _provider(25, callback_token="tok").read_receipts(_posted(raw))


async def test_reports_are_repeated_until_taken() -> None:
    """A gateway that is down for a moment still gets the report."""
    catcher = CallbackCatcher()
    await catcher.start()
    catcher.fail_first = 2
    async with _sink(dsn_url=catcher.url, dsn_token="tok") as sink:
        provider = _provider(sink.port, callback_token="tok")
        sent = message(TO)
        await provider.send(sent)
        (request,) = await catcher.wait_for(1)
        assert provider.read_receipts(request)[0].reference == sent.reference
        await provider.close()
    await catcher.stop()
