"""The life of a tenant's templates, as the editor's page, the API and the command line have it: one verb for each step.

Puts together what the ledger holds (who, when, what is live), what the language says of a text, and what the lint
finds. Whoever calls has checked what the caller may do (roles, scopes); that a second person approves is held here and
below. Knows nothing of HTTP.

Every refusal is a ``TemplateRefusal`` (templates/workflow/refusals.py); each verb may raise ``Unavailable`` as well.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from gateway.core.clock import Clock
from gateway.core.errors import UnknownTemplate
from gateway.core.states import TemplateState
from gateway.templates.catalog import Catalog
from gateway.templates.checks.lint import LintFinding
from gateway.templates.language.version import TemplateVersion
from gateway.templates.repository import TemplateFiles, TemplateRepository, check_files, live_version, written
from gateway.templates.workflow.compatibility import Consequence
from gateway.templates.workflow.differences import Difference, difference
from gateway.templates.workflow.preview import ChannelPreview, Price, Sample, SampleRequest, preview
from gateway.templates.workflow.refusals import NeedsConfirmation, NoSuchVersion
from gateway.templates.workflow.stored_version import Change, StoredVersion
from gateway.templates.workflow.test_send import TestSend, TestSender
from gateway.templates.workflow.versions_store import VersionStore

# States in which somebody is expected to do something, or time is.
_UNDER_WAY = (TemplateState.DRAFT, TemplateState.SUBMITTED, TemplateState.APPROVED, TemplateState.SCHEDULED)


@dataclass(frozen=True, slots=True)
class TemplateSummary:
    """One template in the list. ``live`` is the version that new requests get, "" where there is none."""

    template: str
    title: str
    category: str
    live: str
    own: bool  # the live version is the tenant's own, not that of the files
    under_way: tuple[StoredVersion, ...]  # the newest first
    stored: StoredVersion | None  # that is live, where it is the tenant's own
    shipped: bool  # the files have it


@dataclass(frozen=True, slots=True)
class DraftPreview:
    """An unfinished text as far as it goes. ``version`` None: its settings can't be read."""

    version: TemplateVersion | None
    sample: Sample | None
    shown: list[ChannelPreview]
    findings: list[LintFinding]


