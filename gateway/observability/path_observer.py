"""What is observed of the path: the log record, the metric and the span of everything that happens on it.

One method for each happening, so that the pipeline and the stages say what happened once. A log record is made of ids
and words of closed lists; gateway/observability/logs.py decides what may be in it at all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from datetime import datetime, timedelta

import structlog

from channels.base import Message, Receipt, SendFailure
from gateway.core.deliveries import Attempt, Delivery, Outgoing, ReceiptFor, RecordedReply, Transition
from gateway.core.notifications import Notification
from gateway.core.reasons import STOPS
from gateway.core.requests import AcceptResult, RejectedRequest
from gateway.core.states import State
from gateway.core.verdicts import Verdict
from gateway.observability import logs, tracing
from gateway.observability.metrics import Metrics
from gateway.observability.metrics.words import CallbackRefusal

DecideReceipt = Callable[[Delivery, Notification, Receipt, int, datetime], Transition]


class Batch:
    """The batch that a span is about, once it is known."""

    def __init__(self, span: tracing.Span | None) -> None:
        self._span = span
        self.size = 0

    def of(self, notification_ids: Iterable[str]) -> None:
        """Link the span to the notifications in the batch, one id for each of its items."""
        ids = list(notification_ids)
        self.size = len(ids)
        tracing.link(self._span, ids)


class PathObserver:
    """Logs, counts and traces the path. Every method returns at once and raises nothing of its own."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    def _log(self, event: str, records: Iterable[dict[str, object]]) -> None:
        log = structlog.get_logger("gateway").bind()  # bound once for a batch: binding costs more than a record
        for record in records:
            log.info(event, **record)

    @contextmanager
    def batch(self, stage: str) -> Iterator[Batch]:
        """A span around one stage's work on a batch; its size is counted when the work has ended without an error."""
        with tracing.batch(stage) as span:
            batch = Batch(span)
            yield batch
        if batch.size:
            self._metrics.batched(stage, batch.size)

    # ── accept ──────────────────────────────────────────────────────────────────────────────────────────────

    def began(self) -> int:
        """When a request began, for ``accepted``: nanoseconds since 1970 by this machine's clock, 0 without traces."""
        return tracing.now()

    def accepted(self, tenant: str, results: Sequence[AcceptResult | RejectedRequest], began: int) -> None:
        """Requests have been answered. A new notification's trace begins with a span from ``began`` till now."""
        request_id = logs.request_id.get()
        self._log("accepted", (_accepted(tenant, request_id, each) for each in results))
        for result in results:
            if isinstance(result, RejectedRequest):
                self._metrics.refused(result.reason)
                continue
            created = result.outcome == "created"
            duplicate = created and result.duplicate_of is not None
            self._metrics.accepted("duplicate" if duplicate else result.outcome, tenant)
            if created:
                tracing.notification(result.id, began, tenant=tenant, state=result.state, reason=result.reason)

    def decided(self, when: str, verdicts: Iterable[tuple[str, Verdict]]) -> None:
        """The contact policy has decided, ``when`` accepting or handing over: verdicts, each with its tenant."""
        for tenant, verdict in verdicts:
            self._metrics.decided(verdict.kind, verdict.reason, when, tenant)

    # ── send ────────────────────────────────────────────────────────────────────────────────────────────────

    def not_sent(self, transitions: Iterable[Transition]) -> None:
        """Messages were due and are not handed over now."""
        self._log(
            "not sent",
            (
                {"delivery_id": each.delivery_id, "kind": each.kind, "state": each.to, "reason": each.reason}
                for each in transitions
            ),
        )

    def attempt(self, outgoing: Outgoing, message: Message) -> AbstractContextManager[tracing.Span | None]:
        """A span around one provider call; ``attempt_ended`` says how it ended."""
        return tracing.step(
            "send",
            outgoing.work.notification.id,
            delivery_id=message.delivery_id,
            attempt=message.attempt,
            channel=outgoing.work.delivery.channel,
            provider=outgoing.provider,
        )

    def attempt_ended(self, span: tracing.Span | None, attempt: Attempt) -> None:
        """A provider call has ended; it is not recorded yet."""
        outcome, reason, code = attempt.outcome()
        tracing.set_attributes(span, outcome=outcome, reason=reason, code=code)

    def attempted(self, ended: Sequence[Attempt]) -> None:
        """Attempts have ended and are recorded."""
        self._log("attempted", map(_attempted, ended))
        for attempt in ended:
            outcome, reason, _ = attempt.outcome()
            claimed = attempt.work
            due_since = claimed.delivery.due_at or claimed.notification.accepted_at
            waited = (attempt.finished_at - due_since).total_seconds()
            channel = claimed.delivery.channel
            self._metrics.attempted(claimed.notification, channel, attempt.provider, outcome, reason, waited)

    # ── receive ─────────────────────────────────────────────────────────────────────────────────────────────

    def received(self, provider: str, arrived: Sequence[ReceiptFor], results: Sequence[str]) -> None:
        """Receipts are recorded, each with its result (``ReceiptResult``)."""
        self._log("received", map(_received, arrived, results))
        for each, result in zip(arrived, results, strict=True):
            self._metrics.received(provider, each.receipt.status, result)

    def receipts(self, decide: DecideReceipt) -> DecideReceipt:
        """``decide``, with a span in the notification's trace and the time from hand-over to the final receipt."""

        def observed(
            delivery: Delivery, notification: Notification, receipt: Receipt, attempt: int, now: datetime
        ) -> Transition:
            with tracing.step("receipt", notification.id, delivery_id=delivery.id, attempt=attempt) as span:
                found = decide(delivery, notification, receipt, attempt, now)
                tracing.set_attributes(
                    span, provider=receipt.provider, status=receipt.status, state=found.to, reason=found.reason
                )
            if found.to in (State.DELIVERED, State.UNDELIVERED) and delivery.sent_at is not None:
                self._metrics.settled(notification.id, delivery.channel, (now - delivery.sent_at).total_seconds())
            return found

        return observed

    def opted_out(self, source: str, took: timedelta) -> None:
        """An opt-out is in force, this long after it arrived."""
        self._metrics.opted_out(source, took.total_seconds())

    def replied(self, provider: str, recorded: Sequence[RecordedReply], took: timedelta) -> None:
        """A borrower's reply is recorded, and in force, this long after it arrived."""
        self._log(
            "replied",
            ({"tenant": each.tenant, "delivery_id": each.delivery_id, "kind": each.intent} for each in recorded),
        )
        for each in recorded:
            self._metrics.replied(provider, each.intent)
            if each.new and not STOPS.isdisjoint(each.intents):
                self.opted_out("reply", took)

    def review_queue_full(self, provider: str) -> None:
        """An unverified report could not be kept, because too many wait for a person."""
        self._log("report refused", [{"provider": provider, "reason": CallbackRefusal.QUEUE_FULL}])
        self._metrics.callback_refused(provider, CallbackRefusal.QUEUE_FULL)

    def reference_refused(self, provider: str) -> None:
        """A callback has a reference that no signing key verifies: forged, or signed by a key that was removed."""
        self._log("reference refused", [{"provider": provider}])
        self._metrics.callback_refused(provider, CallbackRefusal.UNVERIFIED_REFERENCE)

    def reply_not_answered(self, provider: str, failure: SendFailure) -> None:
        """A reply is recorded and in force, but its confirmation could not be sent."""
        record: dict[str, object] = {"provider": provider, "reason": failure.reason, "code": failure.code}
        self._log("reply not answered", [record])


