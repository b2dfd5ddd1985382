"""The listener for bounces and replies over SMTP and LMTP, and DKIM signatures of sent messages."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import dkim
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519, rsa

from channels.base import ProviderReason, PushOutcome, ReceiptStatus, TransientFailure
from channels.email import listener
from channels.email.reports import reply_address, return_path
from channels.email.sink import SmtpSink, report
from channels.email.smtp import SmtpProvider
from tests.support.providers.fake_servers import clock, message
from tests.support.providers.mails import COMPLAINT, MAIL, OWN_WORDS, REFERENCE, Back

PATH = return_path(REFERENCE, "lender.example")
DATE = "Tue, 24 Nov 2026 00:00:00 +0000"


@pytest.fixture(params=["smtp", "lmtp"])
async def back(request: pytest.FixtureRequest) -> AsyncIterator[Back]:
    made = Back(request.param)
    await made.start()
    yield made
    await made.stop()


async def test_a_report_is_taken_and_answered_once_it_is_stored(back: Back) -> None:
    """A bounce to the return path, even without any name of the message in it, ends that message."""
    raw = report(MAIL, "", True, DATE).replace(b"To: ", b"X-To: ")
    assert (await back.deliver(raw, PATH))[0] == 250
    [receipt] = back.receipts
    assert (receipt.reference, receipt.status) == (REFERENCE, ReceiptStatus.UNDELIVERED)


async def test_bounces_in_own_words_and_complaints_come_the_same_way(back: Back) -> None:
    """The listener understands whatever the callback does."""
    assert (await back.deliver(OWN_WORDS.format(to="x@y.example").encode(), PATH))[0] == 250
    complaint = COMPLAINT.format(kind="abuse", field=f"Original-Mail-From: <{PATH}>", original="Subject: x")
    assert (await back.deliver(complaint.encode(), "abuse@lender.example"))[0] == 250
    assert [each.status for each in back.receipts] == [ReceiptStatus.UNDELIVERED, ReceiptStatus.COMPLAINED]


@pytest.mark.parametrize(("outcome", "code"), [(PushOutcome.UNAVAILABLE, 451), (PushOutcome.QUEUE_FULL, 452)])
async def test_what_cannot_be_stored_the_mail_server_keeps(back: Back, outcome: PushOutcome, code: int) -> None:
    """It will be delivered again; nothing is acknowledged that is not stored."""
    back.outcome = outcome
    raw = report(MAIL, REFERENCE, True, DATE)
    assert (await back.deliver(raw, PATH))[0] == code
    back.outcome = PushOutcome.STORED
    assert (await back.deliver(raw, PATH))[0] == 250
    assert len(back.receipts) == 1


@pytest.mark.parametrize(
    ("raw", "recipients", "code"),
    [
        (b"From: a@b.example\r\n\r\nhi\r\n", ("info@elsewhere.example",), 550),
        (b"From: a@b.example\r\n\r\nhi\r\n", (PATH, PATH), 452),
    ],
)
async def test_what_is_no_report_is_refused(back: Back, raw: bytes, recipients: tuple[str, ...], code: int) -> None:
    """Mail for anybody else, for two at a time, or without sense is not taken."""
    assert (await back.deliver(raw, *recipients))[0] == code
    assert back.receipts == []


@pytest.mark.parametrize(
    "raw",
    [
        b"From: chen@example.com\r\nSubject: Stop\r\n\r\nLeave me alone.\r\n",
        b"Subject: =?utf-8?B?U3RvcA==?=\r\nContent-Type: text/html\r\n\r\n<p>Leave me alone.</p>\r\n",
        COMPLAINT.format(kind="", field="X: y", original="Subject: x")
        .encode()
        .replace(b"This is a complaint.", b"Subject: Stop\n\nLeave me alone."),
    ],
    ids=["plain", "html", "a report without a type"],
)
async def test_whatever_comes_to_the_address_of_complaints_is_kept_for_a_person(back: Back, raw: bytes) -> None:
    """Outlook and people write no report: the mail goes on whole, with the words that say whom it is about."""
    assert (await back.deliver(raw, "abuse@lender.example", sender="chen@example.com"))[0] == 250
    [receipt] = back.receipts
    assert (receipt.status, receipt.reference) == (ReceiptStatus.COMPLAINED, "")
    assert receipt.original is not None
    assert receipt.original.raw.split() == raw.split()
    assert "Leave me alone." in receipt.original.text
    assert "Stop" in receipt.original.text


ATTACHED = """From: staff@hotmail.com
To: abuse@lender.example
Subject: complaint about message from 192.0.2.1
MIME-Version: 1.0
Content-Type: multipart/mixed; boundary="=_b"

