"""Replies by e-mail: matching to a borrower, automatic answers, and removal of quoted text."""

from __future__ import annotations

import time

import pytest

from channels.base import BadSignature, CallbackRequest, MalformedCallback, Reply, TakesReplies
from channels.email import CHANNEL
from channels.email.replies import own_words, read_reply
from channels.email.reports import replied_to, reply_address, return_path
from channels.email.smtp import SmtpProvider
from tests.support.providers.fake_servers import clock
from tests.support.providers.mails import REFERENCE, Back

DOMAIN = "lender.example"
TO = reply_address(REFERENCE, DOMAIN)
QUOTED = "> Reply with STOP to get no more e-mails.\n> Please stop by our office.\n"


def _mail(body: str, *headers: str, to: str = TO, subject: str = "Re: Your payment") -> bytes:
    head = [
        f"To: {to}",
        "From: Chen <chen@example.com>",
        f"Subject: {subject}",
        "Message-ID: <1@example.com>",
        *headers,
    ]
    return ("\r\n".join(head) + "\r\n\r\n" + body).encode()


def test_the_reply_address_is_signed_and_fits() -> None:
    """64 octets in front of the @ (RFC 5321), with the whole reference in it; other addresses are not ours."""
    assert len(TO.partition("@")[0]) <= 64
    assert replied_to(TO, DOMAIN) == replied_to(TO.upper().replace("RE+", "re+"), DOMAIN.upper()).lower() == REFERENCE
    for other in (return_path(REFERENCE, DOMAIN), TO.replace(DOMAIN, "x.example"), "re+x@lender.example", "", "@"):
        assert replied_to(other, DOMAIN) == ""
    assert reply_address("other.1.abc", DOMAIN) == ""


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("STOP", "STOP"),
        ("STOP\n\nOn Tue, 24 Nov 2026 at 10:00, Example Bank <a@b.example> wrote:\n" + QUOTED, "STOP"),
        ("STOP\n\nOn Tue, 24 Nov 2026 at 10:00, Example Bank\n<a@b.example> wrote:\n" + QUOTED, "STOP"),
        ("Please call me.\r\n\r\n-----Original Message-----\r\nFrom: x\r\nReply with STOP", "Please call me."),
        ("Ok\n\n________________________________\nFrom: Bank <a@b>\nSent: Tuesday\nReply with STOP", "Ok"),
        ("I paid.\n\nFrom: Bank <a@b>\nSent: Tuesday\nTo: Chen\n\nSTOP", "I paid."),
        ("退订\n\n在 2026年11月24日，Example Bank 写道：\n" + QUOTED, "退订"),
        ("已繳\n\nExample Bank <a@b.example> 於 2026年11月24日 寫道：\n" + QUOTED, "已繳"),
        ("Arrêtez\n\nLe mar. 24 nov. 2026 à 10:00, Banque <a@b> a écrit :\n" + QUOTED, "Arrêtez"),
        ("stop\n\nSent from my iPhone\n\n" + QUOTED, "stop"),
        ("stop\n-- \nChen Mei, STOP Ltd.", "stop"),
        (QUOTED + "\nI want this to end.\n", "I want this to end."),
        (QUOTED, ""),
        ("From my point of view: pay later", "From my point of view: pay later"),
        ("", ""),
    ],
)
def test_what_is_quoted_is_not_said(text: str, words: str) -> None:
    """Our own mail says how to stop: its quotation must not be taken for the borrower's wish."""
    assert own_words(text) == words


@pytest.mark.parametrize(
    "header",
    [
        "Auto-Submitted: auto-replied",
        "Auto-Submitted: auto-generated; x=y",
        "Precedence: bulk",
        "Precedence: list",
        "List-Id: <x.example>",
        "List-Unsubscribe: <mailto:x@x.example>",
        "X-Autoreply: yes",
        "Return-Path: <>",
    ],
)
def test_automatic_replies_say_nothing(header: str) -> None:
    """RFC 3834: an out-of-office reply with "stop" in it asks for nothing."""
    assert read_reply(_mail("STOP", header), DOMAIN) is None
    assert read_reply(_mail("STOP"), DOMAIN, null_sender=True) is None
    assert read_reply(_mail("STOP", "Auto-Submitted: no"), DOMAIN) is not None