def _accepted(tenant: str, request_id: str, result: AcceptResult | RejectedRequest) -> dict[str, object]:
    head = {"tenant": tenant, "request_id": request_id}
    if isinstance(result, RejectedRequest):
        return {**head, "outcome": "refused", "reason": result.reason}
    kept = {"outcome": result.outcome, "state": result.state, "reason": result.reason}
    return {**head, "notification_id": result.id, "delivery_id": result.first_delivery, **kept}


def _attempted(attempt: Attempt) -> dict[str, object]:
    outcome, reason, code = attempt.outcome()
    delivery = attempt.work.delivery
    return {
        "notification_id": delivery.notification_id,
        "delivery_id": delivery.id,
        "attempt": attempt.message.attempt,
        "channel": delivery.channel,
        "provider": attempt.provider,
        "outcome": outcome,
        "reason": reason,
        "code": code,
        "milliseconds": round((attempt.finished_at - attempt.started_at).total_seconds() * 1000),
    }


def _received(arrived: ReceiptFor, result: str) -> dict[str, object]:
    receipt = arrived.receipt
    said = {"provider": receipt.provider, "status": receipt.status, "reason": receipt.reason, "code": receipt.code}
    return {"delivery_id": arrived.delivery_id, "attempt": arrived.attempt, "result": result, **said}
