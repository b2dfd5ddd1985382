"""Test messages: one signed message to an endpoint, sent while the caller waits, and kept in the delivery log."""

from __future__ import annotations

from gateway.core.clock import Clock
from gateway.webhooks.outbox import WebhookOutbox
from gateway.webhooks.sender import WebhookSender


class WebhookTester:
    """Sends test messages. Endpoints that are disabled or pause after failures can be tested, too."""

    def __init__(self, outbox: WebhookOutbox, sender: WebhookSender, clock: Clock) -> None:
        self._outbox = outbox
        self._sender = sender
        self._clock = clock

    async def send(self, tenant: str, endpoint_id: str) -> str | None:
        """Send one, within the sender's time-out; its id, or None where the tenant has no such endpoint.

        It is not retried, and says nothing of the endpoint's health. Where this process dies meanwhile, a worker sends
        the message once its lease has expired. Raises Unavailable.
        """
        message = await self._outbox.begin_test(tenant, endpoint_id, self._clock())
        if message is None:
            return None
        [result] = await self._sender.send([message])
        await self._outbox.end_test(result)
        return message.id
