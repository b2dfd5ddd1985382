"""Being bound to an SMSC: one session for all who need it, one attempt at a time, and a pause after a failed one.

Owns when to bind, and what a failure to bind means. Nothing is ever sent by it, so each failure is transient.
"""

from __future__ import annotations

import asyncio
import ssl
import time

import structlog

from channels.base import ProviderReason, TransientFailure
from channels.outcomes import load_table
from channels.sms.smpp_session import BindRefused, Endpoint, Queue, SessionLost, SmppSession

FIRST_PAUSE, LONGEST_PAUSE = 0.5, 30.0  # seconds between attempts to bind, and to store what was heard; our choice
# The words for what an operator has to change: command_status of bind_resp, section 5.1.3.
_REFUSALS = {0x05: "already_bound", 0x0D: "bind_failed", 0x0E: "wrong_password", 0x0F: "wrong_system_id"}


class Bind:
    """One bind of a ``kind`` (see ``smpp_session.BINDS``)."""

    def __init__(self, provider: str, endpoint: Endpoint, kind: str, incoming: Queue) -> None:
        self._provider = provider
        self._endpoint, self._kind, self._incoming = endpoint, kind, incoming
        self._session: SmppSession | None = None
        self._attempt: asyncio.Task[SmppSession] | None = None
        self._failure: TransientFailure | None = None
        self._pause, self._again = FIRST_PAUSE, 0.0  # seconds; monotonic

    async def session(self) -> SmppSession:
        """The bound session. Who comes during an attempt shares its end, who comes in the pause after it fails at once.

        Raises TransientFailure.
        """
        if self._session is not None and not self._session.lost.is_set():
            return self._session
        left = self._again - time.monotonic()
        if self._failure is not None and left > 0:
            raise TransientFailure(self._failure.reason, self._failure.code, left)
        if self._attempt is None or self._attempt.done():
            self._attempt = asyncio.create_task(self._bind())
            self._attempt.add_done_callback(_retrieved)
        return await asyncio.shield(self._attempt)

    async def stay_bound(self, stop: asyncio.Event) -> None:
        """Bind again whenever the session is lost, until told to stop."""
        while not stop.is_set():
            try:
                await (await self.session()).lost.wait()
                await asyncio.sleep(FIRST_PAUSE)
            except TransientFailure as failure:
                await asyncio.sleep(failure.retry_after or self._pause)

    async def close(self, *, unbind: bool = True) -> None:
        """Unbind and close, or only close where nobody answers."""
        attempt, self._attempt = self._attempt, None
        if attempt is not None and not attempt.done():
            attempt.cancel()
            await asyncio.gather(attempt, return_exceptions=True)
        session, self._session = self._session, None
        if session is not None:
            await (session.unbind() if unbind and not session.lost.is_set() else session.close())

    async def _bind(self) -> SmppSession:
        old, self._session = self._session, None
        if old is not None:
            await old.close()
        try:
            session = await SmppSession.connect(self._endpoint, self._kind, self._incoming)
        except (BindRefused, SessionLost, OSError) as error:  # a TimeoutError is an OSError
            failure = _failure(error)
            self._failure, self._again = failure, time.monotonic() + self._pause
            self._pause = min(2 * self._pause, LONGEST_PAUSE)
            log = structlog.get_logger("channels.sms.smpp")
            log.warning("bind_failed", provider=self._provider, reason=failure.reason, code=failure.code)
            raise failure from None
        self._session, self._failure, self._pause = session, None, FIRST_PAUSE
        return session


def _failure(error: Exception) -> TransientFailure:
    if isinstance(error, BindRefused):
        code = f"0x{error.status:08X}"
        reason = load_table("channels.sms", "smpp_codes.toml").find(code).reason
        return TransientFailure(reason, "_".join(filter(None, ("bind_resp", code, _REFUSALS.get(error.status, "")))))
    if isinstance(error, ssl.SSLCertVerificationError):
        return TransientFailure(ProviderReason.PROVIDER_CONFIG, "certificate_not_trusted")
    if isinstance(error, ssl.SSLError):
        return TransientFailure(ProviderReason.PROVIDER_CONFIG, "tls_failed")
    if isinstance(error, TimeoutError):
        return TransientFailure(ProviderReason.TIMEOUT)
    return TransientFailure(ProviderReason.CONNECTION_FAILED)


def _retrieved(attempt: asyncio.Task[SmppSession]) -> None:
    """All who waited for it may be gone; then nobody asks for its exception."""
    if not attempt.cancelled():
        attempt.exception()
