"""Encodes rendered content as an e-mail message: headers and body as bytes for the SMTP command DATA.

Owns the headers and the body's encoding. Must not know SMTP. Does not use ``email.message``, whose header folding takes
longer than the rest of a send (measured); tests parse the bytes with ``email``.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from email.header import Header
from email.utils import format_datetime, formataddr

from channels.base import Content, PermanentFailure, ProviderReason

_HEADER_NAME = re.compile(r"[A-Za-z][A-Za-z0-9-]{0,75}")
_CONTROL = re.compile(r"[\x00-\x1f\x7f\u0085\u2028\u2029]")
_OWN_HEADERS = frozenset(
    {
        "from", "to", "cc", "bcc", "sender", "reply-to", "subject", "date", "message-id", "return-path",
        "mime-version", "content-type", "content-transfer-encoding", "auto-submitted",
    }
)  # fmt: skip
_LONGEST_LINE = 998  # octets, RFC 5322 section 2.1.1
# "=_" can stand in neither quoted-printable nor base64, so the boundary never occurs in a body (RFC 2045 section 6.7).
_BOUNDARY = "=_alternative"
_ASCII = bytes(range(128))


@dataclass(frozen=True, slots=True)
class Envelope:
    """The values of the headers besides the content."""

    sender: str  # the From header, as ``from_header`` makes it
    recipient: str
    message_id: str  # without angle brackets
    date: datetime
    headers: Mapping[str, str]
    reply_to: str = ""
    auto_submitted: str = "auto-generated"  # RFC 3834 section 5; auto-replied: an answer to somebody's mail


def from_header(address: str, name: str) -> str:
    """The From header's value. Raises ValueError for a name or an address with control characters."""
    if _CONTROL.search(address) or _CONTROL.search(name):
        raise ValueError("control characters in From")
    return formataddr((name, address))


def build(envelope: Envelope, content: Content) -> bytes:
    """The message with CRLF line ends, 7-bit except for non-ASCII mailboxes (SMTPUTF8).

    Raises PermanentFailure(CONTENT_REJECTED, header name) where a header value has a line break.
    """
    lines = [
        f"From: {envelope.sender}",
        f"To: {_safe('To', envelope.recipient)}",
        *([f"Reply-To: {_safe('Reply-To', envelope.reply_to)}"] if envelope.reply_to else []),
        f"Subject: {_encoded('Subject', content.subject)}",
        f"Date: {format_datetime(envelope.date)}",
        f"Message-ID: <{envelope.message_id}>",
        # RFC 3834: suppresses out-of-office replies.
        f"Auto-Submitted: {envelope.auto_submitted}",
        "MIME-Version: 1.0",
    ]
    for name, value in envelope.headers.items():
        if not _HEADER_NAME.fullmatch(name) or name.lower() in _OWN_HEADERS or not value.isascii():
            raise PermanentFailure(ProviderReason.CONTENT_REJECTED, "header")
        lines.append(f"{name}: {_safe(name, value)}")
    return "\r\n".join(lines).encode("utf-8") + b"\r\n" + _body(content)


def _body(content: Content) -> bytes:
    if not content.html:
        return _part("plain", content.text)
    # The preferred alternative is last (RFC 2046 section 5.1.4).
    boundary = _BOUNDARY.encode()
    return b"".join(
        (
            b'Content-Type: multipart/alternative; boundary="' + boundary + b'"\r\n\r\n--' + boundary + b"\r\n",
            _part("plain", content.text),
            b"\r\n--" + boundary + b"\r\n",
            _part("html", content.html),
            b"\r\n--" + boundary + b"--\r\n",
        )
    )


def _part(subtype: str, text: str) -> bytes:
    raw = text.replace("\r\n", "\n").replace("\r", "\n").encode("utf-8")
    if not raw.endswith(b"\n"):
        raw += b"\n"
    # Quoted-printable is smaller while at most a sixth is not ASCII, base64 above that (RFC 2045).
    if len(raw.translate(None, _ASCII)) * 6 <= len(raw):
        name, encoded = "quoted-printable", binascii.b2a_qp(raw, istext=True).replace(b"\n", b"\r\n")
    else:
        raw = raw.replace(b"\n", b"\r\n")
        name, encoded = "base64", base64.encodebytes(raw).replace(b"\n", b"\r\n")
    head = f'Content-Type: text/{subtype}; charset="utf-8"\r\nContent-Transfer-Encoding: {name}\r\n\r\n'
    return head.encode() + encoded


def _safe(name: str, value: str) -> str:
    if _CONTROL.search(value) or len(name) + 2 + len(value.encode()) > _LONGEST_LINE:
        raise PermanentFailure(ProviderReason.CONTENT_REJECTED, name)
    return value


def _encoded(name: str, value: str) -> str:
    _safe(name, value)
    # "=?" in plain text would be decoded as an encoded word, and a word longer than a line can't be folded: both
    # are encoded, as is a blank at either end, which folding would remove.
    plain = value.isascii() and "=?" not in value and value == value.strip() and "  " not in value
    charset = None if plain and all(len(word) < 60 for word in value.split(" ")) else "utf-8"
    return Header(value, charset, maxlinelen=76, header_name=name).encode(linesep="\r\n")
