"""A typed client of the notification gateway.

``GatewayClient`` is for blocking code, ``AsyncGatewayClient`` for asyncio; both have one method for each operation.
"""

from .batches import BatchProgress, send_batches, send_batches_async
from .client import AsyncGatewayClient, GatewayClient
from .errors import GatewayError, NotReached, ProblemError
from .webhooks import NotVerified, WebhookEvent, verify_webhook

__all__ = [
    "AsyncGatewayClient",
    "BatchProgress",
    "GatewayClient",
    "GatewayError",
    "NotReached",
    "NotVerified",
    "ProblemError",
    "WebhookEvent",
    "send_batches",
    "send_batches_async",
    "verify_webhook",
]
