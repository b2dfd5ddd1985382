"""Send: one call to one provider for each message, all concurrently, without retries.

The attempt has been recorded before this stage runs. An unforeseen error here is an unknown outcome: the provider may
have the message.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import datetime

from channels.base import Accepted, Message, Provider, SendFailure, TransientFailure, UnknownOutcome
from channels.base import ProviderReason as Reason
from gateway.core.clock import Clock
from gateway.core.deliveries import Attempt, Outgoing
from gateway.core.notifications import Category
from gateway.core.reasons import EndReason
from gateway.core.security.message_links import MessageLinks
from gateway.observability.path_observer import PathObserver
from gateway.stages.schedule import earliest
from gateway.stages.settle import first_request

# RFC 8058 is for messages that a person may decline. What a borrower asked for (a plan, a receipt) is none.
WITHOUT_UNSUBSCRIBE = frozenset({Category.SERVICE})


class Sender:
    """Hands messages to the providers of their channels and reports each attempt as soon as it has ended."""

    def __init__(
        self,
        providers: Mapping[str, Provider],
        reference: Callable[[str, int], str],
        public_url: str,
        clock: Clock,
        message_token: Callable[[str], str],
        observer: PathObserver,
    ) -> None:
        self._providers = providers
        self._reference = reference
        self._public_url = public_url
        self._clock = clock
        self._message_token = message_token
        self._observer = observer
        self._slots = {name: asyncio.Semaphore(each.capability.concurrency) for name, each in providers.items()}
        self._waiting = dict.fromkeys(providers, 0)  # for a free slot, by provider
        self._stopped = False

    def message(self, outgoing: Outgoing, attempt: int) -> Message:
        """The message for the provider's ``send``, and later for its ``lookup``."""
        work = outgoing.work
        notification = work.notification
        reference = self._reference(work.delivery.id, attempt)
        permitted_until = outgoing.verdict.valid_until if outgoing.verdict else None
        return Message(
            delivery_id=work.delivery.id,
            attempt=attempt,
            tenant=notification.tenant,
            borrower_id=notification.borrower.id,
            address=notification.address(work.delivery.channel) or "",
            content=outgoing.content,
            reference=reference,
            callback_url=f"{self._public_url}/v1/receipts/{outgoing.provider}?ref={reference}",
            valid_until=earliest(permitted_until, notification.expires_at),
            category=notification.category,
            headers=unsubscribe_headers(self.links(work.delivery.id, notification.category).unsubscribe_url),
            window_until=outgoing.window_until,
        )

    def links(self, delivery_id: str, category: Category) -> MessageLinks:
        """The links of a message: to decline others at its address, where the category has that, and to its page.

        Both carry one signed token. The former is the same in the headers and in the text.
        """
        token = self._message_token(delivery_id)
        declines = "" if category in WITHOUT_UNSUBSCRIBE else f"{self._public_url}/v1/unsubscribe/{token}"
        return MessageLinks(declines, f"{self._public_url}/m/{token}")

    async def send(
        self, batch: Sequence[Outgoing], ended: Callable[[Attempt], Awaitable[None]], until: datetime
    ) -> None:
        """Send all; ``ended`` is called with each attempt when it ends, so that a slow one delays no other's record.

        What has not begun by ``until``, because the provider is slow and its queue long, is not begun: its lease may
        expire, and another worker would take it for lost and look it up too early.
        """
        await asyncio.gather(*(self._send_one(outgoing, ended, until) for outgoing in batch))

    def stop(self) -> None:
        """Begin nothing more: calls under way end as they do, and what waits for a connection is given back at once."""
        self._stopped = True
        for provider, waiting in self._waiting.items():
            for _ in range(waiting):
                self._slots[provider].release()

    async def _send_one(self, outgoing: Outgoing, ended: Callable[[Attempt], Awaitable[None]], until: datetime) -> None:
        message = self.message(outgoing, outgoing.work.delivery.attempt + 1)
        async with self._slot(outgoing.provider):
            with self._observer.attempt(outgoing, message) as span:
                started = self._clock()
                result = await self._hand_over(outgoing, message, late=started >= until)
                attempt = Attempt(outgoing.work, outgoing.provider, message, started, self._clock(), result)
                self._observer.attempt_ended(span, attempt)
        await ended(attempt)

    @asynccontextmanager
    async def _slot(self, provider: str) -> AsyncIterator[None]:
        """One of the concurrent calls that the provider takes; after ``stop`` there is nothing to wait for."""
        slots = self._slots[provider]
        if not self._stopped:
            self._waiting[provider] += 1
            try:
                await slots.acquire()
            finally:
                self._waiting[provider] -= 1
        try:
            yield
        finally:
            slots.release()

    def _too_late_to_repeat(self, outgoing: Outgoing) -> bool:
        """Whether an unknown outcome was to be repeated, and the provider would not recognise it any more."""
        delivery = outgoing.work.delivery
        first = first_request(delivery)
        if delivery.reason != EndReason.SENT_AGAIN or first is None:
            return False
        return not self._providers[outgoing.provider].capability.repeatable(first, self._clock())

    async def _hand_over(self, outgoing: Outgoing, message: Message, *, late: bool) -> Accepted | SendFailure:
        try:
            if self._stopped:
                raise TransientFailure(Reason.NOT_BEGUN, retry_after=0)
            if late:
                raise TransientFailure(Reason.NOT_BEGUN)
            if self._too_late_to_repeat(outgoing):
                raise UnknownOutcome(Reason.NOT_BEGUN)
            return await self._providers[outgoing.provider].send(message)
        except SendFailure as failure:
            return failure
        except Exception as error:
            # The contract names what a provider may raise; anything else is a defect, and a defect after
            # the bytes have left must not lead to a second copy.
            return UnknownOutcome(Reason.SERVER_ERROR, type(error).__name__)


def unsubscribe_headers(unsubscribe_url: str) -> Mapping[str, str]:
    """The headers for mail programs' unsubscribe button; channels without headers ignore them."""
    if not unsubscribe_url:
        return {}
    return {"List-Unsubscribe": f"<{unsubscribe_url}>", "List-Unsubscribe-Post": "List-Unsubscribe=One-Click"}