class TemplateWorkflow:
    """The verbs, each for one tenant. ``actor`` is ``user:<id>`` or ``key:<id>``."""

    def __init__(
        self,
        versions: VersionStore,
        catalog: Catalog,
        repository: TemplateRepository,
        test_sender: TestSender,
        prices: Mapping[str, Price],
        clock: Clock,
    ) -> None:
        self._store = versions
        self._catalog = catalog
        self._repository = repository
        self._test_sender = test_sender
        self._prices = prices
        self._clock = clock

    # ── looking ─────────────────────────────────────────────────────────────────────────────────────────────

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
        except UnknownTemplate:  # never published, or so lately that this process has not heard of it
            version = own.version if own else ""
            return TemplateSummary(template, template, "", version, own is not None, under_way, own, shipped)
        return TemplateSummary(
            template, shown.title, shown.category, shown.version, own is not None, under_way, own, shipped
        )

    async def versions(self, tenant: str, template: str) -> list[StoredVersion]:
        """A template's versions, the newest first; none where the tenant has only that of the files."""
        found = await self._store.listed(tenant, template)
        if not found and template not in self._repository.shipped():
            raise NoSuchVersion(f"there is no template {template} here")
        return found

    def locales(self) -> list[str]:
        """Those that the templates of the files are written in."""
        return sorted({locale for each in self._catalog.live() for locale in each.locales})

    async def text(self, tenant: str, template: str, number: int) -> TemplateFiles:
        """One version's files; 0 is the version of the files. Raises NoSuchVersion."""
        return await self._repository.text(tenant, template, number)

    async def live(self, tenant: str, template: str) -> TemplateFiles | None:
        """The text that new requests get now; None where there is none."""
        return await self._repository.live(tenant, template)

    def preview(
        self, template: str, files: Mapping[str, str], sample: SampleRequest | None = None
    ) -> list[ChannelPreview]:
        """What a borrower would get on each channel, as far as the text compiles. Raises BadText where it doesn't."""
        version = self._repository.compiled_partly(TemplateFiles(template, 0, "", files))
        return preview(version, (sample or SampleRequest()).resolve(version), self._prices)

    def draft_preview(
        self, template: str, files: Mapping[str, str], choose: Callable[[TemplateVersion], Sample]
    ) -> DraftPreview:
        """The preview and the findings of a text that somebody is writing: what compiles of it is shown.

        ``choose`` answers whom it is shown for, once it is known what variables there are.
        """
        version, found = self._repository.draft_preview(TemplateFiles(template, 0, "", files))
        if version is None:
            return DraftPreview(None, None, [], found)
        sample = choose(version)
        return DraftPreview(version, sample, preview(version, sample, self._prices), found)

    async def difference(self, tenant: str, template: str, number: int, against: int | None = None) -> Difference:
        """What a version changes, compared with ``against`` (0: that of the files) or with what is live."""
        after = await self.text(tenant, template, number)
        before = await self.live(tenant, template) if against is None else await self.text(tenant, template, against)
        old = self._repository.compiled_or_none(before) if before is not None else None
        files = before.files if before is not None else {}
        return await asyncio.to_thread(difference, files, after.files, old, self._repository.compiled_or_none(after))

    async def consequences(self, tenant: str, template: str, number: int) -> list[Consequence]:
        """What publishing it now would do to callers, or undo; empty where it is harmless. Raises BadText."""
        return await self._repository.consequences(tenant, await self.text(tenant, template, number))

    async def history(self, tenant: str, template: str, number: int | None = None) -> list[Change]:
        """All that was done, in order, with who, when and why."""
        return await self._store.history(tenant, template, number)

    # ── writing ─────────────────────────────────────────────────────────────────────────────────────────────

    async def begin(
        self, tenant: str, template: str, actor: str, comment: str = "", files: Mapping[str, str] | None = None
    ) -> TemplateFiles:
        """Begin a draft, from ``files`` or from what is live. Raises DraftExists, BadText."""
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
        """Keep a draft's text, finished or not. Raises EditedMeanwhile (with the present text), BadText."""
        check_files(template, files)
        return written(await self._store.save((tenant, template, number), revision, files, actor, comment))

    async def discard(
        self, tenant: str, template: str, number: int, revision: int, actor: str, comment: str = ""
    ) -> StoredVersion:
        return await self._store.discard((tenant, template, number), revision, actor, comment)

    def lint(self, template: str, files: Mapping[str, str]) -> list[LintFinding]:
        """Everything that is to be said of a text, the worst first; an error blocks submitting and publishing."""
        return self._repository.findings(TemplateFiles(template, 0, "", files))

    # ── from draft to publication ───────────────────────────────────────────────────────────────────────────

    async def submit(
        self, tenant: str, template: str, number: int, revision: int, actor: str, comment: str
    ) -> StoredVersion:
        """Hand a draft to a second person. Raises BadText where the lint has errors, EditedMeanwhile."""
        text = await self.text(tenant, template, number)
        await asyncio.to_thread(self._repository.raise_for_errors, text)
        version, source = self._repository.freeze(template, text.files, number)
        return await self._store.submit((tenant, template, number), revision, version, source, actor, comment)

    async def approve(self, tenant: str, template: str, number: int, actor: str, comment: str = "") -> StoredVersion:
        """Raises SamePerson for who wrote in it or submitted it."""
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
        """Have it live from ``at`` on, or from now on. Raises NeedsConfirmation with the warnings, BadText."""
        text = await self.text(tenant, template, number)
        await asyncio.to_thread(self._repository.raise_for_errors, text)
        if not confirmed and (found := await self._repository.consequences(tenant, text)):
            raise NeedsConfirmation(found)
        stored = await self._store.publish((tenant, template, number), actor, comment, at)
        await self._catalog.refresh()
        return stored

    async def unschedule(self, tenant: str, template: str, number: int, actor: str, comment: str) -> StoredVersion:
        """Take back a planned publication."""
        stored = await self._store.unschedule((tenant, template, number), actor, comment)
        await self._catalog.refresh()
        return stored

    async def roll_back(
        self, tenant: str, template: str, actor: str, comment: str, to: int | None = None
    ) -> StoredVersion | None:
        """Have an earlier version live again at once; None: that of the files. Raises NothingToRollBack."""
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