HTML = """Content-Type: text/html; charset=utf-8

<html><head><style>p {color: red}</style></head><body><div>Please <b>stop</b></div>
<div class="gmail_quote">On Tue Bank wrote: <blockquote>Reply with STOP</blockquote></div></body></html>"""


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        (_mail("STOP"), "STOP"),
        (_mail("", subject="STOP"), "STOP"),
        (_mail("", subject="Re: Reply with STOP"), ""),
        (_mail("", "Content-Type: text/plain; charset=nonsense"), ""),
        (_mail("", "Content-Type: text/plain; charset=zip", subject="=?utf-8?b?6YCA6K6i?="), "退订"),
        (b"To: " + TO.encode() + b"\r\n" + HTML.encode(), "Please stop"),
        (
            _mail("U1RPUA==", "Content-Type: text/plain; charset=utf-8", "Content-Transfer-Encoding: base64"),
            "STOP",
        ),
    ],
)
def test_the_words_are_found_wherever_they_are(raw: bytes, text: str) -> None:
    """In plain text, in HTML, or in the subject of a mail that says nothing else."""
    found = read_reply(raw, DOMAIN)
    assert found is not None
    assert (" ".join(found.text.split()), found.reference) == (text, REFERENCE)


def test_the_same_mail_twice_is_one_reply() -> None:
    """A mail server that was not sure delivers it again; another mail with the same words is another reply."""
    first, again = read_reply(_mail("STOP"), DOMAIN), read_reply(b"Received: x\r\n" + _mail("STOP"), DOMAIN)
    other = read_reply(_mail("STOP").replace(b"<1@", b"<2@"), DOMAIN)
    assert first is not None
    assert again is not None
    assert other is not None
    assert first.key == again.key != other.key


@pytest.mark.parametrize(
    "body",
    [
        "On x\n" * 8_000,
        "On " + "wrote" * 6_000,
        "-" * 30_000,
        "_" * 30_000,
        "> \n" * 10_000,
        " " * 30_000,
        "From:\n" * 5_000,
    ],
    ids=["attributions", "wrote", "dashes", "rules", "quotes", "blanks", "headers"],
)
def test_no_text_makes_the_search_slow(body: str) -> None:
    """What is searched is bounded, in length and in how far an expression looks."""
    began = time.process_time()
    own_words(body)
    html = b"To: " + TO.encode() + b"\r\nContent-Type: text/html\r\n\r\n" + b"class=" * 100_000
    read_reply(html, DOMAIN)
    assert time.process_time() - began < 20  # processor seconds; it takes some 0.1


def _provider() -> SmtpProvider:
    values = {"host": "h", "domain": DOMAIN, "from_address": "a@lender.example", "callback_token": "tok"}
    built = CHANNEL.build("smtp", "relay", values, {"clock": clock})
    assert isinstance(built, SmtpProvider)
    assert isinstance(built, TakesReplies)
    return built


def test_a_reply_is_posted_as_reports_are() -> None:
    """With the token and to a reply address; a stranger is refused, and what is no reply is empty."""
    headers = {"authorization": "Bearer tok"}
    [reply] = _provider().read_replies(CallbackRequest("http://x/", headers, {}, _mail("STOP")))
    assert (reply.text, reply.reference, reply.address) == ("STOP", REFERENCE, "")
    assert _provider().read_replies(CallbackRequest("http://x/", headers, {}, _mail("x", to="a@b.example"))) == []
    with pytest.raises(BadSignature):
        _provider().read_replies(CallbackRequest("http://x/", {}, {}, _mail("STOP")))
    with pytest.raises(MalformedCallback, match="size"):
        _provider().read_replies(CallbackRequest("http://x/", headers, {}, _mail("x" * 1_000_001)))


@pytest.mark.parametrize("protocol", ["smtp", "lmtp"])
async def test_the_listener_takes_replies(protocol: str) -> None:
    """To the reply address, and to the return path, where some programs send them; automatic ones are dropped."""
    back = Back(protocol)
    await back.start()
    try:
        for to in (TO, return_path(REFERENCE, DOMAIN)):
            assert (await back.deliver(_mail("STOP", to=to), to, sender="chen@example.com"))[0] == 250
            automatic = _mail("STOP", "Auto-Submitted: auto-replied", to=to)
            assert (await back.deliver(automatic, to, sender="chen@example.com"))[0] == 250
            assert (await back.deliver(_mail("STOP", to=to), to, sender=""))[0] == 250
        assert [(each.text, each.reference) for each in back.replies] == [("STOP", REFERENCE)] * 2
        assert back.receipts == []
        assert all(isinstance(each, Reply) for each in back.replies)
    finally:
        await back.stop()
