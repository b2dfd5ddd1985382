"""Delivery reports as real servers write them: the cause is found in each form."""

from __future__ import annotations

import base64
from email.mime.text import MIMEText

import pytest

from channels.base import CallbackRequest, ProviderReason, Receipt, ReceiptStatus
from channels.email import CHANNEL
from channels.email.reports import return_path, utf8_xtext
from tests.support.providers.fake_servers import clock
from tests.support.providers.mails import REFERENCE

R = ProviderReason
PATH = return_path(REFERENCE, "lender.example")


def _read(raw: bytes) -> list[Receipt]:
    values = {"host": "h", "domain": "lender.example", "from_address": "a@lender.example", "callback_token": "tok"}
    provider = CHANNEL.build("smtp", "relay", values, {"clock": clock})
    return list(provider.read_receipts(CallbackRequest("http://x/", {"authorization": "Bearer tok"}, {}, raw)))


def _report(status: str, diagnostic: str, text: str = "It failed.") -> bytes:
    lines = [
        "From: Mail Delivery System <Mailer-Daemon@mx.example>",
        f"To: {PATH}",
        "MIME-Version: 1.0",
        'Content-Type: multipart/report; report-type=delivery-status; boundary="=_b"',
        "",
        "--=_b",
        "Content-Type: text/plain; charset=utf-8",
        "",
        text,
        "",
        "--=_b",
        "Content-Type: message/delivery-status",
        "",
        "Reporting-MTA: dns; mx.example",
        "",
        "Final-Recipient: rfc822; chen@example.com",
        "Action: failed",
        f"Status: {status}",
        *([f"Diagnostic-Code: {diagnostic}"] if diagnostic else []),
        "",
        "--=_b",
        "Content-Type: message/rfc822",
        "",
        "Subject: 550 5.7.1 is no cause here",
        "",
        "Your balance of 5.1.1",
        "",
        "--=_b--",
        "",
    ]
    return "\r\n".join(lines).encode()


EXIM = "This message was created automatically by mail delivery software.\r\n\r\n  chen@example.com\r\n    "


@pytest.mark.parametrize(
    ("status", "diagnostic", "text", "reason", "code"),
    [
        ("5.0.0", "smtp; 550 5.1.1 <chen@example.com>: User unknown", "", R.INVALID_ADDRESS, "5.1.1"),  # Exim
        ("5.0.0", "smtp; 550-5.1.1 The email account", "", R.INVALID_ADDRESS, "5.1.1"),  # Exim to Gmail
        ("5.0.0", "smtp; 550 5.7.1 Message rejected", "", R.BLOCKED, "5.7.1"),
        ("5.0.0", "smtp; 550 no", "", R.INVALID_ADDRESS, "550"),
        ("5.0.0", "smtp; 552 too much", "", R.MAILBOX_FULL, "552"),
        ("5.0.0", "smtp; 550 Rejected as spam", "", R.BLOCKED, "5.7.1"),
        ("5.0.0", "", EXIM + "Unrouteable address", R.INVALID_ADDRESS, "5.1.1"),  # Exim, of its own
        ("5.0.0", "", "Error on recipient: 550 5.2.1 mailbox disabled", R.UNREACHABLE, "5.2.1"),  # OpenSMTPD
        ("5.0.0", "", "nothing is known", R.UNMAPPED, "5.0.0"),
        ("4.0.0", "smtp; 450 4.2.0 greylisted, try again", "", R.UNREACHABLE, "4.2.0"),
        ("5.2.2", "smtp; 550 5.1.1 the status decides", "", R.MAILBOX_FULL, "5.2.2"),
        ("5.0.0", "smtp; 550 host [5.1.1.25] said no such user here", "", R.INVALID_ADDRESS, "5.1.1"),
    ],
)
def test_the_cause_is_found_where_it_stands(
    status: str, diagnostic: str, text: str, reason: ProviderReason, code: str
) -> None:
    """Status x.0.0 says nothing (RFC 3463): Diagnostic-Code does, or the text; never the mail that is returned."""
    [receipt] = _read(_report(status, diagnostic, text))
    assert (receipt.status, receipt.reason, receipt.code) == (ReceiptStatus.UNDELIVERED, reason, code)


def _global_report(encoding: str) -> bytes:
    status = (
        "Reporting-MTA: dns; mx.example\r\n"
        f"Original-Envelope-Id: {REFERENCE}\r\n\r\n"
        "Original-Recipient: utf-8; 张三@例子.公司\r\n"
        "Final-Recipient: utf-8; 张三@例子.公司\r\n"
        "Action: failed\r\nStatus: 5.1.1\r\n"
    ).encode()
    body = base64.encodebytes(status) if encoding == "base64" else status
    return (
        (
            "From: MAILER-DAEMON@mx.example\r\nTo: x@y.example\r\nMIME-Version: 1.0\r\n"
            'Content-Type: multipart/report; report-type=global-delivery-status; boundary="=_b"\r\n\r\n'
            "--=_b\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n没有这个信箱\r\n"
            f"--=_b\r\nContent-Type: message/global-delivery-status\r\nContent-Transfer-Encoding: {encoding}\r\n\r\n"
        ).encode()
        + body
        + b"\r\n--=_b\r\nContent-Type: message/global-headers\r\n\r\nSubject: x\r\n\r\n--=_b--\r\n"
    )


@pytest.mark.parametrize("encoding", ["8bit", "base64"])
def test_a_report_in_utf_8_is_understood(encoding: str) -> None:
    """RFC 6533: a report about a mailbox beyond ASCII is a message/global-delivery-status."""
    [receipt] = _read(_global_report(encoding))
    assert (receipt.reference, receipt.reason) == (REFERENCE, R.INVALID_ADDRESS)


def test_a_mailbox_beyond_ascii_is_given_as_rfc_6533_has_it() -> None:
    """ORCPT of type utf-8 has code points in hexadecimal, and not the octets of their encoding."""
    assert utf8_xtext("张+a=\\@b.example") == "\\x{5F20}\\x{2B}a\\x{3D}\\x{5C}@b.example"


def test_own_words_in_a_text_part_say_the_cause() -> None:
    """A bounce without a report says it in prose, above the copy of our mail."""
    raw = MIMEText(
        "Hi. This is the qmail-send program at odd.example.\n"
        "I'm afraid I wasn't able to deliver your message to the following addresses.\n"
        "This is a permanent error; I've given up. Sorry it didn't work out.\n\n"
        "<chen@odd.example>:\n127.0.0.1 failed after I sent the message.\nRemote host said: 552 5.2.2 over quota\n\n"
        "--- Below this line is a copy of the message.\n\nSubject: 5.1.1\n"
    )
    raw["From"], raw["To"], raw["Subject"] = "MAILER-DAEMON@odd.example", PATH, "failure notice"
    [receipt] = _read(raw.as_bytes())
    assert (receipt.reason, receipt.code) == (R.MAILBOX_FULL, "5.2.2")
