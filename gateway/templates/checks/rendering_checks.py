"""Checks of rendered messages: a text is rendered with sample values by the render function of the sending path."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace

from channels.content import Content
from gateway.core.errors import RenderFailed
from gateway.templates.checks.findings import LintFinding, MessageText, finding_at, readable_text
from gateway.templates.previews.preview import Sample, rendered
from gateway.templates.previews.samples import samples
from gateway.templates.rendering.sms_segments import segments
from gateway.templates.translatable import Translatable, translatable, worded

# (locale, category, channel, text) → the policy's reason for refusing this text, "" where it has none
Refuses = Callable[[str, str, str, str], str]

_MOST_SEGMENTS = 3  # our choice: four cost as much as a letter's postage in many countries, and are rarely read
_POLICY_REMEDIES: Mapping[str, str] = {
    "opt_out_text_missing": translatable(
        "Say how to stop these messages, for example with {% render 'opt-out-sms' %}."
    ),
    "opt_out_text_forbidden": translatable("Remove the opt-out line: carriers there reject notices that have one."),
}


def rendering_findings(message: MessageText, lender: str, refuses: Refuses) -> Iterator[LintFinding]:
    version, by_kind = message.version, samples(message.version, message.locale)
    for name in ("everything", "required_only"):
        sample = by_kind[name]
        try:
            content = rendered(version, message.channel, replace(sample, jurisdiction=message.jurisdiction))
        except RenderFailed as error:
            detail = error.args[0]
            if name == "required_only":
                detail = translatable("{problem} with only the required variables", problem=detail)
            remedy: str = translatable(
                "Fix the example or the text; put {% if name %} … {% endif %} around optional values."
            )
            yield LintFinding("error", "does_not_render", message.where, 0, detail, remedy)
            return
        country = message.jurisdiction.upper() or message.locale.partition("-")[2]
        place = f"{message.locale.partition('-')[0]}-{country}"
        if reason := refuses(place, version.category, message.channel, content.text):
            remedy = _POLICY_REMEDIES.get(reason, translatable("See templates/policies."))
            detail = translatable("the contact rules for {country} don't allow this text", country=country)
            yield LintFinding("error", reason, message.where, 0, detail, remedy)
        if message.profile.names_sender and lender not in content.text:
            detail, remedy = translatable("does not name the sender"), translatable("Use {{ lender.name }}.")
            yield LintFinding("error", "no_identity", message.where, 0, detail, remedy)
        yield from _too_long(message, content)
        for issue in message.profile.check(content):
            yield LintFinding(issue.level, issue.rule, message.where, 0, worded(issue.detail), worded(issue.remedy))
    if message.profile.segmented:
        yield from _segments(message, by_kind)
    if message.profile.part("html") and message.profile.part("text"):
        yield from _both_parts(message)


def _too_long(message: MessageText, content: Content) -> Iterator[LintFinding]:
    for part in message.profile.parts:
        length = len(getattr(content, part.field))
        if part.longest and length > part.longest:
            where = f"{message.version.id}/{message.locale}/{part.file}"
            detail = translatable("is {number} characters long", number=length)
            yield LintFinding("warning", f"long_{part.field}", where, 0, detail, _shorten(part.longest))


def _segments(message: MessageText, by_kind: Mapping[str, Sample]) -> Iterator[LintFinding]:
    [(_, part)] = message.parts
    for name, level, with_what in (
        ("everything", "warning", translatable("the example values")),
        ("longest", "hint", translatable("the longest values")),
    ):
        sample = by_kind[name]
        content = message.version.render(
            message.channel, message.locale, sample.variables, sample.name, message.jurisdiction
        )
        if (counted := segments(content.text)).segments > _MOST_SEGMENTS:
            detail = translatable("takes {number} segments with {what}", number=counted.segments, what=with_what)
            yield LintFinding(level, "long", message.where, 0, detail, _shorten(_MOST_SEGMENTS))
            return
    text = readable_text(part)
    counted = segments(text.replace("\x00", ""))
    for character, instead in counted.forcing if counted.avoidable else ():
        detail = translatable("{sign} makes this text cost about twice as much (UCS-2)", sign=repr(character))
        remedy = translatable("Write {words}.", words=repr(instead)) if instead else translatable("Remove it.")
        place = part.source.place(text.index(character))
        yield finding_at("warning", "dear_character", part, place, detail, remedy, instead)


def _shorten(most: int) -> Translatable:
    return translatable("Shorten it to {most}.", most=most)


def _both_parts(message: MessageText) -> Iterator[LintFinding]:
    """Compare the variables of the plain text and the HTML part: both must have the same information."""
    by_field = dict(message.parts)
    text, html = by_field["text"], by_field["html"]
    for name in sorted((html.variables ^ text.variables) - {"locale"}):
        incomplete = text if name in html.variables else html
        detail = translatable("lacks {name}, which the other version of the e-mail has", name=name)
        yield LintFinding(
            "warning", "parts_differ", incomplete.where, 0, detail, translatable("Make both say the same.")
        )
