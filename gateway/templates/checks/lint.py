"""What an editor should know before a template is published: unlawful, unkind, costly or broken words.

One function for the editor's page, the API, the command line and what may become live. The written text is read with
all its branches, so that each finding has its place; and it is rendered with samples, by the one render function.
Owns which checks there are and how grave; words are data (``templates/_lint``), how a mail looks is in looks.py, and
what the policy packs want of a text is asked of them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice

from gateway.core.errors import RenderFailed
from gateway.templates.checks.word_lists import LEVELS, WordList, load_words
from gateway.templates.language.language import CompiledPart, Use
from gateway.templates.language.source import BadTemplate
from gateway.templates.language.source_positions import Place
from gateway.templates.language.variables import check
from gateway.templates.language.version import PARTS, TemplateVersion
from gateway.templates.rendering import email_checks, markup
from gateway.templates.rendering.sms_segments import segments
from gateway.templates.translatable import Translatable, translatable
from gateway.templates.workflow.preview import Sample
from gateway.templates.workflow.samples import samples

__all__ = ["LEVELS", "LintFinding", "Refuses", "WordList", "findings_of", "lint", "load_words"]

# (locale, category, channel, text) → the policy's reason for refusing this text, "" where it has none
Refuses = Callable[[str, str, str, str], str]

_MOST_SEGMENTS = 3  # our choice: four cost as much as a letter's postage in many countries, and are rarely read
_MOST_ALIKE = 20  # findings of one kind in one part; our choice: who has mended twenty asks again
_LONGEST_SUBJECT = 78  # characters, RFC 5322 section 2.1.1
_FORMATS: Mapping[str, str] = {"money": "money: currency", "date": "date", "integer": "number"}
_POLICY_REMEDIES: Mapping[str, str] = {
    "opt_out_text_missing": translatable(
        "Say how to stop these messages, for example with {% render 'opt-out-sms' %}."
    ),
    "opt_out_text_forbidden": translatable("Remove the opt-out line: carriers there reject notices that have one."),
}


@dataclass(frozen=True, slots=True)
class LintFinding:
    """One thing to mend. ``line`` counts from 1 in the part, 0 where it has no place; ``remedy`` says what to do."""

    level: str
    rule: str
    where: str  # template/locale/part
    line: int
    detail: str
    remedy: str
    column: int = 0  # counts from 1; 0 where it has no place
    instead: str = ""  # words that say it better, ready to be put in
    found: str = ""  # the words in whose place they go, as they stand there

    def __str__(self) -> str:
        place = f":{self.line}:{self.column}" if self.line else ""
        return f"{self.where}{place}: {self.detail}. {self.remedy}"


def findings_of(error: BadTemplate) -> list[LintFinding]:
    """What keeps a text from being compiled, as findings with their places."""
    remedy = translatable("Fix it there.")
    return [
        LintFinding("error", "does_not_compile", each.where, each.line, each.detail, remedy, each.column)
        for each in error.problems
    ]


def lint(version: TemplateVersion, words: Mapping[str, WordList], lender: str, refuses: Refuses) -> list[LintFinding]:
    """Everything that is to be said of one version, the worst first."""
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
        for channel in PARTS:
            for jurisdiction in version.jurisdictions(locale, channel):
                yield from (part for _, part in version.parts(locale, channel, jurisdiction))


@dataclass(frozen=True, slots=True)
class _Look:
    """One message to be looked at: a locale's text for a channel, as it is in one jurisdiction."""

    version: TemplateVersion
    locale: str
    channel: str
    jurisdiction: str
    parts: Sequence[tuple[str, CompiledPart]]
    words: WordList | None

    @property
    def where(self) -> str:
        return self.parts[0][1].where


def _locales(
    version: TemplateVersion, words: Mapping[str, WordList], lender: str, refuses: Refuses
) -> Iterator[LintFinding]:
    read: set[tuple[str, str]] = set()  # most parts are the same in several jurisdictions
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
            if not jurisdictions:
                where = f"{version.id}/{locale}/{next(iter(PARTS[channel]))}"
                detail = translatable("has no text in this language")
                yield LintFinding("warning", "missing_locale", where, 0, detail, translatable("Add the text."))
            for jurisdiction in jurisdictions:
                parts = version.parts(locale, channel, jurisdiction)
                look = _Look(version, locale, channel, jurisdiction, parts, listed)
                yield from _written(look, read)
                yield from _rendered(look, lender, refuses)


