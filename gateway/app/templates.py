"""Where templates and contact rules are, and how they are read."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from gateway import policy
from gateway.app.embedded.errors import CannotStart
from gateway.app.settings import Settings
from gateway.app.storage import LedgerParts
from gateway.replies.rules import ReplyLexicon, load_words
from gateway.templates import BadTemplate, Catalog, Lender, TemplateSource, TemplateVersion
from gateway.templates.checks import lint as linting
from gateway.templates.folder import Folder
from gateway.templates.validation_cache import ValidationCache
from gateway.templates.workflow.published_store import PublishedVersions


@dataclass(frozen=True, slots=True)
class LoadedTemplates:
    """What is said and when it may be said: the templates, the contact rules, and the words of replies.

    ``folder`` has the templates that ship as they were written, ``listed`` the lint's words by language.
    """

    catalog: Catalog
    packs: policy.Packs
    words: ReplyLexicon
    folder: Folder
    listed: Mapping[str, linting.WordList]


def templates_folder(settings: Settings) -> Path:
    """The templates that ship: beside the package in a checkout, inside it in an installed wheel."""
    if settings.templates_dir is not None:
        return settings.templates_dir
    here = Path(__file__).parents[1]
    return here / "_templates" if (here / "_templates").is_dir() else here.parent / "templates"


def policies_folder(settings: Settings) -> Path:
    """Where the policy packs are."""
    return templates_folder(settings) / "policies"


def load_catalog(settings: Settings, versions: PublishedVersions) -> Catalog:
    """The templates, with the earlier versions that the ledger keeps. Raises CannotStart."""
    try:
        return Catalog.load(templates_folder(settings), lender=_lender(settings), versions=versions)
    except (BadTemplate, ValueError, OSError) as error:
        raise CannotStart(f"templates: {error}") from error


def _lender(settings: Settings) -> Lender:
    return Lender(settings.lender_name, settings.lender_phone, settings.lender_help_url)


async def read_texts(ledger: LedgerParts) -> LoadedTemplates:
    """Everything in words, as it is published now; the ledger keeps the versions that ship. Raises CannotStart.

    A template that ships and fails the lint is refused as one is that can't be compiled.
    """
    versions = PublishedVersions(ledger.database)
    path, lender = templates_folder(ledger.settings), _lender(ledger.settings)
    try:
        folder, listed = Folder.read(path), linting.load_words(path / "_lint")
        verdicts = ValidationCache(lender, path / "_lint")
        good = await versions.found_good()
        catalog, new = _checked(folder, lender, versions, listed, lambda source: verdicts.mark(source) in good)
    except (BadTemplate, ValueError, OSError) as error:
        raise CannotStart(f"templates: {error}") from error
    rules = policies_folder(ledger.settings)
    try:
        packs = policy.load_packs(rules)
        words = load_words(rules / "replies.toml")
    except ValueError as error:
        raise CannotStart(f"policies: {error}") from error
    await versions.keep([(each.id, each.version, each.source.dump()) for each in new], ledger.clock())
    await versions.find_good([(each.id, each.version, verdicts.mark(each.source)) for each in new])
    await catalog.refresh()
    return LoadedTemplates(catalog, packs, words, folder, listed)


def _checked(
    folder: Folder,
    lender: Lender,
    versions: PublishedVersions,
    listed: Mapping[str, linting.WordList],
    good: Callable[[TemplateSource], bool],
) -> tuple[Catalog, Sequence[TemplateVersion]]:
    """The templates of the folder, and those that are new: compiled and read by the lint, as no start did before.

    Raises BadTemplate, CannotStart.
    """
    new: list[TemplateVersion] = []
    wrong: list[str] = []

    def look(version: TemplateVersion) -> None:
        new.append(version)
        # What the packs refuse is left out: they change with time, and are asked again for every request.
        found = linting.lint(version, listed, lender.name, lambda *_: "")
        wrong.extend(str(each) for each in found if each.level == "error")

    catalog = Catalog(folder.sources(), lender, versions, good=good, look=look)
    if wrong:
        raise CannotStart(f"templates: {len(wrong)} errors (gateway template lint has them all): {wrong[0]}")
    return catalog, new
