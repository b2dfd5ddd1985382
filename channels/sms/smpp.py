"""An SMSC over SMPP 3.4, both directions: hand messages over, take receipts and replies.

Owns what the SMSC's answers mean; the codes are data (``smpp_codes.toml``). The wire is in ``smpp_session``, staying
bound in ``smpp_bind``. The SMSC can't be asked about a message afterwards: of one whose answer was lost a receipt
speaks that repeats our reference, else a person decides. What comes is acknowledged once it is stored.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import re
import zlib
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from typing import Any
from uuid import uuid4

import smpp34

from channels.base import (
    Accepted,
    Advice,
    BadSignature,
    CallbackRequest,
    Capability,
    Heard,
    LookupAnswer,
    LookupResult,
    Message,
    PermanentFailure,
    ProviderReason,
    PushOutcome,
    Receipt,
    ReceiptStatus,
    Reply,
    SendFailure,
    TransientFailure,
    UnknownOutcome,
)
from channels.options import Clock, ProviderOptions, is_loopback, service, tls_context
from channels.outcomes import load_table
from channels.sms.smpp_bind import FIRST_PAUSE, LONGEST_PAUSE, Bind
from channels.sms.smpp_session import Endpoint, IncomingPdu, SessionLost, SmppSession, incoming_queue
from channels.sms.smpp_text import (
    INTERNATIONAL,
    ShortMessagePart,
    decoded,
    is_receipt,
    is_receipt_text,
    numbering,
    parts,
    read_receipt,
    reference_of,
    validity,
)

_RECEIPT_WANTED = 1  # registered_delivery: at the message's end, either way
# The states of Appendix B and section 5.2.28, of SMPP 5.0 (SCHEDULED, SKIPPED), and what SMSCs write in their place.
_STATES: Mapping[str, ReceiptStatus] = {
    **dict.fromkeys(("DELIVRD", "DELIVERED", "DELIVRED"), ReceiptStatus.DELIVERED),
    **dict.fromkeys(("ACCEPTD", "ACCEPTED", "ENROUTE", "BUFFERED", "SCHEDULED", "SENT"), ReceiptStatus.SENT),
    **dict.fromkeys(("EXPIRED", "DELETED", "UNKNOWN", "FAILED", "SKIPPED"), ReceiptStatus.UNDELIVERED),
    **dict.fromkeys(("UNDELIV", "UNDELIVERED", "UNDELIVERABLE"), ReceiptStatus.UNDELIVERED),
    **dict.fromkeys(("REJECTD", "REJECTED"), ReceiptStatus.UNDELIVERED),
}
# TLV message_state, section 5.2.28, in the words of Appendix B.
_STATE_NUMBERS = {1: "ENROUTE", 2: "DELIVRD", 3: "EXPIRED", 4: "DELETED", 5: "UNDELIV"}
_STATE_NUMBERS |= {0: "SCHEDULED", 6: "ACCEPTD", 7: "UNKNOWN", 8: "REJECTD", 9: "SKIPPED"}
_TLV_MESSAGE_ID, _TLV_REFERENCE, _TLV_PAYLOAD, _TLV_STATE = 0x001E, 0x0204, 0x0424, 0x0427  # section 5.3.2
_LONGEST = {"system_id": 15, "password": 8, "system_type": 12, "source_address": 20}  # octets, section 5.2
_SILENT = 5  # unanswered submits in a row after which the connection is made anew: it may be half-open; our choice
_REMEMBERED = 10_000  # messages of which a receipt may name only our reference; our choice
_LONGEST_ID = 65  # octets, message_id in section 5.2.23
_LONGEST_TEXT = 10_000  # characters of a reply; our choice, above what 255 parts of a long message have
_STATE = re.compile(r"[A-Z0-9_]{1,16}")
_THROTTLED = (ProviderReason.RATE_LIMITED, ProviderReason.PROVIDER_UNAVAILABLE)
_PART_PAUSE = 0.5  # seconds before a refused later part is submitted again; our choice
_OPTIONS = frozenset(
    {
        "host", "port", "system_id", "password", "system_type", "source_address", "tls", "window",
        "timeout_seconds", "message_ids", "references", "ca_file", "bind",
        "source_ton", "source_npi", "dest_ton", "dest_npi",
    }
)  # fmt: skip


class SmppProvider:
    """An SMSC. Options: see ``from_options``."""

    channel = "sms"

    def __init__(self, name: str, options: ProviderOptions, clock: Clock) -> None:
        self.name = name
        self._clock = clock
        host = options.text("host")
        self._password = options.text("password")
        self._source = options.text("source_address")
        for option, longest in _LONGEST.items():
            if len(options.text(option, "").encode()) > longest:
                raise ValueError(f"provider {name}: option {option} has more than {longest} octets, SMPP's limit")
        # The password and borrowers' numbers go over this connection: in clear only where nobody is in between, or on
        # purpose (a VPN's endpoint).
        tls = options.choice("tls", "no" if is_loopback(host) else "yes", ("no", "yes")) == "yes"
        self._timeout = options.number("timeout_seconds", 10, 0.1, 120)
        self._ids = options.choice("message_ids", "as_is", ("as_is", "response_hex", "receipt_hex"))
        self._references = options.choice("references", "yes", ("yes", "no")) == "yes"
        window = int(options.number("window", 10, 1, 1000))
        self.capability = Capability(concurrency=window)
        self._window = window
        self._table = load_table("channels.sms", "smpp_codes.toml")
        self._source_numbering = _numbering(options, "source", numbering(self._source))
        self._dest_numbering = _numbering(options, "dest", INTERNATIONAL)
        self._endpoint = Endpoint(
            host=host,
            port=int(options.number("port", 2775, 1, 65_535)),  # the port that IANA has for SMPP
            system_id=options.text("system_id"),
            password=self._password,
            system_type=options.text("system_type", ""),
            tls=tls_context(name, options.text("ca_file", "")) if tls else None,
            timeout=self._timeout,
        )
        self._incoming = incoming_queue()
        separate = options.choice("bind", "transceiver", ("transceiver", "separate")) == "separate"
        self._transmitter = Bind(name, self._endpoint, "transmitter" if separate else "transceiver", self._incoming)
        self._receiver = Bind(name, self._endpoint, "receiver", self._incoming) if separate else self._transmitter
        self._unanswered = 0  # submits in a row
        self._sent: OrderedDict[str, str] = OrderedDict()  # the latest messages' ids by their tags

    @classmethod
    def from_options(cls, name: str, values: Mapping[str, Any], services: Mapping[str, Any]) -> SmppProvider:
        """Build from settings: host, system_id, password, source_address (+E.164, a short code or a name); optional
        port (2775), system_type, tls (no | yes; yes, but no where host is this machine), ca_file (PEM: a private CA),
        bind (transceiver | separate: a transmitter and a receiver), window (10 unanswered submits at once),
        timeout_seconds (10), message_ids (as_is: zero-padding, 0x and case don't count; response_hex or receipt_hex
        where the SMSC writes one of them in hexadecimal and the other in decimal), references (yes; no where the SMSC
        refuses optional parameters), source_ton, source_npi, dest_ton, dest_npi (by the form of the address; section
        5.2.5 and 5.2.6). Needs the service ``clock``.

        Raises ValueError naming what is missing.
        """
        return cls(name, ProviderOptions(name, values, _OPTIONS), service(name, services, "clock"))

    async def send(self, message: Message) -> Accepted:
        """See ``channels.base.Provider``. ``provider_message_id`` is the last part's: its receipt ends the message."""
        now = self._clock()
        if message.valid_until is not None and message.valid_until <= now:
            raise TransientFailure(ProviderReason.TOO_LATE)
        session = await self._ready()
        # The same for a repetition of this delivery, so that parts of two attempts would still fit together.
        pieces = parts(message.content.text, zlib.crc32(message.delivery_id.encode()) & 0xFF)
        answer = ""
        for number, piece in enumerate(pieces, start=1):
            reference = reference_of(message.delivery_id, message.attempt) if number == len(pieces) else b""
            validity_period = validity(message.valid_until, now)
            pdu = self._encode(message.address, piece, validity_period, receipt=number == len(pieces), ours=reference)
            answer = await (self._submit(session, pdu) if number == 1 else self._submit_later_part(session, pdu))
        message_id = self._id(answer, "response_hex")
        self._remember(self._tag(message.address, reference_of(message.delivery_id, message.attempt)), message_id)
        return Accepted(message_id)

    async def answer_reply(self, reply: Reply, text: str) -> None:
        """See ``channels.base.AnswersReplies``. Nobody waits for a receipt of it."""
        session = await self._ready()
        for number, piece in enumerate(parts(text, zlib.crc32(reply.provider_message_id.encode()) & 0xFF)):
            pdu = self._encode(reply.address, piece, "", receipt=False)
            await (self._submit_later_part(session, pdu) if number else self._submit(session, pdu))

    async def check(self) -> Sequence[Advice]:
        """See ``channels.base.Checks``. Binds."""
        await self._transmitter.session()
        await self._receiver.session()
        return []

    async def lookup(self, message: Message, provider_message_id: str, since: datetime) -> LookupAnswer:
        """See ``channels.base.Provider``. Only receipts say what became of a message."""
        tag = self._tag(message.address, reference_of(message.delivery_id, message.attempt)) if self._references else ""
        return LookupAnswer(LookupResult.UNSUPPORTED, tag=tag)

    def read_receipts(self, request: CallbackRequest) -> Sequence[Receipt]:
        """See ``channels.base.Provider``. An SMSC reports on its connection and never by HTTP."""
        raise BadSignature("no callbacks")

    async def listen(self, heard: Heard, stop: asyncio.Event) -> None:
        """See ``channels.base.Listens``. Stays bound, so that receipts come also while nothing is sent."""
        bound = asyncio.create_task(self._receiver.stay_bound(stop))
        stopping = asyncio.create_task(stop.wait())
        try:
            while not stop.is_set():
                coming = asyncio.create_task(self._incoming.get())
                await asyncio.wait({coming, stopping}, return_when=asyncio.FIRST_COMPLETED)
                if not coming.done():
                    coming.cancel()
                    break
                await self._hand_on(coming.result(), heard, stopping)
        finally:
            stopping.cancel()
            bound.cancel()
            await asyncio.gather(bound, return_exceptions=True)

    async def close(self) -> None:
        """See ``channels.base.Provider``. Unbinds."""
        await self._transmitter.close()
        await self._receiver.close()

    async def _ready(self) -> SmppSession:
        """The session to send by; bound anew where too much went unanswered. Raises TransientFailure."""
        if self._unanswered >= _SILENT:
            self._unanswered = 0
            await self._transmitter.close(unbind=False)
        return await self._transmitter.session()

    def _encode(
        self, address: str, piece: ShortMessagePart, validity_period: str, *, receipt: bool, ours: bytes = b""
    ) -> bytes:

        try:
            pdu: bytes = smpp34.SubmitSm(
                self._source.removeprefix("+"),
                address.removeprefix("+"),
                piece.octets,
                source_addr_ton=self._source_numbering[0],
                source_addr_npi=self._source_numbering[1],
                dest_addr_ton=self._dest_numbering[0],
                dest_addr_npi=self._dest_numbering[1],
                esm_class=piece.esm_class,
                data_coding=piece.data_coding,
                validity_period=validity_period,
                registered_delivery=_RECEIPT_WANTED if receipt else 0,
                tlvs=[smpp34.Tlv(_TLV_REFERENCE, ours)] if ours and self._references else [],
                sequence_number=1,
            ).encode()
        except (smpp34.SmppError, ValueError):
            raise PermanentFailure(ProviderReason.CONTENT_REJECTED, "submit_sm") from None
        return pdu

    async def _submit(self, session: SmppSession, pdu: bytes) -> str:
        """Submit one part; the SMSC's id of it. Raises SendFailure."""
        try:
            async with asyncio.timeout(self._timeout):
                answer = await session.submit(pdu)
        except TimeoutError:
            self._unanswered += 1
            raise UnknownOutcome(ProviderReason.TIMEOUT) from None
        except SessionLost:
            raise UnknownOutcome(ProviderReason.CONNECTION_LOST) from None
        self._unanswered = 0
        if answer.status:
            raise self._table.find(f"0x{answer.status:08X}").failure()
        return answer.message_id

    async def _submit_later_part(self, session: SmppSession, pdu: bytes) -> str:
        """The SMSC has the parts before it: one that is throttled is submitted again for as long as an answer may take.

        Raises UnknownOutcome: half of a message may arrive.
        """
        pause, waited = _PART_PAUSE, 0.0
        while True:
            try:
                return await self._submit(session, pdu)
            except SendFailure as failure:
                throttled = isinstance(failure, TransientFailure) and failure.reason in _THROTTLED
                if not throttled or waited >= self._timeout:
                    raise UnknownOutcome(failure.reason, failure.code) from None
            await asyncio.sleep(pause)
            waited += pause
            pause *= 2

    async def _hand_on(self, event: IncomingPdu, heard: Heard, stopping: asyncio.Task[bool]) -> None:
        """Until it is stored, and then acknowledge it; at a stop the SMSC keeps it and sends it again."""
        receipts, replies = self._read(event)
        pause = FIRST_PAUSE
        while await heard(receipts, replies) is not PushOutcome.STORED:
            await asyncio.wait({stopping}, timeout=pause)
            if stopping.done():
                return
            pause = min(2 * pause, LONGEST_PAUSE)
        await event.acknowledge()

    def _read(self, event: IncomingPdu) -> tuple[list[Receipt], list[Reply]]:
        octets = event.octets or event.tlvs.get(_TLV_PAYLOAD, b"")
        text = decoded(event.data_coding, event.esm_class, octets)
        receipted = _TLV_MESSAGE_ID in event.tlvs or _TLV_STATE in event.tlvs
        if not (receipted or is_receipt(event.esm_class) or is_receipt_text(text)):
            # It has no id of its own, and gets one: the same words twice are two replies.
            address = f"+{event.source.removeprefix('+')}"
            return [], [Reply(self.name, uuid4().hex, address, text.replace("\0", "")[:_LONGEST_TEXT])]
        said = read_receipt(text)
        message_id = event.tlvs.get(_TLV_MESSAGE_ID, b"").rstrip(b"\0").decode("latin-1") or said.message_id
        state = _STATE_NUMBERS.get(int.from_bytes(event.tlvs.get(_TLV_STATE, b"\xff")[:1], "big"), said.state)
        tag = ""
        if (reference := event.tlvs.get(_TLV_REFERENCE)) is not None:
            tag = self._tag(event.source, reference)
        found = self._id(message_id, "receipt_hex") if 0 < len(message_id) <= _LONGEST_ID else self._sent.get(tag, "")
        # A state that nobody knows says at least that the SMSC has the message; it is recorded with its own word.
        status = _STATES.get(state, ReceiptStatus.SENT)
        return [self._receipt(status, found, state if _STATE.fullmatch(state) else "", said.error[:8], tag)], []

    def _remember(self, tag: str, message_id: str) -> None:
        """A receipt may name only our reference (section 5.3.2.17): the latest messages are known by it."""
        if self._references:
            self._sent[tag] = message_id
            if len(self._sent) > _REMEMBERED:
                self._sent.popitem(last=False)

    def _tag(self, address: str, reference: bytes) -> str:
        """Our reference has 16 bits, so it takes the number besides; which is not to be read from it."""
        text = address.removeprefix("+").encode() + b"\0" + reference
        return hmac.new(self._password.encode(), text, hashlib.sha256).hexdigest()[:32]

    def _receipt(self, status: ReceiptStatus, message_id: str, state: str, error: str, tag: str) -> Receipt:
        reason: ProviderReason | None = None
        if state not in _STATES:
            reason = ProviderReason.UNMAPPED
        elif status is ReceiptStatus.UNDELIVERED:
            reason = self._table.find("", state).reason
        elif status is ReceiptStatus.DELIVERED:
            reason = ProviderReason.DELIVERED
        return Receipt(self.name, status, message_id, "", reason, f"{state} {error}".strip(), tag)

    def _id(self, text: str, hexadecimal: str) -> str:
        """An id in the one spelling under which response and receipt meet.

        SMSCs pad one of the two with zeros, or write hexadecimal with 0x or in capitals: that counts for nothing.
        """
        if self._ids == "as_is":
            return text.strip().lower().removeprefix("0x").lstrip("0") or text[:1]
        with suppress(ValueError):
            return str(int(text, 16 if self._ids == hexadecimal else 10))
        return text


def _numbering(options: ProviderOptions, which: str, usual: tuple[int, int]) -> tuple[int, int]:
    """The type of number and the numbering plan as set, or as usual for the form of the address."""
    ton, npi = usual
    return int(options.number(f"{which}_ton", ton, 0, 6)), int(options.number(f"{which}_npi", npi, 0, 18))