# ── what is written ─────────────────────────────────────────────────────────────────────────────────────────────


def _at(level: str, rule: str, part: CompiledPart, place: Place, detail: str, remedy: str, *better: str) -> LintFinding:
    """``better``: words to put in instead, and those that they replace."""
    words = place.sentence(detail)
    return LintFinding(
        level, rule, part.where, place.line, words, remedy, place.column, *(() if place.inside else better)
    )


def _written(look: _Look, read: set[tuple[str, str]]) -> Iterator[LintFinding]:
    for field, part in look.parts:
        if (part.where, part.source.text) in read:
            continue
        read.add((part.where, part.source.text))
        text = _words_of(part)
        yield from _bad_words(look, field, part, text)
        yield from _uses(look, field, part)
        for link in islice(email_checks.links(part.source.text, text), _MOST_ALIKE):
            yield _at(link.level, link.rule, part, part.source.place(link.offset), link.detail, link.remedy)
        if part.is_mail:
            for fault in email_checks.faults(part.source.text, _MOST_ALIKE):
                yield _at(fault.level, fault.rule, part, part.source.place(fault.offset), fault.detail, fault.remedy)
        elif match := re.search(r"[{}]", text):
            remedy = translatable("Remove it, or write {{ name }} with two braces on each side.")
            detail = translatable("the reader will see {sign}", sign=repr(match[0]))
            yield _at("error", "leftover_braces", part, part.source.place(match.start()), detail, remedy)


def _words_of(part: CompiledPart) -> str:
    """What is read of a part, at the offsets of its source: what the language takes is hidden."""
    if part.is_mail:
        return markup.words(part.source.text)
    return markup.LIQUID.sub(lambda found: "\x00" * len(found[0]), part.source.text)


def _bad_words(look: _Look, field: str, part: CompiledPart, text: str) -> Iterator[LintFinding]:
    if look.words is None:
        return
    for entry in look.words.entries:
        if look.version.category in entry.except_in:
            continue
        for match in islice(entry.pattern.finditer(text), _MOST_ALIKE):
            instead = entry.instead.get(" ".join(match[0].lower().split()), "")
            remedy = translatable(entry.remedy)
            if instead:
                remedy = translatable("{remedy} Suggested wording: {words}", remedy=remedy, words=instead)
            detail = translatable("{words}: {why}", words=repr(match[0]), why=translatable(entry.why))
            place = part.source.place(match.start())
            yield _at(entry.level, entry.kind, part, place, detail, remedy, instead, match[0])
    for start, end in _seen_by_others(field, part):
        for match in islice(look.words.lock_screen.finditer(text, start, end), _MOST_ALIKE):
            detail = translatable("{what} can be read by anybody who sees the screen or the inbox", what=repr(match[0]))
            remedy = translatable("Only say that there is a message about the account.")
            yield _at("error", "lock_screen", part, part.source.place(match.start()), detail, remedy)


def _seen_by_others(field: str, part: CompiledPart) -> list[tuple[int, int]]:
    """What stands on a locked screen or in a list of mails: subjects, titles, and a mail's preview line."""
    text = part.source.text
    if part.is_mail:
        return [found.span(1) for found in re.finditer(r"<mj-(?:preview|title)>(.*?)</mj-", text, re.DOTALL)]
    return [(0, len(text))] if field == "subject" else []


def _uses(look: _Look, field: str, part: CompiledPart) -> Iterator[LintFinding]:
    """Personal data where others see it, and values that are shown as a machine writes them."""
    types = {name: each.type for name, each in look.version.variables.items()}
    shown = [(part.source.place(start), part.source.place(end)) for start, end in _seen_by_others(field, part)]
    for use in part.uses:
        kind = types.get(use.variable, "")
        if kind in _FORMATS and kind not in ("integer",) and _FORMATS[kind].partition(":")[0] not in use.filters:
            remedy = translatable("Write {words}.", words=f"{{{{ {use.variable} | {_FORMATS[kind]} }}}}")
            detail = translatable("{name} is not formatted for readers", name=use.variable)
            yield _at("warning", "unformatted", part, use.place, detail, remedy)
        if use.variable == "borrower.name" or kind in ("money", "text"):
            yield from _personal(look, part, use, shown)


