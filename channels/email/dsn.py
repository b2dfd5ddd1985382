"""Delivery status notifications: what a mail server reports about a message, RFC 3464.

Owns reading the report and the return path. Must not know how it came here.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from email import message_from_bytes
from email.message import Message as MimeMessage
from email.utils import parseaddr

_BOUNCE = "bounce+"
_LONGEST_LOCAL = 64  # octets, RFC 5321 section 4.5.3.1.1
_STATUS = re.compile(r"[245]\.\d{1,3}\.\d{1,3}")
_XTEXT = re.compile(rb"\+([0-9A-F]{2})")


@dataclass(frozen=True, slots=True)
class Report:
    """What a report says of one recipient. ``action`` in lower case; ``status`` is the enhanced code or empty."""

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


def xtext(text: str) -> str:
    """RFC 3461 section 4: ASCII but for ``+``, ``=``, space and control characters, which become ``+XX``."""
    return "".join(
        chr(byte) if 33 <= byte <= 126 and byte not in b"+=" else f"+{byte:02X}" for byte in text.encode("utf-8")
    )


def from_xtext(text: str) -> str:
    """The reverse of ``xtext``; unreadable octets are replaced."""
    raw = _XTEXT.sub(lambda match: bytes([int(match[1], 16)]), text.encode("utf-8"))
    return raw.decode("utf-8", "replace")


def read_reports(raw: bytes, domain: str) -> list[Report]:
    """All recipients' reports in a multipart/report. Raises NoReport naming the part or field that is missing."""
    message = message_from_bytes(raw)
    status = next((part for part in message.walk() if part.get_content_type() == "message/delivery-status"), None)
    if status is None:
        raise NoReport("delivery-status")
    payload = status.get_payload()
    blocks = [block for block in payload if isinstance(block, MimeMessage)] if isinstance(payload, list) else []
    reference = _reference(message, blocks, domain)
    if not reference:
        raise NoReport("Original-Envelope-Id")
    reports = [_report(reference, block) for block in blocks if block["Action"] is not None]
    if not reports:
        raise NoReport("Action")
    return reports


def _report(reference: str, block: MimeMessage) -> Report:
    match = _STATUS.search(str(block["Status"] or ""))
    return Report(reference, str(block["Action"]).strip().lower(), match[0] if match else "")


def _reference(message: MimeMessage, blocks: list[MimeMessage], domain: str) -> str:
    for block in blocks:
        if envelope_id := block["Original-Envelope-Id"]:
            return from_xtext(str(envelope_id).strip())
    for address in _return_paths(message):
        local, _, host = address.rpartition("@")
        if host.lower() == domain.lower() and local:
            return local.removeprefix(_BOUNCE)
    return ""


def _return_paths(message: MimeMessage) -> Iterator[str]:
    # The report is addressed to our return path; which header says so depends on who delivers it.
    for header in ("Delivered-To", "X-Original-To", "To"):
        for value in message.get_all(header, []):
            yield parseaddr(str(value))[1]
