"""Definitions of all Prometheus metrics of one process: names, labels, buckets and help texts.

Must not know a borrower. The cardinality is bounded: every label takes its values from a closed list (the enums of
gateway.core and channels.base, the configured channels, providers, templates and tenants). All series exist at
zero from the start, because rate() misses the first increment of a series that appears later. A value outside its
list is counted as ``other``. Only the list of templates grows while the process runs, up to a limit.
One process has one registry and is one scrape target: the client's multi-process mode drops exemplars.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.metrics_core import CounterMetricFamily, Metric
from prometheus_client.registry import Collector

from channels.base import ProviderReason, ReceiptStatus
from gateway.core.controls import SwitchKind, SwitchScope
from gateway.core.conversations import AssistantReason, ReplyModelResult, VerificationResult
from gateway.core.journey_events import ExitReason, JourneyReview, StepResult
from gateway.core.quotas import TENANT_QUOTAS, QuotaName
from gateway.core.reasons import Intent, PolicyReason, Violation
from gateway.core.states import WebhookOutcome
from gateway.core.understanding import Urgency
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

# Seconds. A group commit takes milliseconds (measured), 0.5 is the SLO, clients time out after about 10.
_ACCEPT_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
# An undisturbed hand-off takes tens of milliseconds (measured); 60 s is the SLO; longer than an hour means that the
# contact policy deferred the message.
_HANDOFF_BUCKETS = (0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800, 3600)
# A handset confirms within seconds; Twilio and GOV.UK Notify stop waiting after 72 hours.
_RECEIPT_BUCKETS = (0.1, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800, 3600, 6 * 3600, 24 * 3600, 72 * 3600)
# An opt-out waits for provider calls that have started; the provider time-out, 10 s, is the SLO.
_OPT_OUT_BUCKETS = (0.01, 0.05, 0.1, 0.5, 1, 2.5, 5, 10, 30, 60)
# A group commit with full sync took 1 ms at p50 and 13 ms at p99 under load (measured).
_LEDGER_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5)
_BATCH_BUCKETS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)  # up to the largest batch request


class Meters:
    """All metrics of the process, in one registry."""

    def __init__(
        self,
        channels: Iterable[str],
        providers: Iterable[tuple[str, str]],
        templates: Iterable[str] = (),
        tenants: Iterable[str] = (),
    ) -> None:
        """``providers`` are pairs (channel, provider name); ``tenants`` get a label value of their own."""
        self._series = MetricFactory()
        self.registry: CollectorRegistry = self._series.registry
        channels, pairs = sorted(set(channels)), sorted(set(providers))
        self._make_accepting()
        self._make_sending(channels, pairs)
        self._make_receiving(channels, sorted({name for _, name in pairs}))
        self._templates, self._tenants = set(templates), frozenset(tenants)
        self._make_groups(channels)
        self._make_waiting()
        self._make_state(pairs)
        self._make_parts()
        self._make_webhooks()
        self._make_following()
        self._make_audit()
        self._make_journeys()
        ProcessCollector(registry=self.registry)
        self.registry.register(_DroppedLogKeys())

    def _make_accepting(self) -> None:
        made = self._series
        self._accepted = made.counter("accepted", "Accepted requests by outcome.", outcome=AcceptOutcome)
        self._refused = made.counter("refused", "Rejected requests by problem type.", reason=RefusedReason)
        self._quota_refused = made.counter(
            "quota_refused", "Requests refused with 429, by the limit that had no room.", limit=QuotaName
        )
        self._decisions = made.counter(
            "decisions", "Decisions of the contact policy.", verdict=VerdictKind, reason=PolicyReason, when=DecidedWhen
        )
        self._accept_time = made.histogram(
            "accept_seconds",
            "Response time of the accept operations, errors included.",
            _ACCEPT_BUCKETS,
            operation=AcceptOperation,
        )

    def _make_sending(self, channels: Sequence[str], pairs: Sequence[tuple[str, str]]) -> None:
        made = self._series
        labels = ["channel", "provider", "outcome", "reason"]
        self._attempts = made.counter("attempts", "Calls to providers by outcome.", labels)
        for channel, provider in pairs:
            made.present(
                self._attempts, channel=[channel], provider=[provider], outcome=AttemptOutcome, reason=ProviderReason
            )
        self._handoff = made.histogram(
            "accept_to_provider_seconds",
            "From acceptance, or from the due time if that is later, to the provider's response.",
            _HANDOFF_BUCKETS,
        )
        self._receipt_time = made.histogram(
            "provider_to_receipt_seconds",
            "From the provider's response to its final delivery receipt.",
            _RECEIPT_BUCKETS,
            channel=channels,
        )

    def _make_receiving(self, channels: Sequence[str], names: Sequence[str]) -> None:
        made = self._series
        self._receipts = made.counter(
            "receipts",
            "Delivery receipts from providers, by their effect.",
            provider=names,
            status=ReceiptStatus,
            result=ReceiptResult,
        )
        self._replies = made.counter(
            "replies", "Borrowers' replies by classified intent.", provider=names, intent=Intent
        )
        self._assistant = made.counter(
            "assistant_decisions",
            "Replies that the assistant looked at, by why it answered or left them to a person.",
            reason=AssistantReason,
        )
        self._verifications = made.counter(
            "verifications", "One-time links and codes of borrowers by what became of them.", result=VerificationResult
        )
        self._model = made.counter(
            "reply_model_answers", "Answers of the optional language model about replies.", result=ReplyModelResult
        )
        self._callbacks = made.counter(
            "callbacks_refused", "Rejected provider callbacks.", provider=names, reason=CallbackRefusal
        )
        self._opt_out_time = made.histogram(
            "opt_out_seconds",
            "From the arrival of an opt-out until no message can be sent against it.",
            _OPT_OUT_BUCKETS,
            source=OptOutSource,
        )

    def _make_groups(self, channels: Sequence[str]) -> None:
        made, templates, tenants = self._series, sorted({*self._templates, OTHER}), sorted({*self._tenants, OTHER})
        self._by_template = made.counter(
            "template_messages", "Messages accepted by a provider, by template.", template=templates
        )
        self._tenant_requests = made.counter(
            "tenant_requests", "Accepted requests by tenant.", tenant=tenants, outcome=AcceptOutcome
        )
        self._tenant_decisions = made.counter(
            "tenant_decisions", "Decisions of the contact policy by tenant.", tenant=tenants, verdict=VerdictKind
        )
        self._tenant_messages = made.counter(
            "tenant_messages",
            "Calls to providers by tenant.",
            tenant=tenants,
            channel=channels,
            outcome=AttemptOutcome,
        )

        self._quota_used = made.gauge(
            "quota_used_ratio",
            "Share of a tenant's limit that is used, at its last request to this process: 0 unused, 1 nothing left.",
            tenant=tenants,
            limit=TENANT_QUOTAS,
        )

    def _make_waiting(self) -> None:
        gauge = self._series.gauge
        self._oldest_due = gauge("oldest_due_seconds", "Age of the oldest delivery that is due and not started.")
        self._due = gauge("due_deliveries", "Deliveries that are due and not started.")
        self._unknown = gauge(
            "unknown_outcomes", "Messages whose delivery is unknown: the provider's response was lost."
        )
        urgencies = [each.name.lower() for each in Urgency if each]
        self._review = gauge("review_waiting", "Deliveries and replies that wait for a person.", urgency=urgencies)
        self._review_oldest = gauge("review_oldest_seconds", "Age of the oldest delivery or reply that waits.")
        self._review_overdue = gauge(
            "review_overdue_seconds",
            "How long the first review is past its clock: review_by of a reply, 4 h for a delivery; 0: none is.",
            urgency=urgencies,
        )
        self._conversations = gauge(
            "conversations_waiting", "Conversations that wait for an answer to the borrower.", urgency=urgencies
        )
        self._conversations_overdue = gauge(
            "conversations_overdue_seconds",
            "How long the first conversation is past the clock of its answer (review_by); 0: none is.",
            urgency=urgencies,
        )
        self._paused = gauge("paused_deliveries", "Deliveries held back by a pause.")
        self._jobs = gauge(
            "queued_jobs", "Jobs in Redis, waiting or in progress; the last known number while Redis is down."
        )

    def _make_state(self, pairs: Sequence[tuple[str, str]]) -> None:
        gauge = self._series.gauge
        self._switches = gauge("controls", "Active pauses and pins.", kind=SwitchKind, scope=SwitchScope)
        self._channels = {provider: channel for channel, provider in pairs}
        self._share = gauge(
            "provider_share_ratio",
            "Share of its traffic that a provider gets: 0 circuit open after failures, 1 healthy.",
            channel=(),
            provider=(),
        )
        for channel, provider in pairs:
            self._series.present(self._share, channel=[channel], provider=[provider])
            self._share.labels(channel=channel, provider=provider).set(1)
        self._streams = gauge("inbox_streams", "Open streams of borrowers' feeds.")
        self._up = gauge(
            "dependency_up", "Whether a dependency is usable, as in /readyz: 1 or 0.", dependency=Dependency
        )
        for each in Dependency:
            self._up.labels(dependency=each).set(1)  # without one of them the process would not have started
        self._ahead = gauge("clock_ahead_seconds", "Clock skew: this machine's clock minus the ledger's clock.")

    def _make_parts(self) -> None:
        made = self._series
        self._relay_run = made.gauge("relay_last_run_timestamp_seconds", "When the due scanner last finished a scan.")
        self._relay_lag = made.gauge("relay_lag_seconds", "How late the last scan of the due scanner began.")
        self._triggered = made.counter("relay_triggered", "Deliveries that the due scanner found and triggered.")
        self._ledger = made.histogram(
            "ledger_transaction_seconds",
            "Duration of one ledger transaction, including the wait for a connection.",
            _LEDGER_BUCKETS,
            operation=LedgerOperation,
        )
        self._batch = made.histogram("batch_size", "Items per batch.", _BATCH_BUCKETS, stage=BatchStage)

    def _make_webhooks(self) -> None:
        made = self._series
        self._told = made.counter("webhook_attempts", "Webhook delivery attempts by outcome.", outcome=WebhookOutcome)
        self._to_tell = made.gauge("webhook_messages_waiting", "Webhook messages that wait for delivery.")
        self._to_tell_oldest = made.gauge(
            "webhook_oldest_seconds", "Age of the oldest webhook message that waits for delivery."
        )

    def _make_following(self) -> None:
        made = self._series
        self._followed = made.gauge(
            "templates_last_refresh_timestamp_seconds", "When this process last refreshed the published templates."
        )
        self._passed_over = made.gauge(
            "templates_passed_over",
            "Templates whose published version does not compile here; the previous version is used.",
        )

    def _make_audit(self) -> None:
        made = self._series
        self._violations = made.gauge(
            "compliance_violations",
            "Contacts of the last 24 h that broke a rule, found by the audit of the ledger. Must be 0.",
            kind=Violation,
        )
        self._audited = made.counter("audited_contacts", "Contacts checked by the audit of this process.")
        self._audit_run = made.gauge("audit_last_run_timestamp_seconds", "When the audit last finished.")

    def _make_journeys(self) -> None:
        made = self._series
        self._journeys_entered = made.counter("journeys_entered", "Journeys that cases have entered.")
        self._journeys_exited = made.counter("journeys_exited", "Journeys that have ended.", reason=ExitReason)
        self._journey_steps = made.counter(
            "journey_steps", "Steps of journeys by what became of them.", result=StepResult
        )
        self._journeys_set_aside = made.counter(
            "journeys_set_aside", "Journeys that began to wait for a person's review.", reason=JourneyReview
        )
        self._journeys_due = made.gauge("journeys_due", "Journeys that are due and not advanced.")
        self._journeys_oldest = made.gauge("journeys_oldest_due_seconds", "Age of the oldest journey that is due.")
        self._journeys_review = made.gauge(
            "journeys_review_waiting", "Journeys that wait for a person's review.", reason=JourneyReview
        )
        self._gates = made.gauge("journey_gates_waiting", "Journeys at a gate that waits for approvals.")
        self._definitions_unreadable = made.gauge(
            "journey_definitions_unreadable", "Live definitions of journeys whose stored text can't be used."
        )


class _DroppedLogKeys(Collector):
    """Counts log keys dropped for not being on the allow-list. Each one is a bug in a log call."""

    def collect(self) -> Iterable[Metric]:
        family = CounterMetricFamily(
            "gateway_log_keys_dropped", "Log keys and texts dropped because they are not on the allow-list."
        )
        family.add_metric([], logs.dropped())
        return [family]
