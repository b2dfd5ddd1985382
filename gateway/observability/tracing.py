"""Tracing: one reminder from the request to the receipt, across processes and days.

Owns the spans' shape, and how a notification's trace is found: its trace id is the random and time-ordered part of
its own id, and its first span's id is the end of that. So no trace context is propagated in jobs or stored in the
ledger, a receipt a week later joins the same trace, and every process samples the same notifications.

    caller's trace ─ POST /v1/notifications ◄─link─ notification ─┬─ send      (one for each attempt) ─link─► dispatch
                                                                  └─ receipt   (one for each word of the provider)
    dispatch, accept, settle, receive: one span for each batch, linked to the notifications in it

Off by default, and then every function here returns at once. OpenTelemetry is an optional extra and imported only
when it is switched on. Attributes pass through the log's allow-list. Must not know the other parts.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from gateway.observability import logs

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import SpanProcessor
    from opentelemetry.sdk.trace.export import SpanExporter
    from opentelemetry.trace import Span as Span
    from opentelemetry.trace import SpanContext

_MOST_LINKS = 1_000  # the most that one batch holds; OpenTelemetry keeps 128 where nothing is said
_ID_DIGITS = 32  # of a notification's id after its prefix, and of a trace id


class CannotTrace(Exception):
    """Tracing is configured and not installed; the message names the extra."""


class _Live:
    """The tracer while tracing is on."""

    def __init__(self, tracer: Any, sampled: Callable[[int], bool], shutdown: Callable[[], None]) -> None:
        self.tracer = tracer
        self.sampled = sampled
        self.shutdown = shutdown


_live: _Live | None = None
_OFF: AbstractContextManager[None] = nullcontext()
# The trace id and span id of the next span, where they are not to be random.
_wanted: ContextVar[tuple[int, int] | None] = ContextVar("wanted_ids", default=None)


def configure(url: str, ratio: float, process: str, *, exporter: SpanExporter | None = None) -> None:
    """Make traces from now on and send them to ``url`` (OTLP over HTTP, such as http://collector:4318/v1/traces).

    ``ratio`` of the notifications are traced, the same ones in every process. ``process`` is its kind: api, worker …
    What OpenTelemetry's own environment variables say (headers, certificates, resource attributes) holds as well.
    ``exporter`` is for tests. Raises CannotTrace where the extra ``otel`` is not installed.
    """
    global _live
    try:
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import SpanLimits, TracerProvider
        from opentelemetry.sdk.trace.sampling import Decision, ParentBased, TraceIdRatioBased
    except ImportError as error:
        raise CannotTrace("traces need the extra otel: pip install 'notification-gateway[otel]'") from error
    resource = Resource.create(
        {
            "service.name": "notification-gateway",
            "service.instance.id": f"{process}-{os.getpid()}",
            "gateway.kind": process,
        }
    )
    by_id = TraceIdRatioBased(ratio)
    provider = TracerProvider(
        sampler=ParentBased(by_id),
        resource=resource,
        id_generator=_ids(),
        span_limits=SpanLimits(max_links=_MOST_LINKS),
        shutdown_on_exit=False,
    )
    provider.add_span_processor(_processor(url, exporter))
    _live = _Live(
        provider.get_tracer("gateway"),
        lambda trace_id: by_id.should_sample(None, trace_id, "").decision is Decision.RECORD_AND_SAMPLE,
        provider.shutdown,
    )
    logs.add_context(_log_context)


def _processor(url: str, exporter: SpanExporter | None) -> SpanProcessor:
    from opentelemetry.sdk.trace.export import BatchSpanProcessor, SimpleSpanProcessor

    if exporter is not None:
        return SimpleSpanProcessor(exporter)
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    except ImportError as error:
        raise CannotTrace("traces need the extra otel: pip install 'notification-gateway[otel]'") from error
    return BatchSpanProcessor(OTLPSpanExporter(endpoint=url))


def _ids() -> Any:
    from opentelemetry.sdk.trace.id_generator import RandomIdGenerator

    class Ids(RandomIdGenerator):
        """Random ids, except for a notification's first span, whose ids follow from the notification's."""

        def generate_trace_id(self) -> int:
            wanted = _wanted.get()
            return wanted[0] if wanted else super().generate_trace_id()

        def generate_span_id(self) -> int:
            wanted = _wanted.get()
            return wanted[1] if wanted else super().generate_span_id()

    return Ids()


def shut_down() -> None:
    """Export the remaining spans, and switch tracing off."""
    global _live
    if _live is not None:
        live, _live = _live, None
        logs.add_context(None)
        live.shutdown()


def trace_id_of(notification_id: str) -> str:
    """The trace id (32 hex digits) of a notification, whether or not anything is traced."""
    return notification_id.rpartition("_")[2]


def current_trace_id() -> str:
    """The id of the trace that this task works on; "" where nothing is traced here. For exemplars and logs."""
    if _live is None:
        return ""
    context = _current()
    return f"{context.trace_id:032x}" if context.is_valid and context.trace_flags.sampled else ""


def _log_context() -> Mapping[str, str]:
    context = _current()
    if not context.is_valid:
        return {}
    return {"trace_id": f"{context.trace_id:032x}", "span_id": f"{context.span_id:016x}"}


def _current() -> SpanContext:
    from opentelemetry import trace

    return trace.get_current_span().get_span_context()


def _root_of(notification_id: str) -> SpanContext | None:
    """The first span of a notification, as one that another process made. None for what has no id of ours."""
    from opentelemetry.trace import SpanContext, TraceFlags

    digits = trace_id_of(notification_id)
    if len(digits) != _ID_DIGITS or _live is None:
        return None
    trace_id = int(digits, 16)
    flags = TraceFlags(TraceFlags.SAMPLED if _live.sampled(trace_id) else TraceFlags.DEFAULT)
    return SpanContext(trace_id, _span_id(trace_id), is_remote=True, trace_flags=flags)


def _span_id(trace_id: int) -> int:
    return trace_id & 0xFFFF_FFFF_FFFF_FFFF or 1  # zero is no id (W3C Trace Context section 3.2.2.4)


def now() -> int:
    """The start time for a later ``notification``: nanoseconds since 1970 by this machine's clock; 0 while off."""
    return time.time_ns() if _live is not None else 0


def notification(notification_id: str, began: int, **attributes: Any) -> None:
    """The first span of the trace of a notification that is in the ledger now."""
    if _live is None:
        return
    from opentelemetry.context import Context
    from opentelemetry.trace import Link

    root = _root_of(notification_id)
    if root is None:
        return
    request = _current()
    token = _wanted.set((root.trace_id, root.span_id))
    try:
        span = _live.tracer.start_span(
            "notification",
            context=Context(),
            attributes=_said(notification_id=notification_id, **attributes),
            links=[Link(request)] if request.is_valid else [],
            start_time=began or None,
        )
    finally:
        _wanted.reset(token)
    span.end()


def step(name: str, notification_id: str, **attributes: Any) -> AbstractContextManager[Span | None]:
    """A span of a notification's trace around what is done for it; linked to the batch that it is done in."""
    return _OFF if _live is None else _step(name, notification_id, attributes)


@contextmanager
def _step(name: str, notification_id: str, attributes: Mapping[str, Any]) -> Iterator[Span | None]:
    from opentelemetry import trace
    from opentelemetry.context import Context

    root = _root_of(notification_id)
    if root is None:
        yield None
        return
    batch = _current()
    parent = trace.set_span_in_context(trace.NonRecordingSpan(root), Context())
    links = [trace.Link(batch)] if batch.is_valid else []
    kind = trace.SpanKind.CLIENT if name == "send" else trace.SpanKind.INTERNAL
    with _running(name, parent, kind, links, {"notification_id": notification_id, **attributes}) as span:
        yield span


def batch(stage: str) -> AbstractContextManager[Span | None]:
    """A span, in a trace of its own, around the work on a batch; ``link`` names the notifications in it."""
    return _OFF if _live is None else _batch(stage)


@contextmanager
def _batch(stage: str) -> Iterator[Span | None]:
    from opentelemetry.context import Context
    from opentelemetry.trace import SpanKind

    # An empty context: a batch is run by a task that inherits the context of the first request in it.
    with _running(stage, Context(), SpanKind.CONSUMER if stage == "dispatch" else SpanKind.INTERNAL, [], {}) as span:
        yield span


def link(span: Span | None, notification_ids: Iterable[str]) -> None:
    """Link a batch's span to the notifications in it."""
    if span is None:
        return
    ids = list(dict.fromkeys(notification_ids))
    span.set_attribute("gateway.size", len(ids))
    for root in filter(None, map(_root_of, ids)):
        span.add_link(root)


def request(headers: Mapping[str, str], method: str, request_id: str) -> AbstractContextManager[Span | None]:
    """A span around an HTTP request; it continues the caller's trace where the request names one (W3C)."""
    return _OFF if _live is None else _request(headers, method, request_id)


@contextmanager
def _request(headers: Mapping[str, str], method: str, request_id: str) -> Iterator[Span | None]:
    from opentelemetry.context import Context
    from opentelemetry.trace import SpanKind
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    # A caller's baggage and tracestate are not taken over: only the two ids are.
    given = {"traceparent": headers.get("traceparent", "")}
    context = TraceContextTextMapPropagator().extract(given, Context())
    with _running(method, context, SpanKind.SERVER, [], {"request_id": request_id}) as span:
        yield span


def answered(span: Span | None, method: str, route: str, status_code: int) -> None:
    """Name a request's span by its route's pattern, never its path: paths contain borrowers' ids."""
    if span is None:
        return
    span.update_name(f"{method} {route}".strip())
    span.set_attributes({"http.request.method": method, "http.route": route, "http.response.status_code": status_code})


def set_attributes(span: Span | None, **attributes: Any) -> None:
    """Add attributes, as far as the allow-list has them."""
    if span is not None:
        span.set_attributes(_said(**attributes))


@contextmanager
def _running(name: str, context: Any, kind: Any, links: Any, attributes: Mapping[str, Any]) -> Iterator[Span]:
    """A current span. Of an exception only the class is recorded: its message may quote a borrower."""
    from opentelemetry.trace import Status, StatusCode

    assert _live is not None
    with _live.tracer.start_as_current_span(
        name,
        context=context,
        kind=kind,
        links=links,
        attributes=_said(**attributes),
        record_exception=False,
        set_status_on_exception=False,
    ) as span:
        try:
            yield span
        except Exception as error:
            span.set_attribute("error.type", type(error).__name__)
            span.set_status(Status(StatusCode.ERROR))
            raise


def _said(**attributes: Any) -> dict[str, Any]:
    return {f"gateway.{key}": value for key, value in logs.allowed(attributes).items() if value is not None}