def _personal(look: _Look, part: CompiledPart, use: Use, shown: Sequence[tuple[Place, Place]]) -> Iterator[LintFinding]:
    here = (use.place.line, use.place.column)
    if any((start.line, start.column) <= here <= (end.line, end.column) for start, end in shown):
        detail = translatable("{what} can be read by anybody who sees the screen or the inbox", what=use.variable)
        yield _at("error", "personal_data", part, use.place, detail, translatable("Move it into the message text."))
    elif look.channel == "sms" and use.variable == "borrower.name":
        detail = translatable("an SMS can be read on a locked screen, and the name tells whose account it is")
        yield _at(
            "warning",
            "personal_data",
            part,
            use.place,
            detail,
            translatable("Remove the name; the message goes to the borrower's own number anyway."),
        )


# ── what comes of it ────────────────────────────────────────────────────────────────────────────────────────────


def _rendered(look: _Look, lender: str, refuses: Refuses) -> Iterator[LintFinding]:
    version, made = look.version, samples(look.version, look.locale)
    for name in ("everything", "required_only"):
        sample = made[name]
        try:
            content = version.render(look.channel, look.locale, sample.variables, sample.name, look.jurisdiction)
        except RenderFailed as error:
            detail = error.args[0]
            if name == "required_only":
                detail = translatable("{problem} with only the required variables", problem=detail)
            remedy: str = translatable(
                "Fix the example or the text; put {% if name %} … {% endif %} around optional values."
            )
            yield LintFinding("error", "does_not_render", look.where, 0, detail, remedy)
            return
        country = look.jurisdiction.upper() or look.locale.partition("-")[2]
        place = f"{look.locale.partition('-')[0]}-{country}"
        if reason := refuses(place, version.category, look.channel, content.text):
            remedy = _POLICY_REMEDIES.get(reason, translatable("See templates/policies."))
            detail = translatable("the contact rules for {country} don't allow this text", country=country)
            yield LintFinding("error", reason, look.where, 0, detail, remedy)
        if look.channel != "inapp" and lender not in content.text:
            detail, remedy = translatable("does not name the sender"), translatable("Use {{ lender.name }}.")
            yield LintFinding("error", "no_identity", look.where, 0, detail, remedy)
        if len(content.subject) > _LONGEST_SUBJECT:
            detail = translatable("is {number} characters long", number=len(content.subject))
            yield LintFinding("warning", "long_subject", look.where, 0, detail, _shorten(_LONGEST_SUBJECT))
    if look.channel == "sms":
        yield from _sms(look, made)
    elif look.channel == "email":
        yield from _both_parts(look)


def _sms(look: _Look, made: Mapping[str, Sample]) -> Iterator[LintFinding]:
    [(_, part)] = look.parts
    for name, level, with_what in (
        ("everything", "warning", translatable("the example values")),
        ("longest", "hint", translatable("the longest values")),
    ):
        sample = made[name]
        content = look.version.render("sms", look.locale, sample.variables, sample.name, look.jurisdiction)
        if (counted := segments(content.text)).segments > _MOST_SEGMENTS:
            detail = translatable("takes {number} segments with {what}", number=counted.segments, what=with_what)
            yield LintFinding(level, "long", look.where, 0, detail, _shorten(_MOST_SEGMENTS))
            return
    text = _words_of(part)
    counted = segments(text.replace("\x00", ""))
    for character, instead in counted.forcing if counted.avoidable else ():
        detail = translatable("{sign} makes this text cost about twice as much (UCS-2)", sign=repr(character))
        remedy = translatable("Write {words}.", words=repr(instead)) if instead else translatable("Remove it.")
        place = part.source.place(text.index(character))
        yield _at("warning", "dear_character", part, place, detail, remedy, instead)


def _shorten(most: int) -> Translatable:
    return translatable("Shorten it to {most}.", most=most)


def _both_parts(look: _Look) -> Iterator[LintFinding]:
    """Who reads the plain text must learn the same as who reads the other."""
    by_field = dict(look.parts)
    text, html = by_field["text"], by_field["html"]
    for name in sorted((html.variables ^ text.variables) - {"locale"}):
        lacking = text if name in html.variables else html
        detail = translatable("lacks {name}, which the other version of the e-mail has", name=name)
        yield LintFinding("warning", "parts_differ", lacking.where, 0, detail, translatable("Make both say the same."))
