"""The verbs that move the numbers: what the path, the relay and the gauges' loop say.

Where a duration is one notification's, its trace id goes with it as an exemplar; it is in the notification's id too,
so an exemplar leads to the notification also where nothing is traced.
"""

from __future__ import annotations

import time
from collections import Counter as Counts
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from itertools import product

from prometheus_client.exposition import choose_encoder

from gateway.core.model import Notification, Switch, SwitchKind, SwitchScope, Violation
from gateway.observability import tracing
from gateway.observability.metrics.meters import Meters
from gateway.observability.metrics.words import OTHER, AttemptOutcome, Dependency

# That are told apart; our choice: a lender has a dozen, and each takes a series in every process.
_MOST_TEMPLATES = 200


class Metrics(Meters):
    """One process's numbers. Every method is a verb of the path and takes the words of the closed lists."""

    def accepted(self, outcome: str, tenant: str) -> None:
        self._series.count(self._accepted, outcome=outcome)
        self._series.count(self._tenant_requests, tenant=self._told_apart(tenant), outcome=outcome)

    def refused(self, reason: str) -> None:
        self._series.count(self._refused, reason=reason)

    def answered(self, operation: str, seconds: float) -> None:
        """A request to take reminders was answered this long after it came."""
        self._series.observe(self._accept_time, seconds, tracing.current_trace_id(), operation=operation)

    def decided(self, verdict: str, reason: str, when: str, tenant: str) -> None:
        self._series.count(self._decisions, verdict=verdict, reason=reason, when=when)
        self._series.count(self._tenant_decisions, tenant=self._told_apart(tenant), verdict=verdict)

    def attempted(
        self, notification: Notification, channel: str, provider: str, outcome: str, reason: str, seconds: float
    ) -> None:
        """A provider has answered, or not, this long after the delivery could have gone."""
        series, tenant = self._series, self._told_apart(notification.tenant)
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

    def opted_out(self, source: str, seconds: float) -> None:
        """A borrower's no is in force, this long after it arrived."""
        self._series.observe(self._opt_out_time, seconds, source=source)

    @contextmanager
    def opting_out(self, source: str) -> Iterator[None]:
        """Time the taking of a borrower's no; one that could not be taken comes again, and counts then."""
        began = time.monotonic()
        yield
        self.opted_out(source, time.monotonic() - began)

    def settled(self, notification_id: str, channel: str, seconds: float) -> None:
        """A provider's final word came this long after its answer."""
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

    def depends_on(self, found: Mapping[str, str]) -> None:
        """What /readyz says: each part with "" where it is fine."""
        for each in Dependency:
            self._up.labels(dependency=each).set(0 if found.get(each) else 1)

    def clock_ahead(self, seconds: float) -> None:
        self._ahead.set(seconds)

    def unknown(self, count: int) -> None:
        self._unknown.set(count)

    def review(self, waiting: int, oldest_seconds: float) -> None:
        self._review.set(waiting)
        self._review_oldest.set(oldest_seconds)

    def batched(self, stage: str, size: int) -> None:
        self._series.observe(self._batch, size, stage=stage)

    def told(self, outcome: str) -> None:
        """One attempt to tell a case system is over."""
        self._series.count(self._told, outcome=outcome)

    def telling(self, waiting: int, oldest_seconds: float) -> None:
        self._to_tell.set(waiting)
        self._to_tell_oldest.set(oldest_seconds)

    def templates_followed(self, now: datetime, names: Collection[str], passed_over: int) -> None:
        """The catalogue is up to date. Templates that are new in it are told apart as far as there is room."""
        self._followed.set(now.timestamp())
        self._passed_over.set(passed_over)
        room = max(0, _MOST_TEMPLATES - len(self._templates))
        if fresh := sorted(set(names) - self._templates)[:room]:
            self._series.present(self._by_template, template=fresh)
            self._templates.update(fresh)

    def audited(self, now: datetime, contacts: int, violations: Mapping[Violation, int]) -> None:
        """The audit is through with all that there was; ``violations`` are the last day's."""
        self._audited.inc(contacts)
        self._audit_run.set(now.timestamp())
        for kind in Violation:
            self._violations.labels(kind=kind).set(violations.get(kind, 0))

    def transacted(self, operation: str, seconds: float) -> None:
        self._series.observe(self._ledger, seconds, operation=operation)

    @contextmanager
    def transaction(self, operation: str) -> Iterator[None]:
        """Time a transaction, also one that fails: a slow failure is what one looks for."""
        began = time.monotonic()
        try:
            yield
        finally:
            self.transacted(operation, time.monotonic() - began)

    def render(self, accept_header: str = "") -> tuple[bytes, str]:
        """The exposition and its content type: OpenMetrics for who asks for it, the text format otherwise."""
        encode, content_type = choose_encoder(accept_header)
        return encode(self.registry), content_type

    def _told_apart(self, tenant: str) -> str:
        return tenant if tenant in self._tenants else OTHER
