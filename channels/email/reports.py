"""What comes back about a mail: status notifications (RFC 3464, in UTF-8 RFC 6533), bounces in a server's own words,
and complaints (RFC 5965).

Owns reading the report, and the return path by which it is known. Must not know how it came here. A report is foreign
data: it is parsed within the limits of ``channels.email.parsing``, and reading one belongs into a thread.
"""

from __future__ import annotations

import base64
import quopri
import re
from collections.abc import Iterator
from dataclasses import dataclass
from email.message import Message as MimeMessage
from email.utils import parseaddr
from typing import Any

from flufl.bounce import all_failures

from channels.email.parsing import MAX_PARTS, TooComplex, parse

MAX_REPORTS = 20  # in one mail; our choice: our mails have one recipient, which a list may expand to some more
# What is searched for a server's own words: they stand at the top, and the detectors take 42 µs for a line (measured),
# 19 s for 900 kB of short ones. Our choice.
_TEXT_OCTETS = 8_000  # of the text in which a cause is looked for; our choice
# "--- Below this line is a copy of the message" (qmail), "------ This is a copy of the message" (Exim) and their like.
_ORIGINAL_FOLLOWS = re.compile(r"^-{2,}.*\b(?:copy of|original message|message follows|headers)\b.*$", re.I | re.M)
_OWN_WORDS_LINES, _OWN_WORDS_OCTETS = 2_000, 64_000
_BOUNCE = "bounce+"
# Shorter than "reply+" and without the prefix of a delivery's id: a reference and both make more than the 64 octets
# that RFC 5321 section 4.5.3.1.1 allows.
_REPLY_PREFIX, _DELIVERY = "re+", "dlv_"
_LONGEST_LOCAL = 64  # octets, RFC 5321 section 4.5.3.1.1
_STATUS = re.compile(r"(?<![.\d])[245]\.\d{1,3}\.\d{1,3}(?![.\d])")
_FAILURE = re.compile(r"(?<![.\d])[45]\.\d{1,3}\.\d{1,3}(?![.\d])")
_REPLY = re.compile(r"(?:^|[;:\s])([45][0-5]\d)(?=[ -])")  # a basic SMTP reply, RFC 5321 section 4.2
_NO_CAUSE = re.compile(r"[45]\.0\.0")  # RFC 3463 section 3.1: "the only known fact is that it failed"
# What servers (Exim, OpenSMTPD, qmail, Postfix) write for the two causes that matter, where there is no enhanced code.
_PHRASES: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(r"\bspam\b|blacklist|blocklist|block list|policy (?:reasons|violation)|reputation", re.I), "5.7.1"),
    (
        re.compile(
            r"user unknown|unknown user|no such (?:user|mailbox|recipient|address|person)|no mailbox here by that name"
            r"|unrouteable address|mailbox (?:not found|does not exist)|(?:user|account|address) does ?n[o']t exist"
            r"|invalid (?:recipient|mailbox)|recipient (?:unknown|not found)|unknown recipient",
            re.I,
        ),
        "5.1.1",
    ),
)
_REFERENCE = re.compile(r"[^.\s]+\.\d+\.[^.\s]+")  # delivery, attempt, signature; whether it is ours is asked later
_XTEXT = re.compile(rb"\+([0-9A-F]{2})")
# RFC 5965 section 7.3. A report of type not-spam takes a complaint back and asks for nothing; virus and other are
# for whoever runs the mail server. opt-out is RFC 6430's.
_COMPLAINTS = frozenset({"abuse", "fraud", "opt-out"})


@dataclass(frozen=True, slots=True)
class Report:
    """What a report says of one message. ``action`` is RFC 3464's, in lower case, or ``complained``.

    ``status`` is the enhanced code, or else ``reply`` the basic SMTP reply code; both may be empty. ``reference`` is
    what names our message; whether we signed it is checked later. It is empty for a complaint that names no message in
    this way: a Message-ID can be made up.
    """

    reference: str
    action: str
    status: str = ""
    reply: str = ""


class NoReport(Exception):
    """The message is no readable report. The text names what is missing."""


def return_path(reference: str, domain: str) -> str:
    """The envelope sender: reports come back to it and so carry the reference, whatever the relay supports."""
    local = _BOUNCE + reference
    # A long reference stands alone: a domain that takes bounces needs no tag to tell them apart.
    return f"{local if len(local) <= _LONGEST_LOCAL else reference}@{domain}"


def returned_to(address: str, domain: str) -> str:
    """The reference in a return path of ours, "" for any other address."""
    local, _, host = address.rpartition("@")
    match = _REFERENCE.fullmatch(local.removeprefix(_BOUNCE)) if host.lower() == domain.lower() else None
    return match[0] if match else ""


