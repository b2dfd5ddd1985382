"""The path of a reminder, from request to receipt. Read this first.

    POST ─ accept ─► ledger (commit = 202) ─ trigger ─► claim ─ render ─ admit ─ route ─ start ─ send ─► provider
                        ▲      due scanner: due, lost or expired work ─┘                          │         │ callback
                        └──────────────── every transition ◄──────────────────────────── settle ◄─┴─────────┘

Each verb takes a batch, asks the stages for decisions, and has the store write them in one transaction (group commit).
The ledger is the source of truth: whatever is lost besides it (a trigger, a worker, all of Redis) is found again in it
by the due scanner, as from a transactional outbox. The order of the stages is here and nowhere else. The decisions are
in gateway/stages and gateway/policy, and are pure. Logs, metrics and spans are gateway/observability/path_observer.py.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial
from typing import TypeVar

from tenacity import AsyncRetrying, retry_if_exception_type, wait_fixed

from channels.base import (
    AnswersReplies,
    CallbackRequest,
    PermanentFailure,
    Provider,
    ProviderReason,
    ReadsEvents,
    Receipt,
    ReceiptStatus,
    Reply,
    SendFailure,
    TakesReplies,
)
from gateway.borrowers.store import BorrowerStore
from gateway.core.batcher import Batcher
from gateway.core.clock import Clock
from gateway.core.codec import fingerprint
from gateway.core.controls import Switch
from gateway.core.deliveries import Attempt, ClaimedDelivery, Outgoing, ReceiptFor, RecordedReply, Transition
from gateway.core.errors import Unavailable
from gateway.core.requests import AcceptResult, NotificationRequest, RejectedRequest, ValidatedRequest
from gateway.core.states import PENDING_STATES, State
from gateway.observability.path_observer import PathObserver
from gateway.operations.controls import Controls
from gateway.queue.token_buckets import RateLimiter
from gateway.replies.store import ReplyStore
from gateway.stages.accept import RequestValidator
from gateway.stages.admit import admit, reevaluate_expired_review
from gateway.stages.classify_reply import ReplyClassifier
from gateway.stages.contact_policy import ContactPolicy
from gateway.stages.facts import known_of
from gateway.stages.message_form import template_report
from gateway.stages.reconcile import OutcomeReconciler
from gateway.stages.render import render
from gateway.stages.route import ProviderRouter
from gateway.stages.send import Sender
from gateway.stages.settle import OutcomeRecorder
from gateway.storage.store import Store
from gateway.templates import Catalog
from gateway.templates.message_forms import MessageForms

# Requests validated between two yields to the event loop, some ten milliseconds of work; our choice.
_YIELD_EVERY = 10
_RETRY_WRITE_SECONDS = 0.5  # after which what could not be written is written again; our choice
_KEEP_WRITING_SECONDS = 120.0  # for how long that is tried: longer than a database's failover takes; our choice
# Ends of attempts wait this long for others: borrowers have their messages already, and a transaction costs as much
# processor time as some ten ends in it (measured). Our choice.
_SETTLE_MAX_DELAY_SECONDS = 0.005
# Receipts may wait longer: none is lost by it, because a provider without an answer calls again. Our choice.
_RECEIPT_MAX_DELAY_SECONDS = 0.02
# The first trigger goes at once, and those of the next moment together: a job costs a worker about a millisecond
# whatever is in it (measured). Our choice.
_TRIGGER_MIN_INTERVAL_SECONDS = 0.02
_DRAIN_SECONDS = 10.0  # our choice: a container gets some half a minute to stop

# Receipts about the borrower or the address, and not only about this message.
_OPT_OUTS = (ReceiptStatus.OPTED_OUT, ReceiptStatus.COMPLAINED)
_FEEDBACK = (ProviderReason.OPTED_OUT_AT_PROVIDER, ProviderReason.INVALID_ADDRESS)

_Read = TypeVar("_Read", Receipt, Reply)


@dataclass(frozen=True, slots=True)
class Stages:
    """The decisions of the path, each made by one stage."""

    validator: RequestValidator
    policy: ContactPolicy
    router: ProviderRouter
    sender: Sender
    reconciler: OutcomeReconciler
    recorder: OutcomeRecorder
    classifier: ReplyClassifier


@dataclass(frozen=True, slots=True)
class Resources:
    """What the path reads, writes and calls. ``trigger`` enqueues a job for deliveries that are due.

    ``open_reference`` gives the delivery and attempt that a signed reference names; None for a forged one.
    """

    store: Store
    borrowers: BorrowerStore
    replies: ReplyStore
    controls: Controls
    catalog: Catalog
    forms: MessageForms
    providers: Mapping[str, Provider]
    rate_limiter: RateLimiter
    trigger: Callable[[Sequence[str]], Awaitable[object]]
    open_reference: Callable[[str], tuple[str, int] | None]


class Pipeline:
    """The verbs of the path. Safe to run in any number of processes on one ledger."""

    def __init__(
        self, stages: Stages, resources: Resources, observer: PathObserver, clock: Clock, lease_seconds: float
    ) -> None:
        self._stages = stages
        self._resources = resources
        self._store = resources.store
        self._observer = observer
        self._clock = clock
        self._lease = lease_seconds
        self._decide_receipt = observer.receipts(stages.recorder.after_receipt)
        self._stopping = False
        self._accepting = Batcher(self._accept_batch)
        self._settling = Batcher(self._settle_batch, max_delay=_SETTLE_MAX_DELAY_SECONDS)
        self._receiving = Batcher(self._receive_batch, max_delay=_RECEIPT_MAX_DELAY_SECONDS)
        self._triggering = Batcher(self._trigger_batch, min_interval=_TRIGGER_MIN_INTERVAL_SECONDS)

    # ── accept ──────────────────────────────────────────────────────────────────────────────────────────────

    async def accept(
        self, tenant: str, requests: Sequence[NotificationRequest], client: str = ""
    ) -> list[AcceptResult | RejectedRequest]:
        """Validate requests, decide them and store them; what is answered as accepted is on disk.

        ``client`` is the API key that they came by, as an actor. Raises Unavailable.
        """
        now, began = self._clock(), self._observer.began()
        checked = await self._validate(tenant, requests, client, now)
        valid = [each for each in checked if isinstance(each, ValidatedRequest)]
        switches = await self._resources.controls.in_force(now)
        accepted = await self._accepting.submit(valid) if valid else ()
        answers = iter([self._with_pause(*pair, switches) for pair in zip(valid, accepted, strict=True)])
        results = [next(answers) if isinstance(each, ValidatedRequest) else each for each in checked]
        self._observer.accepted(tenant, results, began)
        return results

    async def _validate(
        self, tenant: str, requests: Sequence[NotificationRequest], client: str, now: datetime
    ) -> list[ValidatedRequest | RejectedRequest | AcceptResult]:
        """Each request validated, refused, or answered as it was answered when it first came."""
        await self._resources.catalog.ensure(
            {(tenant, each.template, each.template_version) for each in requests if each.template_version is not None}
        )
        checked: list[ValidatedRequest | RejectedRequest | AcceptResult] = []
        for request in requests:
            checked.append(self._stages.validator.examine(tenant, request, now, client))
            if len(checked) % _YIELD_EVERY == 0:
                await asyncio.sleep(0)  # a batch of a thousand must not keep receipts and hand-overs waiting
        # A repeated request that would be refused by now, and was accepted at first, gets its first answer.
        late = [at for at, each in enumerate(requests) if each.idempotency_key and _refused(checked[at])]
        asked = [(requests[at].idempotency_key, fingerprint(requests[at].raw)) for at in late]
        replays = await self._store.replays(tenant, asked) if asked else ()
        for at, answer in zip(late, replays, strict=True):
            checked[at] = answer or checked[at]
        return checked

    def _with_pause(self, request: ValidatedRequest, answer: AcceptResult, switches: Sequence[Switch]) -> AcceptResult:
        """The answer, with the part of the message's route that an operator has paused, if any."""
        if not switches or answer.state is not State.ACCEPTED:
            return answer
        return replace(answer, paused=self._stages.router.held(request.notification, switches))

    async def _accept_batch(self, batch: Sequence[ValidatedRequest]) -> list[AcceptResult]:
        """Decide and store one batch in one transaction."""
        now, validator = self._clock(), self._stages.validator
        known = await known_of([each.notification for each in batch], self._store.facts, validator.digests, now)
        decided = [validator.draft(each, facts, now) for each, facts in zip(batch, known, strict=True)]
        with self._observer.batch("accept") as observed:
            accepted = await self._store.accept(decided, now)
            observed.of(answer.id for answer in accepted)
        created = [each for each, answer in zip(decided, accepted, strict=True) if answer.outcome == "created"]
        self._observer.decided("accept", ((each.notification.tenant, each.steps[-1].verdict) for each in created))
        self._triggering.submit_nowait([answer.first_delivery for answer in accepted if answer.first_delivery])
        return accepted

    # ── dispatch ────────────────────────────────────────────────────────────────────────────────────────────

    async def dispatch(self, ids: Sequence[str]) -> None:
        """Claim the deliveries that are due, and send them or settle what became of them."""
        if self._stopping:
            return  # another worker's due scanner finds them
        with self._observer.batch("dispatch") as observed:
            now = self._clock()
            claimed = await self._store.claim(ids, now, self._lease)
            observed.of(each.notification.id for each in claimed)
            if claimed:  # else a second trigger, for work that another worker has
                await self._dispatch(claimed, now)

    async def _dispatch(self, claimed: Sequence[ClaimedDelivery], now: datetime) -> None:
        owners = [each.notification for each in claimed]
        await self._resources.catalog.ensure({(each.tenant, each.template, each.template_version) for each in owners})
        pending = [each for each in claimed if each.delivery.state in PENDING_STATES]
        handed_over = [each for each in claimed if each.delivery.state not in PENDING_STATES]
        # Half of the lease: what begins by then has ended, by the providers' time-outs, before the lease expires.
        until = now + timedelta(seconds=self._lease / 2)
        ends = await asyncio.gather(
            self._hand_over(pending, now, until), self._reconcile(handed_over, now, until), return_exceptions=True
        )
        for error in ends:  # each half was to end by itself, whatever became of the other
            if error is not None:
                raise error

    async def _hand_over(self, claimed: Sequence[ClaimedDelivery], now: datetime, until: datetime) -> None:
        """Render, admit, route, choose the form, limit the rate, start, send: what is due goes out, where it may."""
        if not claimed:
            return
        reviewed = [reevaluate_expired_review(each, now) for each in claimed if each.delivery.state is State.REVIEW]
        waiting = [each for each in claimed if each.delivery.state is not State.REVIEW]
        rendered, unrenderable = render(waiting, self._resources.catalog.render, now)
        admission = admit(rendered, self._stages.policy, now)
        self._observer.not_sent((*unrenderable, *admission.transitions))
        self._observer.decided("handoff", admission.verdicts)
        ready, unroutable = self._stages.router.assign(
            admission.permitted, await self._resources.controls.in_force(now), now
        )
        ready, formless = await self._resources.forms.choose(ready, now)
        await self._apply([*reviewed, *unrenderable, *admission.transitions, *unroutable, *formless], claimed)
        ready = await self._within_rates(ready, now)
        if ready:
            started = await self._store.start(ready, now, self._lease)
            going = [each for each in ready if each.work.delivery.id in started]
            await self._stages.sender.send(going, self._attempt_ended, until)

    async def _reconcile(self, claimed: Sequence[ClaimedDelivery], now: datetime, until: datetime) -> None:
        """Look after what was handed over: its worker died, its outcome is unknown, or a deadline has passed."""
        await self._apply(await self._stages.reconciler.reconcile(claimed, now, until), claimed)

    async def _apply(self, transitions: Sequence[Transition], claimed: Sequence[ClaimedDelivery]) -> None:
        """Write transitions of claimed deliveries, each with its claim's fencing token."""
        fences = {each.delivery.id: each.delivery.fence for each in claimed}
        opened = await self._store.apply([replace(each, fence=fences[each.delivery_id]) for each in transitions])
        self._triggering.submit_nowait(opened)

    async def _within_rates(self, ready: Sequence[Outgoing], now: datetime) -> list[Outgoing]:
        """As many as the providers' rate limits allow; the rest is postponed until there is room."""
        going: list[Outgoing] = []
        for provider in dict.fromkeys(each.provider for each in ready):
            mine = [each for each in ready if each.provider == provider]
            granted, wait = await self._resources.rate_limiter.grant(provider, len(mine))
            going += mine[:granted]
            await self._store.postpone([each.work for each in mine[granted:]], now + timedelta(seconds=wait))
        return going

    # ── settle ──────────────────────────────────────────────────────────────────────────────────────────────

    async def _attempt_ended(self, attempt: Attempt) -> None:
        await self._settling.submit([attempt])

    async def _settle_batch(self, ended: Sequence[Attempt]) -> list[None]:
        """Record providers' answers. They are known nowhere else, so a ledger that is away is waited for."""
        retrying = AsyncRetrying(retry=retry_if_exception_type(Unavailable), wait=wait_fixed(_RETRY_WRITE_SECONDS))
        async with asyncio.timeout(_KEEP_WRITING_SECONDS):
            opened: list[str] = await retrying(self._settle, ended)
        for attempt in ended:
            self._stages.router.learn(attempt)
        self._observer.attempted(ended)
        self._triggering.submit_nowait(opened)
        return [None] * len(ended)

    async def _settle(self, ended: Sequence[Attempt]) -> list[str]:
        for attempt in ended:
            # Before the attempt is settled: if this process dies in between, the feedback must survive.
            if isinstance(attempt.result, PermanentFailure):
                await self._apply_feedback(attempt.work.delivery.id, attempt.result.reason, attempt.provider)
            if (report := template_report(attempt)) is not None:
                await self._resources.forms.report(attempt.provider, [report])
        with self._observer.batch("settle") as observed:
            observed.of(attempt.work.notification.id for attempt in ended)
            return await self._store.settle(ended, self._stages.recorder.after_attempt, self._decide_receipt)

    async def _apply_feedback(self, delivery_id: str | None, reason: ProviderReason | None, provider: str) -> None:
        """Record what a provider's refusal says of the borrower or the address, for all later messages."""
        if delivery_id is None:
            return  # of a message that is not known here
        if reason is ProviderReason.OPTED_OUT_AT_PROVIDER:
            arrived = self._clock()
            await self._resources.borrowers.opt_out_delivery(delivery_id, f"provider:{provider}")
            self._observer.opted_out("provider", self._clock() - arrived)
        elif reason is ProviderReason.INVALID_ADDRESS:
            await self._resources.borrowers.suppress_address(delivery_id, reason)

    # ── receive ─────────────────────────────────────────────────────────────────────────────────────────────

    async def receive(self, provider: str, request: CallbackRequest) -> list[str]:
        """Take a provider's callback: verify, match, decide, record. The result of each receipt in it.

        Raises: KeyError (no such provider), BadSignature, MalformedCallback, Unavailable (it will come again).
        """
        found = self._resources.providers[provider]
        return await self._take_receipts(provider, await _read(found, found.read_receipts, request))

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
        await self._take_receipts(provider, events.receipts)
        for reply in events.replies:
            await self._answer(provider, reply, await self._take_reply(provider, reply))
        return events.body, events.media_type

    async def handle_provider_push(self, provider: str, receipts: Sequence[Receipt], replies: Sequence[Reply]) -> bool:
        """Take what a provider sent on its own connection. False: it could not be stored, and must come again."""
        try:
            await self._take_receipts(provider, receipts)
            for reply in replies:
                await self._answer(provider, reply, await self._take_reply(provider, reply))
        except Unavailable:
            return False
        return True

    async def _answer(self, provider: str, reply: Reply, taken: Sequence[RecordedReply]) -> None:
        """Confirm a stop, or answer a call for help, where the provider can; what was taken is in force anyway."""
        channel = self._resources.providers[provider]
        text = "" if reply.answered else self._stages.classifier.answer(taken)
        if text and isinstance(channel, AnswersReplies):
            try:
                await channel.answer_reply(reply, text)
            except SendFailure as failure:
                self._observer.reply_not_answered(provider, failure)

    async def _take_receipts(self, provider: str, receipts: Sequence[Receipt]) -> list[str]:
        arrived = []
        for receipt in receipts:
            named = self._resources.open_reference(receipt.reference) if receipt.reference else None
            arrived.append(ReceiptFor(receipt, *named) if named else ReceiptFor(receipt))
            known_by = receipt.provider_message_id or receipt.tag
            if (named or known_by) and (receipt.status in _OPT_OUTS or receipt.reason in _FEEDBACK):
                # A complaint may name the message by its id alone, and comes long after that was recorded.
                about = named[0] if named else await self._store.owner(provider, known_by)
                said = ProviderReason.OPTED_OUT_AT_PROVIDER if receipt.status in _OPT_OUTS else receipt.reason
                await self._apply_feedback(about, said, provider)
        verified = [each for each in arrived if _names_a_message(each)]
        recorded = iter(await self._receiving.submit(verified) if verified else ())
        results = [next(recorded) if _names_a_message(each) else "unverified" for each in arrived]
        self._observer.received(provider, arrived, results)
        return results

    async def _receive_batch(self, arrived: Sequence[ReceiptFor]) -> list[str]:
        with self._observer.batch("receive"):
            results, opened = await self._store.receive(arrived, self._clock(), self._decide_receipt)
        self._triggering.submit_nowait(opened)
        return results

    async def match_parked(self) -> None:
        """Take up receipts that came before their message was known, and that the settling of it missed."""
        self._triggering.submit_nowait(await self._store.match_parked(self._clock(), self._decide_receipt))

    async def reply(self, provider: str, request: CallbackRequest) -> tuple[bytes, str]:
        """Take what borrowers wrote back; the provider's HTTP answer, which may carry one message to them.

        Raises: KeyError (no such provider, or none that takes replies), BadSignature, MalformedCallback, Unavailable.
        """
        channel = self._resources.providers[provider]
        if not isinstance(channel, TakesReplies):
            raise KeyError(provider)
        text = ""
        for reply in await _read(channel, channel.read_replies, request):
            recorded = await self._take_reply(provider, reply)
            text = text or ("" if reply.answered else self._stages.classifier.answer(recorded))
        return channel.answer(text)

    async def _take_reply(self, provider: str, reply: Reply) -> list[RecordedReply]:
        channel = self._resources.providers[provider].channel
        named = self._resources.open_reference(reply.reference) if reply.reference else None
        if reply.reference and named is None:
            self._observer.reply_unverified(provider)
            return []  # to an address that was not signed here
        try:
            if reply.identity and not named:
                channel, address = reply.identity, reply.address.strip()
            else:
                address = "" if named else self._stages.validator.normalise(channel, reply.address)
        except ValueError:
            return []  # a short code or a name: nobody who could have been written to
        arrived = self._clock()
        classify = partial(self._stages.classifier.classify, keyword=reply.keyword)
        delivery_id = named[0] if named else ""
        await self._resources.forms.wrote(provider, channel, address, delivery_id)
        recorded = await self._resources.replies.record(reply, channel, address, classify, delivery_id)
        self._observer.replied(provider, recorded, self._clock() - arrived)
        return recorded

    async def mark_read(self, tenant: str, borrower_id: str, inbox_id: int) -> bool:
        """Record that the borrower read a message of their feed. False: it is not theirs, or does not exist."""
        delivery_id = await self._resources.borrowers.mark_read(tenant, borrower_id, inbox_id)
        if delivery_id is None:
            return False
        receipt = Receipt(provider="inapp", status=ReceiptStatus.READ, reference=delivery_id)
        await self._receiving.submit([ReceiptFor(receipt, delivery_id)])
        return True

    # ── trigger and stop ────────────────────────────────────────────────────────────────────────────────────

    async def _trigger_batch(self, ids: Sequence[str]) -> list[None]:
        await self._resources.trigger(ids)
        return [None] * len(ids)

    def stop(self) -> None:
        """Begin nothing more. Calls under way end as they do, and the rest is given back at once."""
        self._stopping = True
        self._stages.sender.stop()

    async def drain(self) -> None:
        """Write what has ended but is not recorded yet; for a clean stop."""
        with suppress(TimeoutError):  # a ledger that stays away is not waited for
            async with asyncio.timeout(_DRAIN_SECONDS):
                for each in (self._accepting, self._settling, self._receiving, self._triggering):
                    await each.drain()


def _refused(checked: ValidatedRequest | RejectedRequest | AcceptResult) -> bool:
    return isinstance(checked, RejectedRequest)


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
