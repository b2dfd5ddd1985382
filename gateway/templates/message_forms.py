"""The ledger's side of message forms: providers' templates with their states, and people's last messages.

The decision is gateway/stages/message_form.py. Must not know how a provider submits or reports a template.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import msgspec
from sqlalchemy import Connection, and_, or_, select, tuple_, update

from channels.base import Capability, Provider, ReportsTemplates, SendFailure, TemplateReport, TemplateStatus
from channels.profile import Profiles
from gateway.core.clock import Clock
from gateway.core.deliveries import Outgoing, Transition
from gateway.core.provider_templates import ProviderTemplate, Slot, TemplateKey
from gateway.core.security.digests import digests_of
from gateway.stages.message_form import FormFacts, WindowKey, choose_form, needs_form, template_key, window_key
from gateway.storage.accept import insert_new
from gateway.storage.database import Database
from gateway.storage.tables.borrowers import inbound_messages
from gateway.storage.tables.templates import provider_templates
from gateway.templates.catalog import Catalog

_slots = msgspec.json.Decoder(list[Slot])
_KEY = ("tenant", "provider", "template", "version", "locale")
_LONGEST_REASON = 120  # the column's


class MessageForms:
    """Chooses the form of messages, and records what providers say of their templates."""

    def __init__(
        self,
        database: Database,
        profiles: Profiles,
        catalog: Catalog,
        clock: Clock,
        capabilities: Mapping[str, Capability],
    ) -> None:
        """``capabilities``: those of each provider, by its name."""
        self._capabilities = capabilities
        self._database = database
        self._profiles = profiles
        self._catalog = catalog
        self._clock = clock

    async def choose(self, ready: Sequence[Outgoing], now: datetime) -> tuple[list[Outgoing], list[Transition]]:
        """The messages that may go, each in its form, and the transitions of the others. Reads only where it must."""
        able = {each.provider: self._capabilities.get(each.provider, Capability()) for each in ready}
        concerned = [
            each for each in ready if needs_form(self._profiles, each.work.delivery.channel, able[each.provider])
        ]
        if not concerned:
            return list(ready), []
        locales = {
            each.work.delivery.id: self._catalog.locale_for(each.work.notification, each.work.delivery.channel)
            for each in concerned
        }
        templates = {template_key(each, locales[each.work.delivery.id]) for each in concerned}
        windows = {window_key(each) for each in concerned}
        facts = await self._database.read(lambda connection: _facts(connection, templates, windows))
        return choose_form(ready, self._profiles, locales, facts, self._catalog.evaluate, now, self._capabilities)

    async def put(self, template: ProviderTemplate) -> None:
        """Record a provider's template, or replace what is on record of it."""
        now = self._clock()
        await self._database.write(lambda connection: put_template(connection, template, now))

    async def listed(
        self, tenant: str | None = None, template: str | None = None, version: str | None = None
    ) -> list[ProviderTemplate]:
        """The providers' templates with their states; of one tenant, template and version, or of all."""
        given = {"tenant": tenant, "template": template, "version": version}
        mine = [provider_templates.c[name] == value for name, value in given.items() if value is not None]
        query = select(provider_templates).where(*mine).order_by(*(provider_templates.c[name] for name in _KEY))
        return await self._database.read(lambda connection: [_read(row) for row in connection.execute(query)])

    async def report(self, provider: str, reports: Sequence[TemplateReport]) -> None:
        """Record states as the provider says them, pushed, polled or found when sending."""
        now = self._clock()

        def write(connection: Connection) -> None:
            for each in reports:
                which = and_(
                    provider_templates.c.provider == provider, provider_templates.c.reference == each.reference
                )
                if each.language:
                    which = and_(which, provider_templates.c.language == each.language)
                changed = {"status": each.status, "reason": each.reason[:_LONGEST_REASON], "seen_at": now}
                connection.execute(update(provider_templates).where(which).values(**changed))

        if reports:
            await self._database.write(write)

    async def poll(self, providers: Mapping[str, Provider]) -> None:
        """Ask the providers that can be asked for the states of their templates; one that can't say keeps its own."""
        for name, provider in providers.items():
            if not isinstance(provider, ReportsTemplates):
                continue
            query = select(provider_templates.c.reference).where(provider_templates.c.provider == name).distinct()
            references = await self._database.read(
                lambda connection, query=query: sorted(connection.execute(query).scalars())  # type: ignore[misc]
            )
            try:
                await self.report(name, await provider.template_states(references) if references else ())
            except SendFailure:
                continue

    def has_window(self, channel: str) -> bool:
        """Whether a person's own message permits free text on a channel for a time: its service window."""
        return needs_form(self._profiles, channel)


