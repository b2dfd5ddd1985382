"""Metrics: all series exist from the start, cardinality is bounded, no personal data."""

from __future__ import annotations

import socket
from dataclasses import replace
from datetime import UTC, datetime

import aiohttp
import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from channels.base import ProviderReason, ReceiptStatus
from gateway.core.notifications import Notification
from gateway.core.reasons import PolicyReason
from gateway.core.understanding import OpenReviews, Urgency
from gateway.core.verdicts import VerdictKind
from gateway.observability import metrics as names
from gateway.observability.metrics import Metrics
from gateway.observability.metrics_server import serve
from gateway.observability.readiness import Probe
from tests.support.storage.ledgers import NOW, draft

ALLOWED_LABELS = {
    *("outcome", "reason", "verdict", "when", "channel", "provider", "status", "result", "operation", "stage"),
    *("le", "intent", "kind", "scope", "dependency", "source", "template", "tenant", "limit", "urgency"),
}


def _metrics() -> Metrics:
    return Metrics(
        channels=["sms", "email", "inapp"],
        providers=[("sms", "twilio"), ("sms", "backup"), ("email", "smtp"), ("inapp", "feed")],
        templates=["overdue-first"],
        tenants=["acme"],
    )


def _notification(word: str = "overdue-first") -> Notification:
    return replace(draft("k").notification, template=word, tenant="acme" if word == "overdue-first" else word)


def _samples(metrics: Metrics) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    text = metrics.render()[0].decode()
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in parse_text(text)
        for sample in family.samples
    }


def _value(metrics: Metrics, name: str, **labels: str) -> float:
    return _samples(metrics)[name, tuple(sorted(labels.items()))]


def test_every_value_of_every_closed_list_is_there_at_zero() -> None:
    """At the start every possible combination of label values has a series at zero."""
    samples = _samples(_metrics())
    for verdict in VerdictKind:
        for reason in PolicyReason:
            for when in names.DecidedWhen:
                labels = {"verdict": str(verdict), "reason": str(reason), "when": str(when)}
                assert samples["gateway_decisions_total", tuple(sorted(labels.items()))] == 0
    for channel, provider in [("sms", "twilio"), ("sms", "backup"), ("email", "smtp"), ("inapp", "feed")]:
        for outcome in names.AttemptOutcome:
            for why in ProviderReason:
                labels = {"channel": channel, "provider": provider, "outcome": str(outcome), "reason": str(why)}
                assert samples["gateway_attempts_total", tuple(sorted(labels.items()))] == 0
        for status in ReceiptStatus:
            for result in names.ReceiptResult:
                labels = {"provider": provider, "status": str(status), "result": str(result)}
                assert samples["gateway_receipts_total", tuple(sorted(labels.items()))] == 0
    for operation in names.LedgerOperation:
        assert samples["gateway_ledger_transaction_seconds_count", (("operation", str(operation)),)] == 0
    del samples["gateway_log_keys_dropped_total", ()]  # the process's, not this object's
    well = ("gateway_provider_share_ratio", "gateway_dependency_up")  # 1 when well
    samples = {key: value for key, value in samples.items() if key[0] not in well}
    assert [key for key, value in samples.items() if key[0].startswith("gateway_") and value] == []


def test_labels_are_on_the_list() -> None:
    """No label can have a borrower's data as its value."""
    used = {
        label
        for family in parse_text(_metrics().render()[0].decode())
        for sample in family.samples
        for label in sample.labels
    }
    assert used == ALLOWED_LABELS


def test_a_published_template_gets_a_series_up_to_two_hundred() -> None:
    """A newly published template has its own series at once; beyond two hundred they share one."""
    metrics = _metrics()
    metrics.templates_followed(NOW, ["overdue-first", "new-one"], 0)
    assert _value(metrics, "gateway_template_messages_total", template="new-one") == 0
    metrics.attempted(_notification("new-one"), "sms", "a", "accepted", "accepted_by_provider", 1.0)
    assert _value(metrics, "gateway_template_messages_total", template="new-one") == 1
    metrics.templates_followed(NOW, [f"template-{number}" for number in range(10_000)], 3)
    told = [name for name, _ in _samples(metrics) if name == "gateway_template_messages_total"]
    assert len(told) == 200 + 1
    metrics.attempted(_notification("template-9999"), "sms", "a", "accepted", "accepted_by_provider", 1.0)
    assert _value(metrics, "gateway_template_messages_total", template="other") == 1
    assert _value(metrics, "gateway_templates_last_refresh_timestamp_seconds") == NOW.timestamp()
    assert _value(metrics, "gateway_templates_passed_over") == 3


