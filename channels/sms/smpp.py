"""An SMSC over SMPP 3.4, both directions on one connection: hand over, hear receipts and replies.

Owns the session and what the SMSC's answers mean; the codes are data (``smpp_codes.toml``). The protocol itself is
the library's (smpp34, an extra). The SMSC can't be asked about a message afterwards: of one whose answer was lost a
receipt speaks that repeats our reference, else a person decides. The library acknowledges what it hears at once, so a
receipt that dies with this process is lost, and the message ends by the receipts' time-out; replies are taken over
first and repeated until they are stored.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import zlib
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
    ProviderReason,
    Receipt,
    ReceiptStatus,
    Reply,
    SendFailure,
    TransientFailure,
    UnknownOutcome,
)
from channels.options import Clock, ProviderOptions, service
from channels.outcomes import load_table
from channels.sms.smpp_text import (
    INTERNATIONAL,
    ShortMessagePart,
    decoded,
    is_receipt,
    numbering,
    parts,
    read_receipt,
    reference_of,
    validity,
)

_RECEIPT_WANTED = 1  # registered_delivery: at the message's end, either way
_STATES: Mapping[str, ReceiptStatus] = {
    "DELIVRD": ReceiptStatus.DELIVERED,
    "ACCEPTD": ReceiptStatus.SENT,
    "ENROUTE": ReceiptStatus.SENT,
    **dict.fromkeys(("EXPIRED", "DELETED", "UNDELIV", "REJECTD", "UNKNOWN"), ReceiptStatus.UNDELIVERED),
}
# TLV message_state, section 5.2.28, in the words of Appendix B.
_STATE_NUMBERS = {1: "ENROUTE", 2: "DELIVRD", 3: "EXPIRED", 4: "DELETED", 5: "UNDELIV"}
_STATE_NUMBERS |= {6: "ACCEPTD", 7: "UNKNOWN", 8: "REJECTD"}
_TLV_MESSAGE_ID, _TLV_REFERENCE, _TLV_PAYLOAD, _TLV_STATE = 0x001E, 0x0204, 0x0424, 0x0427  # section 5.3.2
_LONGEST = {"system_id": 15, "password": 8, "system_type": 12, "source_address": 20}  # octets, section 5.2
_SILENT = 5  # unanswered submits in a row after which the connection is made anew: it may be half-open; our choice
_FIRST_PAUSE, _LONGEST_PAUSE = 0.5, 30.0  # seconds between attempts to bind, and to store what was heard; our choice
_OPTIONS = frozenset(
    {
        "host", "port", "system_id", "password", "system_type", "source_address", "tls", "window",
        "timeout_seconds", "message_ids", "references",
    }
)  # fmt: skip


class SmppProvider:
    """An SMSC. Options: see ``from_options``."""

    channel = "sms"

    def __init__(self, name: str, options: ProviderOptions, clock: Clock) -> None:
        self.name = name
        self._clock = clock
        self._host = options.text("host")
        self._port = int(options.number("port", 2775, 1, 65_535))  # the port that IANA has for SMPP
        self._system_id = options.text("system_id")
        self._password = options.text("password")
        self._system_type = options.text("system_type", "")
        self._source = options.text("source_address")
        for option, longest in _LONGEST.items():
            if len(options.text(option, "").encode()) > longest:
                raise ValueError(f"provider {name}: option {option} has more than {longest} octets, SMPP's limit")
        self._tls = options.choice("tls", "no", ("no", "yes")) == "yes"
        self._timeout = options.number("timeout_seconds", 10, 0.1, 120)
        self._ids = options.choice("message_ids", "as_is", ("as_is", "response_hex", "receipt_hex"))
        self._references = options.choice("references", "yes", ("yes", "no")) == "yes"
        window = int(options.number("window", 10, 1, 1000))
        self.capability = Capability(concurrency=window)
        self._window = window
        self._table = load_table("channels.sms", "smpp_codes.toml")
        self._client: Any = None
        self._session: Any = None
        self._binding = asyncio.Lock()
        self._unanswered = 0  # submits in a row

    @classmethod
    def from_options(cls, name: str, values: Mapping[str, Any], services: Mapping[str, Any]) -> SmppProvider:
        """Build from settings: host, system_id, password, source_address (+E.164, a short code or a name); optional
        port (2775), system_type, tls (no | yes), window (10 unanswered submits at once), timeout_seconds (10),
        message_ids (as_is; response_hex or receipt_hex where the SMSC writes one of them in hexadecimal and the
        other in decimal), references (yes; no where the SMSC refuses optional parameters). Needs the service ``clock``.

        Raises ValueError naming what is missing.
        """
        return cls(name, ProviderOptions(name, values, _OPTIONS), service(name, services, "clock"))

    async def send(self, message: Message) -> Accepted:
        """See ``channels.base.Provider``. ``provider_message_id`` is the last part's: its receipt ends the message."""
        now = self._clock()
        if message.valid_until is not None and message.valid_until <= now:
            raise TransientFailure(ProviderReason.TOO_LATE)
        session = await self._bound()
        # The same for a repetition of this delivery, so that parts of two attempts would still fit together.
        pieces = parts(message.content.text, zlib.crc32(message.delivery_id.encode()) & 0xFF)
        answer = ""
        for number, piece in enumerate(pieces, start=1):
            last = number == len(pieces)
            try:
                answer = await self._submit(session, message, piece, receipt=last, now=now)
            except SendFailure as failure:
                if number == 1:
                    raise
                raise UnknownOutcome(failure.reason, failure.code) from None  # the SMSC has the first parts
        return Accepted(self._id(answer, "response_hex"))

    async def check(self) -> Sequence[Advice]:
        """See ``channels.base.Checks``. Binds."""
        await self._bound()
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
        stopping = asyncio.create_task(stop.wait())
        pause = _FIRST_PAUSE
        try:
            while not stop.is_set():
                try:
                    session = await self._bound()
                except TransientFailure:
                    await asyncio.wait({stopping}, timeout=pause)
                    pause = min(2 * pause, _LONGEST_PAUSE)
                    continue
                pause = _FIRST_PAUSE
                await self._hear(session, heard, stopping)
        finally:
            stopping.cancel()

    async def close(self) -> None:
        """See ``channels.base.Provider``."""
        client, self._client, self._session = self._client, None, None
        if client is not None:
            with suppress(Exception):  # it may be gone already, which is what is wanted
                await asyncio.wait_for(client.stop(), self._timeout)

    async def _bound(self) -> Any:
        """The session; bound anew where it was lost. Raises TransientFailure."""
        async with self._binding:
            silent = self._unanswered >= _SILENT
            if self._session is not None and not silent and await self._client.is_alive():
                return self._session
            await self.close()
            self._unanswered = 0
            client = smpp34.Client(
                self._host,
                self._port,
                self._system_id,
                self._password,
                bind_type="TRX",
                system_type=self._system_type,
                tls=self._tls,
                window_size=self._window,
                connect_timeout_ms=int(self._timeout * 1000),
            )
            try:
                self._session = await asyncio.wait_for(client.connect(), self._timeout)
            except TimeoutError:
                raise TransientFailure(ProviderReason.TIMEOUT) from None
            except (smpp34.SmppError, OSError):
                raise TransientFailure(ProviderReason.CONNECTION_FAILED) from None
            self._client = client
            return self._session

    async def _submit(
        self, session: Any, message: Message, piece: ShortMessagePart, *, receipt: bool, now: datetime
    ) -> str:
        ton, npi = numbering(self._source)
        tlvs = []
        if receipt and self._references:
            tlvs.append(smpp34.Tlv(_TLV_REFERENCE, reference_of(message.delivery_id, message.attempt)))
        try:
            async with asyncio.timeout(self._timeout):
                answer = await session.submit_sm(
                    message.address.removeprefix("+"),
                    piece.octets,
                    source_addr=self._source.removeprefix("+"),
                    source_addr_ton=ton,
                    source_addr_npi=npi,
                    dest_addr_ton=INTERNATIONAL[0],
                    dest_addr_npi=INTERNATIONAL[1],
                    esm_class=piece.esm_class,
                    data_coding=piece.data_coding,
                    validity_period=validity(message.valid_until, now),
                    registered_delivery=_RECEIPT_WANTED if receipt else 0,
                    tlvs=tlvs,
                )
        except TimeoutError:
            self._unanswered += 1
            raise UnknownOutcome(ProviderReason.TIMEOUT) from None
        except (smpp34.SmppError, OSError):
            raise UnknownOutcome(ProviderReason.CONNECTION_LOST) from None
        self._unanswered = 0
        if not answer.is_success:
            raise self._table.find(f"0x{answer.command_status:08X}").failure()
        return answer.message_id or ""

    async def _hear(self, session: Any, heard: Heard, stopping: asyncio.Task[bool]) -> None:
        """Hand on what comes on this session, until it ends or we do."""
        while not stopping.done():
            coming = asyncio.ensure_future(session.next())
            await asyncio.wait({coming, stopping}, return_when=asyncio.FIRST_COMPLETED)
            if not coming.done():
                coming.cancel()
                return
            try:
                event = coming.result()
            except smpp34.SmppError:
                return
            if isinstance(event, smpp34.Disconnected):
                self._session = None
                return
            await self._hand_on(event, heard, stopping)

    async def _hand_on(self, event: Any, heard: Heard, stopping: asyncio.Task[bool]) -> None:
        """Until it is stored: the SMSC has been told that we have it."""
        receipts, replies = self._read(event)
        pause = _FIRST_PAUSE
        while receipts or replies:
            if await heard(receipts, replies) or stopping.done():
                return
            await asyncio.wait({stopping}, timeout=pause)
            pause = min(2 * pause, _LONGEST_PAUSE)

    def _read(self, event: Any) -> tuple[list[Receipt], list[Reply]]:
        tlvs = {each.tag: each for each in event.tlvs}
        octets = bytes(event.short_message)
        if not octets and _TLV_PAYLOAD in tlvs:
            octets = bytes(tlvs[_TLV_PAYLOAD].value)
        text = decoded(event.data_coding, event.esm_class, octets)
        if not is_receipt(event.esm_class):
            # It has no id of its own, and gets one: the same words twice are two replies.
            address = f"+{event.source_addr.removeprefix('+')}"
            return [], [Reply(self.name, uuid4().hex, address, text)]
        said = read_receipt(text)
        message_id, state = said.message_id, said.state
        if (tlv := tlvs.get(_TLV_MESSAGE_ID)) is not None:
            message_id = tlv.as_string() or message_id
        if (tlv := tlvs.get(_TLV_STATE)) is not None:
            state = _STATE_NUMBERS.get(tlv.as_int() or 0, state)
        status = _STATES.get(state)
        if not message_id or status is None:
            return [], []  # about nothing that we know, or nothing that we understand
        tag = ""
        if (tlv := tlvs.get(_TLV_REFERENCE)) is not None:
            tag = self._tag(event.source_addr, bytes(tlv.value))
        return [self._receipt(status, self._id(message_id, "receipt_hex"), state, said.error, tag)], []

    def _tag(self, address: str, reference: bytes) -> str:
        """Our reference has 16 bits, so it takes the number besides; which is not to be read from it."""
        text = address.removeprefix("+").encode() + b"\0" + reference
        return hmac.new(self._password.encode(), text, hashlib.sha256).hexdigest()[:32]

    def _receipt(self, status: ReceiptStatus, message_id: str, state: str, error: str, tag: str) -> Receipt:
        reason: ProviderReason | None = None
        if status is ReceiptStatus.UNDELIVERED:
            reason = self._table.find("", state).reason
        elif status is ReceiptStatus.DELIVERED:
            reason = ProviderReason.DELIVERED
        return Receipt(self.name, status, message_id, "", reason, f"{state} {error}".strip(), tag)

    def _id(self, text: str, hexadecimal: str) -> str:
        """An id in the one spelling under which response and receipt meet; as it is where the SMSC has only one."""
        if self._ids == "as_is":
            return text
        with suppress(ValueError):
            return str(int(text, 16 if self._ids == hexadecimal else 10))
        return text
