"""Checks of the source of a text, with all its branches: words, personal data, formats, links and layout.

Every finding has its line and column in the source.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice

from gateway.templates.checks.findings import LintFinding, MessageText, finding_at, readable_text
from gateway.templates.language.language import CompiledPart, VariableOutput
from gateway.templates.language.source_positions import SourcePosition
from gateway.templates.rendering import email_checks
from gateway.templates.translatable import translatable

_MOST_ALIKE = 20  # findings of one kind in one part; our choice: enough for one round of editing
_FORMATS: Mapping[str, str] = {"money": "money: currency", "date": "date", "integer": "number"}


def source_findings(message: MessageText, checked: set[tuple[str, str]]) -> Iterator[LintFinding]:
    for field, part in message.parts:
        if (part.where, part.source.text) in checked:
            continue
        checked.add((part.where, part.source.text))
        text = readable_text(part)
        shown = _publicly_visible(message, field, part)
        yield from _bad_words(message, shown, part, text)
        yield from _variable_outputs(message, shown, part)
        for link in islice(email_checks.links(part.source.text, text), _MOST_ALIKE):
            yield finding_at(link.level, link.rule, part, part.source.place(link.offset), link.detail, link.remedy)
        if part.is_mail:
            for issue in email_checks.issues(part.source.text, _MOST_ALIKE):
                yield finding_at(
                    issue.level, issue.rule, part, part.source.place(issue.offset), issue.detail, issue.remedy
                )
        elif match := re.search(r"[{}]", text):
            remedy = translatable("Remove it, or write {{ name }} with two braces on each side.")
            detail = translatable("the reader will see {sign}", sign=repr(match[0]))
            yield finding_at("error", "leftover_braces", part, part.source.place(match.start()), detail, remedy)


def _bad_words(
    message: MessageText, shown: Sequence[tuple[int, int]], part: CompiledPart, text: str
) -> Iterator[LintFinding]:
    if message.words is None:
        return
    for entry in message.words.entries:
        if message.version.category in entry.except_in:
            continue
        for match in islice(entry.pattern.finditer(text), _MOST_ALIKE):
            instead = entry.instead.get(" ".join(match[0].lower().split()), "")
            remedy = translatable(entry.remedy)
            if instead:
                remedy = translatable("{remedy} Suggested wording: {words}", remedy=remedy, words=instead)
            said = {"words": repr(match[0]), "why": translatable(entry.why)}
            law = entry.law.get(message.borrowers)
            detail = (
                translatable("{words}: {why} ({law})", law=law, **said)
                if law
                else translatable("{words}: {why}", **said)
            )
            place = part.source.place(match.start())
            yield finding_at(entry.level, entry.kind, part, place, detail, remedy, instead, match[0])
    for start, end in shown:
        for match in islice(message.words.lock_screen.finditer(text, start, end), _MOST_ALIKE):
            detail = translatable("{what} can be read by anybody who sees the screen or the inbox", what=repr(match[0]))
            remedy = translatable("Only say that there is a message about the account.")
            yield finding_at("error", "lock_screen", part, part.source.place(match.start()), detail, remedy)


def _publicly_visible(message: MessageText, field: str, part: CompiledPart) -> list[tuple[int, int]]:
    """The ranges shown on a lock screen or in an inbox list: subjects, titles, and an e-mail's preview line."""
    text = part.source.text
    if part.source.is_made:  # from texts that are looked at themselves
        return []
    if part.is_mail:
        return [found.span(1) for found in re.finditer(r"<mj-(?:preview|title)>(.*?)</mj-", text, re.DOTALL)]
    declared = message.profile.part(field)
    return [(0, len(text))] if declared is not None and declared.public else []


def _variable_outputs(
    message: MessageText, visible: Sequence[tuple[int, int]], part: CompiledPart
) -> Iterator[LintFinding]:
    """Find personal data where bystanders can read it, and values that are output without a format filter."""
    types = {name: each.type for name, each in message.version.variables.items()}
    shown = [(part.source.place(start), part.source.place(end)) for start, end in visible]
    for output in part.outputs:
        kind = types.get(output.variable, "")
        if kind in _FORMATS and kind not in ("integer",) and _FORMATS[kind].partition(":")[0] not in output.filters:
            remedy = translatable("Write {words}.", words=f"{{{{ {output.variable} | {_FORMATS[kind]} }}}}")
            detail = translatable("{name} is not formatted for readers", name=output.variable)
            yield finding_at("warning", "unformatted", part, output.place, detail, remedy)
        if output.variable == "borrower.name" or kind in ("money", "text"):
            yield from _personal(message, part, output, shown)


def _personal(
    message: MessageText,
    part: CompiledPart,
    output: VariableOutput,
    shown: Sequence[tuple[SourcePosition, SourcePosition]],
) -> Iterator[LintFinding]:
    here = (output.place.line, output.place.column)
    if any((start.line, start.column) <= here <= (end.line, end.column) for start, end in shown):
        detail = translatable("{what} can be read by anybody who sees the screen or the inbox", what=output.variable)
        yield finding_at(
            "error", "personal_data", part, output.place, detail, translatable("Move it into the message text.")
        )
    elif message.profile.lock_screen and output.variable == "borrower.name":
        detail = translatable("it can be read on a locked screen, and the name tells whose account it is")
        yield finding_at(
            "warning",
            "personal_data",
            part,
            output.place,
            detail,
            translatable("Remove the name; the message goes to the borrower's own address anyway."),
        )