def put_template(
    connection: Connection, template: ProviderTemplate, now: datetime, expected: TemplateStatus | None = None
) -> bool:
    """Write a provider's template. False: it is not in the state ``expected``, where that is given."""
    same = and_(*(provider_templates.c[name] == value for name, value in _key_of(template).items()))
    if expected is None:
        add_template(connection, template, now)
    else:
        same = and_(same, provider_templates.c.status == expected)
    return connection.execute(update(provider_templates).where(same).values(**_values(template, now))).rowcount == 1


def add_template(connection: Connection, template: ProviderTemplate, now: datetime) -> bool:
    """Write a provider's template where there is none. False: there is one."""
    row = {**_key_of(template), **_values(template, now)}
    new = insert_new(connection, provider_templates).values(**row).returning(provider_templates.c.provider)
    return connection.execute(new).first() is not None


def _key_of(template: ProviderTemplate) -> dict[str, str]:
    return dict(zip(_KEY, template.key, strict=True))


def _values(template: ProviderTemplate, now: datetime) -> dict[str, Any]:
    return {
        "reference": template.reference,
        "language": template.language,
        "approved_text": template.approved_text,
        "slots": msgspec.json.encode(template.slots).decode(),
        "ttl_seconds": None if template.ttl is None else int(template.ttl.total_seconds()),
        "status": template.status,
        "reason": template.reason[:_LONGEST_REASON],
        "seen_at": now,
    }


def _facts(connection: Connection, keys: set[TemplateKey], windows: set[WindowKey]) -> FormFacts:
    whole = tuple_(*(provider_templates.c[name] for name in _KEY)).in_(sorted(keys))
    places = {(tenant, provider, template, locale) for tenant, provider, template, _, locale in keys}
    place = tuple_(*(provider_templates.c[name] for name in _KEY if name != "version")).in_(sorted(places))
    elsewhere = and_(place, provider_templates.c.status == TemplateStatus.APPROVED)
    rows = connection.execute(
        select(provider_templates).where(or_(whole, elsewhere)).order_by(provider_templates.c.seen_at.desc())
    )
    templates = {found.key: found for found in map(_read, rows)}
    digests = digests_of(connection)
    names = {(tenant, provider, each) for tenant, provider, name in windows for each in digests.versions(name)}
    sender = tuple_(inbound_messages.c.tenant, inbound_messages.c.provider, inbound_messages.c.digest)
    query = select(inbound_messages).where(sender.in_(sorted(names))).order_by(inbound_messages.c.last_at)
    wrote = {(row.tenant, row.provider, digests.current(row.digest)): row.last_at for row in connection.execute(query)}
    return FormFacts(templates, wrote)


def _read(row: Any) -> ProviderTemplate:
    return ProviderTemplate(
        key=(row.tenant, row.provider, row.template, row.version, row.locale),
        reference=row.reference,
        language=row.language,
        approved_text=row.approved_text,
        slots=tuple(_slots.decode(row.slots)),
        status=TemplateStatus(row.status),
        ttl=None if row.ttl_seconds is None else timedelta(seconds=row.ttl_seconds),
        reason=row.reason,
        seen_at=row.seen_at,
    )
