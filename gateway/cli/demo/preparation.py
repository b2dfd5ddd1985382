"""What has to be there before messages go on social channels: consents, and providers' templates.

A lender records consents through its case system and has templates approved by the provider. The demo does both for
its portfolio: a row's ``metadata.consents`` has what the borrower has agreed to, as ``service:whatsapp``, and the
simulated provider approves what is submitted. Must not know any channel.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Any

import aiohttp

from channels.base import TemplateStatus
from gateway.app.app import Gateway
from gateway.app.embedded.simulated_providers import SimulatedProviders
from gateway.cli.portfolio.files import PortfolioRow, RowError
from gateway.core.errors import Unavailable
from gateway.core.notifications import Category
from gateway.templates.versions.refusals import NoSuchVersion

_ACTOR = "system:demo"
_SHIPPED = 0  # the number of a template's built-in version
_TTL_SECONDS = 1800  # how long the provider lets a message wait; our choice
_ASK_SECONDS = 0.2  # our choice
_ASKED = 100  # times; the simulator approves at once, the rest is for a loaded machine
_HELD = (TemplateStatus.SUBMITTED, TemplateStatus.APPROVED)  # what the provider holds, or is to be asked for


async def record_consents(gateway: Gateway, tenant: str, rows: Sequence[PortfolioRow | RowError]) -> None:
    """Record what the portfolio's borrowers have agreed to. Raises Unavailable."""
    for borrower, category, channel in _agreed(rows):
        await gateway.path.borrowers.give_consent(
            tenant, borrower, category, "portfolio", "the row's metadata", _ACTOR, channel
        )


def _agreed(rows: Sequence[PortfolioRow | RowError]) -> Iterator[tuple[str, Category, str]]:
    for row in rows:
        request: Any = row.request if isinstance(row, PortfolioRow) else {}
        borrower, metadata = request.get("borrower"), request.get("metadata")
        if isinstance(borrower, dict) and isinstance(metadata, dict):
            for each in str(metadata.get("consents", "")).split():
                category, _, channel = each.partition(":")
                if category in set(Category):
                    yield str(borrower.get("id", "")), Category(category), channel


class TemplateApprovals:
    """Submits providers' templates to the simulated providers, which approve them by their webhook."""

    def __init__(self, gateway: Gateway, simulators: SimulatedProviders, tenant: str) -> None:
        self._gateway = gateway
        self._simulators = simulators
        self._tenant = tenant
        self._commands = gateway.editor.workflow.provider_templates
        self._submitted: set[tuple[str, str, str, str]] = set()

    async def prepare(self, rows: Sequence[PortfolioRow | RowError]) -> None:
        """Have the templates of a portfolio approved, as far as they say what our texts say, and wait until they are.

        Routes go round what is not approved in time. Raises Unavailable, aiohttp.ClientError.
        """
        for template, locale in sorted(set(self._used(rows))):
            with suppress(NoSuchVersion):
                await self._enter(template, locale)
        for _ in range(_ASKED):
            if not await self.submit():
                break
            await asyncio.sleep(_ASK_SECONDS)

    async def follow(self) -> None:
        """Submit what is entered in the editor from now on, until cancelled."""
        while True:
            with suppress(Unavailable, aiohttp.ClientError, TimeoutError):
                await self.submit()
            await asyncio.sleep(_ASK_SECONDS * 10)

    async def submit(self) -> bool:
        """Submit what the provider does not hold yet. Returns whether an approval is still to come."""
        pending = False
        for each in await self._gateway.path.forms.listed(self._tenant):
            provider = self._gateway.providers.by_name.get(each.provider)
            if provider is None or provider.channel not in self._simulators.social_ports or each.status not in _HELD:
                continue
            known = (provider.channel, each.reference, each.language, each.approved_text)
            if known not in self._submitted:
                await self._simulators.submit_template(*known)
                self._submitted.add(known)
            pending |= each.status is TemplateStatus.SUBMITTED
        return pending

    def _used(self, rows: Sequence[PortfolioRow | RowError]) -> Iterator[tuple[str, str]]:
        """Template and locale of the rows that a channel with simulated templates may carry."""
        for row in rows:
            request: Any = row.request if isinstance(row, PortfolioRow) else {}
            borrower, route = request.get("borrower"), request.get("route")
            steps = route if isinstance(route, list) else []
            channels = {each.get("channel") if isinstance(each, dict) else each for each in steps}
            if isinstance(borrower, dict) and channels & self._simulators.social_ports.keys():
                yield str(request.get("template", "")), str(borrower.get("locale", ""))

    async def _enter(self, template: str, locale: str) -> None:
        for view in await self._commands.listed(self._tenant, template, _SHIPPED):
            if view.locale != locale or view.template is not None or not view.proposed_text:
                continue
            which = (self._tenant, template, _SHIPPED, (view.provider, view.locale), _ACTOR)
            reference = f"{template}-{locale}".replace("-", "_").lower()  # as Meta wants names
            await self._commands.enter(*which, reference=reference, ttl_seconds=_TTL_SECONDS)
            await self._commands.report(*which, status=TemplateStatus.SUBMITTED)
