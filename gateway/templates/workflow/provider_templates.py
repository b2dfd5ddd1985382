"""The life of providers' templates: entered, submitted to the provider, approved, paused, rejected.

People submit a template with the provider's own tools; here they enter it, and record what the provider said where it
does not report by itself. Only a frozen version has them: what is said must stay what was approved.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial

from sqlalchemy import Connection

from channels.base import Provider, TemplateStatus
from channels.profile import Profiles
from gateway.core.errors import RenderFailed
from gateway.core.provider_templates import STATUS_TRANSITIONS, ProviderTemplate, Slot
from gateway.stages.message_form import with_templates
from gateway.templates.checks.findings import LintFinding
from gateway.templates.checks.provider_templates import check_provider_template, error_in, filled, proposal
from gateway.templates.language.version import TemplateVersion
from gateway.templates.message_forms import MessageForms, put_template
from gateway.templates.previews.preview import REFERENCE, Sample, rendered
from gateway.templates.previews.samples import samples
from gateway.templates.repository import TemplateFiles, TemplateRepository
from gateway.templates.translatable import translatable, worded
from gateway.templates.versions.compatibility import Consequence
from gateway.templates.versions.refusals import BadText, NoSuchVersion, WrongState
from gateway.templates.versions.versions_store import VersionStore

_SHOWN = "usual"  # the kind of sample whose texts stand side by side


@dataclass(frozen=True, slots=True)
class ProviderTemplateView:
    """A provider's template of a version in one locale; ``template`` None: none was entered.

    ``our_text`` and ``provider_text`` are what a sample borrower would read. ``proposed_text`` and ``proposed_slots``
    come from our text, "" where it has conditions.
    """

    provider: str
    channel: str
    locale: str
    template: ProviderTemplate | None
    our_text: str
    provider_text: str
    proposed_text: str
    proposed_slots: tuple[Slot, ...]
    findings: tuple[LintFinding, ...]

    @property
    def usable(self) -> bool:
        approved = self.template is not None and self.template.status is TemplateStatus.APPROVED
        return approved and not error_in(self.findings)

    @property
    def transitions(self) -> Sequence[TemplateStatus]:
        """What a person may record next."""
        return sorted(STATUS_TRANSITIONS[self.template.status]) if self.template else ()


class ProviderTemplates:
    """The commands on them. ``providers`` are those configured; all may raise Unavailable."""

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
        self._profiles = profiles
        self._providers = with_templates(profiles, providers)

    @property
    def wanted(self) -> bool:
        """Whether a configured provider sends by templates of its own."""
        return bool(self._providers)

    async def listed(self, tenant: str, template: str, number: int) -> list[ProviderTemplateView]:
        """Those of a version, by provider and locale, with those that are missing. Raises NoSuchVersion, BadText."""
        text = await self._repository.text(tenant, template, number)
        known = await self._forms.listed(tenant, template, text.version) if text.version else []
        return await asyncio.to_thread(self._views, text, {(each.provider, each.locale): each for each in known})

    async def enter(
        self,
        tenant: str,
        template: str,
        number: int,
        place: tuple[str, str],
        actor: str,
        *,
        reference: str,
        language: str = "",
        text: str | None = None,
        slots: Sequence[Slot] | None = None,
        ttl_seconds: int | None = None,
    ) -> ProviderTemplateView:
        """Enter, or replace, the template at ``place`` (provider, locale) as a draft; text and slots None: proposed.

        Raises NoSuchVersion, WrongState (our text is a draft), BadText (nothing can be proposed).
        """
        view, files = await self._at(tenant, template, number, place)
        if not files.version:
            raise WrongState("submit this version for approval first: its text can still change")
        if text is None and not view.proposed_text:
            detail = translatable("our text has conditions, so nothing can be proposed")
            remedy = translatable("Enter the provider's text and its slots; each branch is a template of its own.")
            where = f"{template}/{place[1]}/{place[0]}"
            raise BadText([LintFinding("error", "provider_text", where, 0, detail, remedy)])
        made = ProviderTemplate(
            (tenant, place[0], template, files.version, place[1]),
            reference,
            language or place[1],
            view.proposed_text if text is None else text,
            tuple(view.proposed_slots if text is None or slots is None else slots),
            TemplateStatus.DRAFT,
            None if ttl_seconds is None else timedelta(seconds=ttl_seconds),
        )
        await self._write(made, number, "provider_template_entered", actor)
        return await self._shown(tenant, template, number, place)

    async def report(
        self,
        tenant: str,
        template: str,
        number: int,
        place: tuple[str, str],
        actor: str,
        *,
        status: TemplateStatus,
        reason: str = "",
    ) -> ProviderTemplateView:
        """Record that it was submitted, or what the provider said. Raises NoSuchVersion, WrongState, BadText.

        With errors it can be neither submitted nor approved: the provider would refuse it, or it says something else.
        """
        view, _ = await self._at(tenant, template, number, place)
        if view.template is None:
            raise NoSuchVersion(f"no template of {place[0]} is entered in {place[1]}")
        before = view.template.status
        if status not in STATUS_TRANSITIONS[before]:
            raise WrongState(f"the template is {before}, so it can't become {status}")
        if status in (TemplateStatus.SUBMITTED, TemplateStatus.APPROVED) and error_in(view.findings):
            raise BadText(view.findings)
        changed = replace(view.template, status=status, reason=reason)
        await self._write(changed, number, f"provider_template_{status}", actor, before)
        return await self._shown(tenant, template, number, place)

    async def consequences(self, tenant: str, template: str, number: int) -> list[Consequence]:
        """The providers that can't send a version, were it published now: its other channels are not concerned."""
        missing: dict[tuple[str, str, str], list[str]] = {}
        for each in await self.listed(tenant, template, number) if self.wanted else ():
            if not each.usable:
                state = each.template.status.value if each.template else "none"
                state = "errors" if state == TemplateStatus.APPROVED else state
                missing.setdefault((each.channel, each.provider, state), []).append(each.locale)
        return [
            Consequence(
                "provider_template",
                translatable(
                    "{channel} is not used for it in {locales}: the template of {provider} is not usable ({state})",
                    channel=worded(self._profiles[channel].title),
                    provider=provider,
                    state=state,
                    locales=", ".join(locales),
                ),
            )
            for (channel, provider, state), locales in missing.items()
        ]

    async def _shown(self, tenant: str, template: str, number: int, place: tuple[str, str]) -> ProviderTemplateView:
        return (await self._at(tenant, template, number, place))[0]

    async def _at(
        self, tenant: str, template: str, number: int, place: tuple[str, str]
    ) -> tuple[ProviderTemplateView, TemplateFiles]:
        text = await self._repository.text(tenant, template, number)
        views = await self.listed(tenant, template, number)
        found = next((each for each in views if (each.provider, each.locale) == place), None)
        if found is None:
            known = ", ".join(f"{each.provider} {each.locale}" for each in views) or "none"
            raise NoSuchVersion(f"this version has no template of {place[0]} in {place[1]}; there may be: {known}")
        return found, text

    async def _write(
        self, made: ProviderTemplate, number: int, kind: str, actor: str, before: TemplateStatus | None = None
    ) -> None:
        detail = {"provider": made.provider, "locale": made.locale, "reference": made.reference}
        key = (made.key[0], made.key[2], number)
        write = partial(_put, made=made, before=before)
        await self._store.note(key, kind, actor, {**detail, "status": made.status.value}, made.reason, write)

    def _views(
        self, text: TemplateFiles, known: Mapping[tuple[str, str], ProviderTemplate]
    ) -> list[ProviderTemplateView]:
        version = self._repository.compiled(text)
        return [
            self._view(version, text, name, locale, known.get((name, locale)))
            for name, provider in self._providers.items()
            if provider.channel in version.channels
            for locale in version.locales
            if version.locale_for(locale, provider.channel) == locale
        ]

    def _view(
        self,
        version: TemplateVersion,
        text: TemplateFiles,
        name: str,
        locale: str,
        template: ProviderTemplate | None,
    ) -> ProviderTemplateView:
        channel, rules = self._providers[name].channel, self._providers[name].capability.slots
        kinds = samples(version, locale, text.files)
        ours = theirs = ""
        proposed = None
        try:
            proposed = _proposed(version, channel, kinds[_SHOWN])
            ours = rendered(version, channel, kinds[_SHOWN]).text
            theirs = filled(version, channel, template, kinds[_SHOWN])[0] if template else ""
        except RenderFailed:
            pass  # shown as a finding
        findings = check_provider_template(version, channel, template, rules, kinds) if template else []
        return ProviderTemplateView(
            name, channel, locale, template, ours, theirs, *(proposed or ("", ())), findings=tuple(findings)
        )


def _proposed(version: TemplateVersion, channel: str, sample: Sample) -> tuple[str, tuple[Slot, ...]] | None:
    part = version.profiles[channel].part("text")
    if part is None:
        return None
    known = (sample.variables, sample.name)
    source = version.source.parts[f"{sample.locale}/{part.file}"]
    return proposal(
        source, lambda each: version.evaluate(channel, sample.locale, *known, [each], reference=REFERENCE)[0]
    )


def _put(connection: Connection, now: datetime, *, made: ProviderTemplate, before: TemplateStatus | None) -> None:
    if not put_template(connection, made, now, before):
        raise WrongState("the provider has reported another state meanwhile: look again")
