"""Keeps a process's catalog up to date with the publications of all processes.

Runs in every process: a publication takes effect everywhere within a second, a scheduled one at its time, and
requests need no query.
"""

from __future__ import annotations

from gateway.core.clock import Clock
from gateway.observability.metrics import Metrics
from gateway.templates.catalog import Catalog
from gateway.templates.versions.versions_store import VersionStore

INTERVAL_SECONDS = 1.0  # our choice: the delay of a publication in other processes, for one small query


class PublicationWatcher:
    """Refreshes a catalog once a second, and records scheduled publications that have taken effect."""

    def __init__(self, catalog: Catalog, versions: VersionStore, metrics: Metrics, clock: Clock) -> None:
        self._catalog = catalog
        self._store = versions
        self._metrics = metrics
        self._clock = clock

    async def run_once(self) -> None:
        """Refresh the catalog and record scheduled publications that are due. Raises Unavailable."""
        await self._catalog.refresh()
        for tenant, template in self._catalog.planned(self._clock()):
            # The catalog uses it from its time on. This records it in the ledger; the first process succeeds.
            await self._store.publish_due(tenant, template)
        self._metrics.templates_followed(self._clock(), self._catalog.names(), self._catalog.skipped())
