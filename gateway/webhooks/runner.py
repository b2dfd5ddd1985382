"""The worker's turn at webhooks: collect, claim, tell, record, again and again.

A worker that dies in between leaves a lease that runs out: the message is told again, under the same id.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Protocol

from gateway.core.ports import Clock
from gateway.webhooks.outbox import WebhookOutbox
from gateway.webhooks.sender import WebhookSender

_BATCH = 100  # messages under way at once; our choice
_FORGET_EVERY = timedelta(hours=1)


class WebhookObserver(Protocol):
    """Hears how telling goes; gateway/metrics counts it."""

    def told(self, outcome: str) -> None: ...
    def telling(self, waiting: int, oldest_seconds: float) -> None: ...


class Webhooks:
    """Sends the messages that are waiting for case systems."""

    def __init__(self, outbox: WebhookOutbox, sender: WebhookSender, observer: WebhookObserver, clock: Clock) -> None:
        self._outbox = outbox
        self._sender = sender
        self._observer = observer
        self._clock = clock
        self._forgot_at: datetime | None = None

    async def run_once(self) -> bool:
        """Collect, claim, send and record one batch; whether more may be waiting. Raises Unavailable."""
        looked_at = await self._outbox.collect(self._clock())
        if looked_at is None:
            self._observer.telling(0, 0.0)
            return False
        messages = await self._outbox.claim(self._clock(), _BATCH)
        told = await self._sender.send(messages)
        await self._outbox.record(told, self._clock())
        for each in told:
            self._observer.told(each.outcome)
        if not messages:
            self._observer.telling(*await self._outbox.waiting(self._clock()))
            await self._forget_sometimes()
        return bool(looked_at or messages)

    async def _forget_sometimes(self) -> None:
        now = self._clock()
        if self._forgot_at is None or now - self._forgot_at >= _FORGET_EVERY:
            self._forgot_at = now
            await self._outbox.forget(now)