def reply_address(reference: str, domain: str) -> str:
    """Where answers to a message go; "" for a reference that has no place in a local part."""
    short = reference.removeprefix(_DELIVERY)
    return f"{_REPLY_PREFIX}{short}@{domain}" if reference.startswith(_DELIVERY) else ""


def replied_to(address: str, domain: str) -> str:
    """The reference in a reply address of ours, "" for any other address."""
    local, _, host = address.rpartition("@")
    if host.lower() != domain.lower() or not local.lower().startswith(_REPLY_PREFIX):
        return ""
    reference = _DELIVERY + local[len(_REPLY_PREFIX) :]
    return reference if _REFERENCE.fullmatch(reference) else ""


def xtext(text: str) -> str:
    """RFC 3461 section 4: ASCII but for ``+``, ``=``, space and control characters, which become ``+XX``."""
    return "".join(
        chr(byte) if 33 <= byte <= 126 and byte not in b"+=" else f"+{byte:02X}" for byte in text.encode("utf-8")
    )


def utf8_xtext(text: str) -> str:
    """RFC 6533 section 3, utf-8-addr-xtext: ``\\x{HEX}`` for what isn't ASCII, and for backslash, ``+`` and ``=``."""
    return "".join(
        each if 33 <= ord(each) <= 126 and each not in "\\+=" else f"\\x{{{ord(each):02X}}}" for each in text
    )


def from_xtext(text: str) -> str:
    """The reverse of ``xtext``; unreadable octets are replaced."""
    raw = _XTEXT.sub(lambda match: bytes([int(match[1], 16)]), text.encode("utf-8"))
    return raw.decode("utf-8", "replace")


def read_reports(raw: bytes, domain: str, sent_to: str = "", complaints: str = "") -> list[Report]:
    """All that a report says; empty for a complaint that is none of ours to act on, and for an automatic reply.

    ``sent_to`` is the recipient that it came for, where that is known: it says more than the headers. ``complaints`` is
    the address of complaints, in lower case: what comes to it is one, in whatever form.
    Raises NoReport naming the part or field that is missing, TooComplex naming the limit that is exceeded.
    """
    message = parse(raw)
    if sent_to:
        del message["Delivered-To"]
        message["Delivered-To"] = sent_to
    to_complaints = complaints != "" and complaints in (each.lower() for each in _return_paths(message))
    try:
        return _reports(message, raw, domain, to_complaints=to_complaints)
    except NoReport:
        if to_complaints:
            return [Report("", "complained")]
        raise


def _reports(message: MimeMessage, raw: bytes, domain: str, *, to_complaints: bool) -> list[Report]:
    if (feedback := _part(message, "message/feedback-report")) is not None:
        return _complaints(message, feedback, domain)
    if (status := _part(message, "message/delivery-status", "message/global-delivery-status")) is not None:
        return _notifications(message, status, domain)
    if to_complaints:
        # Outlook.com (JMRP) and people who forward a mail write no report: they attach the mail, or copy its text.
        original = _original(message)
        return [Report(_named_in(original, domain) if original is not None else "", "complained")]
    return _in_own_words(message, raw, domain)


def _part(message: MimeMessage, *content_types: str) -> MimeMessage | None:
    return next((part for part in message.walk() if part.get_content_type() in content_types), None)


def _blocks(part: MimeMessage) -> list[MimeMessage]:
    payload = part.get_payload()
    if part.get_content_type() == "message/global-delivery-status":
        return _global_blocks(part)
    if isinstance(payload, list):
        return [block for block in payload if isinstance(block, MimeMessage)]
    # The email package reads delivery-status into blocks of headers, and leaves feedback-report as text.
    return [parse(str(payload).encode("utf-8", "replace"))]


def _global_blocks(part: MimeMessage) -> list[MimeMessage]:
    """RFC 6533 section 4: the same blocks in UTF-8, in any transfer encoding; the email package sees a mail in it."""
    payload: Any = part.get_payload()
    raw = payload[0].as_bytes() if isinstance(payload, list) else str(payload).encode("utf-8", "surrogateescape")
    encoding = str(part["Content-Transfer-Encoding"] or "").strip().lower()
    try:
        if encoding == "base64":
            raw = base64.b64decode(raw)
        elif encoding == "quoted-printable":
            raw = quopri.decodestring(raw)
    except ValueError:
        raise NoReport("Content-Transfer-Encoding") from None
    blocks = [block for block in re.split(rb"\r?\n(?:\r?\n)+", raw.strip(), maxsplit=MAX_PARTS) if block]
    if len(blocks) > MAX_PARTS:
        raise TooComplex("parts")
    return [parse(block) for block in blocks]


def _notifications(message: MimeMessage, status: MimeMessage, domain: str) -> list[Report]:
    blocks = _blocks(status)
    reference = _envelope_id(blocks) or _sent_back_to(message, domain)
    if not reference:
        raise NoReport("Original-Envelope-Id")
    said = [block for block in blocks if block["Action"] is not None]
    if not said:
        raise NoReport("Action")
    if len(said) > MAX_REPORTS:
        raise TooComplex("reports")
    return [_report(reference, block, _text(message)) for block in said]


