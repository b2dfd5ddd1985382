"""Reads template texts from the built-in files and the ledger, compiles them and runs the lint.

A text is the files of a template, as an editor sees them. Must not know permissions.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from gateway.core.clock import Clock
from gateway.core.states import TemplateState
from gateway.templates.catalog import Catalog
from gateway.templates.checks.lint import LintFinding, findings_of
from gateway.templates.folder import Folder, check
from gateway.templates.language.source import BadTemplate, TemplateProblem, TemplateSource
from gateway.templates.language.version import TemplateVersion
from gateway.templates.translatable import joined, translatable
from gateway.templates.versions.callers import Callers
from gateway.templates.versions.compatibility import Consequence, broken_callers, caller_changes
from gateway.templates.versions.refusals import BadText, NoSuchVersion
from gateway.templates.versions.stored_version import StoredVersion, VersionText
from gateway.templates.versions.versions_store import VersionStore

Lint = Callable[[TemplateVersion], Sequence[LintFinding]]

_LATELY = timedelta(days=30)  # whose requests are compared with a new version; our choice: a billing month


@dataclass(frozen=True, slots=True)
class TemplateFiles:
    """A template's text. ``number`` 0 is the built-in version, which has no row in the ledger."""

    template: str
    number: int
    version: str
    files: Mapping[str, str]
    stored: StoredVersion | None = None
    source: str = ""  # stored at its submission


class TemplateRepository:
    """The template texts of all tenants. Methods may raise Unavailable."""

    def __init__(
        self, versions: VersionStore, catalog: Catalog, folder: Folder, lint: Lint, callers: Callers, clock: Clock
    ) -> None:
        self._store = versions
        self._catalog = catalog
        self._folder = folder
        self._lint = lint
        self._callers = callers
        self._clock = clock

    def shipped(self) -> Sequence[str]:
        """The built-in templates."""
        return sorted(self._folder.templates)

    def built_in(self, template: str) -> Mapping[str, str] | None:
        """The files of a built-in template; None where there is none."""
        return self._folder.templates.get(template)

    async def text(self, tenant: str, template: str, number: int) -> TemplateFiles:
        """The files of one version; 0 is the built-in version."""
        if number == 0:
            files = self._folder.templates.get(template)
            if files is None:
                raise NoSuchVersion(f"the files have no template {template}")
            return TemplateFiles(template, 0, self._folder.source(template, files).version, files)
        return written(await self._store.text((tenant, template, number)))

    async def live(self, tenant: str, template: str) -> TemplateFiles | None:
        """The text for new requests, by the ledger; None where there is none."""
        own = live_version(await self._store.listed(tenant, template), self._clock())
        if own is None and template not in self._folder.templates:
            return None
        return await self.text(tenant, template, own.number if own else 0)

    async def consequences(self, tenant: str, after: TemplateFiles) -> list[Consequence]:
        """The consequences of publishing it now, for callers and for other plans. Raises BadText."""
        live = await self.live(tenant, after.template)
        if live is None:
            return []
        version, found = self.compiled(after), []
        if what := caller_changes(self.compiled(live).variables, version.variables):
            lately = await self._callers.recent(tenant, after.template, self._clock() - _LATELY)
            found.append(Consequence("variables", joined(what), tuple(broken_callers(lately, version.variables))))
        if after.stored is not None and after.stored.based_on != live.version:
            begun = after.stored.based_on or translatable("nothing")
            detail = translatable("it was started from {begun}, and {live} is live now", begun=begun, live=live.version)
            found.append(Consequence("live_changed", detail))
        return found

    def findings(self, text: TemplateFiles) -> list[LintFinding]:
        """The findings for a text, the most severe first; an error blocks submitting and publishing.

        Those of a draft are complete, also where one of its parts can't be compiled.
        """
        if not text.source:
            return self.draft_preview(text)[1]
        try:
            return list(self._lint(self.compiled(text)))
        except BadText as error:
            return list(error.findings)

    def freeze(self, template: str, files: Mapping[str, str], number: int) -> tuple[str, str]:
        """The version's name, and its source with everything that rendering depends on."""
        source = self._folder.source(template, files, f"e{number}")
        return source.version, source.dump()

    def compiled(self, text: TemplateFiles) -> TemplateVersion:
        """Compile the stored source of a submitted text, or a draft with the current shared texts. Raises BadText."""
        try:
            source = (
                TemplateSource.parse(text.source) if text.source else self._folder.source(text.template, text.files)
            )
            return TemplateVersion(source, self._catalog.lender, self._catalog.profiles)
        except BadTemplate as error:
            raise BadText(findings_of(error)) from None

    def compiled_partly(self, text: TemplateFiles, problems: list[TemplateProblem] | None = None) -> TemplateVersion:
        """Compile a draft for a preview; channels with errors can't be rendered. Raises BadText.

        The errors are added to ``problems``.
        """
        found = [] if problems is None else problems
        try:
            source = self._folder.source(text.template, text.files)
            return TemplateVersion(source, self._catalog.lender, self._catalog.profiles, found)
        except BadTemplate as error:
            raise BadText(findings_of(error)) from None

    def draft_preview(self, text: TemplateFiles) -> tuple[TemplateVersion | None, list[LintFinding]]:
        """The compilable parts of a draft (None: its settings can't be read), and its findings."""
        problems: list[TemplateProblem] = []
        try:
            version = self.compiled_partly(text, problems)
        except BadText as error:
            return None, list(error.findings)
        broken = {each.where for each in problems}
        linted = [each for each in self._lint(version) if each.where not in broken]
        return version, [*findings_of(BadTemplate(problems)), *linted]

    def compiled_or_none(self, text: TemplateFiles) -> TemplateVersion | None:
        try:
            return self.compiled(text)
        except BadText:
            return None

    def raise_for_errors(self, text: TemplateFiles) -> None:
        """Raise BadText if a finding is an error."""
        found = self.findings(text)
        if any(each.level == "error" for each in found):
            raise BadText(found)


def live_version(versions: Sequence[StoredVersion], now: datetime) -> StoredVersion | None:
    """The version for new requests; None: the built-in one. A scheduled version is live from its time on."""
    planned = [each for each in versions if each.publish_at is not None and each.publish_at <= now]
    return next(iter([*planned, *(each for each in versions if each.state is TemplateState.PUBLISHED)]), None)


def check_files(template: str, files: Mapping[str, str]) -> None:
    """Check names, number and sizes of the files. Raises BadText."""
    try:
        check(template, files)
    except BadTemplate as error:
        raise BadText(findings_of(error)) from None


def written(text: VersionText) -> TemplateFiles:
    stored = text.stored
    return TemplateFiles(stored.template, stored.number, stored.version, text.files, stored, text.source)
