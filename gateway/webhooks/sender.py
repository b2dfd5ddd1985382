"""HTTP delivery of webhook messages: one signed POST per message, a batch concurrently, without retries."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence

import aiohttp
from standardwebhooks import Webhook

from gateway.core.clock import Clock
from gateway.core.states import WebhookOutcome
from gateway.webhooks.guard import Forbidden, Guard, GuardedResolver
from gateway.webhooks.outbox import DeliveryResult, WebhookMessage

_SECONDS = 10  # time-out of a request; our choice: a receiver should store the message and process it later
_MAX_RETRY_AFTER = 86_400  # seconds; our choice


class WebhookSender:
    """Signs with ``secret(endpoint id, version, digest key's version)``; calls only addresses that ``guard`` permits.

    A request may take ``timeout_seconds``, which must be well below the outbox's lease.
    """

    def __init__(
        self, guard: Guard, secret: Callable[[str, int, int], str], clock: Clock, *, timeout_seconds: float = _SECONDS
    ) -> None:
        self._timeout = aiohttp.ClientTimeout(total=timeout_seconds)
        self._guard = guard
        self._secret = secret
        self._clock = clock
        self._session: aiohttp.ClientSession | None = None

    async def send(self, messages: Sequence[WebhookMessage]) -> list[DeliveryResult]:
        """Deliver a batch; the result of each message."""
        if not messages:
            return []
        if self._session is None:
            # The caller limits what is sent at once. A limit of connections per host would let one endpoint delay
            # another one behind the same host, and count the wait as the receiver's time-out.
            connector = aiohttp.TCPConnector(resolver=GuardedResolver(self._guard), limit=0)
            self._session = aiohttp.ClientSession(
                connector=connector, timeout=self._timeout, cookie_jar=aiohttp.DummyCookieJar()
            )
        session = self._session
        return list(await asyncio.gather(*(self._post(session, each) for each in messages)))

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()

    async def _post(self, session: aiohttp.ClientSession, message: WebhookMessage) -> DeliveryResult:
        try:
            self._guard.check_literal(message.url)
            # Redirects are not followed: they could lead to a forbidden address.
            async with session.post(
                message.url, data=message.body.encode(), headers=self._headers(message), allow_redirects=False
            ) as response:
                return DeliveryResult(
                    message, _outcome(response.status), response.status, _retry_after(response.headers)
                )
        except Forbidden:
            return DeliveryResult(message, WebhookOutcome.FORBIDDEN)
        except aiohttp.ClientConnectorError as error:
            forbidden = isinstance(error.os_error, Forbidden)
            return DeliveryResult(message, WebhookOutcome.FORBIDDEN if forbidden else WebhookOutcome.UNREACHABLE)
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError):
            return DeliveryResult(message, WebhookOutcome.UNREACHABLE)

    def _headers(self, message: WebhookMessage) -> dict[str, str]:
        """The headers of Standard Webhooks. The signed time is the attempt's, which lets receivers reject replays."""
        now = self._clock()
        signed = (
            Webhook(self._secret(message.endpoint_id, *versions)).sign(message.id, now, message.body)
            for versions in message.secret_versions
        )
        return {
            "Content-Type": "application/json",
            "User-Agent": "notification-gateway",
            "webhook-id": message.id,
            "webhook-timestamp": str(int(now.timestamp())),
            "webhook-signature": " ".join(signed),
        }


def _outcome(status: int) -> WebhookOutcome:
    if 200 <= status < 300:
        return WebhookOutcome.DELIVERED
    if status == 410:
        return WebhookOutcome.GONE
    return WebhookOutcome.UNAVAILABLE if status >= 500 or status in (408, 425, 429) else WebhookOutcome.REFUSED


def _retry_after(headers: Mapping[str, str]) -> float:
    """``Retry-After`` in seconds (RFC 9110 section 10.2.3); 0 if it is absent or a date."""
    text = headers.get("Retry-After", "")
    return min(float(text), _MAX_RETRY_AFTER) if text.isascii() and text.isdigit() else 0.0
