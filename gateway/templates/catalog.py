"""The template versions that requests can use, in memory: built-in, published by tenants, and older pinned ones.

Publications are read from the ledger when its publication stamp changes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from pathlib import Path

import structlog

from channels.content import Content
from channels.profile import Profiles
from gateway.core.errors import RenderFailed, UnknownTemplate
from gateway.core.notifications import Notification
from gateway.core.requests import FieldError, NotificationRequest
from gateway.core.security.message_links import NO_LINKS, MessageLinks
from gateway.templates.folder import Folder
from gateway.templates.language.source import BadTemplate, Lender, TemplateSource
from gateway.templates.language.version import TemplateVersion
from gateway.templates.translatable import translatable
from gateway.templates.versions.published_store import Key, PublicationState, PublishedVersions


class Catalog:
    """Templates by tenant, id and version. Implements the stages' ``Templates``."""

    def __init__(
        self,
        sources: Mapping[str, TemplateSource],
        lender: Lender,
        profiles: Profiles,
        versions: PublishedVersions | None = None,
        *,
        is_valid: Callable[[TemplateSource], bool] = lambda source: False,
        on_compiled: Callable[[TemplateVersion], None] = lambda version: None,
    ) -> None:
        """``is_valid``: whether a source was validated before. ``on_compiled`` is called with each of the others."""
        self.lender = lender
        self.profiles = profiles
        self._ledger = versions
        self._files: dict[str, TemplateVersion] = {}
        for name, source in sources.items():
            validated = is_valid(source)
            self._files[name] = version = TemplateVersion(source, lender, profiles, checked=validated)
            if not validated:
                on_compiled(version)
                version.drop_compiled()  # saves memory: most texts of a large catalog are not used for days
        self._versions: dict[Key, TemplateVersion] = {
            ("", each.id, each.version): each for each in self._files.values()
        }
        self._publications: dict[tuple[str, str], PublicationState] = {}
        self._passed_over: set[tuple[str, str]] = set()
        self._stamp = 0

    @classmethod
    def load(
        cls,
        folder: Path,
        *,
        lender: Lender,
        profiles: Profiles,
        versions: PublishedVersions | None = None,
        on_compiled: Callable[[TemplateVersion], None] = lambda version: None,
    ) -> Catalog:
        """Read and check a folder of templates. Raises BadTemplate.

        ``versions`` loads versions that are not in the folder. ``on_compiled`` is called with each compiled version.
        """
        return cls(Folder.read(folder).sources(), lender, profiles, versions, on_compiled=on_compiled)

    def live(self) -> Sequence[TemplateVersion]:
        """The built-in versions, which apply to a tenant without publications of its own."""
        return list(self._files.values())

    def resolve(self, tenant: str, template_id: str, version: str | None, now: datetime) -> TemplateVersion:
        """The version for a new request: ``version`` if given, else the live one. Raises UnknownTemplate."""
        standing = self._publications.get((tenant, template_id))
        found: TemplateVersion | None
        if version is not None:
            usable = standing is None or not _barred(standing, version, now)
            found = self._find(tenant, template_id, version) if usable else None
        elif standing is not None and (live := standing.live(now)):
            found = self._versions.get((tenant, template_id, live))
        else:
            found = self._files.get(template_id)
        if found is None:
            own = (template for owner, template in self._publications if owner == tenant)
            raise UnknownTemplate(template_id, sorted({*self._files, *own}))
        return found

    async def ensure(self, keys: Iterable[Key]) -> None:
        """Load versions that are not in memory, for example published by another process in a rolling upgrade.

        A version in an older form of the template language keeps the channels that still compile.
        """
        await self._fetch(keys, strict=False)

    async def _fetch(self, keys: Iterable[Key], *, strict: bool) -> None:
        missing = sorted(key for key in set(keys) if self._find(*key) is None)
        if missing and self._ledger is not None:
            for kept in await self._ledger.fetch(missing):
                self._versions[(kept.tenant, kept.template, kept.version)] = made = await asyncio.to_thread(
                    TemplateVersion,
                    TemplateSource.parse(kept.source),
                    self.lender,
                    self.profiles,
                    None if strict else [],
                )
                made.drop_compiled()

    async def refresh(self) -> None:
        """Read the publications, plans and roll-backs that any process has made since the last call."""
        if self._ledger is None or await self._ledger.newest_stamp() == self._stamp:
            return
        for standing in await self._ledger.changed(self._stamp):
            wanted = [each for each in (standing.published, standing.planned) if each]
            try:
                await self._fetch(((standing.tenant, standing.template, each) for each in wanted), strict=True)
            except BadTemplate:
                # A newer release of this program wrote it; the version that was live before stays live in this process.
                log = structlog.get_logger("catalog")
                log.error("bad_template", tenant=standing.tenant, template=standing.template, reason="does_not_compile")
                self._passed_over.add((standing.tenant, standing.template))
            else:
                self._take(standing)
            self._stamp = max(self._stamp, standing.stamp)

    def _take(self, standing: PublicationState) -> None:
        """Store a publication state, unless a concurrent refresh has stored a newer one."""
        key = (standing.tenant, standing.template)
        known = self._publications.get(key)
        if known is None or known.stamp <= standing.stamp:
            self._publications[key] = standing
            self._passed_over.discard(key)

    def names(self) -> set[str]:
        """The ids of the templates of all tenants."""
        return {*self._files, *(template for _, template in self._publications)}

    def skipped(self) -> int:
        """The number of templates whose published version does not compile, so that an earlier one stays live."""
        return len(self._passed_over)

    def planned(self, now: datetime) -> list[tuple[str, str]]:
        """The (tenant, template) whose planned publication is due and not recorded in the ledger yet."""
        return [
            key for key, each in self._publications.items() if each.planned_at is not None and each.planned_at <= now
        ]

    def wrong_variables(self, tenant: str, incoming: NotificationRequest, version: str) -> list[FieldError]:
        """Errors in a request's variables, by the version's declaration. Raises UnknownTemplate."""
        found = self._find(tenant, incoming.template, version)
        if found is None:
            raise UnknownTemplate(incoming.template)
        return [FieldError(each.pointer, str(each.detail)) for each in found.check(incoming.variables)]

    def render(self, notification: Notification, channel: str, links: MessageLinks = NO_LINKS) -> Content:
        """The message for one channel of a notification, by its pinned version. Raises RenderFailed.

        ``links`` are those of its delivery; none in the trial rendering, before there is a delivery.
        """
        template = self._find(notification.tenant, notification.template, notification.template_version)
        if template is None:
            names = {"template": notification.template, "version": notification.template_version}
            raise RenderFailed(translatable("{template}: version {version} was not found", **names))
        borrower = notification.borrower
        return template.render(
            channel,
            borrower.locale,
            notification.variables,
            borrower.name,
            borrower.jurisdiction,
            reference=notification.case.reference,
            links=links,
        )

    def locale_for(self, notification: Notification, channel: str) -> str:
        """The locale in which ``render`` renders the message; "" where its version is not here."""
        template = self._find(notification.tenant, notification.template, notification.template_version)
        return "" if template is None else template.locale_for(notification.borrower.locale, channel)

    def evaluate(self, notification: Notification, channel: str, expressions: Sequence[str]) -> list[str]:
        """What these expressions come to in the message on a channel. Raises RenderFailed."""
        template = self._find(notification.tenant, notification.template, notification.template_version)
        if template is None:
            raise RenderFailed(translatable("{template}: its version was not found", template=notification.template))
        borrower = notification.borrower
        return template.evaluate(
            channel,
            borrower.locale,
            notification.variables,
            borrower.name,
            expressions,
            borrower.jurisdiction,
            notification.case.reference,
        )

    def _find(self, tenant: str, template_id: str, version: str) -> TemplateVersion | None:
        own = self._versions.get((tenant, template_id, version))
        return own or self._versions.get(("", template_id, version))


def _barred(standing: PublicationState, version: str, now: datetime) -> bool:
    """Whether new requests may not name this version: it was rolled back, or is planned for later."""
    early = version == standing.planned and standing.planned_at is not None and now < standing.planned_at
    return early or version in standing.withdrawn
