"""What a borrower writes back by e-mail: whose reply it is, whether a person wrote it, and their own words alone.

Owns reading the reply. It comes to an address that is signed like the return path (``channels.email.reports``): the
From header is worth nothing, for anybody can write it, and the reference names the message that is answered, and so the
address it went to. Must not know how the mail came here, nor what the words mean. A reply is foreign data: see
``channels.email.parsing``.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from email.errors import HeaderParseError
from email.header import decode_header, make_header
from email.message import Message as MimeMessage
from email.utils import parseaddr
from html.parser import HTMLParser
from typing import Any

from channels.email.parsing import parse
from channels.email.reports import replied_to

_TEXT_OCTETS = 30_000  # of a body that are looked at; our choice: people write at the top or below one mail of ours
# What a person needs to find out whom an unverified report is about; our choice of length. X-HmXmrOriginalRecipient is
# Outlook.com's name for whom the mail was sent to (its Junk Mail Reporting Program).
_SHOWN = ("From", "To", "Date", "Subject", "X-HmXmrOriginalRecipient", "Message-ID")
_MOST_READ = 4_000  # characters
# RFC 3834 section 5; the header of section 3.1.7 there; and what was used before it.
_AUTOMATIC_PRECEDENCE = frozenset({"bulk", "list", "junk", "auto_reply"})
_AUTOMATIC_HEADERS = ("X-Autoreply", "X-Autorespond", "X-Auto-Response", "Feedback-ID")
_PROGRAMS = frozenset({"mailer-daemon", "postmaster", "noreply", "no-reply", "donotreply"})
# Where the quotation of our mail begins: "On … wrote:" in the languages that we write to borrowers in and some more,
# Outlook's rule and header block, and the usual separators.
_QUOTATION = re.compile(
    r"^(?:[ \t]*>"
    r"|(?:On|Le|El|Am|Il|Em|Op|Den)\b[^\n]{0,120}(?:\n[^\n]{0,120})?(?:wrote|écrit|escribió|schrieb|scritto|escreveu|"
    r"schreef|skrev)[^\n]{0,40}:\s*$"
    r"|[^\n]{0,120}(?:写道|寫道|のメール|লিখেছেন|लिखा)\s*[:：]?\s*$"
    r"|[ \t]*-{2,}\s*(?:Original Message|Forwarded message|原始邮件|原始郵件|Message d'origine|Mensaje original|"
    r"Ursprüngliche Nachricht)\s*-{2,}"
    r"|[ \t]*_{10,}\s*$"
    r"|[ \t]*\*?(?:From|发件人|寄件者|差出人|De|Von|Da)\*?[ \t]*[:：]\*?[^\n]*\n"
    r"[ \t]*\*?(?:Sent|Date|To|发送时间|寄件日期|日期|送信日時|Envoyé|Enviado|Gesendet|Inviato)\*?[ \t]*[:：])",
    re.MULTILINE | re.IGNORECASE,
)
# RFC 3676 section 4.3, and what telephones add.
_SIGNATURE = re.compile(r"^(?:-- ?$|Sent from my |Get Outlook for |从我的|從我的|發自我的|发自我的)", re.MULTILINE)
_ANSWER_TO = re.compile(r"\s*(?:re|aw|sv|antw|回复|回覆|答复)\s*[:：]", re.IGNORECASE)
_QUOTING_HTML = re.compile(
    r"<blockquote|class=\"?[^>\"]{0,200}(?:gmail_quote|yahoo_quoted|moz-cite-prefix)|id=\"?(?:appendonsend|divRplyFwdMsg)",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class MailReply:
    """A person's answer. ``key`` is the same for the same mail delivered twice."""

    reference: str
    key: str
    text: str


def read_reply(raw: bytes, domain: str, reference: str = "", *, null_sender: bool = False) -> MailReply | None:
    """What a person wrote; None for an automatic reply, for a report, and for mail to no reply address of ours.

    ``reference`` is of the recipient that it came for, where that is known. Raises TooComplex.
    """
    message = parse(raw)
    reference = reference or next((found for each in _recipients(message) if (found := replied_to(each, domain))), "")
    if not reference or null_sender or is_automatic(message):
        return None
    text = own_words(_body(message)) or _subject(message)
    identity = "\0".join((reference, str(message["Message-ID"] or ""), text))
    return MailReply(reference, hashlib.sha256(identity.encode("utf-8", "replace")).hexdigest()[:32], text)


