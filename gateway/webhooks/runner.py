"""The worker's webhook loop: collect messages from events, and deliver them, each endpoint in a task of its own.

An endpoint's task leases a few messages, delivers them at once, records the results, and goes on while messages are
due. An endpoint that hangs therefore delays its own messages only. The lease of a worker that dies expires, and its
messages are delivered again under the same ids.
"""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta

from gateway.core.clock import Clock
from gateway.observability.metrics import Metrics
from gateway.webhooks.outbox import WebhookOutbox
from gateway.webhooks.sender import WebhookSender

_ENDPOINTS = 32  # that are delivered to concurrently by one worker; our choice
_MESSAGES = 8  # delivered concurrently to one endpoint; our choice. Both together: 256 connections at most
_CLEAN_UP_EVERY = timedelta(hours=1)  # our choice


class Webhooks:
    """Delivers webhook messages from the outbox; run periodically, and finished at the end."""

    def __init__(self, outbox: WebhookOutbox, sender: WebhookSender, metrics: Metrics, clock: Clock) -> None:
        self._outbox = outbox
        self._sender = sender
        self._metrics = metrics
        self._clock = clock
        self._running: dict[str, asyncio.Task[None]] = {}  # by endpoint id
        self._finishing = False
        self._cleaned_up_at: datetime | None = None

    async def run_once(self) -> bool:
        """Collect messages and start to deliver them; whether there may be more to collect. Raises Unavailable."""
        self._reap()
        looked_at = await self._outbox.collect(self._clock())
        if looked_at is None and not self._running:
            self._metrics.telling(0, 0.0)
            return False
        room = _ENDPOINTS - len(self._running)
        if room:
            for endpoint_id in await self._outbox.endpoints_due(self._clock(), self._running, room):
                self._running[endpoint_id] = asyncio.create_task(self._deliver(endpoint_id), name="webhook-endpoint")
        if not looked_at:
            self._metrics.telling(*await self._outbox.waiting(self._clock()))
            await self._clean_up()
        return bool(looked_at)

    async def finish(self) -> None:
        """Wait until what is being sent has its result recorded; at most the time-out of a request. Starts nothing."""
        self._finishing = True
        try:
            await asyncio.gather(*self._running.values(), return_exceptions=True)
        finally:
            self._finishing = False

    def _reap(self) -> None:
        """Forget the tasks that ended; raise what ended one."""
        for endpoint_id in [each for each, task in self._running.items() if task.done()]:
            self._running.pop(endpoint_id).result()

    async def _deliver(self, endpoint_id: str) -> None:
        """Deliver the due messages of one endpoint."""
        while messages := await self._outbox.claim(endpoint_id, self._clock(), _MESSAGES):
            results = await self._sender.send(messages)
            await self._outbox.record(results, self._clock())
            for each in results:
                self._metrics.told(each.outcome)
            # With all places taken, this one is given to another endpoint; what is left is found by the next run.
            if self._finishing or len(self._running) >= _ENDPOINTS:
                return

    async def _clean_up(self) -> None:
        now = self._clock()
        if self._cleaned_up_at is None or now - self._cleaned_up_at >= _CLEAN_UP_EVERY:
            self._cleaned_up_at = now
            await self._outbox.delete_old(now)
