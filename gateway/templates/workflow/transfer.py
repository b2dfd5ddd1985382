"""Exports live template versions to files, and imports files as drafts or as live versions, both byte for byte."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass

from gateway.templates.catalog import Catalog
from gateway.templates.repository import TemplateFiles, TemplateRepository, check_files
from gateway.templates.versions.refusals import BadText, NeedsConfirmation, TemplateRefusal
from gateway.templates.versions.stored_version import StoredVersion
from gateway.templates.versions.versions_store import VersionStore
from gateway.templates.workflow.carry_over import CarryOver


@dataclass(frozen=True, slots=True)
class Imported:
    """The result of importing a template: unchanged, draft, published or refused (``detail`` has the reason)."""

    template: str
    outcome: str
    number: int = 0
    detail: str = ""


class Transfer:
    """Exports and imports the templates of one tenant."""

    def __init__(
        self, versions: VersionStore, catalog: Catalog, repository: TemplateRepository, carry_over: CarryOver
    ) -> None:
        self._store = versions
        self._catalog = catalog
        self._repository = repository
        self._carry_over = carry_over

    async def export(self, tenant: str) -> dict[str, Mapping[str, str]]:
        """The files of the live version of every template."""
        names = {*self._repository.shipped(), *(each.template for each in await self._store.listed(tenant))}
        found = {name: await self._repository.live(tenant, name) for name in sorted(names)}
        return {name: text.files for name, text in found.items() if text is not None}

    async def import_template(
        self,
        tenant: str,
        template: str,
        files: Mapping[str, str],
        actor: str,
        comment: str,
        *,
        publish: bool = False,
        confirmed: bool = False,
    ) -> Imported:
        """Begin a draft from files, or with ``publish`` publish them; ``comment`` then names the review done elsewhere.

        An open draft is never overwritten: this template is refused.
        """
        live = await self._repository.live(tenant, template)
        if live is not None and dict(live.files) == dict(files):
            return Imported(template, "unchanged", live.number)
        text = TemplateFiles(template, 0, "", files)
        try:
            check_files(template, files)
            if not publish:
                based_on = live.version if live else ""
                begun = await self._store.begin(tenant, template, files, based_on, actor, comment)
                return Imported(template, "draft", begun.stored.number)
            await asyncio.to_thread(self._repository.raise_for_errors, text)
            if not confirmed and (found := await self._repository.consequences(tenant, text)):
                raise NeedsConfirmation(found)
            stored = await self._publish_reviewed(tenant, text, live, actor, comment)
        except TemplateRefusal as error:
            return Imported(template, "refused", detail=_in_words(error))
        return Imported(template, "published", stored.number)

    async def _publish_reviewed(
        self, tenant: str, text: TemplateFiles, live: TemplateFiles | None, actor: str, comment: str
    ) -> StoredVersion:
        stored = await self._store.publish_reviewed(
            tenant,
            text.template,
            text.files,
            lambda number: self._repository.freeze(text.template, text.files, number),
            live.version if live else "",
            actor,
            comment,
        )
        await self._carry_over.to_version(tenant, text.template, stored.number, actor)
        await self._catalog.refresh()
        return stored


def _in_words(error: TemplateRefusal) -> str:
    if isinstance(error, NeedsConfirmation):
        return "; ".join(each.detail for each in error.warnings)
    if isinstance(error, BadText):
        return "; ".join(f"{each.where}: {each.detail}" for each in error.findings if each.level == "error")
    return str(error)
