"""Builds the services for editing templates: workflow, test messages, import and export, publication watcher."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

from gateway import policy
from gateway.app.pipeline import PathParts
from gateway.app.providers import Providers
from gateway.app.settings import Settings
from gateway.app.stages import normaliser
from gateway.app.storage import LedgerParts
from gateway.app.templates import LoadedTemplates
from gateway.templates import TemplateVersion
from gateway.templates.checks import lint as linting
from gateway.templates.repository import TemplateRepository
from gateway.templates.workflow.callers import Callers
from gateway.templates.workflow.carry_over import CarryOver
from gateway.templates.workflow.preview import Price
from gateway.templates.workflow.provider_templates import ProviderTemplates
from gateway.templates.workflow.publication_watcher import PublicationWatcher
from gateway.templates.workflow.test_send import TestSender
from gateway.templates.workflow.transfer import Transfer
from gateway.templates.workflow.versions_store import VersionStore
from gateway.templates.workflow.workflow import TemplateWorkflow


@dataclass(frozen=True, slots=True)
class TemplateServices:
    """The editing workflow, import and export, and the watcher that reads publications of other processes."""

    workflow: TemplateWorkflow
    transfer: Transfer
    watcher: PublicationWatcher


def build_template_services(
    ledger: LedgerParts, providers: Providers, templates: LoadedTemplates, path: PathParts
) -> TemplateServices:
    """Build them with one lint function, so that every way to save a version runs the same checks."""
    catalog, clock = templates.catalog, ledger.clock
    versions = VersionStore(ledger.database, clock)
    test_sender = TestSender(
        versions,
        providers.by_name,
        providers.router,
        path.controls,
        path.rate_limiter,
        normaliser(providers.channels),
        ledger.signer.digest,
        clock,
        path.stages.sender.unsubscribe_url,
    )
    repository = _repository(ledger, templates, versions)
    provider_templates = ProviderTemplates(versions, repository, path.forms, providers.by_name, catalog.profiles)
    carry_over = CarryOver(versions, repository, path.forms, providers.by_name, catalog.profiles)
    prices = _prices(ledger.settings)
    return TemplateServices(
        TemplateWorkflow(versions, catalog, repository, test_sender, prices, clock, provider_templates, carry_over),
        Transfer(versions, catalog, repository, carry_over),
        PublicationWatcher(catalog, versions, path.metrics, clock),
    )


def _repository(ledger: LedgerParts, templates: LoadedTemplates, versions: VersionStore) -> TemplateRepository:
    lender, clock = ledger.settings.lender_name, ledger.clock

    def lint(version: TemplateVersion) -> list[linting.LintFinding]:
        return linting.lint(version, templates.word_lists, lender, policy.refuses_text(templates.packs, clock()))

    return TemplateRepository(versions, templates.catalog, templates.folder, lint, Callers(ledger.database), clock)


def _prices(settings: Settings) -> dict[str, Price]:
    """The price of an SMS segment by country; the settings have it as ``"0.0075 USD"``."""
    parts = {country: text.split() for country, text in settings.sms_prices.items()}
    return {country: Price(Decimal(amount), currency) for country, (amount, currency) in parts.items()}
