"""The bytes of an e-mail: parsing returns the content, and values can't inject headers."""

from __future__ import annotations

from datetime import UTC, datetime
from email import message_from_bytes, policy
from email.message import EmailMessage

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from channels.base import Content, PermanentFailure
from channels.email.mime import Envelope, build, from_header
from channels.email.reports import from_xtext, return_path, xtext

DATE = datetime(2026, 11, 24, 8, 0, tzinfo=UTC)
_printable = st.text(st.characters(exclude_categories=("Cc", "Cs", "Zl", "Zp")), max_size=200)


def _built(content: Content, recipient: str = "a@example.com", **headers: str) -> bytes:
    sender = from_header("no-reply@lender.example", "Lender")
    return build(Envelope(sender, recipient, "dlv_1@lender.example", DATE, headers), content)


def _parsed(raw: bytes) -> EmailMessage:
    return message_from_bytes(raw, policy=policy.default)


@settings(max_examples=150, deadline=None)
@given(text=_printable, html=_printable, lines=st.integers(1, 4))
def test_both_bodies_come_out_as_they_went_in(text: str, html: str, lines: int) -> None:
    """Any text, in any script, survives; a line break at the end is all that is added."""
    body = "\n".join([text] * lines)
    message = _parsed(_built(Content(body, "s", f"<p>{html}</p>")))
    plain, rich = message.get_body(("plain",)), message.get_body(("html",))
    assert plain is not None
    assert rich is not None
    assert plain.get_content().replace("\r\n", "\n").removesuffix("\n") == body.removesuffix("\n")
    assert rich.get_content().replace("\r\n", "\n") == f"<p>{html}</p>\n"


@settings(max_examples=150, deadline=None)
@given(content=st.builds(Content, text=_printable, subject=_printable, html=_printable))
def test_every_line_fits_the_protocol(content: Content) -> None:
    """7-bit, CRLF only, no line over 998 octets, whatever the content (RFC 5322 section 2.1.1)."""
    raw = _built(content)
    assert raw.isascii()
    assert raw.count(b"\n") == raw.count(b"\r\n") == raw.count(b"\r")
    assert max(map(len, raw.split(b"\r\n"))) <= 998
    assert len(_parsed(raw).items()) == (8 if content.html else 9)


@pytest.mark.parametrize(
    "subject", ["Payment due", "付款提醒：您的帳單已逾期", "=?utf-8?q?not_encoded?=", "x" * 500, "£ 5", " a  b "]
)
def test_the_subject_comes_out_as_it_went_in(subject: str) -> None:
    """Also one that is long, in Chinese, or looks encoded already."""
    assert _parsed(_built(Content("t", subject)))["Subject"] == subject


@pytest.mark.parametrize("evil", ["a\r\nBcc: x@example.com", "a\nb", "a\rb", "a\x00b", "a\u2028b", "a\x85b"])
@pytest.mark.parametrize("place", ["subject", "recipient", "header"])
def test_no_header_breaks_out_of_its_line(evil: str, place: str) -> None:
    """A line break in a header is refused for good, and not repeated in the failure."""
    with pytest.raises(PermanentFailure, match=r"^content_rejected") as failure:
        _built(
            Content("t", evil if place == "subject" else "s"),
            evil if place == "recipient" else "a@example.com",
            **({"X-Campaign": evil} if place == "header" else {}),
        )
    assert evil not in str(failure.value)


@pytest.mark.parametrize("name", ["From", "to", "BCC", "Message-ID", "Content-Type", "X Y", "X:", "", "X\r\nY", "é"])
def test_no_header_replaces_ours(name: str) -> None:
    """A template's headers can add, never replace, and a header's name is a name."""
    with pytest.raises(PermanentFailure):
        _built(Content("t", "s"), **{name: "x"})


@settings(max_examples=100, deadline=None)
@given(text=st.text(max_size=60))
def test_xtext_is_reversible(text: str) -> None:
    """What the relay is told as envelope id comes back the same, and has no separator in it."""
    encoded = xtext(text)
    assert from_xtext(encoded) == text
    assert encoded.isascii()
    assert not set(encoded) & set(" =\r\n")


@pytest.mark.parametrize(("reference", "local"), [("dlv_1.1.ab", "bounce+dlv_1.1.ab"), ("d" * 60, "d" * 60)])
def test_the_return_path_fits(reference: str, local: str) -> None:
    """A local part has 64 octets at most; the tag gives way, never the reference."""
    assert return_path(reference, "b.example") == f"{local}@b.example"
