"""What the gateway counts about itself, for Prometheus.

Owns every metric's name, labels and buckets. Must not know a borrower: every label is a closed list, made of the
enums of gateway.model and channels.base and of the configured channels and providers, present at zero from the
start, so that an alert's rate() has something to begin from. A value outside its list is counted as ``other``.
One process, one registry, one scrape target: the client's multi-process mode drops exemplars.
"""

from __future__ import annotations

import time
from collections import Counter as Counts
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from enum import StrEnum
from itertools import product

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, disable_created_metrics
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics import MetricWrapperBase
from prometheus_client.metrics_core import CounterMetricFamily, Metric
from prometheus_client.registry import Collector

from channels.base import ProviderReason, ReceiptStatus
from gateway import logs
from gateway.model import Intent, PolicyReason, Switch, SwitchKind, SwitchScope, VerdictKind

OTHER = "other"


class AcceptOutcome(StrEnum):
    """What became of a request that was well-formed."""

    CREATED = "created"
    REPLAYED = "replayed"
    CONFLICT = "conflict"
    DUPLICATE = "duplicate"


class RefusedReason(StrEnum):
    """Why a request was not taken: the last word of the problem's type."""

    INVALID_REQUEST = "invalid_request"
    INVALID_VARIABLES = "invalid_variables"
    UNKNOWN_TEMPLATE = "unknown_template"
    MALFORMED_JSON = "malformed_json"
    TOO_LARGE = "too_large"
    UNAUTHORIZED = "unauthorized"
    FORBIDDEN = "forbidden"
    IDEMPOTENCY_KEY_REUSED = "idempotency_key_reused"
    UNSUPPORTED_MEDIA_TYPE = "unsupported_media_type"
    UNAVAILABLE = "unavailable"


class DecidedWhen(StrEnum):
    """The two moments at which the policy is asked."""

    ACCEPT = "accept"
    HANDOFF = "handoff"


class AttemptOutcome(StrEnum):
    """The ways in which one call to a provider ends; channels.base draws the tree."""

    ACCEPTED = "accepted"
    TRANSIENT = "transient"
    PERMANENT = "permanent"
    UNKNOWN = "unknown"


class ReceiptResult(StrEnum):
    """What a receipt did to its delivery."""

    MOVED = "moved"
    RECORDED = "recorded"
    DUPLICATE = "duplicate"
    ORPHAN = "orphan"


class CallbackRefusal(StrEnum):
    """Why a provider's callback could not be taken."""

    BAD_SIGNATURE = "bad_signature"
    MALFORMED = "malformed"


class LedgerOperation(StrEnum):
    """The ledger's doors: one transaction each."""

    FACTS = "facts"
    ACCEPT = "accept"
    CLAIM = "claim"
    START = "start"
    APPLY = "apply"
    SETTLE = "settle"
    RECEIVE = "receive"
    DUE = "due"
    ADMIN = "admin"


class BatchStage(StrEnum):
    """Where work is handled in batches."""

    ACCEPT = "accept"
    DISPATCH = "dispatch"
    SETTLE = "settle"


# Seconds. Hand-off takes tens of milliseconds when nothing is in the way; 60 s is the alert; beyond an hour it was
# deferred by the policy, which is no delay of ours.
_HANDOFF_BUCKETS = (0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800, 3600)
# A handset answers in seconds; Twilio and GOV.UK Notify give up on it after 72 hours.
_RECEIPT_BUCKETS = (0.1, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800, 3600, 6 * 3600, 24 * 3600, 72 * 3600)
# A group commit with a full sync took 1 ms at the median and 13 ms at p99 when measured, under load.
_LEDGER_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5)
_BATCH_BUCKETS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)  # up to the largest batch request


