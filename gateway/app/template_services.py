"""What editors do with templates: versions, publications, trials, transfers, and keeping up with other processes."""

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
from gateway.templates.workflow.preview import Price
from gateway.templates.workflow.publication_watcher import PublicationWatcher
from gateway.templates.workflow.test_send import TestSender
from gateway.templates.workflow.transfer import Transfer
from gateway.templates.workflow.versions_store import VersionStore
from gateway.templates.workflow.workflow import TemplateWorkflow


@dataclass(frozen=True, slots=True)
class TemplateServices:
    """The editors' verbs, and the follower of what they did in any process."""

    editing: TemplateWorkflow
    transfer: Transfer
    follower: PublicationWatcher


def build_desk(ledger: LedgerParts, ways: Providers, texts: LoadedTemplates, path: PathParts) -> TemplateServices:
    """The desk, with the one lint for all texts."""
    catalog, clock = texts.catalog, ledger.clock
    versions = VersionStore(ledger.database, clock)
    trials = TestSender(
        versions,
        ways.providers,
        ways.router,
        path.switches,
        path.pace,
        normaliser(ways.channels),
        ledger.signer.digest,
        clock,
    )
    shelf = _shelf(ledger, texts, versions)
    return TemplateServices(
        TemplateWorkflow(versions, catalog, shelf, trials, _prices(ledger.settings), clock),
        Transfer(versions, catalog, shelf),
        PublicationWatcher(catalog, versions, path.metrics, clock),
    )


def _shelf(ledger: LedgerParts, texts: LoadedTemplates, versions: VersionStore) -> TemplateRepository:
    lender, clock = ledger.settings.lender_name, ledger.clock

    def lint(version: TemplateVersion) -> list[linting.LintFinding]:
        return linting.lint(version, texts.listed, lender, policy.refuses_text(texts.packs, clock()))

    return TemplateRepository(versions, texts.catalog, texts.folder, lint, Callers(ledger.database), clock)


def _prices(settings: Settings) -> dict[str, Price]:
    """What an SMS costs, by country: ``"0.0075 USD"`` in the settings."""
    words = {country: text.split() for country, text in settings.sms_prices.items()}
    return {country: Price(Decimal(amount), currency) for country, (amount, currency) in words.items()}
