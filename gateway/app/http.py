"""Maps the services to the classes by which HTTP routes request them."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta

from channels import registry
from gateway.api.http.parts import ConfiguredChannels, GatewayClock, HttpSettings, Parts
from gateway.app.app import Gateway
from gateway.app.journeys import template_facts
from gateway.app.settings import Settings
from gateway.app.templates import LoadedTemplates, policies_folder, templates_folder
from gateway.borrowers.four_eyes import FourEyes
from gateway.borrowers.linked_messages import LinkedMessages
from gateway.borrowers.one_click import OneClick
from gateway.borrowers.preferences import PreferenceStore
from gateway.core.clock import Clock
from gateway.identity.oidc import OidcProvider
from gateway.identity.oidc_users import OidcSignIn, OidcUsers
from gateway.identity.quotas import QuotaRules
from gateway.identity.sessions import Attempts, Sessions
from gateway.web.desk.acts import DeskServices
from gateway.web.desk.evidence import EvidenceArchives
from gateway.web.desk.views import DeskReads
from gateway.web.journeys.simulations import Simulations


def http_parts(gateway: Gateway) -> Parts:
    """One instance of each class that a route may name with ``Uses``."""
    settings = gateway.ledger.settings
    return Parts(
        HttpSettings(
            settings.effective_public_url, settings.max_body_bytes, settings.test_addresses, settings.shows_api_docs
        ),
        GatewayClock(gateway.ledger.clock),
        ConfiguredChannels(gateway.providers.channels, gateway.providers.by_name),
        *_path_and_ledger(gateway),
        *_identity(gateway),
        *_templates(gateway),
        *_desk(gateway),
        *_borrower_pages(gateway),
        *_operations(gateway),
        *_journeys_and_conversations(gateway),
    )


def _path_and_ledger(gateway: Gateway) -> Iterable[object]:
    return (
        gateway.path.borrowers,
        gateway.path.controls,
        gateway.path.metrics,
        gateway.path.pipeline,
        gateway.path.receiver,
        gateway.path.store,
        gateway.ledger.admin_log,
        gateway.ledger.database,
        gateway.ledger.reads,
        gateway.ledger.signer,
        gateway.readiness,
    )


def _identity(gateway: Gateway) -> Iterable[object]:
    settings, database, signer = gateway.ledger.settings, gateway.ledger.database, gateway.ledger.signer
    return (
        gateway.ledger.keys,
        gateway.ledger.users,
        Attempts(database, signer),
        Sessions(database, signer),
        OidcSignIn(OidcProvider(settings.oidc) if settings.oidc else None, OidcUsers(database, signer)),
        QuotaRules(settings.quotas),
        gateway.redis.quota_buckets,
    )


def _templates(gateway: Gateway) -> Iterable[object]:
    return (
        gateway.templates.packs,
        gateway.editor.workflow,
        gateway.editor.new,
        gateway.editor.results,
        gateway.editor.transfer,
        gateway.redis.preview_cache,
    )


def _desk(gateway: Gateway) -> Iterable[object]:
    ledger, channels = gateway.ledger, gateway.providers.channels
    four_eyes = FourEyes(ledger.database, ledger.reads, gateway.templates.packs, ledger.signer.digest, ledger.clock)
    return (
        four_eyes,
        DeskReads(ledger.reads, gateway.operations.forecaster, sorted(channels), ledger.clock),
        DeskServices(
            gateway.path.borrowers,
            gateway.journeys.cases,
            ledger.reads,
            four_eyes,
            frozenset(channels),
            ledger.clock,
        ),
        EvidenceArchives(ledger.database, registry.profiles(channels), ledger.clock, ledger.settings.pdf_font),
    )


def _borrower_pages(gateway: Gateway) -> Iterable[object]:
    ledger, borrowers = gateway.ledger, gateway.path.borrowers
    return (
        gateway.providers.inbox,
        gateway.redis.feed_notifier,
        gateway.templates.borrower_pages,
        gateway.templates.catalog.lender,
        LinkedMessages(ledger.database, ledger.clock, timedelta(days=ledger.settings.message_link_days)),
        OneClick(ledger.database, borrowers, ledger.clock),
        PreferenceStore(ledger.database, borrowers, ledger.signer.digest, ledger.clock),
    )


def _operations(gateway: Gateway) -> Iterable[object]:
    return (
        gateway.operations.auditor,
        gateway.operations.dead_letters,
        gateway.operations.forecaster,
        gateway.operations.reviews,
        gateway.webhooks.endpoints,
        gateway.webhooks.guard,
        gateway.webhooks.tester,
    )


def _journeys_and_conversations(gateway: Gateway) -> Iterable[object]:
    return (
        gateway.journeys.cases,
        gateway.journeys.definitions,
        gateway.journeys.reads,
        gateway.journeys.migration,
        gateway.journeys.acts,
        _simulations(gateway.ledger.settings, gateway.templates, gateway.ledger.clock),
        gateway.conversations.store,
        gateway.conversations.reads,
        gateway.conversations.desk,
        gateway.conversations.links,
        gateway.conversations.case_system,
        gateway.conversations.suggestions,
        gateway.conversations.reports,
    )


def _simulations(settings: Settings, templates: LoadedTemplates, clock: Clock) -> Simulations:
    """What runs the page's simulations, with the built-in definitions."""
    folder = templates_folder(settings) / "journeys"
    shipped = {path.stem: path.read_text("utf-8") for path in sorted(folder.glob("*.toml"))}

    def category(tenant: str, template: str) -> str | None:
        found = template_facts(templates.catalog, tenant, clock)(template)
        return found.category if found is not None else None

    return Simulations(str(policies_folder(settings)), shipped, category)
