"""Where templates and contact rules are, and what editors do with templates."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

from gateway import policy
from gateway.catalog import BadTemplate, Catalog, Lender, TemplateVersion
from gateway.catalog import lint as linting
from gateway.catalog.editing import Editing
from gateway.catalog.folder import Folder
from gateway.catalog.preview import Price
from gateway.catalog.shelf import Shelf
from gateway.catalog.transfer import Transfer
from gateway.catalog.trial import TrialSender
from gateway.embedded.errors import CannotStart
from gateway.ledger.callers import Callers
from gateway.ledger.editions import Editions
from gateway.ledger.template_versions import TemplateVersions
from gateway.ports import Clock
from gateway.settings import Settings
from gateway.wiring.ledger import LedgerParts


def templates_folder(settings: Settings) -> Path:
    """The templates that ship: beside the package in a checkout, inside it in an installed wheel."""
    if settings.templates_dir is not None:
        return settings.templates_dir
    here = Path(__file__).parents[1]
    return here / "_templates" if (here / "_templates").is_dir() else here.parent / "templates"


def policies_folder(settings: Settings) -> Path:
    """Where the policy packs are."""
    return templates_folder(settings) / "policies"


def load_catalog(settings: Settings, versions: TemplateVersions) -> Catalog:
    """The templates, with the earlier versions that the ledger keeps. Raises CannotStart."""
    lender = Lender(settings.lender_name, settings.lender_phone, settings.lender_help_url)
    try:
        return Catalog.load(templates_folder(settings), lender=lender, versions=versions)
    except (BadTemplate, ValueError) as error:
        raise CannotStart(f"templates: {error}") from error


def build_editing(
    settings: Settings,
    ledger: LedgerParts,
    clock: Clock,
    catalog: Catalog,
    packs: policy.Packs,
    editions: Editions,
    trials: TrialSender,
) -> tuple[Editing, Transfer]:
    """What editors do with templates, with the one lint. Raises CannotStart."""
    path = templates_folder(settings)
    try:
        words = linting.load_words(path / "_lint")
        folder = Folder.read(path)
    except (BadTemplate, ValueError, OSError) as error:
        raise CannotStart(f"templates: {error}") from error

    def lint(version: TemplateVersion) -> list[linting.Finding]:
        return linting.lint(version, words, settings.lender_name, policy.refuses_text(packs, clock()))

    # What the packs refuse is left out: they change with time, and are asked again for every request.
    shipped = (linting.lint(each, words, settings.lender_name, lambda *_: "") for each in catalog.live())
    if wrong := [str(each) for found in shipped for each in found if each.level == "error"]:
        raise CannotStart(f"templates: {len(wrong)} errors (gateway template lint has them all): {wrong[0]}")
    shelf = Shelf(editions, catalog, folder, lint, Callers(ledger.database), clock)
    prices = {
        country: Price(Decimal(amount), currency)
        for country, (amount, currency) in ((name, text.split()) for name, text in settings.sms_prices.items())
    }
    return Editing(editions, catalog, shelf, trials, prices, clock), Transfer(editions, catalog, shelf)
