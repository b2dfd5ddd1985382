"""What editors do with templates: versions, publications, trials, transfers, and keeping up with other processes."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

from gateway import policy
from gateway.app.pipeline import PathParts
from gateway.app.providers import Ways
from gateway.app.settings import Settings
from gateway.app.stages import ChannelAddresses
from gateway.app.storage import LedgerParts
from gateway.app.templates import Texts
from gateway.templates import TemplateVersion
from gateway.templates.checks import lint as linting
from gateway.templates.repository import Shelf
from gateway.templates.workflow.callers import Callers
from gateway.templates.workflow.preview import Price
from gateway.templates.workflow.publication_watcher import Follower
from gateway.templates.workflow.test_send import TrialSender
from gateway.templates.workflow.transfer import Transfer
from gateway.templates.workflow.versions_store import Editions
from gateway.templates.workflow.workflow import Editing


@dataclass(frozen=True, slots=True)
class Desk:
    """The editors' verbs, and the follower of what they did in any process."""

    editing: Editing
    transfer: Transfer
    follower: Follower


def build_desk(ledger: LedgerParts, ways: Ways, texts: Texts, path: PathParts) -> Desk:
    """The desk, with the one lint for all texts."""
    catalog, clock = texts.catalog, ledger.clock
    editions = Editions(ledger.database, clock)
    trials = TrialSender(
        editions,
        ways.providers,
        ways.chooser,
        path.switches,
        path.pace,
        ChannelAddresses(ways.channels),
        ledger.signer.digest,
        clock,
    )
    shelf = _shelf(ledger, texts, editions)
    return Desk(
        Editing(editions, catalog, shelf, trials, _prices(ledger.settings), clock),
        Transfer(editions, catalog, shelf),
        Follower(catalog, editions, path.metrics, clock),
    )


def _shelf(ledger: LedgerParts, texts: Texts, editions: Editions) -> Shelf:
    lender, clock = ledger.settings.lender_name, ledger.clock

    def lint(version: TemplateVersion) -> list[linting.Finding]:
        return linting.lint(version, texts.listed, lender, policy.refuses_text(texts.packs, clock()))

    return Shelf(editions, texts.catalog, texts.folder, lint, Callers(ledger.database), clock)


def _prices(settings: Settings) -> dict[str, Price]:
    """What an SMS costs, by country: ``"0.0075 USD"`` in the settings."""
    words = {country: text.split() for country, text in settings.sms_prices.items()}
    return {country: Price(Decimal(amount), currency) for country, (amount, currency) in words.items()}
