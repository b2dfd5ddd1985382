"""Keeping up with the ledger: what was published or rolled back elsewhere, and what was planned for now.

Runs in every process, so that a publication takes effect everywhere within a second and a plan at its time, and costs
no request anything.
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime
from typing import Protocol

from gateway.core.clock import Clock
from gateway.templates.catalog import Catalog
from gateway.templates.workflow.versions_store import VersionStore

INTERVAL_SECONDS = 1.0  # our choice: how late a publication may be in another process, for one tiny query


class CatalogObserver(Protocol):
    """Hears that a catalogue is up to date, of which templates, and how many of them it had to pass over."""

    def templates_followed(self, now: datetime, names: Collection[str], skipped: int) -> None: ...


class PublicationWatcher:
    """Refreshes a catalogue, and writes down that planned publications have taken place."""

    def __init__(self, catalog: Catalog, versions: VersionStore, observer: CatalogObserver, clock: Clock) -> None:
        self._catalog = catalog
        self._store = versions
        self._observer = observer
        self._clock = clock

    async def run_once(self) -> None:
        """Refresh the catalogue and record what was published by plan. Raises Unavailable."""
        await self._catalog.refresh()
        for tenant, template in self._catalog.planned(self._clock()):
            # The plan holds since its time, in memory; this is for the record, and whoever comes first writes it.
            await self._store.publish_due(tenant, template)
        self._observer.templates_followed(self._clock(), self._catalog.names(), self._catalog.skipped())
