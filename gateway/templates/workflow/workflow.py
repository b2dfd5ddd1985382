"""The workflow of a tenant's templates, for the editor's page, the API and the command line: a method for each step.

Combines the stored versions, the compiler and the lint. Callers check roles and scopes; the approval by a second
person is enforced here and in the store. Must not know HTTP.

Every refusal is a ``TemplateRefusal`` (templates/versions/refusals.py); each method may raise ``Unavailable``, too.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from channels.profile import Profiles
from gateway.core.clock import Clock
from gateway.core.errors import UnknownTemplate
from gateway.core.states import TemplateState
from gateway.templates.catalog import Catalog
from gateway.templates.checks.lint import LintFinding
from gateway.templates.language.version import TemplateVersion
from gateway.templates.previews.differences import Difference, difference
from gateway.templates.previews.preview import ChannelPreview, Price, Sample, SampleRequest, preview
from gateway.templates.repository import TemplateFiles, TemplateRepository, check_files, live_version, written
from gateway.templates.versions.compatibility import Consequence
from gateway.templates.versions.refusals import NeedsConfirmation, NoSuchVersion
from gateway.templates.versions.stored_version import Change, StoredVersion
from gateway.templates.versions.versions_store import VersionStore
from gateway.templates.workflow.carry_over import CarryOver
from gateway.templates.workflow.glossaries import Glossaries
from gateway.templates.workflow.provider_templates import ProviderTemplates
from gateway.templates.workflow.reviews import TemplateReviews
from gateway.templates.workflow.test_send import TestSend, TestSender
from gateway.templates.workflow.translations import TranslatedPart, default_locale_of, translated_parts

# States that wait for a person or for a scheduled time.
_UNDER_WAY = (TemplateState.DRAFT, TemplateState.SUBMITTED, TemplateState.APPROVED, TemplateState.SCHEDULED)

_COMPARED = 30  # earlier versions that a translation's age is looked for in; our choice


@dataclass(frozen=True, slots=True)
class TemplateSummary:
    """One template in the list. ``live`` is the version for new requests, "" where there is none."""

    template: str
    title: str
    category: str
    live: str
    own: bool  # the live version is the tenant's own, not the built-in one
    under_way: tuple[StoredVersion, ...]  # the newest first
    stored: StoredVersion | None  # of the live version, where it is the tenant's own
    shipped: bool  # there is a built-in version


@dataclass(frozen=True, slots=True)
class DraftPreview:
    """The preview of a draft. ``version`` None: its settings can't be parsed."""

    version: TemplateVersion | None
    sample: Sample | None
    shown: list[ChannelPreview]
    findings: list[LintFinding]


