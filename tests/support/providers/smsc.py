"""A real SMPP 3.4 server for tests: takes messages, and reports on them as SMSCs do.

The last two digits of the destination choose, as at the simulated Twilio: 95 is refused as a bad address, 96 throttled
the first time, 94 taken but never answered (of a long message the last part), 99 taken and reported as undeliverable.
"""

from __future__ import annotations

import asyncio
import ssl
import struct
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import smpp34

from tests.support.production import free_port

BAD_ADDRESS, THROTTLED = 0x0B, 0x58


@dataclass
class Smsc:
    """Build it, ``start`` it, point the provider at ``port``, ``stop`` it."""

    hex_receipts: bool = False  # the receipt writes the id in hexadecimal, the response in decimal
    hex_responses: bool = False  # the other way round
    tlvs: bool = False  # the receipt says it in optional parameters, too
    echoes: bool = True  # the receipt repeats the sender's reference, as the specification has it
    port: int = field(default_factory=free_port)
    submitted: list[Any] = field(default_factory=list)
    session: Any = None
    _hanging: list[Any] = field(default_factory=list)
    _tried: set[str] = field(default_factory=set)
    _number: int = 1_000_000
    _reports: set[asyncio.Task[None]] = field(default_factory=set)

    async def start(self) -> None:
        self._server = smpp34.Server("127.0.0.1", self.port)
        await self._server.start()
        self._task = asyncio.create_task(self._serve())

    async def stop(self) -> None:
        self._task.cancel()
        for report in self._reports:
            report.cancel()
        await asyncio.gather(self._task, *self._reports, return_exceptions=True)
        with suppress(Exception):
            await self._server.stop()

    async def _serve(self) -> None:
        while True:
            event = await self._server.next()
            if isinstance(event, smpp34.Esme):
                self.session = event
            elif isinstance(event, smpp34.SubmitSmEvent):
                await self._take(event)

    async def _take(self, event: Any) -> None:
        last = event.destination_addr[-2:]
        if last == "95":
            event.reject(BAD_ADDRESS)
            return
        if last == "96" and event.destination_addr not in self._tried:
            self._tried.add(event.destination_addr)
            event.reject(THROTTLED)
            return
        self._number += 1
        self.submitted.append(event)
        if last == "94" and event.registered_delivery:
            self._hanging.append(event)  # not even dropped: that would be an answer
            return
        event.accept(f"{self._number:X}" if self.hex_responses else str(self._number))
        if event.registered_delivery:
            # Beside the loop: a session that has gone would hold up all others.
            self._report(self._number, "UNDELIV" if last == "99" else "DELIVRD", event)

    def _report(self, number: int, state: str, about: Any) -> None:
        task = asyncio.create_task(self.report(number, state, about))
        self._reports.add(task)
        task.add_done_callback(self._reports.discard)

    async def report(self, number: int, state: str, about: Any = None) -> None:
        """A receipt in the form of Appendix B; ``about`` what was submitted."""
        identifier = f"{number:x}" if self.hex_receipts else str(number)
        text = (
            f"id:{identifier} sub:001 dlvrd:001 submit date:2611241200 done date:2611241201 stat:{state} err:000 text:x"
        )
        states = ["ENROUTE", "DELIVRD", "EXPIRED", "DELETED", "UNDELIV", "ACCEPTD", "UNKNOWN", "REJECTD"]  # 5.2.28
        number_of_state = bytes([states.index(state) + 1])
        tlvs = [smpp34.Tlv(0x001E, identifier.encode() + b"\0"), smpp34.Tlv(0x0427, number_of_state)]
        repeated = [each for each in about.tlvs if each.tag == 0x0204] if about is not None and self.echoes else []
        await self.session.deliver_sm(
            "15005550006",
            b"garbled" if self.tlvs else text.encode(),
            source_addr=about.destination_addr if about is not None else "12025550100",
            esm_class=0x04,
            tlvs=[*(tlvs if self.tlvs else []), *repeated],
        )

    async def says(self, text: bytes, data_coding: int = 0) -> None:
        """A borrower writes back."""
        await self.session.deliver_sm("15005550006", text, source_addr="12025550100", data_coding=data_coding)


_HEADER = struct.Struct(">IIII")


@dataclass
class WireSmsc:
    """An SMSC on the level of PDUs, for what the library's server can't do: it refuses binds, sends data_sm, throttles.

    ``commands`` are the command_ids that came, in order; ``answers`` what the next PDUs from us were answered with.
    """

    bind_status: int = 0
    tls: ssl.SSLContext | None = None
    submit_statuses: list[int] = field(default_factory=list)  # of the next submits; then 0
    message_ids: list[str] = field(default_factory=list)  # of the next submits; then numbers
    commands: list[int] = field(default_factory=list)
    submitted: list[Any] = field(default_factory=list)
    answers: asyncio.Queue[tuple[int, int]] = field(default_factory=asyncio.Queue)
    port: int = 0
    _writers: dict[int, asyncio.StreamWriter] = field(default_factory=dict)
    _sequence: int = 100

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port, ssl=self.tls)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        self._server.close()
        for writer in self._writers.values():
            writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(asyncio.IncompleteReadError, OSError):
            while True:
                length, command, status, sequence = _HEADER.unpack(await reader.readexactly(_HEADER.size))
                body = await reader.readexactly(length - _HEADER.size)
                if command & 0x80000000:
                    await self.answers.put((command, status))
                    continue
                self.commands.append(command)
                self._answer(command, sequence, body, writer)
                await writer.drain()
        writer.close()

    def _answer(self, command: int, sequence: int, body: bytes, writer: asyncio.StreamWriter) -> None:
        status, text = 0, b""
        if command in (0x1, 0x2, 0x9):
            status, text = self.bind_status, b"smsc\0"
            self._writers[command] = writer
        elif command == 0x4:
            status = self.submit_statuses.pop(0) if self.submit_statuses else 0
            if not status:
                self.submitted.append(smpp34.decode(_HEADER.pack(16 + len(body), 4, 0, 1) + body))
                number = str(1_000_000 + len(self.submitted))
                text = (self.message_ids.pop(0) if self.message_ids else number).encode() + b"\0"
        writer.write(_HEADER.pack(16 + len(text), command | 0x80000000, status, sequence) + text)

    async def deliver(self, text: bytes, *, esm_class: int = 0, tlvs: Sequence[tuple[int, bytes]] = ()) -> None:
        """Send a deliver_sm to who receives."""
        made = [smpp34.Tlv(tag, value) for tag, value in tlvs]
        self._sequence += 1
        pdu = smpp34.DeliverSm(
            "12025550100", "15005550006", text, esm_class=esm_class, tlvs=made, sequence_number=self._sequence
        )
        await self._send(bytes(pdu.encode()))

    async def data(self, *, esm_class: int, tlvs: Sequence[tuple[int, bytes]]) -> None:
        """Send a data_sm, section 4.7.1."""
        self._sequence += 1
        body = b"\0\x01\x0112025550100\0\x01\x0115005550006\0" + bytes((esm_class, 0, 0))
        body += b"".join(struct.pack(">HH", tag, len(value)) + value for tag, value in tlvs)
        await self._send(_HEADER.pack(16 + len(body), 0x103, 0, self._sequence) + body)

    async def _send(self, pdu: bytes) -> None:
        writer = self._writers.get(0x1) or self._writers[0x9]
        writer.write(pdu)
        await writer.drain()
