"""The life of a tenant's templates, as the editor's page, the API and the command line have it: one verb for each step.

Puts together what the ledger holds (who, when, what is live), what the language says of a text, and what the lint
finds. Whoever calls has checked what the caller may do (roles, scopes); that a second person approves is held here and
below. Knows nothing of HTTP.

Every refusal is a ``TemplateRefusal`` (gateway/ledger/refusals.py); each verb may raise ``Unavailable`` as well.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from gateway.catalog.catalog import Catalog
from gateway.catalog.folder import Folder
from gateway.catalog.lint import Finding
from gateway.catalog.source import BadTemplate
from gateway.catalog.version import TemplateVersion
from gateway.ledger.editions import Change, Edition, Editions, Text
from gateway.ledger.refusals import BadText, NoSuchEdition
from gateway.model import TemplateState
from gateway.ports import Clock, UnknownTemplate

Lint = Callable[[TemplateVersion], Sequence[Finding]]

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
    under_way: tuple[Edition, ...]  # the newest first


@dataclass(frozen=True, slots=True)
class Files:
    """A template's text. ``number`` 0 is the version of the files, which has no edition."""

    template: str
    number: int
    version: str
    files: Mapping[str, str]
    edition: Edition | None = None


class Editing:
    """The verbs, each for one tenant. ``actor`` is ``user:<id>`` or ``key:<id>``."""

    def __init__(self, editions: Editions, catalog: Catalog, folder: Folder, lint: Lint, clock: Clock) -> None:
        self._editions = editions
        self._catalog = catalog
        self._folder = folder
        self._lint = lint
        self._clock = clock

    # ── looking ─────────────────────────────────────────────────────────────────────────────────────────────

    async def cards(self, tenant: str, search: str = "") -> list[Card]:
        """All templates of a tenant, by id; ``search`` in id and title."""
        editions: dict[str, list[Edition]] = {}
        for each in await self._editions.listed(tenant):
            editions.setdefault(each.template, []).append(each)
        names = sorted(self._folder.templates.keys() | editions.keys())
        found = [self._card(tenant, name, editions.get(name, [])) for name in names]
        wanted = search.casefold()
        return [each for each in found if wanted in each.template.casefold() or wanted in each.title.casefold()]

    def _card(self, tenant: str, template: str, editions: Sequence[Edition]) -> Card:
        under_way = tuple(each for each in editions if each.state in _UNDER_WAY)
        try:
            live = self._catalog.resolve(tenant, template, None, self._clock())
        except UnknownTemplate:
            return Card(template, template, "", "", False, under_way)
        own = any(each.version == live.version for each in editions)
        return Card(template, live.title, live.category, live.version, own, under_way)

    async def versions(self, tenant: str, template: str) -> list[Edition]:
        """A template's editions, the newest first; none where the tenant has only that of the files."""
        found = await self._editions.listed(tenant, template)
        if not found and template not in self._folder.templates:
            raise NoSuchEdition(f"there is no template {template} here")
        return found

    async def text(self, tenant: str, template: str, number: int) -> Files:
        """One version's files; 0 is the version of the files."""
        if number == 0:
            files = self._folder.templates.get(template)
            if files is None:
                raise NoSuchEdition(f"the files have no template {template}")
            return Files(template, 0, self._folder.source(template, files).version, files)
        return _written(await self._editions.text((tenant, template, number)))

    async def live(self, tenant: str, template: str) -> Files | None:
        """The text that new requests get; None where there is none."""
        try:
            version = self._catalog.resolve(tenant, template, None, self._clock()).version
        except UnknownTemplate:
            return None
        own = [each for each in await self._editions.listed(tenant, template) if each.version == version]
        return await self.text(tenant, template, own[0].number if own else 0)

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
            raise NoSuchEdition(f"there is no template {template} to begin from: give its files")
        self._folder_check(template, chosen)
        based_on = live.version if live else ""
        return _written(await self._editions.begin(tenant, template, chosen, based_on, actor, comment))

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
        self._folder_check(template, files)
        return _written(await self._editions.save((tenant, template, number), revision, files, actor, comment))

    async def discard(
        self, tenant: str, template: str, number: int, revision: int, actor: str, comment: str = ""
    ) -> Edition:
        return await self._editions.discard((tenant, template, number), revision, actor, comment)

    def lint(self, template: str, files: Mapping[str, str]) -> list[Finding]:
        """Everything that is to be said of a text, the worst first; an error blocks submitting and publishing."""
        try:
            version = self.compiled(template, files)
        except BadTemplate as error:
            return [_does_not_compile(template, error)]
        return list(self._lint(version))

    def compiled(self, template: str, files: Mapping[str, str], version: str = "") -> TemplateVersion:
        """Raises BadTemplate."""
        return TemplateVersion(self._folder.source(template, files, version), self._catalog.lender)

    # ── from draft to publication ───────────────────────────────────────────────────────────────────────────

    async def submit(self, tenant: str, template: str, number: int, revision: int, actor: str, comment: str) -> Edition:
        """Hand a draft to a second person. Raises BadText where the lint has errors, EditedMeanwhile."""
        written = await self._editions.text((tenant, template, number))
        self._refuse_errors(template, written.files)
        source = self._folder.source(template, written.files, f"e{number}")
        return await self._editions.submit(written.edition.key, revision, source.version, source.dump(), actor, comment)

    async def approve(self, tenant: str, template: str, number: int, actor: str, comment: str = "") -> Edition:
        """Raises SamePerson for who wrote in it or submitted it."""
        return await self._editions.approve((tenant, template, number), actor, comment)

    async def reject(self, tenant: str, template: str, number: int, actor: str, comment: str) -> Edition:
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
    ) -> Edition:
        """Have it live from ``at`` on, or from now on. Raises NeedsConfirmation with the warnings, BadText."""
        written = await self._editions.text((tenant, template, number))
        self._refuse_errors(template, written.files)
        edition = await self._editions.publish(written.edition.key, actor, comment, at)
        await self._catalog.refresh()
        return edition

    async def unschedule(self, tenant: str, template: str, number: int, actor: str, comment: str) -> Edition:
        """Take back a planned publication."""
        edition = await self._editions.unschedule((tenant, template, number), actor, comment)
        await self._catalog.refresh()
        return edition

    async def roll_back(
        self, tenant: str, template: str, actor: str, comment: str, to: int | None = None
    ) -> Edition | None:
        """Have an earlier version live again at once; None: that of the files. Raises NothingToRollBack."""
        edition = await self._editions.roll_back(tenant, template, actor, comment, to)
        await self._catalog.refresh()
        return edition

    def _folder_check(self, template: str, files: Mapping[str, str]) -> None:
        from gateway.catalog.folder import check

        try:
            check(template, files)
        except BadTemplate as error:
            raise BadText([_does_not_compile(template, error)]) from None

    def _refuse_errors(self, template: str, files: Mapping[str, str]) -> None:
        findings = self.lint(template, files)
        if any(each.level == "error" for each in findings):
            raise BadText(findings)


def _written(text: Text) -> Files:
    edition = text.edition
    return Files(edition.template, edition.number, edition.version, text.files, edition)


def _does_not_compile(template: str, error: BadTemplate) -> Finding:
    where, _, detail = str(error).partition(": ")
    place, _, line = where.partition(":")
    number = int(line.partition(":")[0]) if line.partition(":")[0].isdigit() else 0
    return Finding("error", "does_not_compile", place or template, number, detail or str(error), "Mend it there.")
