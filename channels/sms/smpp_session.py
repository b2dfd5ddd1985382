"""One SMPP 3.4 session over TCP or TLS: bind, submit, take what comes, keep alive, unbind.

Owns the PDUs on the wire, their sequence numbers and time-outs. Submit and deliver are encoded and decoded by the
library (smpp34, an extra); its own client is not used, because it hides the status of bind_resp, acknowledges what
comes before it is stored, knows neither data_sm nor a CA file, and closes without unbind. Must not know what a message
means. References are to the SMPP 3.4 specification, issue 1.2.
"""

from __future__ import annotations

import asyncio
import ssl
import struct
from collections.abc import Callable, Coroutine, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import smpp34

# command_id, section 5.1.2.1
_GENERIC_NACK, _SUBMIT_SM, _DELIVER_SM, _UNBIND = 0x80000000, 0x4, 0x5, 0x6
_ENQUIRE_LINK, _DATA_SM, _RESPONSE = 0x15, 0x103, 0x80000000
BINDS = {"receiver": 0x1, "transmitter": 0x2, "transceiver": 0x9}
_INVALID_COMMAND, _QUEUE_FULL, _INVALID_LENGTH = 0x3, 0x14, 0xC2  # command_status, section 5.1.3
_HEADER = struct.Struct(">IIII")
_VERSION = 0x34
_LONGEST_PDU = 70_000  # octets; our choice: message_payload has 64 kB at most, section 5.3.2.32
_QUIET_SECONDS = 30.0  # without a PDU, after which enquire_link asks; our choice, SMSCs drop a session after a minute
_UNBIND_SECONDS = 2.0  # our choice: courtesy must not hold up a stop
_UNSTORED = 1_000  # messages that wait to be stored, after which the SMSC is told that the queue is full; our choice


class BindRefused(Exception):
    """The SMSC answered bind with another status than 0."""

    def __init__(self, status: int) -> None:
        super().__init__(f"bind_resp 0x{status:08X}")
        self.status = status


class SessionLost(Exception):
    """The connection ended, or the SMSC no longer answers: whether it has what was submitted is open."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where the SMSC is and who we are to it. ``tls`` None: in clear."""

    host: str
    port: int
    system_id: str
    password: str
    system_type: str
    tls: ssl.SSLContext | None
    timeout: float  # seconds, for connecting and for each answer


@dataclass(frozen=True, slots=True)
class Response:
    """The answer to submit_sm."""

    status: int
    message_id: str


@dataclass(frozen=True, slots=True)
class IncomingPdu:
    """A deliver_sm or data_sm. ``acknowledge`` tells the SMSC that it is stored; until then it may send it again."""

    source: str
    esm_class: int
    data_coding: int
    octets: bytes
    tlvs: Mapping[int, bytes]
    acknowledge: Callable[[], Coroutine[Any, Any, None]]