def test_a_thousand_borrowers_make_no_series() -> None:
    """Whatever is passed as a label value, also by mistake, adds no series after the first."""
    metrics = _metrics()

    def misuse(value: str) -> None:
        metrics.accepted(value, value)
        metrics.refused(value)
        metrics.answered(value, 1.0)
        metrics.decided(value, value, value, value)
        metrics.attempted(_notification(value), value, value, value, value, 1.0)
        metrics.received(value, value, value)
        metrics.callback_refused(value, value)
        metrics.settled(value, value, 1.0)
        metrics.opted_out(value, 1.0)
        metrics.batched(value, 1)
        metrics.transacted(value, 1.0)

    misuse("first")
    before = len(_samples(metrics))
    for number in range(1_000):
        misuse(f"B-{number}")
    after = _samples(metrics)
    assert len(after) == before
    assert "B-" not in metrics.render()[0].decode()
    assert after["gateway_refused_total", (("reason", "other"),)] == 1_001
    assert after["gateway_unlisted_label_values_total", ()] == 1_001 * 23


def test_a_value_of_another_list_is_unlisted() -> None:
    """A policy reason is not accepted as a reason for rejection, though both labels are called reason."""
    metrics = _metrics()
    metrics.refused(PolicyReason.HOLIDAY)
    assert _value(metrics, "gateway_refused_total", reason="other") == 1


def test_verbs_count() -> None:
    """Each method changes its own series, by one."""
    metrics = _metrics()
    before = _samples(metrics)
    metrics.accepted("created", "acme")
    metrics.refused("invalid_request")
    metrics.decided(VerdictKind.DEFER, PolicyReason.OUTSIDE_WINDOW, "accept", "nobody")
    metrics.attempted(_notification(), "sms", "twilio", "unknown", ProviderReason.TIMEOUT, 0.02)
    metrics.received("twilio", ReceiptStatus.DELIVERED, "moved")
    metrics.callback_refused("twilio", "bad_signature")
    moved = {key: value - before[key] for key, value in _samples(metrics).items() if key[0].startswith("gateway_")}
    assert {name: change for (name, _), change in moved.items() if change} == {
        "gateway_accepted_total": 1,
        "gateway_refused_total": 1,
        "gateway_decisions_total": 1,
        "gateway_attempts_total": 1,
        "gateway_tenant_requests_total": 1,
        "gateway_tenant_decisions_total": 1,
        "gateway_tenant_messages_total": 1,
        "gateway_accept_to_provider_seconds_bucket": 1,
        "gateway_accept_to_provider_seconds_count": 1,
        "gateway_accept_to_provider_seconds_sum": 0.02,
        "gateway_receipts_total": 1,
        "gateway_callbacks_refused_total": 1,
    }


def test_gauges_have_the_values_that_were_set() -> None:
    """The figures from the ledger appear unchanged."""
    metrics = _metrics()
    metrics.queue(due=7, oldest_seconds=42.5, jobs=3)
    metrics.queue(due=7, oldest_seconds=42.5, jobs=None)
    metrics.relay_ran(datetime(2026, 1, 1, tzinfo=UTC), triggered=3, lag_seconds=0.25)
    metrics.relay_ran(datetime(2026, 1, 2, tzinfo=UTC), triggered=2, lag_seconds=0.5)
    metrics.unknown(4)
    metrics.review({Urgency.NOW: OpenReviews(2, 60.0), Urgency.ROUTINE: OpenReviews(5)}, oldest_seconds=3600)
    metrics.conversations({Urgency.TODAY: OpenReviews(3, 7.0)})
    assert _value(metrics, "gateway_conversations_waiting", urgency="today") == 3
    assert _value(metrics, "gateway_conversations_overdue_seconds", urgency="today") == 7
    assert _value(metrics, "gateway_conversations_waiting", urgency="now") == 0
    assert _value(metrics, "gateway_due_deliveries") == 7
    assert _value(metrics, "gateway_oldest_due_seconds") == 42.5
    assert _value(metrics, "gateway_queued_jobs") == 3  # as it was before Redis was lost
    assert _value(metrics, "gateway_relay_last_run_timestamp_seconds") == 1767312000
    assert _value(metrics, "gateway_relay_triggered_total") == 5
    assert _value(metrics, "gateway_relay_lag_seconds") == 0.5
    assert _value(metrics, "gateway_unknown_outcomes") == 4
    assert _value(metrics, "gateway_review_oldest_seconds") == 3600
    for urgency, waiting, overdue in (("now", 2, 60), ("today", 0, 0), ("routine", 5, 0)):
        assert _value(metrics, "gateway_review_waiting", urgency=urgency) == waiting
        assert _value(metrics, "gateway_review_overdue_seconds", urgency=urgency) == overdue


