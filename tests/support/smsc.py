"""A real SMPP 3.4 server for tests: takes messages, and reports on them as SMSCs do.

The last two digits of the destination choose, as at the simulated Twilio: 95 is refused as a bad address, 96 throttled
the first time, 94 taken but never answered (of a long message the last part), 99 taken and reported as undeliverable.
"""

from __future__ import annotations

import asyncio
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
