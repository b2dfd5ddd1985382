"""Checks of a lender's own words: terms that are called otherwise, and translations that lack a term's word.

Pure functions on a template's files, since the terms are a tenant's data. Findings are warnings: words are chosen by
people.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from gateway.templates.checks.findings import LintFinding
from gateway.templates.checks.word_lists import any_of
from gateway.templates.language.source_positions import line_and_column
from gateway.templates.rendering import markup
from gateway.templates.translatable import translatable

T = TypeVar("T")

_MOST_ALIKE = 20  # findings of one term in one part; our choice, as of the word lists


@dataclass(frozen=True, slots=True)
class GlossaryTerm:
    """A term such as "plan". ``words``: what it is called, by locale ("zh-TW") or language ("en").

    ``avoid``: what it is not to be called.
    """

    id: str
    words: Mapping[str, str]
    avoid: Mapping[str, Sequence[str]] = field(default_factory=dict)


def glossary_findings(
    template: str, files: Mapping[str, str], default_locale: str, terms: Sequence[GlossaryTerm]
) -> list[LintFinding]:
    """The findings in all parts of all locales, in the order of the files."""
    found: list[LintFinding] = []
    for name in sorted(files):
        locale, _, part = name.partition("/")
        if not part or locale == "examples":
            continue
        text = _readable(files[name])
        default = _readable(files.get(f"{default_locale}/{part}", ""))
        for term in terms:
            word = _of(term.words, locale) or ""
            found += _avoided(f"{template}/{name}", text, term, locale, word)
            theirs = _of(term.words, default_locale)
            if locale != default_locale and word and theirs and _says(default, theirs) and not _says(text, word):
                detail = translatable(
                    "{locale} says {theirs} here, and this text does not say {word}",
                    locale=default_locale,
                    theirs=repr(theirs),
                    word=repr(word),
                )
                remedy = translatable("Use the glossary's word.")
                found.append(LintFinding("warning", "glossary_term", f"{template}/{name}", 0, detail, remedy))
    return found


def _avoided(where: str, text: str, term: GlossaryTerm, locale: str, word: str) -> Iterator[LintFinding]:
    words = _of(term.avoid, locale) or ()
    if not words:
        return
    # A word to avoid may stand within the right one: "plan" in "payment plan".
    right = any_of([word]).sub(lambda each: "\x00" * len(each[0]), text) if word else text
    for count, match in enumerate(any_of(words).finditer(right)):
        if count == _MOST_ALIKE:
            return
        line, column = line_and_column(text, match.start())
        detail = translatable("{words}: the glossary has another word for this", words=repr(match[0]))
        remedy = translatable("Write {words}.", words=repr(word)) if word else translatable("Use another word.")
        yield LintFinding("warning", "glossary_avoid", where, line, detail, remedy, column, word, match[0])


def _readable(text: str) -> str:
    """The text without its tags, at the same offsets."""
    return markup.LIQUID.sub(lambda found: re.sub(r"[^\n]", "\x00", found[0]), text)


def _says(text: str, word: str) -> bool:
    return any_of([word]).search(text) is not None


def _of(by_locale: Mapping[str, T], locale: str) -> T | None:
    found = by_locale.get(locale)
    return by_locale.get(locale.partition("-")[0]) if found is None else found
