"""The audit runs beside the sending: what goes wrong in it is told, and stops nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import datetime
from types import SimpleNamespace
from typing import Any

from prometheus_client.parser import text_string_to_metric_families as parse

from gateway.app import serving
from gateway.core.model import Violation
from gateway.core.ports import Unavailable
from gateway.observability.metrics import Metrics
from tests.support.ledgers import NOW


class _Failing:
    """Fails twice, by the ledger and by itself; then finds something, and is told to stop."""

    def __init__(self, stop: asyncio.Event) -> None:
        self._stop = stop
        self._failures: list[Exception] = [Unavailable(), KeyError("a fault of its own")]

    async def catch_up(self, now: datetime) -> int:
        if self._failures:
            raise self._failures.pop(0)
        self._stop.set()
        return 7

    async def lately(self, now: datetime) -> Mapping[Violation, int]:
        return {Violation.OVER_CAP: 2}


async def test_a_fault_in_the_audit_stops_nothing(monkeypatch: Any) -> None:
    """After a ledger that is away, and after a fault of its own, it goes on; the figures are those of the last time."""
    monkeypatch.setattr(serving, "_AUDIT_SECONDS", 0.01)
    stop, metrics = asyncio.Event(), Metrics([], [])
    gateway: Any = SimpleNamespace(auditor=_Failing(stop), metrics=metrics, clock=lambda: NOW)
    async with asyncio.timeout(60):
        await serving._audit(gateway, stop)
    samples = {
        (sample.name, sample.labels.get("kind", "")): sample.value
        for family in parse(metrics.render()[0].decode())
        for sample in family.samples
    }
    assert samples["gateway_audited_contacts_total", ""] == 7
    assert samples["gateway_compliance_violations", "over_cap"] == 2
    assert samples["gateway_compliance_violations", "repeat"] == 0
    assert samples["gateway_audit_last_run_timestamp_seconds", ""] == NOW.timestamp()
