"""Builds the services for editing templates: workflow, test messages, import and export, publication watcher."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

from channels.base import Provider
from gateway import policy
from gateway.app.embedded.errors import CannotStart
from gateway.app.pipeline import PathParts
from gateway.app.providers import Providers
from gateway.app.settings import Settings
from gateway.app.stages import normaliser
from gateway.app.storage import LedgerParts
from gateway.app.templates import LoadedTemplates
from gateway.templates import TemplateVersion
from gateway.templates.checks import lint as linting
from gateway.templates.previews.preview import Price
from gateway.templates.repository import TemplateRepository
from gateway.templates.versions.callers import Callers
from gateway.templates.versions.versions_store import VersionStore
from gateway.templates.workflow.author_mails import AuthorMails
from gateway.templates.workflow.carry_over import CarryOver
from gateway.templates.workflow.glossaries import Glossaries
from gateway.templates.workflow.new_templates import NewTemplates
from gateway.templates.workflow.provider_templates import ProviderTemplates
from gateway.templates.workflow.publication_watcher import PublicationWatcher
from gateway.templates.workflow.results import ResultCounts
from gateway.templates.workflow.reviews import TemplateReviews
from gateway.templates.workflow.template_results import TemplateResults
from gateway.templates.workflow.test_send import TestSender
from gateway.templates.workflow.transfer import Transfer
from gateway.templates.workflow.workflow import TemplateWorkflow


@dataclass(frozen=True, slots=True)
class TemplateServices:
    """The editing workflow, new templates, import and export, and what runs beside them: the watcher that reads
    publications of other processes, and the mails to authors."""

    workflow: TemplateWorkflow
    new: NewTemplates
    results: TemplateResults
    transfer: Transfer
    watcher: PublicationWatcher
    author_mails: AuthorMails


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
        path.stages.sender.links,
    )
    repository = _repository(ledger, templates, versions)
    provider_templates = ProviderTemplates(versions, repository, path.forms, providers.by_name, catalog.profiles)
    carry_over = CarryOver(versions, repository, path.forms, providers.by_name, catalog.profiles)
    prices = _prices(ledger.settings)
    glossaries = Glossaries(ledger.database, clock)
    reviews = TemplateReviews(versions, repository, glossaries)
    workflow = TemplateWorkflow(
        *(versions, catalog, repository, test_sender, prices, clock),
        *(provider_templates, carry_over, reviews, glossaries),
    )
    return TemplateServices(
        workflow,
        NewTemplates(workflow, templates.folder.purposes),
        TemplateResults(repository, ResultCounts(ledger.database), prices, clock),
        Transfer(versions, catalog, repository, carry_over),
        PublicationWatcher(catalog, versions, path.metrics, clock),
        AuthorMails(
            versions, ledger.users, _people_relay(ledger, providers), ledger.settings.effective_public_url, clock
        ),
    )


def _repository(ledger: LedgerParts, templates: LoadedTemplates, versions: VersionStore) -> TemplateRepository:
    lender, clock = ledger.settings.lender_name, ledger.clock

    def lint(version: TemplateVersion) -> list[linting.LintFinding]:
        return linting.lint(version, templates.word_lists, lender, policy.refuses_text(templates.packs, clock()))

    return TemplateRepository(versions, templates.catalog, templates.folder, lint, Callers(ledger.database), clock)


def _people_relay(ledger: LedgerParts, providers: Providers) -> Provider | None:
    """The provider of mails to people. Raises CannotStart: it is none of the e-mail providers."""
    name = ledger.settings.people_mail_provider
    found = providers.by_name.get(name)
    if name and (found is None or found.channel != "email"):
        raise CannotStart(f"GATEWAY_PEOPLE_MAIL_PROVIDER: there is no e-mail provider {name!r}")
    return found


def _prices(settings: Settings) -> dict[str, Price]:
    """The price of an SMS segment by country; the settings have it as ``"0.0075 USD"``."""
    parts = {country: text.split() for country, text in settings.sms_prices.items()}
    return {country: Price(Decimal(amount), currency) for country, (amount, currency) in parts.items()}
