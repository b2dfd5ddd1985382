"""Reads what became of a template's versions, with the estimate of its cost. Must not know permissions."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from gateway.core.clock import Clock
from gateway.templates.previews.preview import Price, SampleRequest, preview
from gateway.templates.repository import TemplateFiles, TemplateRepository
from gateway.templates.versions.refusals import NoSuchVersion
from gateway.templates.workflow.results import PERIOD, ResultCounts, VersionCounts, VersionResults, compared


class TemplateResults:
    """The results of all tenants' versions. Methods may raise Unavailable."""

    def __init__(
        self, repository: TemplateRepository, counts: ResultCounts, prices: Mapping[str, Price], clock: Clock
    ) -> None:
        """``prices``: those of a segment by country, "" for all others."""
        self._repository = repository
        self._counts = counts
        self._prices = prices
        self._clock = clock

    async def read(self, tenant: str, template: str, number: int) -> VersionResults:
        """What became of a version that was live, against the one that was live before it. Raises NoSuchVersion."""
        text = await self._repository.text(tenant, template, number)
        before = await self._live_before(text)
        since = self._clock() - PERIOD
        versions = [each.version for each in (text, before) if each is not None and each.version]
        counts, complete = await self._counts.read(tenant, template, versions, since)
        now = counts.get(text.version, VersionCounts())
        earlier = counts.get(before.version, VersionCounts()) if before is not None else None
        segments, cost = await asyncio.to_thread(self._estimate, text, now)
        return VersionResults(
            number,
            text.version,
            before.version if before is not None else "",
            since,
            complete,
            now,
            compared(now, earlier),
            segments,
            None if cost is None else cost.amount,
            "" if cost is None else cost.currency,
        )

    async def _live_before(self, text: TemplateFiles) -> TemplateFiles | None:
        if text.stored is None or text.stored.published_at is None:
            return None
        try:
            return await self._repository.text(text.stored.tenant, text.template, text.stored.replaced)
        except NoSuchVersion:  # nothing was live before it
            return None

    def _estimate(self, text: TemplateFiles, counts: VersionCounts) -> tuple[int, Price | None]:
        """Segments and their price, by the usual sample of the default locale."""
        version = self._repository.compiled_or_none(text)
        shown = preview(version, SampleRequest().resolve(version), self._prices) if version is not None else []
        total, cost = 0, None
        for each in shown:
            sent = (counts.by_channel or {}).get(each.channel, 0)
            if each.segments is None:
                continue
            total += each.segments.segments * sent
            if each.cost is not None:
                cost = Price((cost.amount if cost else 0) + each.cost.amount * sent, each.cost.currency)
        return total, cost
