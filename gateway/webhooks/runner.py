"""The worker's webhook loop: collect messages from events, lease them, deliver them, record the results.

The lease of a worker that dies expires, and its messages are delivered again under the same ids.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from gateway.core.clock import Clock
from gateway.observability.metrics import Metrics
from gateway.webhooks.outbox import WebhookOutbox
from gateway.webhooks.sender import WebhookSender

_BATCH = 100  # messages delivered concurrently; our choice
_CLEAN_UP_EVERY = timedelta(hours=1)  # our choice


class Webhooks:
    """Delivers webhook messages from the outbox; run periodically."""

    def __init__(self, outbox: WebhookOutbox, sender: WebhookSender, metrics: Metrics, clock: Clock) -> None:
        self._outbox = outbox
        self._sender = sender
        self._metrics = metrics
        self._clock = clock
        self._cleaned_up_at: datetime | None = None

    async def run_once(self) -> bool:
        """Collect, lease, deliver and record one batch; whether there may be more. Raises Unavailable."""
        looked_at = await self._outbox.collect(self._clock())
        if looked_at is None:
            self._metrics.telling(0, 0.0)
            return False
        messages = await self._outbox.claim(self._clock(), _BATCH)
        results = await self._sender.send(messages)
        await self._outbox.record(results, self._clock())
        for each in results:
            self._metrics.told(each.outcome)
        if not messages:
            self._metrics.telling(*await self._outbox.waiting(self._clock()))
            await self._clean_up()
        return bool(looked_at or messages)

    async def _clean_up(self) -> None:
        now = self._clock()
        if self._cleaned_up_at is None or now - self._cleaned_up_at >= _CLEAN_UP_EVERY:
            self._cleaned_up_at = now
            await self._outbox.delete_old(now)
