"""The methods that update the metrics, for the path observer, the due scanner and the gauges' loop.

A duration of one notification carries its trace id as an exemplar. The trace id is part of the notification's id, so
an exemplar leads to the notification even while tracing is off.
"""

from __future__ import annotations

import time
from collections import Counter as Counts
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from itertools import product

from prometheus_client.exposition import choose_encoder

from gateway.core.controls import Switch, SwitchKind, SwitchScope
from gateway.core.journey_events import JourneyReview
from gateway.core.notifications import Notification
from gateway.core.quotas import TENANT_QUOTAS, QuotaState
from gateway.core.reasons import Violation
from gateway.core.understanding import OpenReviews, Urgency
from gateway.observability import tracing
from gateway.observability.metrics.meters import Meters
from gateway.observability.metrics.words import OTHER, AttemptOutcome, Dependency

# Templates with a series of their own; our choice: a lender has a dozen, and each takes a series in every process.
_MOST_TEMPLATES = 200


class Metrics(Meters):
    """One process's metrics. Labels are words of closed lists."""

    def accepted(self, outcome: str, tenant: str) -> None:
        self._series.count(self._accepted, outcome=outcome)
        self._series.count(self._tenant_requests, tenant=self._tenant_label(tenant), outcome=outcome)

    def refused(self, reason: str, times: int = 1) -> None:
        self._series.count(self._refused, times, reason=reason)

    def quota_refused(self, limit: str) -> None:
        self._series.count(self._quota_refused, limit=limit)

    def quota_used(self, tenant: str, states: Iterable[QuotaState]) -> None:
        """What is used of the tenant's limits. Keys have no series: their number is not bounded."""
        label = self._tenant_label(tenant)
        for each in states:
            if each.limit.name in TENANT_QUOTAS:
                used = 1 - each.remaining / each.limit.capacity
                self._series.set(self._quota_used, used, tenant=label, limit=each.limit.name)

    def answered(self, operation: str, seconds: float) -> None:
        """A request to take reminders was answered this long after it came."""
        self._series.observe(self._accept_time, seconds, tracing.current_trace_id(), operation=operation)

    def decided(self, verdict: str, reason: str, when: str, tenant: str) -> None:
        self._series.count(self._decisions, verdict=verdict, reason=reason, when=when)
        self._series.count(self._tenant_decisions, tenant=self._tenant_label(tenant), verdict=verdict)

    def attempted(
        self, notification: Notification, channel: str, provider: str, outcome: str, reason: str, seconds: float
    ) -> None:
        """An attempt has ended, this long after the delivery was due."""
        series, tenant = self._series, self._tenant_label(notification.tenant)
        template = notification.template if notification.template in self._templates else OTHER
        series.count(self._attempts, channel=channel, provider=provider, outcome=outcome, reason=reason)
        series.observe(self._handoff, seconds, tracing.trace_id_of(notification.id))
        series.count(self._tenant_messages, tenant=tenant, channel=channel, outcome=outcome)
        if outcome == AttemptOutcome.ACCEPTED:
            series.count(self._by_template, template=template)

    def received(self, provider: str, status: str, result: str) -> None:
        self._series.count(self._receipts, provider=provider, status=status, result=result)

    def replied(self, provider: str, intent: str) -> None:
        self._series.count(self._replies, provider=provider, intent=intent)

    def assistant_decided(self, reason: str) -> None:
        """The assistant has answered a reply, or left it to a person."""
        self._series.count(self._assistant, reason=reason)

    def verification(self, result: str) -> None:
        """A one-time link or code was issued, used or refused."""
        self._series.count(self._verifications, result=result)

    def reply_model_answered(self, result: str) -> None:
        """The optional language model was asked about a reply, or was not."""
        self._series.count(self._model, result=result)

    def opted_out(self, source: str, seconds: float) -> None:
        """An opt-out is in force, this long after it arrived."""
        self._series.observe(self._opt_out_time, seconds, source=source)

    @contextmanager
    def opting_out(self, source: str) -> Iterator[None]:
        """Time the recording of an opt-out; one that fails is sent again, and counts then."""
        began = time.monotonic()
        yield
        self.opted_out(source, time.monotonic() - began)

    def settled(self, notification_id: str, channel: str, seconds: float) -> None:
        """A final receipt came this long after the hand-over."""
        self._series.observe(self._receipt_time, seconds, tracing.trace_id_of(notification_id), channel=channel)

    def callback_refused(self, provider: str, reason: str) -> None:
        self._series.count(self._callbacks, provider=provider, reason=reason)

    def queue(self, due: int, oldest_seconds: float, jobs: int | None) -> None:
        """``jobs`` is None while Redis is away."""
        self._due.set(due)
        self._oldest_due.set(oldest_seconds)
        if jobs is not None:
            self._jobs.set(jobs)

    def relay_ran(self, now: datetime, triggered: int, lag_seconds: float) -> None:
        self._relay_run.set(now.timestamp())
        self._relay_lag.set(lag_seconds)
        self._triggered.inc(triggered)

    def paused(self, deliveries: int) -> None:
        self._paused.set(deliveries)

    def switches(self, in_force: Iterable[Switch]) -> None:
        counts = Counts((each.kind, each.scope) for each in in_force)
        for kind, scope in product(SwitchKind, SwitchScope):
            self._switches.labels(kind=kind, scope=scope).set(counts[kind, scope])

    def provider_shares(self, shares: Mapping[str, float]) -> None:
        for provider, share in shares.items():
            self._share.labels(channel=self._channels[provider], provider=provider).set(share)

    def inbox_streams(self, count: int) -> None:
        self._streams.set(count)

    def depends_on(self, found: Mapping[str, str]) -> None:
        """The result of /readyz: each dependency with "" where it is available."""
        for each in Dependency:
            self._up.labels(dependency=each).set(0 if found.get(each) else 1)

    def clock_ahead(self, seconds: float) -> None:
        self._ahead.set(seconds)

    def unknown(self, count: int) -> None:
        self._unknown.set(count)

    def review(self, waiting: Mapping[Urgency, OpenReviews], oldest_seconds: float) -> None:
        for urgency in filter(None, Urgency):
            found, label = waiting.get(urgency, OpenReviews()), urgency.name.lower()
            self._review.labels(urgency=label).set(found.waiting)
            self._review_overdue.labels(urgency=label).set(found.overdue_seconds)
        self._review_oldest.set(oldest_seconds)

    def conversations(self, waiting: Mapping[Urgency, OpenReviews]) -> None:
        for urgency in filter(None, Urgency):
            found, label = waiting.get(urgency, OpenReviews()), urgency.name.lower()
            self._conversations.labels(urgency=label).set(found.waiting)
            self._conversations_overdue.labels(urgency=label).set(found.overdue_seconds)

    def batched(self, stage: str, size: int) -> None:
        self._series.observe(self._batch, size, stage=stage)

    def told(self, outcome: str) -> None:
        """One attempt to deliver a webhook message has ended."""
        self._series.count(self._told, outcome=outcome)

    def telling(self, waiting: int, oldest_seconds: float) -> None:
        self._to_tell.set(waiting)
        self._to_tell_oldest.set(oldest_seconds)

    def templates_followed(self, now: datetime, names: Collection[str], passed_over: int) -> None:
        """The catalog is up to date. Its new templates get series of their own while there is room."""
        self._followed.set(now.timestamp())
        self._passed_over.set(passed_over)
        room = max(0, _MOST_TEMPLATES - len(self._templates))
        if fresh := sorted(set(names) - self._templates)[:room]:
            self._series.present(self._by_template, template=fresh)
            self._templates.update(fresh)

    def audited(self, now: datetime, contacts: int, violations: Mapping[Violation, int]) -> None:
        """The audit has caught up; ``violations`` are the last day's."""
        self._audited.inc(contacts)
        self._audit_run.set(now.timestamp())
        for kind in Violation:
            self._violations.labels(kind=kind).set(violations.get(kind, 0))

    def journey_entered(self) -> None:
        self._journeys_entered.inc()

    def journey_exited(self, reason: str) -> None:
        self._series.count(self._journeys_exited, reason=reason)

    def journey_step(self, result: str) -> None:
        self._series.count(self._journey_steps, result=result)

    def journey_set_aside(self, reason: str) -> None:
        self._series.count(self._journeys_set_aside, reason=reason)

    def journeys(
        self, due: int, oldest_due_seconds: float, review: Mapping[str, int], gates: int, unreadable: int
    ) -> None:
        """How the journeys of the ledger stand; ``review`` by reason, ``unreadable`` live definitions."""
        self._journeys_due.set(due)
        self._journeys_oldest.set(oldest_due_seconds)
        for reason in JourneyReview:
            self._journeys_review.labels(reason=reason).set(review.get(reason, 0))
        self._gates.set(gates)
        self._definitions_unreadable.set(unreadable)

    def transacted(self, operation: str, seconds: float) -> None:
        self._series.observe(self._ledger, seconds, operation=operation)

    @contextmanager
    def transaction(self, operation: str) -> Iterator[None]:
        """Time a transaction, also one that fails."""
        began = time.monotonic()
        try:
            yield
        finally:
            self.transacted(operation, time.monotonic() - began)

    def render(self, accept_header: str = "") -> tuple[bytes, str]:
        """The exposition and its content type: OpenMetrics where the client accepts it, else the text format."""
        encode, content_type = choose_encoder(accept_header)
        return encode(self.registry), content_type

    def _tenant_label(self, tenant: str) -> str:
        return tenant if tenant in self._tenants else OTHER
