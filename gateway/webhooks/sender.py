"""Telling: one signed POST for one message, all of a batch at once. What came of each, and nothing tried twice."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence

import aiohttp
from standardwebhooks import Webhook

from gateway.core.clock import Clock
from gateway.core.states import WebhookOutcome
from gateway.webhooks.guard import Forbidden, Guard, GuardedResolver
from gateway.webhooks.outbox import DeliveryResult, WebhookMessage

_SECONDS = 10  # for an answer; our choice: a receiver is to store what it hears and work on it later
_AT_ONCE, _AT_ONE_HOST = 50, 8  # our choice
_LONGEST_RETRY_AFTER = 86_400


class WebhookSender:
    """Signs with the secrets of ``secret(endpoint id, version)``; calls nothing that ``guard`` forbids."""

    def __init__(self, guard: Guard, secret: Callable[[str, int], str], clock: Clock) -> None:
        self._guard = guard
        self._secret = secret
        self._clock = clock
        self._session: aiohttp.ClientSession | None = None

    async def send(self, messages: Sequence[WebhookMessage]) -> list[DeliveryResult]:
        """Deliver a batch; what came of each."""
        if not messages:
            return []
        if self._session is None:
            connector = aiohttp.TCPConnector(
                resolver=GuardedResolver(self._guard), limit=_AT_ONCE, limit_per_host=_AT_ONE_HOST
            )
            self._session = aiohttp.ClientSession(
                connector=connector, timeout=aiohttp.ClientTimeout(total=_SECONDS), cookie_jar=aiohttp.DummyCookieJar()
            )
        session = self._session
        return list(await asyncio.gather(*(self._tell(session, each) for each in messages)))

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()

    async def _tell(self, session: aiohttp.ClientSession, message: WebhookMessage) -> DeliveryResult:
        try:
            self._guard.check_literal(message.url)
            # A redirect could lead anywhere, so it is an answer like another.
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
        """Those of Standard Webhooks. The time is that of the attempt, so that a copy of an old one is refused."""
        now = self._clock()
        signed = (
            Webhook(self._secret(message.endpoint_id, version)).sign(message.id, now, message.body)
            for version in message.secret_versions
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
    """Seconds, where the answer has them (RFC 9110 section 10.2.3); a date is not read."""
    text = headers.get("Retry-After", "")
    return min(float(text), _LONGEST_RETRY_AFTER) if text.isascii() and text.isdigit() else 0.0