class Metrics:
    """One process's numbers. Every method is a verb of the path and takes the words of the closed lists."""

    def __init__(self, channels: Iterable[str], providers: Iterable[tuple[str, str]]) -> None:
        """``providers`` are (channel, provider name), as configured."""
        # One more series for each of some hundreds, with a time that Prometheus doesn't use. The switch is the
        # library's, for the whole process.
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self.registry = CollectorRegistry()
        self._lists: dict[MetricWrapperBase, dict[str, frozenset[str]]] = {}
        channels, pairs = sorted(set(channels)), sorted(set(providers))
        self._make_counters(pairs)
        self._make_histograms(channels)
        self._make_gauges(pairs)
        ProcessCollector(registry=self.registry)
        self.registry.register(_DroppedLogKeys())

    def _make_counters(self, pairs: Sequence[tuple[str, str]]) -> None:
        names = sorted({name for _, name in pairs})
        self._unlisted = self._counter("unlisted_label_values", "Label values outside their closed list.", [])
        self._accepted = self._counter("accepted", "Requests taken, by what became of them.", ["outcome"])
        self._present(self._accepted, outcome=AcceptOutcome)
        self._refused = self._counter("refused", "Requests not taken, by the problem's type.", ["reason"])
        self._present(self._refused, reason=RefusedReason)
        self._decisions = self._counter("decisions", "Verdicts of the contact policy.", ["verdict", "reason", "when"])
        self._present(self._decisions, verdict=VerdictKind, reason=PolicyReason, when=DecidedWhen)
        self._attempts = self._counter(
            "attempts", "Calls to providers, by how they ended.", ["channel", "provider", "outcome", "reason"]
        )
        for channel, provider in pairs:
            self._present(
                self._attempts, channel=[channel], provider=[provider], outcome=AttemptOutcome, reason=ProviderReason
            )
        self._receipts = self._counter(
            "receipts", "Providers' later words, by what they did.", ["provider", "status", "result"]
        )
        self._present(self._receipts, provider=names, status=ReceiptStatus, result=ReceiptResult)
        self._replies = self._counter(
            "replies", "Borrowers' replies, by what they were taken for.", ["provider", "intent"]
        )
        self._present(self._replies, provider=names, intent=Intent)
        self._callbacks = self._counter("callbacks_refused", "Callbacks not taken.", ["provider", "reason"])
        self._present(self._callbacks, provider=names, reason=CallbackRefusal)
        self._triggered = self._counter("relay_triggered", "Deliveries that the relay found and triggered.", [])

    def _make_histograms(self, channels: Sequence[str]) -> None:
        self._handoff = Histogram(
            "gateway_accept_to_provider_seconds",
            "From the acceptance of a request, or from when it was due if that is later, to the provider's answer.",
            buckets=_HANDOFF_BUCKETS,
            registry=self.registry,
        )
        self._receipt_time = Histogram(
            "gateway_provider_to_receipt_seconds",
            "From the provider's answer to its final word.",
            ["channel"],
            buckets=_RECEIPT_BUCKETS,
            registry=self.registry,
        )
        self._present(self._receipt_time, channel=channels)
        self._ledger = Histogram(
            "gateway_ledger_transaction_seconds",
            "One transaction of the ledger, with the waiting for its turn.",
            ["operation"],
            buckets=_LEDGER_BUCKETS,
            registry=self.registry,
        )
        self._present(self._ledger, operation=LedgerOperation)
        self._batch = Histogram(
            "gateway_batch_size",
            "How many went together.",
            ["stage"],
            buckets=_BATCH_BUCKETS,
            registry=self.registry,
        )
        self._present(self._batch, stage=BatchStage)

    def _make_gauges(self, pairs: Sequence[tuple[str, str]]) -> None:
        self._oldest_due = self._gauge("oldest_due_seconds", "How long the oldest due delivery has not been started.")
        self._due = self._gauge("due_deliveries", "Deliveries that are due and not started.")
        self._relay_run = self._gauge("relay_last_run_timestamp_seconds", "When the relay last finished a round.")
        self._relay_lag = self._gauge("relay_lag_seconds", "How late the relay's last round began.")
        self._unknown = self._gauge("unknown_outcomes", "Deliveries of which nobody knows yet whether they went out.")
        self._review = self._gauge("review_waiting", "Deliveries that wait for a person.")
        self._review_oldest = self._gauge("review_oldest_seconds", "How long the oldest of them has waited.")

        self._paused = self._gauge("paused_deliveries", "Deliveries that a pause holds up.")
        self._switches = Gauge(
            "gateway_switches", "Pauses and pins in force.", ["kind", "scope"], registry=self.registry
        )
        self._present(self._switches, kind=SwitchKind, scope=SwitchScope)
        self._share = Gauge(
            "gateway_provider_share_ratio",
            "A provider's health: 0 while it is left alone for its failures, 1 when well.",
            ["channel", "provider"],
            registry=self.registry,
        )
        for channel, provider in pairs:
            self._present(self._share, channel=[channel], provider=[provider])
            self._share.labels(channel=channel, provider=provider).set(1)
        self._channels = {provider: channel for channel, provider in pairs}
        self._ahead = self._gauge("clock_ahead_seconds", "By how much this machine's clock is ahead of the ledger's.")

    def accepted(self, outcome: str) -> None:
        self._count(self._accepted, outcome=outcome)

    def refused(self, reason: str) -> None:
        self._count(self._refused, reason=reason)

    def decided(self, verdict: str, reason: str, when: str) -> None:
        self._count(self._decisions, verdict=verdict, reason=reason, when=when)

    def attempted(self, channel: str, provider: str, outcome: str, reason: str) -> None:
        self._count(self._attempts, channel=channel, provider=provider, outcome=outcome, reason=reason)

    def handed_over(self, seconds: float) -> None:
        """A provider has answered this long after the delivery could have gone."""
        self._handoff.observe(max(0.0, seconds))

    def received(self, provider: str, status: str, result: str) -> None:
        self._count(self._receipts, provider=provider, status=status, result=result)

    def replied(self, provider: str, intent: str) -> None:
        self._count(self._replies, provider=provider, intent=intent)

    def settled(self, channel: str, seconds: float) -> None:
        """A provider's final word came this long after its answer."""
        self._observe(self._receipt_time, seconds, channel=channel)

    def callback_refused(self, provider: str, reason: str) -> None:
        self._count(self._callbacks, provider=provider, reason=reason)

    def queue(self, due: int, oldest_seconds: float) -> None:
        self._due.set(due)
        self._oldest_due.set(oldest_seconds)

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

    def clock_ahead(self, seconds: float) -> None:
        self._ahead.set(seconds)

    def unknown(self, count: int) -> None:
        self._unknown.set(count)

    def review(self, waiting: int, oldest_seconds: float) -> None:
        self._review.set(waiting)
        self._review_oldest.set(oldest_seconds)

    def batched(self, stage: str, size: int) -> None:
        self._observe(self._batch, size, stage=stage)

    def transacted(self, operation: str, seconds: float) -> None:
        self._observe(self._ledger, seconds, operation=operation)

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

    def _counter(self, name: str, documentation: str, labels: Sequence[str]) -> Counter:
        return Counter(f"gateway_{name}", documentation, labels, registry=self.registry)

    def _gauge(self, name: str, documentation: str) -> Gauge:
        return Gauge(f"gateway_{name}", documentation, registry=self.registry)

    def _present(self, metric: MetricWrapperBase, **labels: Iterable[str]) -> None:
        """Make every series of these closed lists, at zero, and remember the lists."""
        values = {label: [str(value) for value in listed] for label, listed in labels.items()}
        lists = self._lists.setdefault(metric, {})
        for label, listed in values.items():
            lists[label] = lists.get(label, frozenset()) | frozenset(listed)
        for combination in product(*values.values()):
            metric.labels(**dict(zip(values, combination, strict=True)))

    def _count(self, counter: Counter, **labels: str) -> None:
        counter.labels(**self._listed(counter, labels)).inc()

    def _observe(self, histogram: Histogram, value: float, **labels: str) -> None:
        histogram.labels(**self._listed(histogram, labels)).observe(max(0.0, value))

    def _listed(self, metric: MetricWrapperBase, labels: Mapping[str, str]) -> dict[str, str]:
        listed = {}
        for label, value in labels.items():
            if value in self._lists[metric][label]:
                listed[label] = str(value)
            else:
                listed[label] = OTHER
                self._unlisted.inc()
        return listed


class _DroppedLogKeys(Collector):
    """How often a log line lost a key that is not on the allow-list: each is a line that somebody has to mend."""

    def collect(self) -> Iterable[Metric]:
        family = CounterMetricFamily("gateway_log_keys_dropped", "Keys and texts kept out of the log.")
        family.add_metric([], logs.dropped())
        return [family]
