"""The lint of a template version: words that are unlawful, unkind, costly or broken.

The editor's page, the API, the command line and the start of a process call this one function. Owns the order of the
checks; the checks are in source_checks.py and rendering_checks.py, the words are data (``templates/_lint``), and the
policy packs decide what the law wants of a text.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from gateway.templates.checks.findings import LintFinding, MessageText, findings_of
from gateway.templates.checks.rendering_checks import Refuses, rendering_findings
from gateway.templates.checks.source_checks import source_findings
from gateway.templates.checks.word_lists import LEVELS, WordList, load_words
from gateway.templates.language.language import CompiledPart
from gateway.templates.language.variables import check
from gateway.templates.language.version import TemplateVersion, jurisdiction_of
from gateway.templates.translatable import translatable

__all__ = ["LEVELS", "LintFinding", "Refuses", "WordList", "findings_of", "lint", "load_words"]


def lint(version: TemplateVersion, words: Mapping[str, WordList], lender: str, refuses: Refuses) -> list[LintFinding]:
    """All findings for one version, the most severe first."""
    found = dict.fromkeys([*_settings(version), *_locales(version, words, lender, refuses)])
    return sorted(found, key=lambda each: (LEVELS.index(each.level), each.where, each.line, each.column))


def _settings(version: TemplateVersion) -> Iterator[LintFinding]:
    where = f"{version.id}/template.toml"
    examples = {name: each.value_of_example for name, each in version.variables.items()}
    for problem in check(version.variables, examples):
        name = problem.pointer.removeprefix("/variables/")
        detail = translatable("the example of {name} {problem}", name=name, problem=problem.detail)
        yield LintFinding("error", "bad_example", where, 0, detail, translatable("Fix the example."))
    used = {name for part in _all_parts(version) for name in part.variables}
    for name in version.variables.keys() - used:
        detail, remedy = (
            translatable("{name} is not used", name=name),
            translatable("Use it or remove it, so that case systems don't have to send it."),
        )
        yield LintFinding("hint", "unused_variable", where, 0, detail, remedy)


def _all_parts(version: TemplateVersion) -> Iterator[CompiledPart]:
    for locale in version.locales:
        for channel in version.profiles:
            for jurisdiction in version.jurisdictions(locale, channel):
                yield from (part for _, part in version.parts(locale, channel, jurisdiction))


def _locales(
    version: TemplateVersion, words: Mapping[str, WordList], lender: str, refuses: Refuses
) -> Iterator[LintFinding]:
    checked: set[tuple[str, str]] = set()  # most parts are the same in several jurisdictions
    for locale in version.locales:
        listed = words.get(locale.split("-")[0])
        if listed is None:
            where, remedy = f"{version.id}/{locale}", translatable("Add a list to templates/_lint.")
            yield LintFinding(
                "warning",
                "no_word_list",
                where,
                0,
                translatable("there is no word list for this language, so its wording is not checked"),
                remedy,
            )
        for channel in version.channels:
            jurisdictions = version.jurisdictions(locale, channel)
            if not jurisdictions and not any(each[:2] == (locale, channel) for each in version.incomplete):
                where = f"{version.id}/{locale}/{version.profiles[channel].files[0]}"
                detail = translatable("has no text in this language")
                yield LintFinding("warning", "missing_locale", where, 0, detail, translatable("Add the text."))
            own = jurisdiction_of(locale.partition("-")[2])
            own = own if own in jurisdictions else ""
            for jurisdiction in sorted(jurisdictions, key=lambda each: (each != own, each)):
                parts = version.parts(locale, channel, jurisdiction)
                message = MessageText(version, locale, channel, jurisdiction, parts, listed)
                found = (*source_findings(message, checked), *rendering_findings(message, lender, refuses))
                # What isn't an error elsewhere is no concern of who writes for this locale's borrowers.
                yield from (each for each in found if jurisdiction == own or each.level == "error")
    for (locale, channel, jurisdiction), parts in version.incomplete.items():
        listed = words.get(locale.split("-")[0])
        yield from source_findings(MessageText(version, locale, channel, jurisdiction, parts, listed), checked)
