"""Keeps a process's catalogue up to date with what is published, rolled back or scheduled in any process.

Runs in every process: a publication takes effect everywhere within a second, a scheduled one at its time, and no
request has to ask the ledger.
"""

from __future__ import annotations

from gateway.core.clock import Clock
from gateway.observability.metrics import Metrics
from gateway.templates.catalog import Catalog
from gateway.templates.workflow.versions_store import VersionStore

INTERVAL_SECONDS = 1.0  # our choice: the delay of a publication in other processes, for one small query


class PublicationWatcher:
    """Refreshes a catalogue once a second, and records scheduled publications that have taken effect."""

    def __init__(self, catalog: Catalog, versions: VersionStore, metrics: Metrics, clock: Clock) -> None:
        self._catalog = catalog
        self._store = versions
        self._metrics = metrics
        self._clock = clock

    async def run_once(self) -> None:
        """Refresh the catalogue and record what was published by plan. Raises Unavailable."""
        await self._catalog.refresh()
        for tenant, template in self._catalog.planned(self._clock()):
            # In memory it is live since its time. This records it in the ledger; the first process to do so wins.
            await self._store.publish_due(tenant, template)
        self._metrics.templates_followed(self._clock(), self._catalog.names(), self._catalog.skipped())
