"""The path observer: one call for a happening gives its log record and its metric, and says nothing of a borrower."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
import structlog
from prometheus_client.parser import text_string_to_metric_families as parse

from channels.base import Accepted, PermanentFailure, ProviderReason, Receipt, ReceiptStatus
from gateway.core.deliveries import ClaimedDelivery, Delivery, ReceiptFor, RecordedReply, Transition
from gateway.core.facts import BorrowerFacts, Facts
from gateway.core.reasons import Intent, PolicyReason
from gateway.core.requests import AcceptResult, FieldError, RejectedRequest
from gateway.core.states import State
from gateway.core.verdicts import Verdict, VerdictKind
from gateway.observability import logs
from gateway.observability.metrics import Metrics
from gateway.observability.path_observer import PathObserver
from tests.support.storage.ledgers import NOW, draft, ended, later

NOTIFICATION = draft("k").notification
DELIVERY = Delivery("dlv_1", NOTIFICATION.id, 0, "sms", "digest", State.SENT, due_at=NOW, sent_at=NOW)
CLAIMED = ClaimedDelivery(DELIVERY, NOTIFICATION, BorrowerFacts(0, Facts()), State.SENT, True)


@pytest.fixture
def out() -> Iterator[io.StringIO]:
    root = logging.getLogger()
    before = (root.handlers[:], root.level, logging.raiseExceptions)
    stream = io.StringIO()
    logs.configure("INFO", stream=stream)
    yield stream
    root.handlers, root.level, logging.raiseExceptions = before[0], before[1], before[2]
    logging.captureWarnings(False)
    structlog.reset_defaults()


@pytest.fixture
def metrics() -> Metrics:
    return Metrics(["sms"], [("sms", "twilio")], tenants=["acme"])


def _value(metrics: Metrics, name: str, **labels: str) -> float:
    return next(
        sample.value
        for family in parse(metrics.render()[0].decode())
        for sample in family.samples
        if sample.name == name and sample.labels == labels
    )


def _records(out: io.StringIO) -> list[dict[str, Any]]:
    found = [json.loads(line) for line in out.getvalue().splitlines()]
    for value in (*NOTIFICATION.borrower.addresses.values(), NOTIFICATION.borrower.name, NOTIFICATION.borrower.id):
        assert value not in out.getvalue()
    return found


def test_requests_are_recorded_with_their_outcome(out: io.StringIO, metrics: Metrics) -> None:
    """Created, duplicate, replayed and refused each give one record and one count."""
    created = AcceptResult("created", "ntf_1", State.ACCEPTED, "", first_delivery="dlv_1")
    duplicate = AcceptResult("created", "ntf_2", State.SUPPRESSED, "duplicate", duplicate_of="ntf_1")
    replayed = AcceptResult("replayed", "ntf_1", State.ACCEPTED, "")
    refused = RejectedRequest("unknown_template", (FieldError("/template", "there is no such template"),))
    PathObserver(metrics).accepted("acme", [created, duplicate, replayed, refused], 0)
    records = _records(out)
    assert [each["outcome"] for each in records] == ["created", "created", "replayed", "refused"]
    assert {each["event"] for each in records} == {"accepted"}
    assert (records[0]["notification_id"], records[0]["delivery_id"]) == ("ntf_1", "dlv_1")
    for outcome in ("created", "duplicate", "replayed"):
        assert _value(metrics, "gateway_accepted_total", outcome=outcome) == 1
    assert _value(metrics, "gateway_refused_total", reason="unknown_template") == 1


def test_attempts_are_recorded_with_their_outcome(out: io.StringIO, metrics: Metrics) -> None:
    """An attempt's record has its ids, outcome, reason, code and milliseconds."""
    failure = PermanentFailure(ProviderReason.INVALID_ADDRESS, "21211")
    attempts = [ended(CLAIMED, Accepted("SM1"), later(1), began=NOW), ended(CLAIMED, failure, later(1))]
    PathObserver(metrics).attempted(attempts)
    accepted, failed = _records(out)
    assert (accepted["delivery_id"], accepted["outcome"], accepted["milliseconds"]) == ("dlv_1", "accepted", 1000)
    assert (failed["outcome"], failed["reason"], failed["code"]) == ("permanent", "invalid_address", "21211")
    labels = {"channel": "sms", "provider": "twilio", "outcome": "accepted", "reason": str(ProviderReason.ACCEPTED)}
    assert _value(metrics, "gateway_attempts_total", **labels) == 1


def test_a_batch_counts_when_its_work_has_ended(metrics: Metrics) -> None:
    """An empty batch, and one whose work failed, count for nothing: the latter is done again."""
    observer = PathObserver(metrics)
    with observer.batch("settle") as batch:
        batch.of(["ntf_1", "ntf_1", "ntf_2"])
    with observer.batch("settle") as batch:
        batch.of([])

    def fail() -> None:
        with observer.batch("settle") as failing:
            failing.of(["ntf_3"])
            raise OSError("away")

    with pytest.raises(OSError, match="away"):
        fail()
    assert _value(metrics, "gateway_batch_size_count", stage="settle") == 1
    assert _value(metrics, "gateway_batch_size_sum", stage="settle") == 3


def test_a_final_receipt_is_timed_from_its_hand_over(metrics: Metrics) -> None:
    """The observed decision is the decision; only one that ends the delivery is timed."""

    def decide(delivery: Delivery, *_arguments: Any) -> Transition:
        return Transition(delivery.id, "receipt", later(5), to=to)

    observed = PathObserver(metrics).receipts(decide)
    receipt = Receipt("twilio", ReceiptStatus.DELIVERED, "SM1")
    for to in (State.SENT, State.DELIVERED):
        assert observed(DELIVERY, NOTIFICATION, receipt, 1, later(5)).to is to
    observed(replace(DELIVERY, sent_at=None), NOTIFICATION, receipt, 1, later(5))
    assert _value(metrics, "gateway_provider_to_receipt_seconds_count", channel="sms") == 1
    assert _value(metrics, "gateway_provider_to_receipt_seconds_sum", channel="sms") == 5


def test_receipts_replies_and_verdicts_are_counted(out: io.StringIO, metrics: Metrics) -> None:
    """A new stop is timed as an opt-out; a repeated one, and a question, are not."""
    observer = PathObserver(metrics)
    observer.received("twilio", [ReceiptFor(Receipt("twilio", ReceiptStatus.SENT), "dlv_1", 1)], ["moved"])
    replies = [
        RecordedReply("acme", NOTIFICATION.borrower, "dlv_1", (Intent.STOP,), new=True),
        RecordedReply("acme", NOTIFICATION.borrower, "dlv_1", (Intent.STOP,)),
        RecordedReply("acme", NOTIFICATION.borrower, "dlv_1", (Intent.HELP,), new=True),
    ]
    observer.replied("twilio", replies, timedelta(seconds=2))
    observer.decided("accept", [("acme", Verdict(VerdictKind.SEND, PolicyReason.PERMITTED))])
    observer.not_sent([Transition("dlv_1", "decided", NOW, to=State.DEFERRED, reason=PolicyReason.HOLD)])
    assert [each["event"] for each in _records(out)] == ["received", "replied", "replied", "replied", "not sent"]
    assert _value(metrics, "gateway_receipts_total", provider="twilio", status="sent", result="moved") == 1
    assert _value(metrics, "gateway_replies_total", provider="twilio", intent="stop") == 2
    assert _value(metrics, "gateway_opt_out_seconds_count", source="reply") == 1
    assert _value(metrics, "gateway_decisions_total", verdict="send", reason="permitted", when="accept") == 1
