"""Takes providers' templates along to a new version of our text, where they still say what it says.

A provider approves words, not our versions: where the words stay, so does its approval. A provider's template with
other words stays with the version that it was entered for.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from functools import partial

from sqlalchemy import Connection

from channels.base import Provider, TemplateStatus
from channels.profile import Profiles
from gateway.core.provider_templates import ProviderTemplate
from gateway.stages.message_form import with_templates
from gateway.templates.checks.provider_templates import check_provider_template, error_in
from gateway.templates.message_forms import MessageForms, add_template
from gateway.templates.previews.samples import samples
from gateway.templates.repository import TemplateFiles, TemplateRepository
from gateway.templates.versions.versions_store import VersionStore

_GATEWAY = "gateway"  # the actor of what no person did


class CarryOver:
    """Methods may raise Unavailable. Repeating them changes nothing, nor does another process that does the same."""

    def __init__(
        self,
        versions: VersionStore,
        repository: TemplateRepository,
        forms: MessageForms,
        providers: Mapping[str, Provider],
        profiles: Profiles,
    ) -> None:
        self._store = versions
        self._repository = repository
        self._forms = forms
        self._providers = with_templates(profiles, providers)

    async def to_version(self, tenant: str, template: str, number: int, actor: str) -> int:
        """Take along what still holds for a frozen version; how many were. Raises NoSuchVersion, BadText."""
        known = await self._forms.listed(tenant, template) if self._providers else ()
        return await self._carry(tenant, template, number, actor, known) if known else 0

    async def to_live_versions(self) -> None:
        """Take along what still holds for the live versions: an upgrade replaces built-in ones without anybody."""
        known: dict[tuple[str, str], list[ProviderTemplate]] = {}
        for each in await self._forms.listed() if self._providers else ():
            tenant, _, template, _, _ = each.key
            known.setdefault((tenant, template), []).append(each)
        for (tenant, template), entered in known.items():
            if (live := await self._repository.live(tenant, template)) is not None:
                await self._carry(tenant, template, live.number, _GATEWAY, entered)

    async def _carry(
        self, tenant: str, template: str, number: int, actor: str, known: Sequence[ProviderTemplate]
    ) -> int:
        text = await self._repository.text(tenant, template, number)
        there = {(each.provider, each.locale) for each in known if each.key[3] == text.version}
        earlier = [
            each
            for each in known
            if each.provider in self._providers and (each.provider, each.locale) not in there and each.seen_at
        ]
        # The newest first, and before all others those that may be used.
        earlier.sort(key=lambda each: (each.status is TemplateStatus.APPROVED, each.seen_at), reverse=True)
        kept = await asyncio.to_thread(self._still_true, text, earlier) if earlier and text.version else ()
        carried = 0
        for each in kept:
            detail = {"provider": each.provider, "locale": each.locale, "reference": each.reference}
            try:
                await self._store.note(
                    (tenant, template, number),
                    "provider_template_carried",
                    actor,
                    {**detail, "status": each.status.value},
                    each.reason,
                    partial(_add, made=each),
                )
            except _ThereAlready:
                continue
            carried += 1
        return carried

    def _still_true(self, text: TemplateFiles, earlier: Sequence[ProviderTemplate]) -> list[ProviderTemplate]:
        """The first of each place that says what this version says, as templates of this version."""
        version, found = self._repository.compiled(text), {}
        for each in earlier:
            provider, place = self._providers[each.provider], (each.provider, each.locale)
            spoken = provider.channel in version.channels and each.locale in version.locales
            if place in found or not spoken or version.locale_for(each.locale, provider.channel) != each.locale:
                continue
            kinds = samples(version, each.locale, text.files)
            if not error_in(check_provider_template(version, provider.channel, each, provider.capability.slots, kinds)):
                tenant, _, template, _, _ = each.key
                found[place] = replace(each, key=(tenant, each.provider, template, text.version, each.locale))
        return list(found.values())


class _ThereAlready(Exception):
    """Somebody has entered one meanwhile, or another process has taken it along."""


def _add(connection: Connection, now: datetime, *, made: ProviderTemplate) -> None:
    if not add_template(connection, made, now):
        raise _ThereAlready
