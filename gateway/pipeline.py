"""The path of a reminder, from request to receipt. Read this first.

    POST ─ accept ─► ledger (commit = 202) ─ trigger ─► claim ─ render ─ admit ─ send ─► provider
                        ▲      relay: due, lost or expired work ─┘                 │          │ callback
                        └──────────────── every move ◄─────────────── settle ◄─────┴──────────┘

Each verb takes a batch, asks one stage for decisions, and gives them to the ledger. The ledger is the truth:
whatever is lost besides it (a trigger, a worker, all of Redis) is found again there by the relay. The order of
stages is here and nowhere else; the decisions are in gateway/stages and gateway/policy, and are pure.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from channels.base import (
    CallbackRequest,
    PermanentFailure,
    Provider,
    ProviderReason,
    Receipt,
    ReceiptStatus,
    Reply,
    TakesReplies,
)
from gateway.core.batcher import Batcher
from gateway.core.codec import fingerprint
from gateway.core.model import PENDING_STATES, STOPS, Notification, State, Switch
from gateway.core.observer import Observer
from gateway.core.ports import (
    AcceptResult,
    Attempt,
    ClaimedDelivery,
    Clock,
    Decide,
    Delivery,
    Ledger,
    NotificationRequest,
    Outgoing,
    Pace,
    People,
    ReceiptFor,
    RecordedReply,
    RejectedRequest,
    Replies,
    Switches,
    Templates,
    Transition,
    Unavailable,
    ValidatedRequest,
)
from gateway.observability import log_records, logs, tracing
from gateway.stages.accept import RequestValidator
from gateway.stages.admit import admit, reevaluate_expired_review
from gateway.stages.classify_reply import ReplyClassifier
from gateway.stages.facts import known_of
from gateway.stages.reconcile import OutcomeReconciler
from gateway.stages.render import render
from gateway.stages.route import ProviderRouter
from gateway.stages.send import Sender
from gateway.stages.settle import OutcomeRecorder

# Requests examined in one go, some ten milliseconds of work; our choice.
_YIELD_EVERY = 10

_AGAIN_SECONDS = 0.5  # after which what could not be written is written again; our choice
_KEPT_SECONDS = 120.0  # for how long that is tried: longer than a database's failover takes; our choice
# The ends of attempts wait so long for others: borrowers have their messages already, and a transaction costs as much
# processor as some ten ends in it (measured). Our choice.
_SETTLE_MAX_DELAY_SECONDS = 0.005
# Receipts may wait longer: nothing is lost with them, for a provider that has no answer calls again. Our choice.
_RECEIPT_MAX_DELAY_SECONDS = 0.02
# A trigger goes at once, and those of the next moment together: a job costs a worker about a millisecond whatever is
# in it (measured), and nobody waits for it. Our choice.
_TRIGGER_MIN_INTERVAL_SECONDS = 0.02
_DRAIN_SECONDS = 10.0  # our choice: a stop has some half a minute at most where containers run

# Receipts that say something of the borrower or the address, and not only of this message.
_SAYING_NO = (ReceiptStatus.OPTED_OUT, ReceiptStatus.COMPLAINED)
_TELLING = (ProviderReason.OPTED_OUT_AT_PROVIDER, ProviderReason.INVALID_ADDRESS)

Trigger = Callable[[Sequence[str]], Awaitable[object]]


@dataclass(frozen=True, slots=True)
class Stages:
    """The decisions of the path, each made by one stage."""

    acceptor: RequestValidator
    templates: Templates
    decide: Decide
    chooser: ProviderRouter
    sender: Sender
    enquirer: OutcomeReconciler
    settler: OutcomeRecorder
    listener: ReplyClassifier


class Pipeline:
    """The verbs of the path. Safe to run in any number of processes on one ledger."""

    def __init__(
        self,
        ledger: Ledger,
        people: People,
        replies: Replies,
        switches: Switches,
        stages: Stages,
        providers: Mapping[str, Provider],
        open_reference: Callable[[str], tuple[str, int] | None],
        trigger: Trigger,
        pace: Pace,
        observer: Observer,
        clock: Clock,
        lease_seconds: float,
    ) -> None:
        self._ledger = ledger
        self._people = people
        self._replies = replies
        self._switches = switches
        self._stages = stages
        self._providers = providers
        self._open_reference = open_reference
        self._pace = pace
        self._observer = observer
        self._clock = clock
        self._lease = lease_seconds
        self._stopping = False
        self._accepting = Batcher(self._accept_batch)
        self._settling = Batcher(self._settle_batch, max_delay=_SETTLE_MAX_DELAY_SECONDS)
        self._receiving = Batcher(self._receive_batch, max_delay=_RECEIPT_MAX_DELAY_SECONDS)
        self._triggering = Batcher(_answering_none(trigger), min_interval=_TRIGGER_MIN_INTERVAL_SECONDS)

    # ── accept ──────────────────────────────────────────────────────────────────────────────────────────────

    async def accept(
        self, tenant: str, requests: Sequence[NotificationRequest], client: str = ""
    ) -> list[AcceptResult | RejectedRequest]:
        """Take requests into the ledger. What is answered as accepted is on disk. Raises Unavailable.

        ``client`` is whose requests they are: the key they came by.
        """
        now, began = self._clock(), tracing.now()
        await self._stages.templates.ensure(
            {(tenant, each.template, each.template_version) for each in requests if each.template_version is not None}
        )
        examined: list[ValidatedRequest | RejectedRequest | AcceptResult] = []
        for request in requests:
            examined.append(self._stages.acceptor.examine(tenant, request, now, client))
            if len(examined) % _YIELD_EVERY == 0:
                await asyncio.sleep(0)  # a batch of a thousand must not keep receipts and hand-offs waiting
        await self._replay(tenant, requests, examined)
        good = [each for each in examined if isinstance(each, ValidatedRequest)]
        switches = await self._switches.in_force(now)
        accepted = await self._accepting.submit(good) if good else ()
        for answer in accepted:
            if answer.outcome == "created":
                tracing.notification(answer.id, began, tenant=tenant, state=answer.state, reason=answer.reason)
        answers = iter([self._with_pause(*pair, switches) for pair in zip(good, accepted, strict=True)])
        results = [next(answers) if isinstance(each, ValidatedRequest) else each for each in examined]
        logs.log_batch("accepted", (log_records.accepted(tenant, each) for each in results))
        for result in results:
            if isinstance(result, RejectedRequest):
                self._observer.refused(result.reason)
            else:
                duplicate = result.outcome == "created" and result.duplicate_of is not None
                self._observer.accepted("duplicate" if duplicate else result.outcome, tenant)
        return results

    async def _replay(
        self,
        tenant: str,
        requests: Sequence[NotificationRequest],
        examined: list[ValidatedRequest | RejectedRequest | AcceptResult],
    ) -> None:
        """What would be refused by now and was taken when it came first has its answer from then."""
        late = [
            at for at, each in enumerate(examined) if isinstance(each, RejectedRequest) and requests[at].idempotency_key
        ]
        if not late:
            return
        asked = [(requests[at].idempotency_key, fingerprint(requests[at].raw)) for at in late]
        for at, answer in zip(late, await self._ledger.replays(tenant, asked), strict=True):
            examined[at] = answer or examined[at]

    def _with_pause(self, examined: ValidatedRequest, answer: AcceptResult, switches: Sequence[Switch]) -> AcceptResult:
        """The answer, with what pauses hold up of the message's route, if anything."""
        if not switches or answer.state is not State.ACCEPTED:
            return answer
        return replace(answer, paused=self._stages.chooser.held(examined.notification, switches))

    async def _accept_batch(self, batch: Sequence[ValidatedRequest]) -> list[AcceptResult]:
        now = self._clock()
        acceptor = self._stages.acceptor
        known = await known_of([each.notification for each in batch], self._ledger, acceptor.digests, now)
        drafts = [acceptor.draft(each, facts, now) for each, facts in zip(batch, known, strict=True)]
        with tracing.batch("accept") as span:
            accepted = await self._ledger.accept(drafts, now)
            tracing.link(span, (answer.id for answer in accepted))
        for draft, answer in zip(drafts, accepted, strict=True):
            if answer.outcome == "created":
                verdict = draft.steps[-1].verdict
                self._observer.decided(verdict.kind, verdict.reason, "accept", draft.notification.tenant)
        self._observer.batched("accept", len(batch))
        self._triggering.submit_nowait([answer.first_delivery for answer in accepted if answer.first_delivery])
        return accepted

    # ── dispatch ────────────────────────────────────────────────────────────────────────────────────────────

    async def dispatch(self, ids: Sequence[str]) -> None:
        """Do what is due for these deliveries: send them, or settle what became of them."""
        with tracing.batch("dispatch") as span:
            await self._dispatch(ids, span)

    async def _dispatch(self, ids: Sequence[str], span: tracing.Span | None) -> None:
        if self._stopping:
            return  # another worker's relay finds them
        now = self._clock()
        works = await self._ledger.claim(ids, now, self._lease)
        if not works:
            return  # a second trigger for work that somebody else has
        self._observer.batched("dispatch", len(works))
        tracing.link(span, (work.notification.id for work in works))
        await self._stages.templates.ensure(
            {(each.tenant, each.template, each.template_version) for each in (work.notification for work in works)}
        )
        unsent = [work for work in works if work.delivery.state in PENDING_STATES]
        handed_over = [work for work in works if work.delivery.state not in PENDING_STATES]
        # Half of the lease: what begins by then has ended, by the providers' time-outs, before it runs out.
        until = now + timedelta(seconds=self._lease / 2)
        ends = await asyncio.gather(
            self._hand_over(unsent, now, until), self._find_out(handed_over, now, until), return_exceptions=True
        )
        for error in ends:  # each half was to end by itself, whatever became of the other
            if error is not None:
                raise error

    async def _hand_over(self, works: Sequence[ClaimedDelivery], now: datetime, until: datetime) -> None:
        """Render, admit, choose, pace, start, send: what is due goes out, where it may."""
        if not works:
            return
        reviewed = [reevaluate_expired_review(work, now) for work in works if work.delivery.state is State.REVIEW]
        waiting = [work for work in works if work.delivery.state is not State.REVIEW]
        outgoing, unrenderable = render(waiting, self._stages.templates, now)
        admission = admit(outgoing, self._stages.decide, now)
        logs.log_batch("not sent", map(log_records.not_sent, (*unrenderable, *admission.moves)))
        switches = await self._switches.in_force(now)
        ready, unroutable = self._stages.chooser.assign(admission.permitted, switches, now)
        for tenant, verdict in admission.verdicts:
            self._observer.decided(verdict.kind, verdict.reason, "handoff", tenant)
        await self._apply([*reviewed, *unrenderable, *admission.moves, *unroutable], works)
        ready = await self._paced(ready, now)
        if ready:
            started = await self._ledger.start(ready, now, self._lease)
            going = [each for each in ready if each.work.delivery.id in started]
            await self._stages.sender.send(going, self._attempt_ended, until)

    async def _find_out(self, works: Sequence[ClaimedDelivery], now: datetime, until: datetime) -> None:
        """Look after what was handed over: its worker died, its outcome is unknown, or a deadline has passed."""
        await self._apply(await self._stages.enquirer.enquire(works, now, until), works)

    async def _apply(self, moves: Sequence[Transition], works: Sequence[ClaimedDelivery]) -> None:
        """Write moves decided on claimed deliveries, as far as the claims still stand."""
        fences = {work.delivery.id: work.delivery.fence for work in works}
        opened = await self._ledger.apply([replace(move, fence=fences[move.delivery_id]) for move in moves])
        self._triggering.submit_nowait(opened)

    async def _paced(self, ready: Sequence[Outgoing], now: datetime) -> list[Outgoing]:
        """As many as the providers' rates allow; the rest is given back until there is room."""
        going: list[Outgoing] = []
        for provider in dict.fromkeys(each.provider for each in ready):
            mine = [each for each in ready if each.provider == provider]
            granted, wait = await self._pace.grant(provider, len(mine))
            going += mine[:granted]
            await self._ledger.postpone([each.work for each in mine[granted:]], now + timedelta(seconds=wait))
        return going

    async def _attempt_ended(self, attempt: Attempt) -> None:
        await self._settling.submit([attempt])

    async def _apply_provider_feedback(
        self, delivery_id: str | None, reason: ProviderReason | None, provider: str
    ) -> None:
        """What a provider's refusal says of the borrower or of the address, for all later messages."""
        if delivery_id is None:
            return  # of a message that we don't know
        if reason is ProviderReason.OPTED_OUT_AT_PROVIDER:
            arrived = self._clock()
            await self._people.opt_out_delivery(delivery_id, f"provider:{provider}")
            self._observer.opted_out("provider", (self._clock() - arrived).total_seconds())
        elif reason is ProviderReason.INVALID_ADDRESS:
            await self._people.suppress_address(delivery_id, reason)

    async def _settle_batch(self, ended: Sequence[Attempt]) -> list[None]:
        """Record what providers answered. Nobody else knows it, so a ledger that is away is waited for."""
        async with asyncio.timeout(_KEPT_SECONDS):
            while True:
                try:
                    opened = await self._settle(ended)
                    break
                except Unavailable:
                    await asyncio.sleep(_AGAIN_SECONDS)
        logs.log_batch("attempted", map(log_records.attempted, ended))
        for attempt in ended:
            self._stages.chooser.learn(attempt)
            outcome, reason, _ = attempt.outcome()
            waited = (attempt.finished_at - _due_since(attempt.work)).total_seconds()
            notification, channel = attempt.work.notification, attempt.work.delivery.channel
            self._observer.attempted(notification, channel, attempt.provider, outcome, reason, waited)
        self._observer.batched("settle", len(ended))
        self._triggering.submit_nowait(opened)
        return [None] * len(ended)

    async def _settle(self, ended: Sequence[Attempt]) -> list[str]:
        for attempt in ended:
            # Before the attempt is settled: if we die in between, what was learned of the address must survive.
            if isinstance(attempt.result, PermanentFailure):
                await self._apply_provider_feedback(attempt.work.delivery.id, attempt.result.reason, attempt.provider)
        settler = self._stages.settler
        with tracing.batch("settle") as span:
            tracing.link(span, (attempt.work.notification.id for attempt in ended))
            return await self._ledger.settle(ended, settler.after_attempt, settler.after_receipt)

    # ── receive ─────────────────────────────────────────────────────────────────────────────────────────────

    async def receive(self, provider: str, request: CallbackRequest) -> list[str]:
        """Take a provider's callback: verify, recognise, move, record. One word per receipt in it.

        Raises: KeyError (no such provider), BadSignature, MalformedCallback, Unavailable (it will come again).
        """
        return await self._take_receipts(provider, self._providers[provider].read_receipts(request))

    async def handle_provider_push(self, provider: str, receipts: Sequence[Receipt], replies: Sequence[Reply]) -> bool:
        """Take what a provider said on a connection of its own. False: it could not be stored, and must come again."""
        try:
            await self._take_receipts(provider, receipts)
            for reply in replies:
                await self._take_reply(provider, reply)
        except Unavailable:
            return False
        return True

    async def _take_receipts(self, provider: str, receipts: Sequence[Receipt]) -> list[str]:
        arrived = []
        for receipt in receipts:
            named = self._open_reference(receipt.reference) if receipt.reference else None
            arrived.append(ReceiptFor(receipt, *named) if named else ReceiptFor(receipt))
            if receipt.status in _SAYING_NO or receipt.reason in _TELLING:
                # A complaint may name the message only by its id, and comes long after our own record of it.
                about = named[0] if named else await self._ledger.owner(provider, receipt.provider_message_id)
                told = ProviderReason.OPTED_OUT_AT_PROVIDER if receipt.status in _SAYING_NO else receipt.reason
                await self._apply_provider_feedback(about, told, provider)
        words = await self._receiving.submit(arrived) if arrived else []
        logs.log_batch("received", map(log_records.received, arrived, words))
        for receipt, word in zip(receipts, words, strict=True):
            self._observer.received(provider, receipt.status, word)
        return words

    async def _receive_batch(self, arrived: Sequence[ReceiptFor]) -> list[str]:
        with tracing.batch("receive"):
            words, opened = await self._ledger.receive(arrived, self._clock(), self._after_receipt)
        self._triggering.submit_nowait(opened)
        return words

    async def match_parked(self) -> None:
        """Take up receipts that came before their message was known, and that its record has missed."""
        self._triggering.submit_nowait(await self._ledger.match_parked(self._clock(), self._after_receipt))

    def _after_receipt(
        self, delivery: Delivery, notification: Notification, receipt: Receipt, attempt: int, now: datetime
    ) -> Transition:
        with tracing.step("receipt", notification.id, delivery_id=delivery.id, attempt=attempt) as span:
            move = self._stages.settler.after_receipt(delivery, notification, receipt, attempt, now)
            tracing.set_attributes(
                span, provider=receipt.provider, status=receipt.status, state=move.to, reason=move.reason
            )
        if move.to in (State.DELIVERED, State.UNDELIVERED) and delivery.sent_at is not None:
            self._observer.settled(notification.id, delivery.channel, (now - delivery.sent_at).total_seconds())
        return move

    async def reply(self, provider: str, request: CallbackRequest) -> tuple[bytes, str]:
        """Take what borrowers wrote back; the provider's HTTP answer, which may carry one message to them.

        Raises: KeyError (no such provider, or none that takes replies), BadSignature, MalformedCallback, Unavailable.
        """
        channel = self._providers[provider]
        if not isinstance(channel, TakesReplies):
            raise KeyError(provider)
        text = ""
        for reply in channel.read_replies(request):
            taken = await self._take_reply(provider, reply)
            text = text or ("" if reply.answered else self._stages.listener.answer(taken))
        return channel.answer(text)

    async def _take_reply(self, provider: str, reply: Reply) -> list[RecordedReply]:
        channel = self._providers[provider].channel
        try:
            address = self._stages.acceptor.normalise(channel, reply.address)
        except ValueError:
            return []  # a short code or a name: nobody whom we could have written to
        arrived = self._clock()
        taken = await self._replies.record(reply, channel, address, self._stages.listener.classify)
        logs.log_batch("replied", map(log_records.replied, taken))
        for each in taken:
            self._observer.replied(provider, each.intent)
            if each.new and each.intent in STOPS:
                self._observer.opted_out("reply", (self._clock() - arrived).total_seconds())
        return taken

    async def mark_read(self, tenant: str, borrower_id: str, inbox_id: int) -> bool:
        """The borrower read a message of their feed; False where it is not theirs or does not exist."""
        delivery_id = await self._people.mark_read(tenant, borrower_id, inbox_id)
        if delivery_id is None:
            return False
        receipt = Receipt(provider="inapp", status=ReceiptStatus.READ, reference=delivery_id)
        await self._receiving.submit([ReceiptFor(receipt, delivery_id)])
        return True

    def stop(self) -> None:
        """Begin nothing more. Calls under way end as they do, and the rest is another worker's at once."""
        self._stopping = True
        self._stages.sender.stop()

    async def drain(self) -> None:
        """Write what has ended but is not recorded yet; for a clean stop."""
        with suppress(TimeoutError):  # a ledger that stays away is not waited for
            async with asyncio.timeout(_DRAIN_SECONDS):
                for each in (self._accepting, self._settling, self._receiving, self._triggering):
                    await each.drain()


def _answering_none(trigger: Trigger) -> Callable[[Sequence[str]], Awaitable[list[None]]]:
    async def flush(ids: Sequence[str]) -> list[None]:
        await trigger(ids)
        return [None] * len(ids)

    return flush


def _due_since(work: ClaimedDelivery) -> datetime:
    return work.delivery.due_at or work.notification.accepted_at
