"""Short messages on the wire: alphabets, parts of long messages, fields, and the text of delivery receipts.

Sources: 3GPP TS 23.038 (alphabets), TS 23.040 section 9.2.3.24.1 (concatenation, 8-bit reference), SMPP 3.4
sections 5.2.19 (data_coding) and 5.2.12 (esm_class), and its Appendix B (receipts, which is what everybody sends and
nobody has to). Must not know connections.
"""

from __future__ import annotations

import re
import zlib
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache

import gsm0338  # noqa: F401 – registers the codec

GSM, LATIN_1, UCS_2 = 0x00, 0x03, 0x08
HAS_HEADER = 0x40  # esm_class: the text begins with a user data header
INTERNATIONAL, _SHORT_CODE, _ALPHANUMERIC = (1, 1), (3, 0), (5, 0)  # (type of number, numbering plan), 5.2.5
_LONGEST_VALIDITY = timedelta(days=30)  # our choice; SMSCs keep a message for days
_KIND = 0x3C  # esm_class: what a message from the SMSC is
_RECEIPTS = (0x04, 0x20)  # at the end, and in between
# Appendix B; some SMSCs send it as an ordinary message. Nobody begins a message to a lender like this.
_RECEIPT_TEXT = re.compile(r"\s*id:\s*\S+\s.*\bstat:\s*\S", re.IGNORECASE | re.DOTALL)
_ALONE = {GSM: 160, UCS_2: 140}  # octets, one septet in each for GSM 7-bit, as SMSCs want it
_PART = {GSM: 153, UCS_2: 134}
_FIELD = re.compile(r"\b(id|stat|err):\s*([^\s]+)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class ShortMessagePart:
    """What goes into one submit_sm."""

    data_coding: int
    esm_class: int
    octets: bytes


@dataclass(frozen=True, slots=True)
class ReceiptText:
    """A receipt's fields: the message's id, its state in capitals (DELIVRD …), the network's error; "" for none."""

    message_id: str
    state: str
    error: str


def parts(text: str, reference: int) -> list[ShortMessagePart]:
    """The text in the shortest alphabet that has all of it; ``reference`` (0 to 255) ties its parts together."""
    septets, coding = [_septets(each) for each in text], GSM
    pieces = [each for each in septets if each]
    if len(pieces) < len(text):
        pieces, coding = [each.encode("utf-16-be") for each in text], UCS_2
    whole = b"".join(pieces)
    if len(whole) <= _ALONE[coding]:
        return [ShortMessagePart(coding, 0, whole)]
    chunks = [bytearray()]
    for piece in pieces:  # a character of two septets or two code units is never torn apart
        if len(chunks[-1]) + len(piece) > _PART[coding]:
            chunks.append(bytearray())
        chunks[-1] += piece
    return [
        ShortMessagePart(coding, HAS_HEADER, bytes((5, 0, 3, reference, len(chunks), number)) + bytes(chunk))
        for number, chunk in enumerate(chunks, start=1)
    ]


@lru_cache(maxsize=1024)  # more than the alphabet has, and bounded whatever texts contain
def _septets(character: str) -> bytes:
    """The character in GSM 7-bit, one octet for each septet; empty where it isn't in there and comes back as itself.

    The codec also takes the escape sign, which is no character but half of one.
    """
    try:
        octets: bytes = character.encode("gsm03.38")
    except UnicodeEncodeError:
        return b""
    return octets if octets.decode("gsm03.38", "replace") == character else b""


def decoded(data_coding: int, esm_class: int, octets: bytes) -> str:
    """What a borrower wrote, or a receipt says. Unreadable octets are replaced."""
    if esm_class & HAS_HEADER and octets:
        octets = octets[octets[0] + 1 :]
    if data_coding == UCS_2:
        return octets.decode("utf-16-be", "replace")
    if data_coding == LATIN_1:
        return octets.decode("latin-1")
    return octets.decode("gsm03.38", "replace")


def is_receipt(esm_class: int) -> bool:
    """Whether esm_class calls a message from the SMSC a receipt; otherwise it is somebody's."""
    return esm_class & _KIND in _RECEIPTS


def is_receipt_text(text: str) -> bool:
    """Whether a message reads as a receipt, whatever its esm_class."""
    return _RECEIPT_TEXT.match(text[:1_000]) is not None


def read_receipt(text: str) -> ReceiptText:
    """The fields of a receipt's text, whatever else stands in it."""
    found = {name.lower(): value for name, value in _FIELD.findall(text)}
    return ReceiptText(found.get("id", ""), found.get("stat", "").upper(), found.get("err", ""))


def reference_of(delivery_id: str, attempt: int) -> bytes:
    """user_message_reference, section 5.3.2.17: a receipt repeats it where the SMSC supports that."""
    return (zlib.crc32(f"{delivery_id}.{attempt}".encode()) & 0xFFFF).to_bytes(2, "big")


def numbering(source: str) -> tuple[int, int]:
    """The type of number and the numbering plan of a sender: +E.164, a short code or a name."""
    if source.startswith("+"):
        return INTERNATIONAL
    return _SHORT_CODE if source.isdigit() else _ALPHANUMERIC


def validity(valid_until: datetime | None, now: datetime) -> str:
    """A relative time, SMPP 3.4 section 7.1.1: how long the SMSC may still deliver it. "" for its own default."""
    if valid_until is None:
        return ""
    left = min(valid_until - now, _LONGEST_VALIDITY)
    minutes, seconds = divmod(max(1, int(left.total_seconds())), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    return f"0000{days:02d}{hours:02d}{minutes:02d}{seconds:02d}000R"
