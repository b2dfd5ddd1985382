"""What comes back about a mail: status notifications (RFC 3464), bounces in a server's own words, and complaints
(RFC 5965).

Owns reading the report, and the return path by which it is known. Must not know how it came here. A report is foreign
data: it is parsed within the limits of ``channels.email.parsing``, and reading one belongs into a thread.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from email.message import Message as MimeMessage
from email.utils import parseaddr

from flufl.bounce import all_failures

from channels.email.parsing import TooComplex, parse

MAX_REPORTS = 20  # in one mail; our choice: our mails have one recipient, which a list may expand to some more
# What is searched for a server's own words: they stand at the top, and the detectors take 42 µs for a line (measured),
# 19 s for 900 kB of short ones. Our choice.
_OWN_WORDS_LINES, _OWN_WORDS_OCTETS = 2_000, 64_000
_BOUNCE = "bounce+"
_LONGEST_LOCAL = 64  # octets, RFC 5321 section 4.5.3.1.1
_STATUS = re.compile(r"[245]\.\d{1,3}\.\d{1,3}")
_REFERENCE = re.compile(r"[^.\s]+\.\d+\.[^.\s]+")  # delivery, attempt, signature; whether it is ours is asked later
_XTEXT = re.compile(rb"\+([0-9A-F]{2})")
# RFC 5965 section 7.3. A report of type not-spam takes a complaint back and asks for nothing; virus and other are
# for whoever runs the mail server. opt-out is RFC 6430's.
_COMPLAINTS = frozenset({"abuse", "fraud", "opt-out"})


@dataclass(frozen=True, slots=True)
class Report:
    """What a report says of one message. ``action`` is RFC 3464's, in lower case, or ``complained``.

    ``status`` is the enhanced code or empty. ``reference`` is what names our message; whether we signed it is checked
    later. It is empty for a complaint that names no message in this way: a Message-ID can be made up.
    """

    reference: str
    action: str
    status: str


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


def xtext(text: str) -> str:
    """RFC 3461 section 4: ASCII but for ``+``, ``=``, space and control characters, which become ``+XX``."""
    return "".join(
        chr(byte) if 33 <= byte <= 126 and byte not in b"+=" else f"+{byte:02X}" for byte in text.encode("utf-8")
    )


def from_xtext(text: str) -> str:
    """The reverse of ``xtext``; unreadable octets are replaced."""
    raw = _XTEXT.sub(lambda match: bytes([int(match[1], 16)]), text.encode("utf-8"))
    return raw.decode("utf-8", "replace")


def read_reports(raw: bytes, domain: str, sent_to: str = "") -> list[Report]:
    """All that a report says; empty for a complaint that is none of ours to act on, and for an automatic reply.

    ``sent_to`` is the recipient that it came for, where that is known: it says more than the headers.
    Raises NoReport naming the part or field that is missing, TooComplex naming the limit that is exceeded.
    """
    message = parse(raw)
    if sent_to:
        del message["Delivered-To"]
        message["Delivered-To"] = sent_to
    if (feedback := _part(message, "message/feedback-report")) is not None:
        return _complaints(message, feedback, domain)
    if (status := _part(message, "message/delivery-status")) is not None:
        return _notifications(message, status, domain)
    return _in_own_words(message, raw, domain)


def _part(message: MimeMessage, content_type: str) -> MimeMessage | None:
    return next((part for part in message.walk() if part.get_content_type() == content_type), None)


def _blocks(part: MimeMessage) -> list[MimeMessage]:
    payload = part.get_payload()
    if isinstance(payload, list):
        return [block for block in payload if isinstance(block, MimeMessage)]
    # The email package reads delivery-status into blocks of headers, and leaves feedback-report as text.
    return [parse(str(payload).encode("utf-8", "replace"))]


def _notifications(message: MimeMessage, status: MimeMessage, domain: str) -> list[Report]:
    blocks = _blocks(status)
    reference = _envelope_id(blocks) or _sent_back_to(message, domain)
    if not reference:
        raise NoReport("Original-Envelope-Id")
    reports = [_report(reference, block) for block in blocks if block["Action"] is not None]
    if not reports:
        raise NoReport("Action")
    if len(reports) > MAX_REPORTS:
        raise TooComplex("reports")
    return reports


def _report(reference: str, block: MimeMessage) -> Report:
    match = _STATUS.search(str(block["Status"] or ""))
    return Report(reference, str(block["Action"]).strip().lower(), match[0] if match else "")


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
    return [Report(reference, "failed" if permanent else "delayed", "")]


def _complaints(message: MimeMessage, feedback: MimeMessage, domain: str) -> list[Report]:
    [block, *_] = _blocks(feedback)
    kind = str(block["Feedback-Type"] or "").strip().lower()
    if not kind:
        raise NoReport("Feedback-Type")
    if kind not in _COMPLAINTS:
        return []
    original = _original(message)
    paths = [block["Original-Mail-From"], original["Return-Path"] if original is not None else None]
    named = (returned_to(parseaddr(str(path))[1], domain) for path in paths if path)
    reference = _envelope_id([block]) or next((each for each in named if each), "")
    return [Report(reference, "complained", "")]


def _original(message: MimeMessage) -> MimeMessage | None:
    """The message complained of: whole, or its headers; mailbox providers cut out what names the borrower."""
    for content_type in ("message/rfc822", "text/rfc822-headers"):
        if (part := _part(message, content_type)) is not None:
            return _blocks(part)[0]
    return None


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
