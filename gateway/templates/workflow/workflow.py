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
from typing import Any

from gateway.core.clock import Clock
from gateway.core.errors import UnknownTemplate
from gateway.core.states import TemplateState
from gateway.templates.catalog import Catalog
from gateway.templates.checks.lint import LintFinding
from gateway.templates.language.version import TemplateVersion
from gateway.templates.repository import Files, TemplateRepository, check_files, live_edition, written
from gateway.templates.workflow.compatibility import Consequence
from gateway.templates.workflow.differences import Difference, difference
from gateway.templates.workflow.preview import Price, Sample, Shown, examples, preview
from gateway.templates.workflow.refusals import NeedsConfirmation, NoSuchVersion
from gateway.templates.workflow.test_send import TestSend, TestSender
from gateway.templates.workflow.unit_of_work import Change, StoredVersion
from gateway.templates.workflow.versions_store import VersionStore

# States in which somebody is expected to do something, or time is.
_UNDER_WAY = (TemplateState.DRAFT, TemplateState.SUBMITTED, TemplateState.APPROVED, TemplateState.SCHEDULED)


@dataclass(frozen=True, slots=True)
class Card:
    """One template in the list. ``live`` is the version that new requests get, "" where there is none."""

    template: str
    title: str
    category: str
    live: str
    own: bool  # the live version is the tenant's own, not that of the files
    under_way: tuple[StoredVersion, ...]  # the newest first
    edition: StoredVersion | None  # that is live, where it is the tenant's own
    shipped: bool  # the files have it


@dataclass(frozen=True, slots=True)
class SavedDraft:
    """An unfinished text as far as it goes. ``version`` None: its settings can't be read."""

    version: TemplateVersion | None
    sample: Sample | None
    shown: list[Shown]
    findings: list[LintFinding]