def is_automatic(message: MimeMessage) -> bool:
    """Whether a program wrote it: an out-of-office reply that says "stop" asks for nothing."""
    submitted = str(message["Auto-Submitted"] or "no").partition(";")[0].strip().lower()
    precedence = str(message["Precedence"] or "").strip().lower()
    return (
        submitted != "no"
        or precedence in _AUTOMATIC_PRECEDENCE
        or message.get_content_type() == "multipart/report"
        or str(message["Return-Path"] or "x").strip() == "<>"
        or any(name.lower().startswith("list-") for name in message)
        or parseaddr(str(message["From"]))[1].partition("@")[0].lower() in _PROGRAMS
        or any(message[name] is not None for name in _AUTOMATIC_HEADERS)
    )


def own_words(text: str) -> str:
    """A reply without what it quotes and without the signature; of one written below the quotation, what is below."""
    text = text.replace("\r\n", "\n")
    quotation = _QUOTATION.search(text)
    above = text[: quotation.start()] if quotation else text
    words = _SIGNATURE.split(above, maxsplit=1)[0].strip()
    if words or quotation is None:
        return words
    lines = text[quotation.start() :].split("\n")
    quoted = [number for number, line in enumerate(lines) if line.lstrip().startswith(">")]
    below = "\n".join(lines[quoted[-1] + 1 :]) if quoted else ""
    return _SIGNATURE.split(below, maxsplit=1)[0].strip()


def readable(message: MimeMessage) -> str:
    """What a person reads of a mail: who wrote it, about what, its words, and the same of a mail that it returns."""
    parts = [_letter(message)]
    for part in message.walk():
        if part.get_content_type() in ("message/rfc822", "message/global") and part.is_multipart():
            returned: Any = part.get_payload()
            parts.append(_letter(returned[0]))
            break
        if part.get_content_type() in ("text/rfc822-headers", "message/global-headers"):
            parts.append(_decoded(part)[:_MOST_READ])
            break
    return "\n\n".join(each for each in parts if each)[:_MOST_READ]


def _letter(message: Any) -> str:
    heads = [f"{name}: {value}" for name in _SHOWN if (value := _decoded_header(str(message[name] or "")))]
    words = _body(message)[:_MOST_READ].replace("\r\n", "\n").strip()
    return "\n".join([*heads, *(["", words] if words else [])])


def _recipients(message: MimeMessage) -> Iterator[str]:
    for header in ("Delivered-To", "X-Original-To", "To"):
        for value in message.get_all(header, []):
            yield parseaddr(str(value))[1]


def _body(message: MimeMessage) -> str:
    for wanted in ("text/plain", "text/html"):
        for part in message.walk():
            if part.get_content_type() == wanted and part.get_content_disposition() != "attachment":
                text = _decoded(part)
                return text if wanted == "text/plain" else _text_of(text)
    return ""


def _decoded(part: MimeMessage) -> str:
    payload = part.get_payload(decode=True)
    if not isinstance(payload, bytes):
        return ""
    try:
        return payload[:_TEXT_OCTETS].decode(part.get_content_charset("utf-8"), "replace")
    except (LookupError, ValueError):  # a charset that nobody knows
        return payload[:_TEXT_OCTETS].decode("utf-8", "replace")


def _text_of(html: str) -> str:
    """The text of a reply in HTML, up to where it begins to quote."""
    quoting = _QUOTING_HTML.search(html)
    start = html.rfind("<", 0, quoting.start() + 1) if quoting else len(html)
    reader = _TextReader()
    reader.feed(html[:start])
    reader.close()
    return "".join(reader.texts)


class _TextReader(HTMLParser):
    """Collects text, a line for each block."""

    def __init__(self) -> None:
        super().__init__()
        self.texts: list[str] = []
        self._hidden = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._hidden += tag in ("style", "script", "title")
        if tag in ("br", "div", "p", "tr", "li"):
            self.texts.append("\n")

    def handle_endtag(self, tag: str) -> None:
        self._hidden -= tag in ("style", "script", "title")

    def handle_data(self, data: str) -> None:
        if self._hidden <= 0:
            self.texts.append(data)


def _subject(message: MimeMessage) -> str:
    """The subject of a mail that says nothing else, where it isn't ours repeated."""
    subject = _decoded_header(str(message["Subject"] or ""))
    return "" if _ANSWER_TO.match(subject) else subject.strip()


def _decoded_header(raw: str) -> str:
    """A header's value as text (RFC 2047); "" where it can't be read."""
    try:
        return str(make_header(decode_header(raw)))
    except (ValueError, LookupError, HeaderParseError):
        return ""
