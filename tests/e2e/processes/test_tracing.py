"""Traces of a whole gateway: a reminder from the request to the receipt, without personal data."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode

from gateway.observability import logs, tracing
from tests.support.waiting import LIMIT_SECONDS
from tests.support.whole_gateway import REQUEST, Running, up

MORNING = "2026-11-24T10:00:00+08:00"
CALLER = "4bf92f3577b34da6a3ce929d0e0e4736"


@pytest.fixture
def exported() -> Iterator[InMemorySpanExporter]:
    """The spans of one test; afterwards none are made."""
    exporter = InMemorySpanExporter()
    tracing.configure("", 1.0, "test", exporter=exporter)
    yield exporter
    tracing.shut_down()


def _trace(span: ReadableSpan) -> str:
    return f"{span.context.trace_id:032x}" if span.context else ""


async def _accepted(running: Running, **headers: str) -> str:
    status, answer = await running.call("POST", "/v1/notifications", REQUEST, **headers)
    assert status == 202
    return str(answer["id"])


def _spans(exporter: InMemorySpanExporter, trace_id: str) -> list[ReadableSpan]:
    return [each for each in exporter.get_finished_spans() if _trace(each) == trace_id]


async def _delivered(exporter: InMemorySpanExporter, trace_id: str) -> None:
    """Wait for the receipt of the delivery; one before it tells that it was sent.

    It may be faster than the end of the sending, so that a trace is whole only when the gateway has stopped.
    """
    async with asyncio.timeout(LIMIT_SECONDS):
        while True:
            states = [(each.attributes or {}).get("gateway.state") for each in _spans(exporter, trace_id)]
            if "delivered" in states:
                return
            await asyncio.sleep(0.05)


async def test_one_trace_leads_from_the_request_to_the_receipt(exported: InMemorySpanExporter) -> None:
    """The notification's id is its trace; sending and the receipt hang on its first span, which knows the caller's."""
    async with up(MORNING) as running:
        key = await _accepted(running, traceparent=f"00-{CALLER}-00f067aa0ba902b7-01")
        await _delivered(exported, tracing.trace_id_of(key))
    spans = _spans(exported, tracing.trace_id_of(key))
    (root,) = [each for each in spans if each.name == "notification"]
    (send,) = [each for each in spans if each.name == "send"]
    receipts = [each for each in spans if each.name == "receipt"]
    assert root.parent is None
    assert root.context is not None
    for child in (send, *receipts):
        assert child.parent is not None
        assert child.parent.span_id == root.context.span_id
    assert [f"{link.context.trace_id:032x}" for link in root.links] == [CALLER]
    assert send.attributes is not None
    assert send.attributes["gateway.outcome"] == "accepted"
    assert send.attributes["gateway.provider"] == "sms-simulator"
    others = [each for each in exported.get_finished_spans() if _trace(each) != _trace(root)]
    (request,) = [each for each in others if each.name == "POST /v1/notifications"]
    [sent_by] = [link.context.span_id for link in send.links]
    # There may be more dispatches: a trigger for work that somebody else has finds nothing to do.
    (dispatch,) = [each for each in others if each.context is not None and each.context.span_id == sent_by]
    assert dispatch.name == "dispatch"
    assert [link.context.span_id for link in dispatch.links] == [root.context.span_id]
    assert _trace(request) == CALLER
    assert request.attributes is not None
    assert request.attributes["http.response.status_code"] == 202


async def test_traces_quote_nobody(exported: InMemorySpanExporter) -> None:
    """No span has a borrower's name, number, address or id, nor a reference or the words that were sent."""
    # In forms that no random id in hexadecimal and no instant can have by chance.
    async with up(MORNING) as running:
        key = await _accepted(running)
        await running.call("GET", "/v1/borrowers/B-1001?channel=sms")
        await running.call("POST", "/v1/notifications", {**REQUEST, "borrower": {"id": "B-1001", "name": 7}})
        await _delivered(exported, tracing.trace_id_of(key))
    said = " ".join(each.to_json() for each in exported.get_finished_spans())
    for personal in ("Chen", "+1202", "2025550123", "b1001@", "B-1001", "C-77", "3913.00", "3,913", "ref="):
        assert personal not in said


async def test_the_log_names_the_trace(exported: InMemorySpanExporter) -> None:
    """A log line that is written within a span carries its ids; one that is not carries none."""
    key = f"ntf_{CALLER}"
    with tracing.step("send", key):
        inside = logs._add_context(None, "", {})
        assert tracing.current_trace_id() == CALLER
    assert inside["trace_id"] == CALLER
    assert tracing.current_trace_id() == ""
    assert logs._add_context(None, "", {}) == {}


async def test_an_exception_is_told_by_its_class(exported: InMemorySpanExporter) -> None:
    """An exception's message may quote a borrower, so a span has its class and no more."""
    with pytest.raises(ValueError, match="Chen"), tracing.batch("settle"):
        raise ValueError("Chen Mei, +12025550123")
    (span,) = exported.get_finished_spans()
    assert span.status.status_code is StatusCode.ERROR
    assert span.attributes == {"error.type": "ValueError"}
    assert "Chen" not in span.to_json()


def test_every_process_traces_the_same_notifications() -> None:
    """Which notifications are traced follows from their ids: half of them at a half, and each whole or not at all."""
    exporter = InMemorySpanExporter()
    tracing.configure("", 0.5, "test", exporter=exporter)
    keys = [f"ntf_{0x19A0_0000_0000 + number:012x}{number * 0x9E3779B97F4A7C15 % 2**80:020x}" for number in range(200)]
    for key in keys:
        tracing.notification(key, tracing.now())
        with tracing.step("send", key):
            pass
    tracing.shut_down()
    traced = [_trace(each) for each in exporter.get_finished_spans()]
    assert 60 < len(traced) / 2 < 140
    assert all(traced.count(each) == 2 for each in traced)


def test_nothing_is_made_where_it_is_off() -> None:
    """Without an address for traces every function answers at once, and OpenTelemetry need not be there."""
    assert tracing.now() == 0
    assert tracing.current_trace_id() == ""
    assert tracing.trace_id_of(f"ntf_{CALLER}") == CALLER
    tracing.notification(f"ntf_{CALLER}", 0)
    with tracing.step("send", f"ntf_{CALLER}") as span, tracing.batch("dispatch") as other:
        tracing.set_attributes(span, outcome="accepted")
        tracing.link(other, [f"ntf_{CALLER}"])
    assert span is None
    assert other is None


def test_a_collector_is_sent_them_over_http() -> None:
    """What is made is sent to the address that the settings name, as OTLP, with the process's kind."""
    received: list[Any] = []

    class Collector(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            import gzip

            body = self.rfile.read(int(self.headers["Content-Length"]))
            if self.headers.get("Content-Encoding") == "gzip":
                body = gzip.decompress(body)
            received.append(ExportTraceServiceRequest.FromString(body))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_arguments: Any) -> None:
            """Silent."""

    server = HTTPServer(("127.0.0.1", 0), Collector)
    thread = Thread(target=server.serve_forever)
    thread.start()
    try:
        tracing.configure(f"http://127.0.0.1:{server.server_port}/v1/traces", 1.0, "worker")
        tracing.notification(f"ntf_{CALLER}", tracing.now(), tenant="acme")
        tracing.shut_down()
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
    (spans,) = received[0].resource_spans
    assert {each.key: each.value.string_value for each in spans.resource.attributes}["gateway.kind"] == "worker"
    (span,) = spans.scope_spans[0].spans
    assert span.trace_id.hex() == CALLER