class TemplateWorkflow:
    """The verbs, each for one tenant. ``actor`` is ``user:<id>`` or ``key:<id>``."""

    def __init__(
        self,
        editions: VersionStore,
        catalog: Catalog,
        shelf: TemplateRepository,
        trials: TestSender,
        prices: Mapping[str, Price],
        clock: Clock,
    ) -> None:
        self._editions = editions
        self._catalog = catalog
        self._shelf = shelf
        self._trials = trials
        self._prices = prices
        self._clock = clock

    # ── looking ─────────────────────────────────────────────────────────────────────────────────────────────

    async def cards(self, tenant: str, search: str = "") -> list[Card]:
        """All templates of a tenant, by id; ``search`` in id and title."""
        editions: dict[str, list[StoredVersion]] = {}
        for each in await self._editions.listed(tenant):
            editions.setdefault(each.template, []).append(each)
        names = sorted({*self._shelf.shipped(), *editions})
        found = [self._card(tenant, name, editions.get(name, [])) for name in names]
        wanted = search.casefold()
        return [each for each in found if wanted in each.template.casefold() or wanted in each.title.casefold()]

    def _card(self, tenant: str, template: str, editions: Sequence[StoredVersion]) -> Card:
        under_way = tuple(each for each in editions if each.state in _UNDER_WAY)
        now = self._clock()
        own, shipped = live_edition(editions, now), template in self._shelf.shipped()
        try:
            shown = self._catalog.resolve(tenant, template, own.version if own else None, now)
        except UnknownTemplate:  # never published, or so lately that this process has not heard of it
            version = own.version if own else ""
            return Card(template, template, "", version, own is not None, under_way, own, shipped)
        return Card(template, shown.title, shown.category, shown.version, own is not None, under_way, own, shipped)

    async def versions(self, tenant: str, template: str) -> list[StoredVersion]:
        """A template's editions, the newest first; none where the tenant has only that of the files."""
        found = await self._editions.listed(tenant, template)
        if not found and template not in self._shelf.shipped():
            raise NoSuchVersion(f"there is no template {template} here")
        return found

    def locales(self) -> list[str]:
        """Those that the templates of the files are written in."""
        return sorted({locale for each in self._catalog.live() for locale in each.locales})

    async def text(self, tenant: str, template: str, number: int) -> Files:
        """One version's files; 0 is the version of the files. Raises NoSuchEdition."""
        return await self._shelf.text(tenant, template, number)

    async def live(self, tenant: str, template: str) -> Files | None:
        """The text that new requests get now; None where there is none."""
        return await self._shelf.live(tenant, template)

    def preview(self, template: str, files: Mapping[str, str], sample: Sample | None = None) -> list[Shown]:
        """What a borrower would get, on every channel, as far as the text compiles. Raises BadText where it doesn't.

        ``sample`` None: the template's own examples in its default locale.
        """
        version = self._shelf.sketched(Files(template, 0, "", files))
        return preview(version, sample or Sample(version.default_locale, examples(version)), self._prices)

    def defaults(self, template: str, files: Mapping[str, str]) -> tuple[str, dict[str, Any]]:
        """A text's default locale, and its variables as its own settings have them. Raises BadText."""
        version = self._shelf.sketched(Files(template, 0, "", files))
        return version.default_locale, examples(version)

    def drafted(
        self, template: str, files: Mapping[str, str], choose: Callable[[TemplateVersion], Sample]
    ) -> SavedDraft:
        """The preview and the findings of a text that somebody is writing: what compiles of it is shown.

        ``choose`` answers whom it is shown for, once it is known what variables there are.
        """
        version, found = self._shelf.drafted(Files(template, 0, "", files))
        if version is None:
            return SavedDraft(None, None, [], found)
        sample = choose(version)
        return SavedDraft(version, sample, preview(version, sample, self._prices), found)

    async def difference(self, tenant: str, template: str, number: int, against: int | None = None) -> Difference:
        """What a version changes, compared with ``against`` (0: that of the files) or with what is live."""
        after = await self.text(tenant, template, number)
        before = await self.live(tenant, template) if against is None else await self.text(tenant, template, against)
        old = self._shelf.compiled_if(before) if before is not None else None
        files = before.files if before is not None else {}
        return await asyncio.to_thread(difference, files, after.files, old, self._shelf.compiled_if(after))

    async def consequences(self, tenant: str, template: str, number: int) -> list[Consequence]:
        """What publishing it now would do to callers, or undo; empty where it is harmless. Raises BadText."""
        return await self._shelf.consequences(tenant, await self.text(tenant, template, number))

    async def history(self, tenant: str, template: str, number: int | None = None) -> list[Change]:
        """All that was done, in order, with who, when and why."""
        return await self._editions.history(tenant, template, number)

    # ── writing ─────────────────────────────────────────────────────────────────────────────────────────────

    async def begin(
        self, tenant: str, template: str, actor: str, comment: str = "", files: Mapping[str, str] | None = None
    ) -> Files:
        """Begin a draft, from ``files`` or from what is live. Raises DraftExists, BadText."""
        live = await self.live(tenant, template)
        chosen = files if files is not None else live.files if live else None
        if chosen is None:
            raise NoSuchVersion(f"there is no template {template} to begin from: give its files")
        check_files(template, chosen)
        based_on = live.version if live else ""
        return written(await self._editions.begin(tenant, template, chosen, based_on, actor, comment))

    async def save(
        self,
        tenant: str,
        template: str,
        number: int,
        revision: int,
        files: Mapping[str, str],
        actor: str,
        comment: str = "",
    ) -> Files:
        """Keep a draft's text, finished or not. Raises EditedMeanwhile (with the present text), BadText."""
        check_files(template, files)
        return written(await self._editions.save((tenant, template, number), revision, files, actor, comment))

    async def discard(
        self, tenant: str, template: str, number: int, revision: int, actor: str, comment: str = ""
    ) -> StoredVersion:
        return await self._editions.discard((tenant, template, number), revision, actor, comment)

    def lint(self, template: str, files: Mapping[str, str]) -> list[LintFinding]:
        """Everything that is to be said of a text, the worst first; an error blocks submitting and publishing."""
        return self._shelf.findings(Files(template, 0, "", files))

    # ── from draft to publication ───────────────────────────────────────────────────────────────────────────

    async def submit(
        self, tenant: str, template: str, number: int, revision: int, actor: str, comment: str
    ) -> StoredVersion:
        """Hand a draft to a second person. Raises BadText where the lint has errors, EditedMeanwhile."""
        text = await self.text(tenant, template, number)
        await asyncio.to_thread(self._shelf.refuse_errors, text)
        version, source = self._shelf.frozen(template, text.files, number)
        return await self._editions.submit((tenant, template, number), revision, version, source, actor, comment)

    async def approve(self, tenant: str, template: str, number: int, actor: str, comment: str = "") -> StoredVersion:
        """Raises SamePerson for who wrote in it or submitted it."""
        return await self._editions.approve((tenant, template, number), actor, comment)

    async def reject(self, tenant: str, template: str, number: int, actor: str, comment: str) -> StoredVersion:
        return await self._editions.reject((tenant, template, number), actor, comment)

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
        await asyncio.to_thread(self._shelf.refuse_errors, text)
        if not confirmed and (found := await self._shelf.consequences(tenant, text)):
            raise NeedsConfirmation(found)
        edition = await self._editions.publish((tenant, template, number), actor, comment, at)
        await self._catalog.refresh()
        return edition

    async def unschedule(self, tenant: str, template: str, number: int, actor: str, comment: str) -> StoredVersion:
        """Take back a planned publication."""
        edition = await self._editions.unschedule((tenant, template, number), actor, comment)
        await self._catalog.refresh()
        return edition

    async def roll_back(
        self, tenant: str, template: str, actor: str, comment: str, to: int | None = None
    ) -> StoredVersion | None:
        """Have an earlier version live again at once; None: that of the files. Raises NothingToRollBack."""
        shipped = template in self._shelf.shipped()
        edition = await self._editions.roll_back(tenant, template, to, shipped, actor, comment)
        await self._catalog.refresh()
        return edition

    async def test_send(
        self,
        tenant: str,
        template: str,
        number: int,
        channel: str,
        address: str,
        own: Collection[str],
        actor: str,
        sample: Sample | None = None,
    ) -> TestSend:
        """Send one message of a version to an address of the caller's ``own``, marked as a test."""
        version = self._shelf.compiled(await self.text(tenant, template, number))
        chosen = sample or Sample(version.default_locale, examples(version))
        return await self._trials.send(tenant, number, version, channel, chosen, address, own, actor)
