"""What should be reached, each as a figure of one run: names and limits are the issue tracker's."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from measuring import Measurement

Found = Mapping[str, Measurement]


@dataclass(frozen=True)
class BenchTarget:
    """``value`` of the measurements should be at least (or at most) ``limit``."""

    name: str
    limit: float
    value: Callable[[Found], float]
    at_least: bool = True

    def checked(self, found: Found) -> dict[str, object]:
        """As the answer has it; a value that could not be measured is null, and not met."""
        try:
            value = round(self.value(found), 3)
        except (LookupError, ZeroDivisionError):
            return {"name": self.name, "value": None, "target": self._shown(), "met": False}
        met = value >= self.limit if self.at_least else value <= self.limit
        return {"name": self.name, "value": value, "target": self._shown(), "met": met}

    def _shown(self) -> str:
        return f"{'≥' if self.at_least else '≤'} {self.limit:g}"


def _ratio(one: str, other: str) -> Callable[[Found], float]:
    return lambda found: found[one].per_second / found[other].per_second


def _rate(name: str) -> Callable[[Found], float]:
    return lambda found: found[name].per_second


def _p50(found: Found, name: str) -> float:
    return found[name].latency_ms["p50"]


def _grown(kind: str, value: Callable[[Measurement], float], suffix: str = "") -> Callable[[Found], float]:
    """A figure of the largest ledger to that of the smallest; ``kind``: "growth_", or "growth_ended_"."""

    def ratio(found: Found) -> float:
        sizes = sorted(int(name.removeprefix(kind)) for name in found if name.removeprefix(kind).isdigit())
        return value(found[f"{kind}{sizes[-1]}{suffix}"]) / value(found[f"{kind}{sizes[0]}{suffix}"])

    return ratio


def _median(each: Measurement) -> float:
    return each.per_second


def _cpu(each: Measurement) -> float:
    return each.cpu_ms


_GROWN = {"growth_": "5 million waiting / 10 thousand", "growth_ended_": "5 million ended / 10 thousand"}

TARGETS = (
    BenchTarget(
        "durable accept, 32 connections, one API process, ours / textbook",
        2.5,
        _ratio("accept_ours_postgresql_32", "accept_textbook_postgresql_32"),
    ),
    BenchTarget("full dispatch, ours / textbook worker", 5, _ratio("dispatch_http_0ms", "dispatch_textbook")),
    BenchTarget(
        "two workers / one, where the provider waits 20 ms",
        1.7,
        _ratio("dispatch_http_20ms_two_workers", "dispatch_http_20ms_one_worker_anywhere"),
    ),
    BenchTarget(
        "SMTP: ours / one aiosmtplib connection per message",
        3,
        _ratio("smtp_ours", "smtp_connection_per_message"),
    ),
    BenchTarget(
        "accept→provider p95 at 60 % of the maximum",
        250,
        lambda found: found["endtoend_60_percent"].latency_ms["p95"],
        at_least=False,
    ),
    BenchTarget(
        "accept, one connection, p50, ours / textbook",
        1,
        lambda found: _p50(found, "accept_ours_postgresql_1") / _p50(found, "accept_textbook_postgresql_1"),
        at_least=False,
    ),
    *(
        target
        for kind, sizes in _GROWN.items()
        for target in (
            BenchTarget(f"worker's processor for a reminder, {sizes}", 1.2, _grown(kind, _cpu), at_least=False),
            BenchTarget(f"memory of a worker, {sizes}", 1.2, _grown(kind, _median, "_memory_mb"), at_least=False),
            BenchTarget(f"WAL of a reminder, bytes, {sizes}", 1.1, _grown(kind, _median, "_wal_bytes"), at_least=False),
        )
    ),
    BenchTarget(
        "round trips to SQL and Redis per 100 notifications, accept to sent",
        30,
        _rate("round_trips_per_100"),
        at_least=False,
    ),
    BenchTarget("idle: CPU of api + worker", 2, _rate("idle_percent_of_a_core"), at_least=False),
    BenchTarget("policy decisions a second, one core", 5_000, _rate("decisions")),
    BenchTarget("SMS renders a second, one core", 10_000, _rate("renders_sms")),
    BenchTarget("live preview on loopback, p95", 150, lambda found: found["preview"].latency_ms["p95"], at_least=False),
    BenchTarget("one reminder, bytes of WAL", 8_000, _rate("cost_wal_bytes"), at_least=False),
    BenchTarget("one reminder, records of WAL", 60, _rate("cost_wal_records"), at_least=False),
    BenchTarget("one reminder, bytes kept in PostgreSQL", 4_500, _rate("cost_kept_bytes"), at_least=False),
    BenchTarget("updates that are heap-only", 0.8, _rate("cost_hot_share")),
    BenchTarget("one reminder, ms of PostgreSQL's processor", 0.8, _rate("cost_postgresql_cpu_ms"), at_least=False),
    BenchTarget("accepting one, ms of the API's processor", 0.9, _rate("cost_api_accept_cpu_ms"), at_least=False),
    BenchTarget("its two receipts, ms of the API's processor", 0.6, _rate("cost_api_receipts_cpu_ms"), at_least=False),
    BenchTarget("sending it, ms of the worker's processor", 0.9, _rate("cost_worker_cpu_ms"), at_least=False),
    BenchTarget(
        "HTTP to SMSC, processor of all processes, ours / Jasmin",
        1.0,
        _ratio("cost_smpp_ours_cpu_ms", "cost_smpp_jasmin_cpu_ms"),
        at_least=False,
    ),
    BenchTarget(
        "HTTP to SMSC, one connection, p50, ours / Jasmin",
        2.0,
        _ratio("cost_smpp_ours_alone_ms", "cost_smpp_jasmin_alone_ms"),
        at_least=False,
    ),
)

# What Python does not reach (ops/bench/what-dominates.md has why): listed beside the targets, as how far it is.
LIMITS = (
    BenchTarget("ours / bare FastAPI floor", 0.60, _ratio("accept_ours_postgresql_32", "accept_bare_fastapi_32")),
    BenchTarget(
        "batch endpoint, notifications accepted a second / single POST",
        5,
        _ratio("accept_ours_postgresql_batch_100", "accept_ours_postgresql_32"),
    ),
    BenchTarget(
        "full dispatch of real messages over HTTP, one worker / arq no-op jobs, one worker",
        1.3,
        _ratio("dispatch_http_0ms", "noop_arq"),
    ),
)