class TemplateWorkflow:
    """The steps, each for one tenant. ``actor`` is ``user:<id>`` or ``key:<id>``."""

    def __init__(
        self,
        versions: VersionStore,
        catalog: Catalog,
        repository: TemplateRepository,
        test_sender: TestSender,
        prices: Mapping[str, Price],
        clock: Clock,
        provider_templates: ProviderTemplates,
        carry_over: CarryOver,
        reviews: TemplateReviews,
        glossaries: Glossaries,
    ) -> None:
        self.glossaries = glossaries
        self.provider_templates = provider_templates
        self.carry_over = carry_over
        self.reviews = reviews
        self._store = versions
        self._catalog = catalog
        self._repository = repository
        self._test_sender = test_sender
        self._prices = prices
        self._clock = clock

    # ── reading ─────────────────────────────────────────────────────────────────────────────────────────────

    async def summaries(self, tenant: str, search: str = "") -> list[TemplateSummary]:
        """All templates of a tenant, by id; ``search`` in id and title."""
        versions: dict[str, list[StoredVersion]] = {}
        for each in await self._store.listed(tenant):
            versions.setdefault(each.template, []).append(each)
        names = sorted({*self._repository.shipped(), *versions})
        found = [self._summary(tenant, name, versions.get(name, [])) for name in names]
        wanted = search.casefold()
        return [each for each in found if wanted in each.template.casefold() or wanted in each.title.casefold()]

    def _summary(self, tenant: str, template: str, versions: Sequence[StoredVersion]) -> TemplateSummary:
        under_way = tuple(each for each in versions if each.state in _UNDER_WAY)
        now = self._clock()
        own, shipped = live_version(versions, now), template in self._repository.shipped()
        try:
            shown = self._catalog.resolve(tenant, template, own.version if own else None, now)
        except UnknownTemplate:  # not published, or after this process's last refresh
            version = own.version if own else ""
            return TemplateSummary(template, template, "", version, own is not None, under_way, own, shipped)
        return TemplateSummary(
            template, shown.title, shown.category, shown.version, own is not None, under_way, own, shipped
        )

    async def versions(self, tenant: str, template: str) -> list[StoredVersion]:
        """A template's versions, the newest first; none where the tenant has the built-in one only."""
        found = await self._store.listed(tenant, template)
        if not found and template not in self._repository.shipped():
            raise NoSuchVersion(f"there is no template {template} here")
        return found

    @property
    def profiles(self) -> Profiles:
        """What the installed channels declare of their texts."""
        return self._catalog.profiles

    def locales(self) -> list[str]:
        """The locales of the built-in templates."""
        return sorted({locale for each in self._catalog.live() for locale in each.locales})

    async def text(self, tenant: str, template: str, number: int) -> TemplateFiles:
        """The files of one version; 0 is the built-in one. Raises NoSuchVersion."""
        return await self._repository.text(tenant, template, number)

    async def live(self, tenant: str, template: str) -> TemplateFiles | None:
        """The text for new requests; None where there is none."""
        return await self._repository.live(tenant, template)

    def preview(
        self, template: str, files: Mapping[str, str], sample: SampleRequest | None = None
    ) -> list[ChannelPreview]:
        """The rendered message for each channel. Raises BadText where the text doesn't compile."""
        version = self._repository.compiled_partly(TemplateFiles(template, 0, "", files))
        return preview(version, (sample or SampleRequest()).resolve(version), self._prices)

    def draft_preview(
        self, template: str, files: Mapping[str, str], choose: Callable[[TemplateVersion], Sample]
    ) -> DraftPreview:
        """The preview of the parts of a draft that compile, and its findings.

        ``choose`` returns the sample for the compiled version, whose variables it needs.
        """
        version, found = self._repository.draft_preview(TemplateFiles(template, 0, "", files))
        if version is None:
            return DraftPreview(None, None, [], found)
        sample = choose(version)
        return DraftPreview(version, sample, preview(version, sample, self._prices), found)

    async def difference(self, tenant: str, template: str, number: int, against: int | None = None) -> Difference:
        """The differences of a version from ``against`` (0: the built-in one) or from the live version."""
        after = await self.text(tenant, template, number)
        before = await self.live(tenant, template) if against is None else await self.text(tenant, template, against)
        old = self._repository.compiled_or_none(before) if before is not None else None
        files = before.files if before is not None else {}
        new = self._repository.compiled_or_none(after)
        return await asyncio.to_thread(difference, files, after.files, old, new, self.profiles)

    async def translations(self, tenant: str, text: TemplateFiles) -> dict[str, list[TranslatedPart]]:
        """How each locale's texts stand to those of the default locale; none where the settings can't be read."""
        default = default_locale_of(text.files)
        locales = sorted({name.partition("/")[0] for name in text.files if "/" in name} - {default, "examples"})
        earlier = (
            await self._store.earlier_files((tenant, text.template, text.number), _COMPARED) if text.number else []
        )
        built_in = self._repository.built_in(text.template) if text.number else None
        versions = [*earlier, *([built_in] if built_in is not None else [])]
        return {each: translated_parts(text.files, default, each, versions) for each in locales if default}

    async def consequences(self, tenant: str, template: str, number: int) -> list[Consequence]:
        """The consequences of publishing it now, for callers, plans and channels. Raises BadText."""
        found = await self._repository.consequences(tenant, await self.text(tenant, template, number))
        return [*found, *await self.provider_templates.consequences(tenant, template, number)]

    async def history(self, tenant: str, template: str, number: int | None = None) -> list[Change]:
        """All changes in order, with actor, time and reason."""
        return await self._store.history(tenant, template, number)

    # ── writing ─────────────────────────────────────────────────────────────────────────────────────────────

    async def begin(
        self, tenant: str, template: str, actor: str, comment: str = "", files: Mapping[str, str] | None = None
    ) -> TemplateFiles:
        """Begin a draft from ``files``, or from the live text. Raises DraftExists, BadText."""
        live = await self.live(tenant, template)
        chosen = files if files is not None else live.files if live else None
        if chosen is None:
            raise NoSuchVersion(f"there is no template {template} to begin from: give its files")
        check_files(template, chosen)
        based_on = live.version if live else ""
        return written(await self._store.begin(tenant, template, chosen, based_on, actor, comment))

    async def save(
        self,
        tenant: str,
        template: str,
        number: int,
        revision: int,
        files: Mapping[str, str],
        actor: str,
        comment: str = "",
    ) -> TemplateFiles:
        """Store a draft's text, finished or not. Raises EditedMeanwhile (with the stored text), BadText."""
        check_files(template, files)
        return written(await self._store.save((tenant, template, number), revision, files, actor, comment))

    async def discard(
        self, tenant: str, template: str, number: int, revision: int, actor: str, comment: str = ""
    ) -> StoredVersion:
        return await self._store.discard((tenant, template, number), revision, actor, comment)

    def lint(self, template: str, files: Mapping[str, str]) -> list[LintFinding]:
        """The findings for a text, the most severe first; an error blocks submitting and publishing."""
        return self._repository.findings(TemplateFiles(template, 0, "", files))

    # ── from draft to publication ───────────────────────────────────────────────────────────────────────────

    async def submit(
        self, tenant: str, template: str, number: int, revision: int, actor: str, comment: str
    ) -> StoredVersion:
        """Submit a draft for review, with the providers' templates that still say what it says.

        Raises BadText where the lint has errors, EditedMeanwhile.
        """
        text = await self.text(tenant, template, number)
        await asyncio.to_thread(self._repository.raise_for_errors, text)
        version, source = self._repository.freeze(template, text.files, number)
        submitted = await self._store.submit((tenant, template, number), revision, version, source, actor, comment)
        await self.carry_over.to_version(tenant, template, number, actor)
        return submitted

    async def approve(self, tenant: str, template: str, number: int, actor: str, comment: str = "") -> StoredVersion:
        """Approve a submitted version. Raises SamePerson for an actor that has edited or submitted it."""
        return await self._store.approve((tenant, template, number), actor, comment)

    async def reject(self, tenant: str, template: str, number: int, actor: str, comment: str) -> StoredVersion:
        return await self._store.reject((tenant, template, number), actor, comment)

    async def publish(
        self,
        tenant: str,
        template: str,
        number: int,
        actor: str,
        comment: str,
        at: datetime | None = None,
        *,
        confirmed: bool = False,
    ) -> StoredVersion:
        """Publish a version at ``at``, or at once. Raises NeedsConfirmation with the warnings, BadText."""
        text = await self.text(tenant, template, number)
        await asyncio.to_thread(self._repository.raise_for_errors, text)
        if not confirmed and (found := await self.consequences(tenant, template, number)):
            raise NeedsConfirmation(found)
        stored = await self._store.publish((tenant, template, number), actor, comment, at)
        await self._catalog.refresh()
        return stored

    async def unschedule(self, tenant: str, template: str, number: int, actor: str, comment: str) -> StoredVersion:
        """Cancel a scheduled publication."""
        stored = await self._store.unschedule((tenant, template, number), actor, comment)
        await self._catalog.refresh()
        return stored

    async def roll_back(
        self, tenant: str, template: str, actor: str, comment: str, to: int | None = None
    ) -> StoredVersion | None:
        """Make an earlier version live again, and return it; None for the built-in one. Raises NothingToRollBack."""
        shipped = template in self._repository.shipped()
        stored = await self._store.roll_back(tenant, template, to, shipped, actor, comment)
        await self._catalog.refresh()
        return stored

    async def test_send(
        self,
        tenant: str,
        template: str,
        number: int,
        channel: str,
        address: str,
        own: Collection[str],
        actor: str,
        sample: SampleRequest | None = None,
    ) -> TestSend:
        """Send one message of a version to an address of the caller's ``own``, marked as a test."""
        version = self._repository.compiled(await self.text(tenant, template, number))
        chosen = (sample or SampleRequest()).resolve(version)
        return await self._test_sender.send(tenant, number, version, channel, chosen, address, own, actor)