--=_b
Content-Type: message/rfc822
Content-Disposition: attachment

X-HmXmrOriginalRecipient: chen@example.com
{field}
From: Example Bank <no-reply@lender.example>
Subject: Your payment

Hello.
--=_b--
"""


@pytest.mark.parametrize(
    ("field", "reference"),
    [
        (f"Reply-To: {reply_address(REFERENCE, 'lender.example')}", REFERENCE),
        (f"Return-Path: <{PATH}>", REFERENCE),
        ("Message-ID: <x@lender.example>", ""),
    ],
)
async def test_a_complaint_that_only_attaches_our_mail_is_understood(back: Back, field: str, reference: str) -> None:
    """Outlook.com writes no feedback report; what the mail names no reference in, a person reads."""
    raw = ATTACHED.format(field=field).encode()
    assert (await back.deliver(raw, "abuse@lender.example", sender="staff@hotmail.com"))[0] == 250
    [receipt] = back.receipts
    assert (receipt.status, receipt.reference) == (ReceiptStatus.COMPLAINED, reference)
    assert receipt.original is not None
    for shown in ("complaint about message", "Your payment", "X-HmXmrOriginalRecipient: chen@example.com", "Hello."):
        assert shown in receipt.original.text
    assert "chen@example.com" not in repr(receipt)


async def test_two_processes_share_the_port() -> None:
    """Every worker listens on the same address; a report reaches one of them."""
    first, second = Back("smtp"), Back("smtp")
    second.port = first.port
    second._provider._listens = first._provider._listens
    await first.start()
    listener._LISTENING.clear()  # another process has a set of its own
    await second.start()
    for _ in range(20):
        assert (await first.deliver(report(MAIL, REFERENCE, True, DATE), PATH))[0] == 250
    assert len(first.receipts) + len(second.receipts) == 20
    await first.stop()
    await second.stop()


async def test_a_port_in_use_is_refused_at_start() -> None:
    """Another provider's port, or another program's: also where the system would share it between both."""
    first, second = Back("smtp"), Back("smtp")
    second._provider._listens = first._provider._listens
    await first.start()
    with pytest.raises(OSError, match="another provider"):
        await second._provider.listen(second._heard, asyncio.Event())
    await first.stop()

    async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 mx.example ESMTP Postfix\r\n")
        await reader.read()
        writer.close()

    other = await asyncio.start_server(greet, "127.0.0.1", first.port, reuse_port=True)
    with pytest.raises(OSError, match="another program"):
        await first._provider.listen(first._heard, asyncio.Event())
    other.close()


@pytest.fixture
def key(tmp_path: Path) -> tuple[Path, bytes]:
    """A private key's file, and the DNS record of its public half."""
    made = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    traditional, pem = serialization.PrivateFormat.TraditionalOpenSSL, serialization.Encoding.PEM
    path = tmp_path / "dkim.pem"
    path.write_bytes(made.private_bytes(pem, traditional, serialization.NoEncryption()))
    public = made.public_key().public_bytes(pem, serialization.PublicFormat.SubjectPublicKeyInfo)
    return path, b"v=DKIM1; k=rsa; p=" + b"".join(public.splitlines()[1:-1])