def _report(reference: str, block: MimeMessage, text: str) -> Report:
    """One recipient's block. Exim and OpenSMTPD write Status x.0.0 for everything: then the cause stands elsewhere."""
    action = str(block["Action"]).strip().lower()
    match = _STATUS.search(str(block["Status"] or ""))
    status = match[0] if match else ""
    if action != "failed" or (status and not _NO_CAUSE.fullmatch(status)):
        return Report(reference, action, status)
    status, reply = _cause(str(block["Diagnostic-Code"] or ""), text)
    return Report(reference, action, status or ("" if reply else (match[0] if match else "")), reply)


def _cause(*texts: str) -> tuple[str, str]:
    """The enhanced code, or else the SMTP reply code, that the first of ``texts`` with any has; a phrase counts too."""
    for text in texts:
        codes = [each for each in _FAILURE.findall(text) if not _NO_CAUSE.fullmatch(each)]
        if codes:
            return codes[0], ""
        for phrase, code in _PHRASES:
            if phrase.search(text):
                return code, ""
        if match := _REPLY.search(text):
            return "", match[1]
    return "", ""


def _text(message: MimeMessage) -> str:
    """What the report says to people: the beginning of its first text, without the mail that it returns."""
    for part in message.walk():
        if part.get_content_type() in ("message/rfc822", "message/global", "text/rfc822-headers"):
            break
        if part.get_content_type() == "text/plain":
            payload = part.get_payload(decode=True)
            return payload[:_TEXT_OCTETS].decode("utf-8", "replace") if isinstance(payload, bytes) else ""
    return ""


def _in_own_words(message: MimeMessage, raw: bytes, domain: str) -> list[Report]:
    """A bounce of a server that does not follow RFC 3464: whom it names we don't read, for our return path says it."""
    reference = _sent_back_to(message, domain)
    beginning = b"\n".join(raw[:_OWN_WORDS_OCTETS].split(b"\n", _OWN_WORDS_LINES)[:_OWN_WORDS_LINES])
    try:
        temporary, permanent = all_failures(parse(beginning))
    except Exception:  # the library trips over mail without the headers that its detectors look into
        raise NoReport("From") from None
    if not (temporary or permanent):
        # An out-of-office reply, or a person's: RFC 3834 section 4 has them sent to the return path as well.
        if reference:
            return []
        raise NoReport("delivery-status")
    if not reference:
        raise NoReport("To")
    status, reply = _cause(_without_original(_text(message)))
    return [Report(reference, "failed" if permanent else "delayed", status, reply)]


def _without_original(text: str) -> str:
    """A bounce in a server's own words, up to the copy of the mail that it returns: our own words are no cause."""
    return _ORIGINAL_FOLLOWS.split(text, maxsplit=1)[0]


def _complaints(message: MimeMessage, feedback: MimeMessage, domain: str) -> list[Report]:
    [block, *_] = _blocks(feedback)
    kind = str(block["Feedback-Type"] or "").strip().lower()
    if not kind:
        raise NoReport("Feedback-Type")
    if kind not in _COMPLAINTS:
        return []
    original = _original(message)
    path = parseaddr(str(block["Original-Mail-From"] or ""))[1]
    reference = _envelope_id([block]) or returned_to(path, domain)
    if not reference and original is not None:
        reference = _named_in(original, domain)
    return [Report(reference, "complained")]


def _named_in(original: MimeMessage, domain: str) -> str:
    """The reference in the addresses of a mail of ours; where the return path is cut out, Reply-To may be left."""
    path, answers = (parseaddr(str(original[name] or ""))[1] for name in ("Return-Path", "Reply-To"))
    return returned_to(path, domain) or replied_to(answers, domain)


def _original(message: MimeMessage) -> MimeMessage | None:
    """The message complained of: whole, or its headers; mailbox providers cut out what names the borrower."""
    part = _part(message, "message/rfc822", "message/global", "text/rfc822-headers", "message/global-headers")
    return _blocks(part)[0] if part is not None else None


def _envelope_id(blocks: list[MimeMessage]) -> str:
    return next(
        (from_xtext(str(block["Original-Envelope-Id"]).strip()) for block in blocks if block["Original-Envelope-Id"]),
        "",
    )


def _sent_back_to(message: MimeMessage, domain: str) -> str:
    return next((found for address in _return_paths(message) if (found := returned_to(address, domain))), "")


def _return_paths(message: MimeMessage) -> Iterator[str]:
    # The report is addressed to our return path; which header says so depends on who delivers it.
    for header in ("Delivered-To", "X-Original-To", "To"):
        for value in message.get_all(header, []):
            yield parseaddr(str(value))[1]
