"""What is measured: every metric of one process.

Owns every metric's name, labels and buckets. Must not know a borrower: every label is a closed list, made of the
enums of gateway.core and channels.base and of the configured channels, providers, templates and tenants, present
at zero from the start, so that an alert's rate() has something to begin from. A value outside its list is counted as
``other``. One list grows while the process runs: that of the templates, by what is published, up to a limit.
One process, one registry, one scrape target: the client's multi-process mode drops exemplars.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.metrics_core import CounterMetricFamily, Metric
from prometheus_client.registry import Collector

from channels.base import ProviderReason, ReceiptStatus
from gateway.core.controls import SwitchKind, SwitchScope
from gateway.core.reasons import Intent, PolicyReason, Violation
from gateway.core.states import WebhookOutcome
from gateway.core.verdicts import VerdictKind
from gateway.observability import logs
from gateway.observability.metrics.series import MetricFactory
from gateway.observability.metrics.words import (
    OTHER,
    AcceptOperation,
    AcceptOutcome,
    AttemptOutcome,
    BatchStage,
    CallbackRefusal,
    DecidedWhen,
    Dependency,
    LedgerOperation,
    OptOutSource,
    ReceiptResult,
    RefusedReason,
)

# Seconds. A group commit takes milliseconds, 0.5 is the objective, and clients give up after some ten.
_ACCEPT_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
# Hand-off takes tens of milliseconds when nothing is in the way; 60 s is the objective; beyond an hour it was
# deferred by the policy, which is no delay of ours.
_HANDOFF_BUCKETS = (0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800, 3600)
# A handset answers in seconds; Twilio and GOV.UK Notify give up on it after 72 hours.
_RECEIPT_BUCKETS = (0.1, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800, 3600, 6 * 3600, 24 * 3600, 72 * 3600)
# What was begun before is waited for: a provider's time-out, 10 s, is the objective.
_OPT_OUT_BUCKETS = (0.01, 0.05, 0.1, 0.5, 1, 2.5, 5, 10, 30, 60)
# A group commit with a full sync took 1 ms at the median and 13 ms at p99 when measured, under load.
_LEDGER_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5)
_BATCH_BUCKETS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)  # up to the largest batch request


class Meters:
    """Every metric there is, in one registry."""

    def __init__(
        self,
        channels: Iterable[str],
        providers: Iterable[tuple[str, str]],
        templates: Iterable[str] = (),
        tenants: Iterable[str] = (),
    ) -> None:
        """``providers`` are (channel, provider name), as configured; ``tenants`` those that are told apart."""
        self._series = MetricFactory()
        self.registry: CollectorRegistry = self._series.registry
        channels, pairs = sorted(set(channels)), sorted(set(providers))
        self._make_accepting()
        self._make_sending(channels, pairs)
        self._make_hearing(channels, sorted({name for _, name in pairs}))
        self._templates, self._tenants = set(templates), frozenset(tenants)
        self._make_groups(channels)
        self._make_waiting()
        self._make_state(pairs)
        self._make_parts()
        self._make_webhooks()
        self._make_following()
        self._make_audit()
        ProcessCollector(registry=self.registry)
        self.registry.register(_DroppedLogKeys())

    def _make_accepting(self) -> None:
        made = self._series
        self._accepted = made.counter("accepted", "Requests taken, by what became of them.", outcome=AcceptOutcome)
        self._refused = made.counter("refused", "Requests not taken, by the problem's type.", reason=RefusedReason)
        self._decisions = made.counter(
            "decisions", "Verdicts of the contact policy.", verdict=VerdictKind, reason=PolicyReason, when=DecidedWhen
        )
        self._accept_time = made.histogram(
            "accept_seconds",
            "From a request's arrival to its answer, whatever the answer.",
            _ACCEPT_BUCKETS,
            operation=AcceptOperation,
        )

    def _make_sending(self, channels: Sequence[str], pairs: Sequence[tuple[str, str]]) -> None:
        made = self._series
        labels = ["channel", "provider", "outcome", "reason"]
        self._attempts = made.counter("attempts", "Calls to providers, by how they ended.", labels)
        for channel, provider in pairs:
            made.present(
                self._attempts, channel=[channel], provider=[provider], outcome=AttemptOutcome, reason=ProviderReason
            )
        self._handoff = made.histogram(
            "accept_to_provider_seconds",
            "From the acceptance of a request, or from when it was due if that is later, to the provider's answer.",
            _HANDOFF_BUCKETS,
        )
        self._receipt_time = made.histogram(
            "provider_to_receipt_seconds",
            "From the provider's answer to its final word.",
            _RECEIPT_BUCKETS,
            channel=channels,
        )

    def _make_hearing(self, channels: Sequence[str], names: Sequence[str]) -> None:
        made = self._series
        self._receipts = made.counter(
            "receipts",
            "Providers' later words, by what they did.",
            provider=names,
            status=ReceiptStatus,
            result=ReceiptResult,
        )
        self._replies = made.counter(
            "replies", "Borrowers' replies, by what they were taken for.", provider=names, intent=Intent
        )
        self._callbacks = made.counter(
            "callbacks_refused", "Callbacks not taken.", provider=names, reason=CallbackRefusal
        )
        self._opt_out_time = made.histogram(
            "opt_out_seconds",
            "From the arrival of a borrower's no to when nothing goes out against it.",
            _OPT_OUT_BUCKETS,
            source=OptOutSource,
        )

    def _make_groups(self, channels: Sequence[str]) -> None:
        made, templates, tenants = self._series, sorted({*self._templates, OTHER}), sorted({*self._tenants, OTHER})
        self._by_template = made.counter(
            "template_messages", "Messages that a provider took, by template.", template=templates
        )
        self._tenant_requests = made.counter(
            "tenant_requests", "Requests taken, of the tenants told apart.", tenant=tenants, outcome=AcceptOutcome
        )
        self._tenant_decisions = made.counter(
            "tenant_decisions", "Verdicts for the tenants told apart.", tenant=tenants, verdict=VerdictKind
        )
        self._tenant_messages = made.counter(
            "tenant_messages",
            "Calls to providers for the tenants told apart.",
            tenant=tenants,
            channel=channels,
            outcome=AttemptOutcome,
        )

    def _make_waiting(self) -> None:
        gauge = self._series.gauge
        self._oldest_due = gauge("oldest_due_seconds", "How long the oldest due delivery has not been started.")
        self._due = gauge("due_deliveries", "Deliveries that are due and not started.")
        self._unknown = gauge("unknown_outcomes", "Deliveries of which nobody knows yet whether they went out.")
        self._review = gauge("review_waiting", "Deliveries that wait for a person.")
        self._review_oldest = gauge("review_oldest_seconds", "How long the oldest of them has waited.")
        self._paused = gauge("paused_deliveries", "Deliveries that a pause holds up.")
        self._jobs = gauge("queued_jobs", "Jobs in Redis, waiting or in progress; as it was before Redis was lost.")

    def _make_state(self, pairs: Sequence[tuple[str, str]]) -> None:
        gauge = self._series.gauge
        self._switches = gauge("switches", "Pauses and pins in force.", kind=SwitchKind, scope=SwitchScope)
        self._channels = {provider: channel for channel, provider in pairs}
        self._share = gauge(
            "provider_share_ratio",
            "A provider's health: 0 while it is left alone for its failures, 1 when well.",
            channel=(),
            provider=(),
        )
        for channel, provider in pairs:
            self._series.present(self._share, channel=[channel], provider=[provider])
            self._share.labels(channel=channel, provider=provider).set(1)
        self._up = gauge(
            "dependency_up", "Whether what a process needs is there: 1 or 0, as /readyz.", dependency=Dependency
        )
        for each in Dependency:
            self._up.labels(dependency=each).set(1)  # a process that lacked one would not have started
        self._ahead = gauge("clock_ahead_seconds", "By how much this machine's clock is ahead of the ledger's.")

    def _make_parts(self) -> None:
        made = self._series
        self._relay_run = made.gauge("relay_last_run_timestamp_seconds", "When the relay last finished a round.")
        self._relay_lag = made.gauge("relay_lag_seconds", "How late the relay's last round began.")
        self._triggered = made.counter("relay_triggered", "Deliveries that the relay found and triggered.")
        self._ledger = made.histogram(
            "ledger_transaction_seconds",
            "One transaction of the ledger, with the waiting for its turn.",
            _LEDGER_BUCKETS,
            operation=LedgerOperation,
        )
        self._batch = made.histogram("batch_size", "How many went together.", _BATCH_BUCKETS, stage=BatchStage)

    def _make_webhooks(self) -> None:
        made = self._series
        self._told = made.counter(
            "webhook_attempts", "Attempts to tell case systems, by how they ended.", outcome=WebhookOutcome
        )
        self._to_tell = made.gauge("webhook_messages_waiting", "Messages that wait to be told to case systems.")
        self._to_tell_oldest = made.gauge("webhook_oldest_seconds", "How long the oldest of them has waited.")

    def _make_following(self) -> None:
        made = self._series
        self._followed = made.gauge(
            "templates_last_refresh_timestamp_seconds", "When this process last took over what editors published."
        )
        self._passed_over = made.gauge(
            "templates_passed_over", "Templates whose published version does not compile here; the one before is live."
        )

    def _make_audit(self) -> None:
        made = self._series
        self._violations = made.gauge(
            "compliance_violations",
            "Contacts that the audit of the ledger found in the last day to break a rule. Each must be 0.",
            kind=Violation,
        )
        self._audited = made.counter("audited_contacts", "Contacts that this process's audit has judged.")
        self._audit_run = made.gauge(
            "audit_last_run_timestamp_seconds", "When the audit had last judged all that there was."
        )


class _DroppedLogKeys(Collector):
    """How often a log line lost a key that is not on the allow-list: each is a line that somebody has to mend."""

    def collect(self) -> Iterable[Metric]:
        family = CounterMetricFamily("gateway_log_keys_dropped", "Keys and texts kept out of the log.")
        family.add_metric([], logs.dropped())
        return [family]