class SmppSession:
    """A bound session. Make one with ``connect``; ``incoming`` has what the SMSC sends."""

    def __init__(
        self, endpoint: Endpoint, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, incoming: Queue
    ) -> None:
        self._timeout = endpoint.timeout
        self._reader, self._writer = reader, writer
        self._incoming = incoming
        self._sequence = 0
        self._waiting: dict[int, asyncio.Future[tuple[int, bytes]]] = {}
        self._tasks: list[asyncio.Task[None]] = []
        self.lost = asyncio.Event()

    @classmethod
    async def connect(cls, endpoint: Endpoint, kind: str, incoming: Queue) -> SmppSession:
        """Bind as ``kind`` (a key of BINDS). Raises BindRefused, SessionLost, OSError (also for TLS), TimeoutError."""
        async with asyncio.timeout(endpoint.timeout):
            reader, writer = await asyncio.open_connection(endpoint.host, endpoint.port, ssl=endpoint.tls)
            session = cls(endpoint, reader, writer, incoming)
            session._tasks = [asyncio.create_task(session._read()), asyncio.create_task(session._keep_alive())]
            try:
                names = (endpoint.system_id, endpoint.password, endpoint.system_type)
                body = b"".join(each.encode() + b"\0" for each in names) + bytes((_VERSION, 0, 0, 0))
                status, _ = await session._ask(BINDS[kind], body)
                if status:
                    raise BindRefused(status)
            except BaseException:
                await session.close()
                raise
        return session

    async def submit(self, pdu: bytes) -> Response:
        """Submit an encoded submit_sm; its sequence number is set here. Raises SessionLost; the caller limits time."""
        status, body = await self._ask(_SUBMIT_SM, pdu[_HEADER.size :])
        return Response(status, body.partition(b"\0")[0].decode("latin-1"))

    async def unbind(self) -> None:
        """Say goodbye, as section 4.2 has it, and close."""
        with suppress(SessionLost, OSError, TimeoutError):
            async with asyncio.timeout(_UNBIND_SECONDS):
                await self._ask(_UNBIND, b"")
        await self.close()

    async def close(self) -> None:
        """Close without a word; who waits for an answer gets SessionLost."""
        self._end()
        ours = [task for task in self._tasks if task is not asyncio.current_task()]
        for task in ours:
            task.cancel()
        await asyncio.gather(*ours, return_exceptions=True)
        with suppress(OSError, ssl.SSLError, TimeoutError):
            async with asyncio.timeout(_UNBIND_SECONDS):
                await self._writer.wait_closed()

    def _end(self) -> None:
        self.lost.set()
        self._writer.close()
        for future in self._waiting.values():
            if not future.done():
                future.set_exception(SessionLost())
        self._waiting.clear()

    async def _ask(self, command: int, body: bytes) -> tuple[int, bytes]:
        if self.lost.is_set():
            raise SessionLost
        self._sequence = self._sequence % 0x7FFFFFFF + 1  # section 5.1.4
        number = self._sequence
        future: asyncio.Future[tuple[int, bytes]] = asyncio.get_running_loop().create_future()
        self._waiting[number] = future
        try:
            await self._send(command, 0, number, body)
            return await future
        finally:
            self._waiting.pop(number, None)

    async def _send(self, command: int, status: int, sequence: int, body: bytes = b"") -> None:
        try:
            self._writer.write(_HEADER.pack(_HEADER.size + len(body), command, status, sequence) + body)
            await self._writer.drain()
        except OSError:
            self._end()
            raise SessionLost from None

    async def _read(self) -> None:
        """Until the connection ends."""
        with suppress(asyncio.IncompleteReadError, OSError, SessionLost):
            while True:
                length, command, status, sequence = _HEADER.unpack(await self._reader.readexactly(_HEADER.size))
                if not _HEADER.size <= length <= _LONGEST_PDU:
                    break  # out of step: what follows can't be told apart any more
                body = await self._reader.readexactly(length - _HEADER.size)
                await self._handle(command, status, sequence, body)
        self._end()

    async def _handle(self, command: int, status: int, sequence: int, body: bytes) -> None:
        if command & _RESPONSE:
            future = self._waiting.get(sequence)
            if future is not None and not future.done():
                # generic_nack (section 4.3) has no other status than an error.
                future.set_result((status or (_INVALID_COMMAND if command == _GENERIC_NACK else 0), body))
        elif command == _ENQUIRE_LINK:
            await self._send(command | _RESPONSE, 0, sequence)
        elif command == _UNBIND:
            await self._send(command | _RESPONSE, 0, sequence)
            raise SessionLost
        elif command in (_DELIVER_SM, _DATA_SM):
            await self._take(command, sequence, body)
        else:
            await self._send(_GENERIC_NACK, _INVALID_COMMAND, sequence)

    async def _take(self, command: int, sequence: int, body: bytes) -> None:
        async def answer(status: int = 0) -> None:
            with suppress(SessionLost):  # then it comes again, by another session
                await self._send(command | _RESPONSE, status, sequence, b"\0")

        try:
            read = _read_data if command == _DATA_SM else _read_deliver
            self._incoming.put_nowait(IncomingPdu(*read(body), answer))
        except asyncio.QueueFull:
            await answer(_QUEUE_FULL)
        except ValueError:
            await answer(_INVALID_LENGTH)

    async def _keep_alive(self) -> None:
        """Ask whether the SMSC is still there; a connection that is half-open says nothing by itself."""
        with suppress(SessionLost):
            while True:
                await asyncio.sleep(_QUIET_SECONDS)
                try:
                    async with asyncio.timeout(self._timeout):
                        await self._ask(_ENQUIRE_LINK, b"")
                except TimeoutError:
                    break
        self._end()


Queue = asyncio.Queue[IncomingPdu]
_Read = tuple[str, int, int, bytes, Mapping[int, bytes]]


def incoming_queue() -> Queue:
    """What SMSCs have sent and is not stored yet; bounded."""
    return asyncio.Queue(_UNSTORED)


def _read_deliver(body: bytes) -> _Read:

    try:
        pdu: Any = smpp34.decode(_HEADER.pack(_HEADER.size + len(body), _DELIVER_SM, 0, 1) + body)
    except smpp34.SmppError:
        raise ValueError("deliver_sm") from None
    tlvs = {each.tag: bytes(each.value) for each in pdu.tlvs}
    return pdu.source_addr, pdu.esm_class, pdu.data_coding, bytes(pdu.short_message), tlvs


def _read_data(body: bytes) -> _Read:
    """data_sm, section 4.7.1: the text is in the TLV message_payload. Raises ValueError."""
    _, separator, rest = body.partition(b"\0")  # service_type
    source, separator, rest = rest[2:].partition(b"\0")
    _, separator, rest = rest[2:].partition(b"\0")  # destination
    if not separator or len(rest) < 3:
        raise ValueError("data_sm")
    esm_class, data_coding, rest = rest[0], rest[2], rest[3:]
    tlvs: dict[int, bytes] = {}
    while rest:
        if len(rest) < 4 or len(rest) < 4 + (length := int.from_bytes(rest[2:4], "big")):
            raise ValueError("data_sm")
        tlvs[int.from_bytes(rest[:2], "big")] = rest[4 : 4 + length]
        rest = rest[4 + length :]
    return source.decode("latin-1"), esm_class, data_coding, b"", tlvs
