"""The borrower's feed: delivered is when it is stored.

Owns nothing but the hand-over; the feed itself is lent as ``InboxStore``. Must not know how that is stored.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Protocol

from channels.base import (
    FOR_EVER,
    Accepted,
    BadSignature,
    CallbackRequest,
    Capability,
    LookupAnswer,
    LookupResult,
    Message,
    ProviderReason,
    Receipt,
    TransientFailure,
)
from channels.options import ProviderOptions, service


class InboxStore(Protocol):
    """Where feeds are kept."""

    async def put(self, tenant: str, borrower_id: str, delivery_id: str, title: str, text: str) -> bool:
        """Add an entry, durably, at most once for each delivery. False where the delivery is there already."""
        ...


class FeedProvider:
    """Puts messages into the feed. Sending again has no effect, so an unknown outcome may simply be sent again."""

    channel = "inapp"
    capability = Capability(
        idempotent_for=FOR_EVER, concurrency=200
    )  # our choice: the store batches what comes together

    def __init__(self, name: str, inbox: InboxStore) -> None:
        self.name = name
        self._inbox = inbox

    @classmethod
    def from_options(cls, name: str, values: Mapping[str, Any], services: Mapping[str, Any]) -> FeedProvider:
        """Takes no options. Needs the service ``inbox``. Raises ValueError where it is missing."""
        ProviderOptions(name, values, frozenset())
        return cls(name, service(name, services, "inbox"))

    async def send(self, message: Message) -> Accepted:
        """See ``channels.base.Provider``."""
        try:
            # The address, not the borrower's id in the request: it is what the app signs its readers in as.
            await self._inbox.put(
                message.tenant, message.address, message.delivery_id, message.content.subject, message.content.text
            )
        except Exception as error:
            # The store may be any database. As a repeat is harmless, "not done" is the right word even in doubt.
            raise TransientFailure(ProviderReason.PROVIDER_UNAVAILABLE, type(error).__name__) from None
        return Accepted(message.delivery_id, delivered=True, receipt_expected=False)

    async def lookup(self, message: Message, provider_message_id: str, since: datetime) -> LookupAnswer:
        """See ``channels.base.Provider``. There is no need to ask: send again."""
        return LookupAnswer(LookupResult.UNSUPPORTED)

    def read_receipts(self, request: CallbackRequest) -> Sequence[Receipt]:
        """See ``channels.base.Provider``. Nobody calls back for a feed, so whoever does is not the provider."""
        raise BadSignature("the feed has no callbacks")

    async def close(self) -> None:
        """See ``channels.base.Provider``."""