async def test_a_signed_mail_verifies_and_a_changed_one_does_not(key: tuple[Path, bytes]) -> None:
    """The relay gets what the key has signed, unsubscribe headers included; one other digit and it is no more valid."""
    path, record = key
    sink = SmtpSink(clock)
    await sink.start()
    options: dict[str, Any] = {"host": "127.0.0.1", "port": sink.port, "tls": "none", "domain": "lender.example"}
    options |= {"from_address": "no-reply@lender.example", "dkim_selector": "s1", "dkim_key_file": str(path)}
    provider = SmtpProvider.from_options("mail", options, {"clock": clock})
    headers = {"List-Unsubscribe": "<https://x.example/u>", "List-Unsubscribe-Post": "List-Unsubscribe=One-Click"}
    await provider.send(message("chen@example.com", headers=headers))
    raw = sink.mails[0].raw
    asked: list[bytes] = []

    def dns(name: bytes, timeout: int = 5) -> bytes:
        asked.append(name)
        return record

    assert dkim.verify(raw, dnsfunc=dns)
    assert asked == [b"s1._domainkey.lender.example."]
    assert b"list-unsubscribe-post" in raw.split(b"b=")[0].lower()
    assert not dkim.verify(raw.replace(b"3,913.00", b"3,913.01"), dnsfunc=dns)
    await provider.close()
    await sink.stop()


@pytest.mark.parametrize("missing", ["dkim_selector", "dkim_key_file"])
def test_half_a_signature_is_named(key: tuple[Path, bytes], missing: str) -> None:
    """A selector without a key, or a key without a selector, stops the start."""
    options = {"host": "h", "domain": "lender.example", "from_address": "a@lender.example"}
    options |= {"dkim_selector": "s1", "dkim_key_file": str(key[0]), missing: ""}
    with pytest.raises(ValueError, match=rf"mail.*{missing}"):
        SmtpProvider.from_options("mail", options, {"clock": clock})
    unreadable = options | {"dkim_selector": "s1", "dkim_key_file": "/nowhere"}
    with pytest.raises(ValueError, match=r"mail.*dkim_key_file"):
        SmtpProvider.from_options("mail", unreadable, {"clock": clock})


@pytest.mark.parametrize("content", [b"no PEM at all", b"ed25519"], ids=["broken", "Ed25519"])
async def test_a_key_that_cannot_sign_stops_the_start(tmp_path: Path, content: bytes) -> None:
    """It is tried at once: with such a key every mail went to review."""
    if content == b"ed25519":
        pem, pkcs8 = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
        content = ed25519.Ed25519PrivateKey.generate().private_bytes(pem, pkcs8, serialization.NoEncryption())
    (tmp_path / "key.pem").write_bytes(content)
    options = {"host": "h", "domain": "lender.example", "from_address": "a@lender.example"}
    options |= {"dkim_selector": "s1", "dkim_key_file": str(tmp_path / "key.pem")}
    with pytest.raises(ValueError, match=r"mail.*dkim_key_file.*RSA"):
        SmtpProvider.from_options("mail", options, {"clock": clock})


async def test_a_failure_to_sign_is_ours_and_transient(
    key: tuple[Path, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing has been sent, so nothing is in doubt: the mail goes when the fault is mended."""
    options = {"host": "127.0.0.1", "domain": "lender.example", "from_address": "a@lender.example"}
    options |= {"dkim_selector": "s1", "dkim_key_file": str(key[0])}
    provider = SmtpProvider.from_options("mail", options, {"clock": clock})

    def fail(*_: Any, **__: Any) -> bytes:
        raise RuntimeError("no")

    monkeypatch.setattr("dkim.sign", fail)
    with pytest.raises(TransientFailure) as failure:
        await provider.send(message("chen@example.com"))
    assert (failure.value.reason, failure.value.code) == (ProviderReason.PROVIDER_CONFIG, "dkim")
