"""The path of a reminder, from request to provider. Read this first.

    POST ─ accept ─► ledger (commit = 202) ─ trigger ─► claim ─ render ─ admit ─ route ─ start ─ send ─► provider
                        ▲      due scanner: due, lost or expired work ─┘                          │         │ callback
                        └──────────────── every transition ◄──────────────────────────── settle ◄─┴─────────┘

Each verb takes a batch, asks the stages for decisions, and has the store write them in one transaction (group commit).
The ledger is the source of truth: whatever is lost besides it (a trigger, a worker, all of Redis) is found again in it
by the due scanner, as from a transactional outbox. The order of the stages is here and nowhere else. The decisions are
in gateway/stages and gateway/policy, and are pure. Logs, metrics and spans are gateway/observability/path_observer.py.
Callbacks are gateway/receiving.py: what providers and borrowers send back.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from tenacity import AsyncRetrying, retry_if_exception_type, wait_fixed

from channels.base import PermanentFailure
from gateway.borrowers.provider_feedback import ProviderFeedback
from gateway.core.batcher import Batcher
from gateway.core.clock import Clock
from gateway.core.codec import fingerprint
from gateway.core.controls import Switch
from gateway.core.deliveries import Attempt, ClaimedDelivery, Outgoing, Transition
from gateway.core.errors import Unavailable
from gateway.core.requests import AcceptResult, NotificationRequest, RejectedRequest, ValidatedRequest
from gateway.core.states import PENDING_STATES, State
from gateway.observability.path_observer import PathObserver
from gateway.operations.controls import Controls
from gateway.queue.token_buckets import RateLimiter
from gateway.stages.accept import RequestValidator
from gateway.stages.admit import admit, reevaluate_expired_review
from gateway.stages.contact_policy import ContactPolicy
from gateway.stages.facts import known_of
from gateway.stages.message_form import template_reports
from gateway.stages.reconcile import OutcomeReconciler
from gateway.stages.render import in_chosen_language, render
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


@dataclass(frozen=True, slots=True)
class Stages:
    """The decisions of the path, each made by one stage."""

    validator: RequestValidator
    policy: ContactPolicy
    router: ProviderRouter
    sender: Sender
    reconciler: OutcomeReconciler
    recorder: OutcomeRecorder


@dataclass(frozen=True, slots=True)
class Resources:
    """What the path reads, writes and calls. ``triggers`` enqueues jobs for deliveries that are due."""

    store: Store
    controls: Controls
    catalog: Catalog
    forms: MessageForms
    rate_limiter: RateLimiter
    feedback: ProviderFeedback
    triggers: Batcher[str, None]


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
        self._triggers = resources.triggers

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
        self._triggers.submit_nowait([answer.first_delivery for answer in accepted if answer.first_delivery])
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
        claimed = in_chosen_language(claimed)
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
        rendered, unrenderable = render(waiting, self._resources.catalog.render, self._stages.sender.links, now)
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
        self._triggers.submit_nowait(opened)

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
        self._triggers.submit_nowait(opened)
        return [None] * len(ended)

    async def _settle(self, ended: Sequence[Attempt]) -> list[str]:
        for attempt in ended:
            # Before the attempt is settled: if this process dies in between, the feedback must survive.
            if isinstance(attempt.result, PermanentFailure):
                await self._resources.feedback.apply(attempt.work.delivery.id, attempt.result.reason, attempt.provider)
        for provider, reports in template_reports(ended).items():
            await self._resources.forms.report(provider, reports)
        with self._observer.batch("settle") as observed:
            observed.of(attempt.work.notification.id for attempt in ended)
            return await self._store.settle(ended, self._stages.recorder.after_attempt, self._decide_receipt)

    # ── stop ────────────────────────────────────────────────────────────────────────────────────────────────

    def stop(self) -> None:
        """Begin nothing more. Calls under way end as they do, and the rest is given back at once."""
        self._stopping = True
        self._stages.sender.stop()

    async def drain(self) -> None:
        """Wait until what was accepted, and what has ended at a provider, is recorded; for a clean stop."""
        await self._accepting.drain()
        await self._settling.drain()


def _refused(checked: ValidatedRequest | RejectedRequest | AcceptResult) -> bool:
    return isinstance(checked, RejectedRequest)
