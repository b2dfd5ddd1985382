"""Finds the folders of templates and policy packs, and loads them at the start."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from channels import registry
from channels.profile import Profiles
from gateway import policy
from gateway.app.embedded.errors import CannotStart
from gateway.app.settings import Settings
from gateway.app.storage import LedgerParts
from gateway.conversations.answers import AnswerBook, load_answers
from gateway.conversations.suggestions import load_notes
from gateway.replies.understanding import ReplyInterpreter, load_interpreter
from gateway.templates import BadTemplate, Catalog, Lender, TemplateSource, TemplateVersion
from gateway.templates.borrower_pages import BorrowerPagesFile, read_borrower_pages
from gateway.templates.checks import lint as linting
from gateway.templates.checks.word_lists import reveals_debt
from gateway.templates.folder import Folder
from gateway.templates.validation_cache import ValidationCache
from gateway.templates.versions.published_store import PublishedVersions


@dataclass(frozen=True, slots=True)
class LoadedTemplates:
    """The template catalog, the policy packs, the rules that classify replies, and the file of borrowers' pages.

    ``folder`` has the source files of the built-in templates, ``word_lists`` the lint's words by language.
    """

    catalog: Catalog
    packs: policy.Packs
    reply_interpreter: ReplyInterpreter
    answers: AnswerBook
    notes: Mapping[str, Sequence[str]]
    folder: Folder
    word_lists: Mapping[str, linting.WordList]
    borrower_pages: BorrowerPagesFile


def templates_folder(settings: Settings) -> Path:
    """The folder of the built-in templates: beside the package in a checkout, inside it in an installed wheel."""
    return settings.templates_dir or _built_in_folder()


def _built_in_folder() -> Path:
    here = Path(__file__).parents[1]
    return here / "_templates" if (here / "_templates").is_dir() else here.parent / "templates"


def policies_folder(settings: Settings) -> Path:
    """The folder of the policy packs."""
    return templates_folder(settings) / "policies"


def load_catalog(settings: Settings, versions: PublishedVersions) -> Catalog:
    """The built-in templates, with access to the versions stored in the ledger. Raises CannotStart."""
    try:
        profiles = registry.profiles(registry.discover())
        return Catalog.load(templates_folder(settings), lender=_lender(settings), profiles=profiles, versions=versions)
    except (BadTemplate, ValueError, OSError) as error:
        raise CannotStart(f"templates: {error}") from error


def _lender(settings: Settings) -> Lender:
    return Lender(settings.lender_name, settings.lender_phone, settings.lender_help_url)


async def load_templates(ledger: LedgerParts, profiles: Profiles) -> LoadedTemplates:
    """Load templates, policy packs and reply words, and store new built-in versions in the ledger.

    Raises: CannotStart, also for a built-in template with a lint error.
    """
    versions = PublishedVersions(ledger.database)
    path, lender = templates_folder(ledger.settings), _lender(ledger.settings)
    try:
        folder, word_lists = Folder.read(path), linting.load_words(path / "_lint")
        cache = ValidationCache(lender, path / "_lint", profiles)
        valid = await versions.valid_marks()
        catalog, new = _catalog(
            folder, lender, profiles, versions, word_lists, lambda source: cache.mark(source) in valid
        )
    except (BadTemplate, ValueError, OSError) as error:
        raise CannotStart(f"templates: {error}") from error
    rules = policies_folder(ledger.settings)
    try:
        packs = policy.load_packs(rules)
        borrower_pages = read_borrower_pages(path, _built_in_folder(), partial(reveals_debt, word_lists))
        interpreter = load_interpreter(rules, borrower_pages.named_in_replies)
        notes = load_notes(rules / "replies" / "answers" / "notes" / "notes.toml")
        answers = load_answers(rules / "replies" / "answers", interpreter.safety.normalise)
    except ValueError as error:
        raise CannotStart(f"policies: {error}") from error
    await versions.keep([(each.id, each.version, each.source.dump()) for each in new], ledger.clock())
    await versions.record_valid([(each.id, each.version, cache.mark(each.source)) for each in new])
    await catalog.refresh()
    return LoadedTemplates(catalog, packs, interpreter, answers, notes, folder, word_lists, borrower_pages)


def _catalog(
    folder: Folder,
    lender: Lender,
    profiles: Profiles,
    versions: PublishedVersions,
    word_lists: Mapping[str, linting.WordList],
    is_valid: Callable[[TemplateSource], bool],
) -> tuple[Catalog, Sequence[TemplateVersion]]:
    """The catalog of the folder, and its new versions: those that no earlier start has compiled and linted.

    Raises BadTemplate, CannotStart.
    """
    new: list[TemplateVersion] = []
    errors: list[str] = []

    def lint_new(version: TemplateVersion) -> None:
        new.append(version)
        # Without the policy packs: they change with time, and every request is checked against them again.
        findings = linting.lint(version, word_lists, lender.name, lambda *_: "")
        errors.extend(str(each) for each in findings if each.level == "error")

    catalog = Catalog(folder.sources(), lender, profiles, versions, is_valid=is_valid, on_compiled=lint_new)
    if errors:
        raise CannotStart(f"templates: {len(errors)} errors (gateway template lint lists all): {errors[0]}")
    return catalog, new
