"""Maps the services to the classes by which HTTP routes request them."""

from __future__ import annotations

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
    ledger = gateway.ledger
    four_eyes = FourEyes(ledger.database, ledger.reads, gateway.templates.packs, ledger.signer.digest, ledger.clock)
    return Parts(
        HttpSettings(
            settings.effective_public_url, settings.max_body_bytes, settings.test_addresses, settings.shows_api_docs
        ),
        GatewayClock(gateway.ledger.clock),
        ConfiguredChannels(gateway.providers.channels, gateway.providers.by_name),
        gateway.ledger.admin_log,
        Attempts(gateway.ledger.database, gateway.ledger.signer),
        gateway.ledger.database,
        gateway.operations.auditor,
        gateway.operations.dead_letters,
        gateway.editor.workflow,
        gateway.editor.new,
        gateway.editor.results,
        DeskReads(
            gateway.ledger.reads,
            gateway.operations.forecaster,
            sorted(gateway.providers.channels),
            gateway.ledger.clock,
        ),
        DeskServices(
            gateway.path.borrowers,
            gateway.journeys.cases,
            gateway.ledger.reads,
            four_eyes,
            frozenset(gateway.providers.channels),
            gateway.ledger.clock,
        ),
        four_eyes,
        EvidenceArchives(
            ledger.database, registry.profiles(gateway.providers.channels), ledger.clock, settings.pdf_font
        ),
        gateway.operations.forecaster,
        gateway.redis.preview_cache,
        gateway.providers.inbox,
        OneClick(gateway.ledger.database, gateway.path.borrowers, gateway.ledger.clock),
        LinkedMessages(gateway.ledger.database, gateway.ledger.clock, timedelta(days=settings.message_link_days)),
        PreferenceStore(
            gateway.ledger.database, gateway.path.borrowers, gateway.ledger.signer.digest, gateway.ledger.clock
        ),
        gateway.templates.catalog.lender,
        gateway.templates.borrower_pages,
        gateway.ledger.keys,
        gateway.path.metrics,
        gateway.templates.packs,
        gateway.path.borrowers,
        gateway.path.pipeline,
        gateway.path.receiver,
        gateway.redis.quota_buckets,
        QuotaRules(settings.quotas),
        OidcSignIn(
            OidcProvider(settings.oidc) if settings.oidc else None,
            OidcUsers(gateway.ledger.database, gateway.ledger.signer),
        ),
        gateway.ledger.reads,
        gateway.readiness,
        gateway.operations.reviews,
        Sessions(gateway.ledger.database, gateway.ledger.signer),
        gateway.ledger.signer,
        gateway.path.store,
        gateway.path.controls,
        gateway.editor.transfer,
        gateway.ledger.users,
        gateway.redis.feed_notifier,
        gateway.webhooks.endpoints,
        gateway.webhooks.guard,
        gateway.webhooks.tester,
        gateway.journeys.cases,
        gateway.journeys.definitions,
        gateway.journeys.reads,
        gateway.journeys.migration,
        gateway.journeys.acts,
        gateway.conversations.store,
        gateway.conversations.reads,
        gateway.conversations.desk,
        gateway.conversations.links,
        gateway.conversations.case_system,
        gateway.conversations.suggestions,
        gateway.conversations.reports,
        _simulations(settings, gateway.templates, gateway.ledger.clock),
    )


def _simulations(settings: Settings, templates: LoadedTemplates, clock: Clock) -> Simulations:
    """What runs the page's simulations, with the built-in definitions."""
    folder = templates_folder(settings) / "journeys"
    shipped = {path.stem: path.read_text("utf-8") for path in sorted(folder.glob("*.toml"))}

    def category(tenant: str, template: str) -> str | None:
        found = template_facts(templates.catalog, tenant, clock)(template)
        return found.category if found is not None else None

    return Simulations(str(policies_folder(settings)), shipped, category)
