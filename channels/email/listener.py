"""A mail server for bounces, replies and complaints, over SMTP or LMTP (RFC 2033).

Owns receiving the mail: it replies 250 only after the mail is stored. Must not know the meaning of a report. It accepts
mail for return paths, reply addresses and the complaint address only. It is for a mail server in the same network and
not for the Internet: it has no TLS and no authentication. A forged report would need a signed reference.
"""

from __future__ import annotations

import asyncio
import errno
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from aiosmtpd.lmtp import LMTP
from aiosmtpd.smtp import SMTP, Envelope, Session

from channels.email.parsing import LARGEST

# (recipient, content, whether the sender is null) → the SMTP reply; called to store the mail.
Take = Callable[[str, bytes, bool], Awaitable[str]]

_BACKLOG = 100
_IDENT = "gateway-reports"  # in the greeting: workers of this gateway recognise each other by it
_GREETING_SECONDS = 2.0  # our choice: the peer is on this machine or in the same network
_LISTENING: set[tuple[str, int]] = set()  # in this process


@dataclass(frozen=True, slots=True)
class Address:
    """The address to listen on."""

    host: str
    port: int
    protocol: str  # smtp | lmtp


async def listen(address: Address, wanted: Callable[[str], bool], take: Take, stop: asyncio.Event) -> None:
    """Serve until ``stop`` is set. Several processes may listen on one address (SO_REUSEPORT).

    Raises OSError when the address can't be bound, also where another program or another provider of this process
    shares it by SO_REUSEPORT, since mail would reach either of them at random.
    """
    if (address.host, address.port) in _LISTENING:
        raise OSError(errno.EADDRINUSE, "another provider listens on this port")
    if await _others(address):
        raise OSError(errno.EADDRINUSE, "another program listens on this port")
    _LISTENING.add((address.host, address.port))
    try:
        await _serve(address, wanted, take, stop)
    finally:
        _LISTENING.discard((address.host, address.port))


async def _others(address: Address) -> bool:
    """Whether another server than a worker of this gateway listens there."""
    try:
        async with asyncio.timeout(_GREETING_SECONDS):
            reader, writer = await asyncio.open_connection(address.host, address.port)
    except (OSError, TimeoutError):
        return False
    try:
        async with asyncio.timeout(_GREETING_SECONDS):
            greeting = await reader.readline()
    except (OSError, TimeoutError, ValueError):
        return True
    finally:
        writer.close()
    # No greeting: a worker of this gateway that is ending.
    return bool(greeting) and not greeting.rstrip().endswith(f" {_IDENT}".encode())


async def _serve(address: Address, wanted: Callable[[str], bool], take: Take, stop: asyncio.Event) -> None:
    logging.getLogger("mail.log").setLevel(logging.ERROR)  # aiosmtpd logs addresses at INFO
    loop = asyncio.get_running_loop()
    handler = _ListenerHandler(wanted, take)
    kind: type[SMTP] = LMTP if address.protocol == "lmtp" else SMTP
    server = await loop.create_server(
        lambda: kind(handler, data_size_limit=LARGEST, enable_SMTPUTF8=True, ident=_IDENT, loop=loop),
        address.host,
        address.port,
        backlog=_BACKLOG,
        reuse_port=True,
    )
    async with server:
        await stop.wait()


class _ListenerHandler:
    """aiosmtpd's hooks, which have the names of SMTP verbs."""

    def __init__(self, wanted: Callable[[str], bool], take: Take) -> None:
        self._wanted = wanted
        self._take = take

    async def handle_RCPT(
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        if not self._wanted(address):
            return "550 5.1.1 this server takes reports and replies only"
        if envelope.rcpt_tos:  # the one reply to DATA can't differ by recipient
            return "452 4.5.3 one recipient at a time"
        envelope.rcpt_tos.append(address)
        return "250 2.1.5 OK"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        null_sender = envelope.mail_from in (None, "", "<>")  # RFC 5321 section 4.5.5
        return await self._take(envelope.rcpt_tos[0], envelope.original_content or b"", null_sender)
