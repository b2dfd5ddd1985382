"""The audit runs beside the sending: what goes wrong in it is told, and stops nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import datetime
from unittest.mock import MagicMock

from prometheus_client.parser import text_string_to_metric_families as parse

from gateway.app import serving
from gateway.app.periodic import run_periodically
from gateway.app.settings import Settings
from gateway.core.errors import Unavailable
from gateway.core.reasons import Violation
from gateway.observability.metrics import Metrics
from tests.support.storage.ledgers import NOW


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


async def test_a_fault_in_the_audit_stops_nothing() -> None:
    """After a ledger that is away, and after a fault of its own, it goes on; the figures are those of the last time."""
    stop, metrics = asyncio.Event(), Metrics([], [])
    parts = MagicMock()
    parts.operations.auditor, parts.path.metrics = _Failing(stop), metrics
    parts.ledger.clock, parts.ledger.settings = lambda: NOW, Settings()
    [audit] = [each for each in serving._periodic(parts, "worker") if each.name == "audit"]

    async def no_pause(_stop: asyncio.Event, _seconds: float) -> None:
        """The next run follows at once."""

    await run_periodically(audit, stop, no_pause)
    samples = {
        (sample.name, sample.labels.get("kind", "")): sample.value
        for family in parse(metrics.render()[0].decode())
        for sample in family.samples
    }
    assert samples["gateway_audited_contacts_total", ""] == 7
    assert samples["gateway_compliance_violations", "over_cap"] == 2
    assert samples["gateway_compliance_violations", "repeat"] == 0
    assert samples["gateway_audit_last_run_timestamp_seconds", ""] == NOW.timestamp()
