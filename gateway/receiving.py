"""What comes back: providers' receipts and borrowers' replies, by callback, by a provider's connection or by the feed.

    provider ─ verify ─► match to a message ─► decide ─► ledger (commit = answered) ─ trigger ─► the route's next step

A receipt is verified by the provider's file, matched by a signed reference or the provider's message id, and decided by
gateway/stages/settle.py. A receipt that matches nothing is parked, and matched when its message is known. A reply is
classified by gateway/stages/classify_reply.py, and in force when the callback is answered.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TypeVar

from channels.base import (
    AnswersReplies,
    CallbackRequest,
    Provider,
    PushOutcome,
    ReadsEvents,
    Receipt,
    ReceiptStatus,
    Reply,
    SendFailure,
    TakesReplies,
)
from gateway.borrowers.provider_feedback import ProviderFeedback, feedback_of
from gateway.borrowers.store import BorrowerStore
from gateway.core.batcher import Batcher
from gateway.core.clock import Clock
from gateway.core.codec import OWN_PAGE
from gateway.core.deliveries import ReceiptFor, RecordedReply
from gateway.core.errors import ReviewQueueFull, Unavailable
from gateway.observability.path_observer import DecideReceipt, PathObserver
from gateway.operations.unverified_reports import UnverifiedReports
from gateway.replies.store import ReplyStore
from gateway.stages.classify_reply import ReplyClassifier
from gateway.storage.store import Store
from gateway.templates.message_forms import MessageForms

# Receipts may wait this long for others: none is lost by it, because a provider without an answer calls again. Our
# choice.
_MAX_DELAY_SECONDS = 0.02

_Read = TypeVar("_Read", Receipt, Reply)


@dataclass(frozen=True, slots=True)
class ReceivingResources:
    """What receiving reads, writes and calls. ``triggers`` enqueues jobs for deliveries that are due.

    ``normalise`` is (channel, address) → canonical address; it raises ValueError. ``open_reference`` gives the delivery
    and attempt that a signed reference names; None for a forged one.
    """

    store: Store
    borrowers: BorrowerStore
    replies: ReplyStore
    unverified: UnverifiedReports
    forms: MessageForms
    providers: Mapping[str, Provider]
    classifier: ReplyClassifier
    decide_receipt: DecideReceipt
    feedback: ProviderFeedback
    triggers: Batcher[str, None]
    normalise: Callable[[str, str], str]
    open_reference: Callable[[str], tuple[str, int] | None]


class CallbackReceiver:
    """Records receipts and replies. Safe to run in any number of processes on one ledger."""

    def __init__(self, resources: ReceivingResources, observer: PathObserver, clock: Clock) -> None:
        self._resources = resources
        self._store = resources.store
        self._decide_receipt = resources.decide_receipt
        self._observer = observer
        self._clock = clock
        self._receiving = Batcher(self._receive_batch, max_delay=_MAX_DELAY_SECONDS)

    async def receive_events(self, provider: str, request: CallbackRequest) -> tuple[bytes, str]:
        """Take a callback that may hold anything; the acknowledgement and its media type, b"" for none.

        Raises: KeyError (no such provider, or none of this kind), BadSignature, MalformedCallback, Unavailable.
        """
        found = self._resources.providers[provider]
        if not isinstance(found, ReadsEvents):
            raise KeyError(provider)
        slow = found.capability.slow_callbacks
        events = await asyncio.to_thread(found.read_events, request) if slow else found.read_events(request)
        await self._resources.forms.report(provider, events.templates)
        await self._take(provider, events.receipts, events.replies)
        return events.body, events.media_type

    async def handle_provider_push(
        self, provider: str, receipts: Sequence[Receipt], replies: Sequence[Reply]
    ) -> PushOutcome:
        """Take what a provider sent on its own connection; what is not stored must come again."""
        try:
            await self._take(provider, receipts, replies)
        except ReviewQueueFull:
            return PushOutcome.QUEUE_FULL
        except Unavailable:
            return PushOutcome.UNAVAILABLE
        return PushOutcome.STORED

    async def _take(self, provider: str, receipts: Sequence[Receipt], replies: Sequence[Reply]) -> None:
        await self._take_receipts(provider, receipts)
        await self._take_replies(provider, replies)

    async def drain(self) -> None:
        """Wait until the receipts that have arrived are recorded; for a clean stop."""
        await self._receiving.drain()

    # ── receipts ────────────────────────────────────────────────────────────────────────────────────────────

    async def receive(self, provider: str, request: CallbackRequest) -> list[str]:
        """Take a provider's callback: verify, match, decide, record. The result of each receipt in it.

        Raises: KeyError (no such provider), BadSignature, MalformedCallback, Unavailable (it will come again).
        """
        found = self._resources.providers[provider]
        return await self._take_receipts(provider, await _read(found, found.read_receipts, request))

    async def mark_read(self, tenant: str, borrower_id: str, inbox_id: int) -> bool:
        """Record that the borrower read a message of their feed. False: it is not theirs, or does not exist."""
        found = await self._resources.borrowers.mark_read(tenant, borrower_id, inbox_id)
        if found is None:
            return False
        delivery_id, provider = found  # whichever channel's provider put the message into the feed
        receipt = Receipt(provider, ReceiptStatus.READ, reference=delivery_id)
        await self._receiving.submit([ReceiptFor(receipt, delivery_id)])
        return True

    async def match_parked(self) -> None:
        """Take up receipts that came before their message was known, and that the settling of it missed."""
        opened = await self._store.match_parked(self._clock(), self._decide_receipt)
        self._resources.triggers.submit_nowait(opened)

    async def _take_receipts(self, provider: str, receipts: Sequence[Receipt]) -> list[str]:
        arrived = [self._matched(each) for each in receipts]
        for each in arrived:
            await self._apply_feedback(provider, each)
        verified = [each for each in arrived if _names_a_message(each)]
        recorded = iter(await self._receiving.submit(verified) if verified else ())
        results = [next(recorded) if _names_a_message(each) else await self._keep(each.receipt) for each in arrived]
        self._observer.received(provider, arrived, results)
        return results

    async def _keep(self, receipt: Receipt) -> str:
        """Keep an unverified report for a person; its result. Raises ReviewQueueFull, Unavailable."""
        found = self._resources.providers[receipt.provider]
        try:
            kept = await self._resources.unverified.keep(receipt, found.channel, found.capability.unverified_tenant)
        except ReviewQueueFull:
            self._observer.review_queue_full(receipt.provider)
            raise
        return "for_review" if kept else "unverified"

    def _matched(self, receipt: Receipt) -> ReceiptFor:
        named = self._open(receipt.provider, receipt.reference)
        return ReceiptFor(receipt, *named) if named else ReceiptFor(receipt)

    def _open(self, provider: str, reference: str) -> tuple[str, int] | None:
        """The delivery and attempt that a reference names; None for none, and for one that is refused."""
        named = self._resources.open_reference(reference) if reference else None
        if reference and named is None:
            self._observer.reference_refused(provider)
        return named

    async def _apply_feedback(self, provider: str, arrived: ReceiptFor) -> None:
        """Before the receipt is recorded: if this process dies in between, the provider sends it again."""
        reason = feedback_of(arrived.receipt)
        if reason is None or not _names_a_message(arrived):
            return
        # A complaint may name the message by its id alone, and comes long after that was recorded.
        known_by = arrived.receipt.provider_message_id or arrived.receipt.tag
        delivery_id = arrived.delivery_id or await self._store.owner(provider, known_by)
        if delivery_id is not None:  # else the message is not known here
            await self._resources.feedback.apply(delivery_id, reason, provider)

    async def _receive_batch(self, arrived: Sequence[ReceiptFor]) -> list[str]:
        with self._observer.batch("receive"):
            results, opened = await self._store.receive(arrived, self._clock(), self._decide_receipt)
        self._resources.triggers.submit_nowait(opened)
        return results

    # ── replies ─────────────────────────────────────────────────────────────────────────────────────────────

    async def reply(self, provider: str, request: CallbackRequest) -> tuple[bytes, str]:
        """Take what borrowers wrote back; the provider's HTTP answer, which may carry one message to them.

        Raises: KeyError (no such provider, or none that takes replies), BadSignature, MalformedCallback, Unavailable.
        """
        channel = self._resources.providers[provider]
        if not isinstance(channel, TakesReplies):
            raise KeyError(provider)
        return channel.answer(await self._take_replies(provider, await _read(channel, channel.read_replies, request)))

    async def reply_of_reader(self, delivery_id: str, channel: str, text: str, reply_id: str) -> str | None:
        """Take what a borrower wrote on their page or in the lender's app: a reply to that message, from its address.

        Returns the answer to be shown there, "" for none; None where retention has removed the message. The same
        ``reply_id`` again is the same reply. Raises Unavailable.
        """
        arrived, classify = self._clock(), self._resources.classifier.classify
        reply = Reply(OWN_PAGE, reply_id, "", text)
        recorded = await self._resources.replies.record(reply, channel, "", classify, delivery_id)
        self._observer.replied(OWN_PAGE, recorded, self._clock() - arrived)
        return self._answer_to(reply, recorded) if recorded else None

    async def _take_replies(self, provider: str, replies: Sequence[Reply]) -> str:
        """Take the replies of one push, which are recorded together, and answer those that were.

        What the provider's own answer is to carry is returned, "" for nothing. Raises the error of the first reply that
        was not recorded, after the others: the provider brings all of them again.
        """
        channel = self._resources.providers[provider]
        came_from = [self._origin(provider, each) for each in replies]
        # Begun in order, and so recorded in order.
        taken = await asyncio.gather(
            *(self._take_reply(provider, *each) for each in zip(replies, came_from, strict=True)),
            return_exceptions=True,
        )
        text = ""
        for reply, recorded in zip(replies, taken, strict=True):
            if isinstance(recorded, BaseException):
                continue
            if isinstance(channel, AnswersReplies):
                await self._answer(provider, reply, recorded)
            else:
                text = text or self._answer_to(reply, recorded)
        if failed := [each for each in taken if isinstance(each, BaseException)]:
            raise failed[0]
        return text

    async def _answer(self, provider: str, reply: Reply, recorded: Sequence[RecordedReply]) -> None:
        """Confirm a stop, or answer a request for help, where the provider can; the reply is in force anyway."""
        channel = self._resources.providers[provider]
        text = self._answer_to(reply, recorded)
        if text and reply.reference:
            # The sender of a mail can be forged: the answer goes to the address of the message that is answered.
            reply = replace(reply, address=recorded[0].borrower.addresses.get(channel.channel, ""))
        if text and reply.address and isinstance(channel, AnswersReplies):
            try:
                await channel.answer_reply(reply, text)
            except SendFailure as failure:
                self._observer.reply_not_answered(provider, failure)

    def _answer_to(self, reply: Reply, recorded: Sequence[RecordedReply]) -> str:
        return "" if reply.answered else self._resources.classifier.answer(recorded)

    def _origin(self, provider: str, reply: Reply) -> tuple[str, str, str] | None:
        """A reply's channel, address and the delivery that it names, "" for none; None for one of nobody known here."""
        channel = self._resources.providers[provider].channel
        named = self._open(provider, reply.reference)
        if reply.reference and named is None:
            return None  # to an address that was not signed here
        try:
            if reply.identity and not named:
                channel, address = reply.identity, reply.address.strip()
            else:
                address = "" if named else self._resources.normalise(channel, reply.address)
        except ValueError:
            return None  # a short code or a name: nobody who could have been written to
        return channel, address, named[0] if named else ""

    async def _take_reply(
        self, provider: str, reply: Reply, origin: tuple[str, str, str] | None
    ) -> list[RecordedReply]:
        if origin is None:
            return []
        arrived, (channel, address, delivery_id) = self._clock(), origin
        classify = partial(self._resources.classifier.classify, keyword=reply.keyword)
        window = provider if self._resources.forms.has_window(channel) else ""
        recorded = await self._resources.replies.record(reply, channel, address, classify, delivery_id, window)
        self._observer.replied(provider, recorded, self._clock() - arrived)
        return recorded


async def _read(
    provider: Provider, read: Callable[[CallbackRequest], Sequence[_Read]], request: CallbackRequest
) -> Sequence[_Read]:
    """What a callback says, read in a thread where the provider says that it takes long."""
    return await asyncio.to_thread(read, request) if provider.capability.slow_callbacks else read(request)


def _names_a_message(arrived: ReceiptFor) -> bool:
    """Whether a receipt has a reference that was signed here, or an id of the provider's.

    Without either it may be forged, and an empty id would match every delivery that has none yet: such a receipt is
    counted and changes nothing.
    """
    return bool(arrived.delivery_id or arrived.receipt.provider_message_id or arrived.receipt.tag)
