"""SMTP connections to one relay, each used by one task at a time.

Owns connecting, TLS, login, reuse and recycling. Must not know messages. aiosmtplib serialises all sends of one
client on one connection, so as many clients are kept as messages are sent at once.
"""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass

import aiosmtplib

# A connection that was idle for longer is checked by NOOP first; our choice: relays close after 5 s at the earliest.
_TRUSTED_IDLE = 2.0
_QUIT_SECONDS = 2.0  # our choice; QUIT is a courtesy and must not delay the next message


@dataclass(frozen=True, slots=True)
class RelaySettings:
    """The relay's address and credentials. ``tls``: none, starttls or tls. Certificates are always checked."""

    host: str
    port: int
    tls: str
    username: str
    password: str
    tls_context: ssl.SSLContext
    local_hostname: str
    timeout: float
    connections: int
    max_messages: int
    max_idle: float


@dataclass(slots=True, eq=False)
class RelayConnection:
    """A client, the number of its uses, and the time since which it is idle (monotonic)."""

    client: aiosmtplib.SMTP
    used: int = 0
    idle_since: float = 0.0
    broken: bool = False


class ConnectError(Exception):
    """No usable connection; no part of a message was sent. ``error`` is the library's exception."""

    def __init__(self, error: Exception) -> None:
        super().__init__(type(error).__name__)
        self.error = error


class SmtpPool:
    """At most ``connections`` at the same time; the most recently used first, so that spare ones expire."""

    def __init__(self, settings: RelaySettings) -> None:
        self._settings = settings
        self._gate = asyncio.Semaphore(settings.connections)
        self._idle: list[RelayConnection] = []
        self._closed = False
        self.opened = 0

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[RelayConnection]:
        """Check out a live connection. Raises ConnectError.

        It returns to the pool only if the block ends without an exception and without ``broken`` set.
        """
        async with self._gate:
            lent = await self._reuse() or await self._open()
            try:
                yield lent
            except BaseException:
                lent.client.close()
                raise
            lent.used += 1
            if lent.broken or not lent.client.is_connected:
                lent.client.close()
            elif lent.used >= self._settings.max_messages or self._closed:
                await _quit(lent)
            else:
                lent.idle_since = time.monotonic()
                self._idle.append(lent)

    async def close(self) -> None:
        """Send QUIT on every idle connection; checked-out ones are closed when they are returned."""
        self._closed = True
        idle, self._idle = self._idle, []
        await asyncio.gather(*(_quit(each) for each in idle))

    async def _reuse(self) -> RelayConnection | None:
        now = time.monotonic()
        while self._idle:
            found = self._idle.pop()
            age = now - found.idle_since
            if age > self._settings.max_idle or not found.client.is_connected:
                found.client.close()
            elif age <= _TRUSTED_IDLE or await self._alive(found):
                return found
        return None

    async def _alive(self, found: RelayConnection) -> bool:
        try:
            await found.client.noop(timeout=self._settings.timeout)
        except (aiosmtplib.SMTPException, OSError):
            found.client.close()
            return False
        return True

    async def _open(self) -> RelayConnection:
        settings = self._settings
        try:
            client = aiosmtplib.SMTP(
                hostname=settings.host,
                port=settings.port,
                timeout=settings.timeout,
                use_tls=settings.tls == "tls",
                # Required, not opportunistic: stripping the STARTTLS offer must not yield the message in clear text.
                start_tls=settings.tls == "starttls",
                username=settings.username or None,
                password=settings.password or None,
                tls_context=settings.tls_context if settings.tls != "none" else None,
                local_hostname=settings.local_hostname,
            )
            await client.connect()
            await client.ehlo()
        except (aiosmtplib.SMTPException, OSError, ssl.SSLError, ValueError) as error:
            raise ConnectError(error) from None
        self.opened += 1
        return RelayConnection(client)


async def _quit(lent: RelayConnection) -> None:
    with suppress(aiosmtplib.SMTPException, OSError):
        await lent.client.quit(timeout=_QUIT_SECONDS)
    lent.client.close()
