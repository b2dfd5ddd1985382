"""Where templates and contact rules are, and how they are read."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from gateway import policy
from gateway.catalog import BadTemplate, Catalog, Lender
from gateway.embedded.errors import CannotStart
from gateway.ledger.template_versions import TemplateVersions
from gateway.settings import Settings
from gateway.wiring.ledger import LedgerParts


@dataclass(frozen=True, slots=True)
class Texts:
    """What is said and when it may be said: the templates, the contact rules, and the words of replies."""

    catalog: Catalog
    packs: policy.Packs
    words: policy.Words


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
    except (BadTemplate, ValueError, OSError) as error:
        raise CannotStart(f"templates: {error}") from error


async def read_texts(ledger: LedgerParts) -> Texts:
    """Everything in words, as it is published now; the ledger keeps the versions that ship. Raises CannotStart."""
    versions = TemplateVersions(ledger.database)
    catalog = load_catalog(ledger.settings, versions)
    folder = policies_folder(ledger.settings)
    try:
        packs = policy.load_packs(folder)
        words = policy.load_words(folder / "replies.toml")
    except ValueError as error:
        raise CannotStart(f"policies: {error}") from error
    await versions.keep([(each.id, each.version, each.source.dump()) for each in catalog.live()], ledger.clock())
    await catalog.refresh()
    return Texts(catalog, packs, words)
