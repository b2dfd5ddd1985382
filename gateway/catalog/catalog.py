"""The versions that can be used: those of the files, and older ones that accepted requests are pinned to."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from pathlib import Path

from channels.base import Content
from gateway.catalog.source import Lender, Source, read_folder
from gateway.catalog.version import TemplateVersion
from gateway.model import Notification
from gateway.ports import FieldError, Incoming, RenderFailed, UnknownTemplate

Key = tuple[str, str]  # (template id, version)
Fetch = Callable[[Sequence[Key]], Awaitable[Sequence[str]]]


class Catalog:
    """Templates by id and version. Implements the stages' ``Templates``."""

    def __init__(self, sources: Mapping[str, Source], lender: Lender, fetch: Fetch | None = None) -> None:
        self._lender = lender
        self._fetch = fetch
        self._live = {name: TemplateVersion(source, lender) for name, source in sources.items()}
        self._versions = {(each.id, each.version): each for each in self._live.values()}

    @classmethod
    def load(cls, folder: Path, *, lender: Lender, fetch: Fetch | None = None) -> Catalog:
        """Read, check and compile a folder of templates. Raises BadTemplate.

        ``fetch`` finds the dumped sources of versions that are not in the folder (any more).
        """
        return cls(read_folder(folder), lender, fetch)

    def live(self) -> Sequence[TemplateVersion]:
        """The versions that new requests get, by id."""
        return list(self._live.values())

    def resolve(self, template_id: str, version: str | None) -> TemplateVersion:
        """The live version, or the pinned one. Raises UnknownTemplate."""
        found = self._live.get(template_id) if version is None else self._versions.get((template_id, version))
        if found is None:
            raise UnknownTemplate(template_id)
        return found

    async def ensure(self, keys: Iterable[Key]) -> None:
        """Have these versions at hand: in a rolling upgrade, or after an edit, they may be another's."""
        missing = sorted(set(keys) - self._versions.keys())
        if missing and self._fetch is not None:
            for text in await self._fetch(missing):
                version = TemplateVersion(Source.parse(text), self._lender)
                self._versions[(version.id, version.version)] = version

    def wrong_variables(self, incoming: Incoming, version: str) -> list[FieldError]:
        """What is wrong with a request's variables, by the template's declaration of them."""
        problems = self.resolve(incoming.template, version).check(incoming.variables)
        return [FieldError(each.pointer, each.detail) for each in problems]

    def render(self, notification: Notification, channel: str) -> Content:
        """The message for one channel of a notification, by its pinned version. Raises RenderFailed."""
        try:
            template = self.resolve(notification.template, notification.template_version)
        except UnknownTemplate:
            raise RenderFailed(f"{notification.template}: version {notification.template_version} is gone") from None
        borrower = notification.borrower
        return template.render(channel, borrower.locale, notification.variables, borrower.name)
