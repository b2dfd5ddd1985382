"""Checks a provider's template against our text: its slots, their values, and that it says what our text says.

Also proposes one from our text. Pure; must not know how templates are stored or sent.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence

from channels.base import SlotRules
from channels.content import same_words
from gateway.core.errors import RenderFailed
from gateway.core.provider_templates import ProviderTemplate, Slot, SlotIssue
from gateway.templates.checks.findings import LintFinding
from gateway.templates.language.version import TemplateVersion
from gateway.templates.previews.preview import REFERENCE, Sample, rendered
from gateway.templates.translatable import Translatable, translatable

# A shared text, or an output.
_PIECE = re.compile(r"(\{%-?\s*render\b[^%]*%\})|\{\{-?\s*(.*?)\s*-?\}\}", re.DOTALL)
_NAME = re.compile(r"[A-Za-z_]\w*(?:\.\w+)*")


def proposal(source: str, constant: Callable[[str], str]) -> tuple[str, tuple[Slot, ...]] | None:
    """The approved text and the slots that say what a channel's text says; None for a text with conditions.

    Each branch of a condition is a provider template of its own, or the condition a slot: that is a person's choice.
    ``constant`` gives what a shared text or a detail of the lender says, which is fixed text. Raises RenderFailed.
    """
    slots: dict[str, Slot] = {}

    def slot(found: re.Match[str]) -> str:
        if found[1] or found[2].startswith("lender."):
            return constant(found[0])
        named = _NAME.search(found[2])
        name = first = named[0].replace(".", "_") if named else "value"
        while name in slots:
            name = f"{first}_{len(slots) + 1}"
        slots[name] = Slot(name, f"{{{{ {found[2]} }}}}")
        return f"{{{{{name}}}}}"

    text = _PIECE.sub(slot, source).strip()
    return None if "{%" in text else (text, tuple(slots.values()))


def filled(version: TemplateVersion, channel: str, template: ProviderTemplate, sample: Sample) -> tuple[str, list[str]]:
    """What the provider's template says to a sample borrower, and the values. Raises RenderFailed."""
    expressions = [slot.expression for slot in template.slots]
    known = (sample.variables, sample.name)
    values = version.evaluate(channel, sample.locale, *known, expressions, sample.jurisdiction, REFERENCE)
    try:
        return template.filled({slot.name: value for slot, value in zip(template.slots, values, strict=True)}), values
    except KeyError as missing:
        raise RenderFailed(_about(SlotIssue.MISSING, str(missing.args[0]))) from None


def check_provider_template(
    version: TemplateVersion,
    channel: str,
    template: ProviderTemplate,
    rules: SlotRules,
    samples: Mapping[str, Sample],
) -> list[LintFinding]:
    """The findings, each once, all of them errors: the provider, or the last check before sending, would refuse it."""
    where = f"{version.id}/{template.locale}/{template.provider}"
    found = [
        LintFinding("error", "provider_slots", where, 0, _about(issue, name), _remedy(issue))
        for issue, name in template.issues()
    ]
    if not any(issue is SlotIssue.MISSING for issue, _ in template.issues()):
        for sample in samples.values():
            found += _with_sample(version, channel, template, rules, sample, where)
    return list({(each.rule, each.detail): each for each in found}.values())


def _with_sample(
    version: TemplateVersion,
    channel: str,
    template: ProviderTemplate,
    rules: SlotRules,
    sample: Sample,
    where: str,
) -> Iterator[LintFinding]:
    try:
        ours = rendered(version, channel, sample).text
    except RenderFailed:
        return  # a finding of the text itself
    try:
        theirs, values = filled(version, channel, template, sample)
    except RenderFailed as error:
        remedy = translatable("Write it as in the text of this channel, for example {example}.", example="{{ amount }}")
        yield LintFinding("error", "provider_slots", where, 0, error.args[0], remedy)
        return
    for slot, value in zip(template.slots, values, strict=True):
        issue = slot.issue(value, rules)
        if issue is not None:
            yield LintFinding("error", "provider_values", where, 0, _about(issue, slot.name), _remedy(issue))
    if not same_words(ours, theirs):
        detail = translatable("the provider's template does not say what our text says")
        remedy = translatable("Compare both below; the words have to be the same, white space aside.")
        yield LintFinding("error", "provider_text", where, 0, detail, remedy)


def _about(issue: SlotIssue, name: str) -> Translatable:
    match issue:
        case SlotIssue.EMPTY:
            return translatable("the slot {name} is empty for some borrowers", name=name)
        case SlotIssue.LINE_END:
            return translatable("the slot {name} has a line end or a tab", name=name)
        case SlotIssue.SPACES:
            return translatable("the slot {name} has more than four spaces in a row", name=name)
        case SlotIssue.TOO_LONG:
            return translatable("the slot {name} is longer than the provider takes", name=name)
        case SlotIssue.LINK:
            return translatable("the slot {name} has a link, which the provider refuses", name=name)
        case SlotIssue.ADJACENT:
            return translatable("the slot {name} follows another one without words in between", name=name)
        case SlotIssue.MISSING:
            return translatable("the text has {name}, and there is no such slot", name=name)
        case SlotIssue.UNUSED:
            return translatable("the slot {name} is not in the text, or is there twice", name=name)


def _remedy(issue: SlotIssue) -> Translatable:
    match issue:
        case SlotIssue.MISSING | SlotIssue.UNUSED:
            return translatable("Each slot has one place in the text.")
        case SlotIssue.ADJACENT:
            return translatable("Put words between them, or make them one slot.")
        case SlotIssue.LINK:
            return translatable("Put the link into the fixed text of the provider's template.")
        case _:
            return translatable("Change the expression, or the text of this channel.")


def error_in(findings: Sequence[LintFinding]) -> bool:
    """Whether one of the findings is an error."""
    return any(each.level == "error" for each in findings)