def test_durations_fall_into_buckets_and_failed_transactions_count() -> None:
    """Failed transactions are timed too, and a clock that goes back gives no negative duration."""
    metrics = _metrics()
    with pytest.raises(ZeroDivisionError), metrics.transaction("accept"):
        raise ZeroDivisionError
    for seconds in (-3.0, 0.03):
        metrics.attempted(_notification(), "sms", "twilio", "accepted", ProviderReason.ACCEPTED, seconds)
    metrics.settled("ntf_1", "sms", 12.0)
    metrics.batched("dispatch", 200)
    assert _value(metrics, "gateway_ledger_transaction_seconds_count", operation="accept") == 1
    assert _value(metrics, "gateway_accept_to_provider_seconds_bucket", le="0.025") == 1
    assert _value(metrics, "gateway_accept_to_provider_seconds_bucket", le="0.05") == 2
    assert _value(metrics, "gateway_accept_to_provider_seconds_sum") == pytest.approx(0.03)
    assert _value(metrics, "gateway_provider_to_receipt_seconds_bucket", channel="sms", le="30.0") == 1
    assert _value(metrics, "gateway_batch_size_bucket", stage="dispatch", le="100.0") == 0
    assert _value(metrics, "gateway_batch_size_bucket", stage="dispatch", le="200.0") == 1


async def test_scrapers_get_the_format_they_ask_for() -> None:
    """A worker's metrics server answers in OpenMetrics if that is accepted, otherwise in the text format."""
    metrics = _metrics()
    metrics.accepted("created", "acme")
    listener = socket.create_server(("127.0.0.1", 0))
    server = await serve(metrics, Probe({}), listener)
    url = f"http://127.0.0.1:{listener.getsockname()[1]}/metrics"
    async with aiohttp.ClientSession() as session:
        async with session.get(url) as plain:
            assert plain.headers["Content-Type"].startswith("text/plain")
            assert any(family.name == "gateway_accepted" for family in parse_text(await plain.text()))
        accept = "application/openmetrics-text;version=1.0.0;q=0.7,text/plain;version=0.0.4;q=0.3"
        async with session.get(url, headers={"Accept": accept}) as open_metrics:
            assert open_metrics.headers["Content-Type"].startswith("application/openmetrics-text")
            families = {family.name: family for family in parse_openmetrics(await open_metrics.text())}
    assert families["gateway_accepted"].type == "counter"
    await server.close()


def test_a_slow_hand_over_leads_to_its_notification() -> None:
    """The exemplar of a bucket is the notification's trace id, without borrower data."""
    metrics = _metrics()
    notification = _notification()
    metrics.attempted(notification, "sms", "twilio", "accepted", ProviderReason.ACCEPTED, 45.0)
    text = metrics.render("application/openmetrics-text")[0].decode()
    exemplars = {
        sample.labels["le"]: sample.exemplar.labels
        for family in parse_openmetrics(text)
        for sample in family.samples
        if sample.name == "gateway_accept_to_provider_seconds_bucket" and sample.exemplar
    }
    assert exemplars == {"60.0": {"trace_id": notification.id.removeprefix("ntf_")}}
    assert notification.borrower.id not in text


def test_dependencies_are_up_until_a_check_fails() -> None:
    """The results of /readyz become ones and zeros."""
    metrics = _metrics()
    metrics.depends_on({"ledger": "", "redis": "ConnectionError"})
    assert _value(metrics, "gateway_dependency_up", dependency="redis") == 0
    assert _value(metrics, "gateway_dependency_up", dependency="ledger") == 1


def test_tenants_that_are_not_configured_share_a_series() -> None:
    """Only configured tenants have series of their own."""
    metrics = _metrics()
    metrics.accepted("created", "acme")
    metrics.accepted("created", "another")
    metrics.accepted("created", "third")
    assert _value(metrics, "gateway_tenant_requests_total", tenant="acme", outcome="created") == 1
    assert _value(metrics, "gateway_tenant_requests_total", tenant="other", outcome="created") == 2
    assert _value(metrics, "gateway_unlisted_label_values_total") == 0
