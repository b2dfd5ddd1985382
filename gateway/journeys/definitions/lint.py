"""Lint of a definition: what keeps it from going live (``error``) and what its author should look at (``warning``).

Pure: templates and packs are given. The caps are not read from the packs but tried: a borrower who never answers goes
through the steps, and the same policy that decides every message says where it would allow no further one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta

from gateway import policy
from gateway.core.facts import Contact, Facts
from gateway.core.notifications import Borrower, Case, Category, Notification, Step
from gateway.core.reasons import PolicyReason
from gateway.journeys.cases.record import COMPUTED_FACTS, SEGMENT_FACTS
from gateway.journeys.definitions.conditions import HAPPENED
from gateway.journeys.definitions.findings import JourneyFinding, error, warning
from gateway.journeys.definitions.lint_order import order
from gateway.journeys.definitions.model import Bound, Conditions, JourneyDefinition, StepRules
from gateway.journeys.requests import NEXT_CHANNEL
from gateway.policy.zones import zone

_CAPS = (
    PolicyReason.CAP_BORROWER,
    PolicyReason.CAP_CASE,
    PolicyReason.CAP_CHANNEL,
    PolicyReason.CAP_ADDRESS,
    PolicyReason.MIN_GAP,
)
_DAY = timedelta(days=1)
_LONGEST_REPEATED = 29  # characters: with the date that is added to it 40
_SHORTEST_MONTH = 28
# Where a borrower of each jurisdiction is tried, and the locale in which a template must exist there.
PLACES: Mapping[str, tuple[str, str]] = {
    "cn": ("Asia/Shanghai", "zh-CN"),
    "tw": ("Asia/Taipei", "zh-TW"),
    "us": ("America/New_York", "en-US"),
    "uk": ("Europe/London", "en-GB"),
    "in": ("Asia/Kolkata", "en-GB"),
}


@dataclass(frozen=True, slots=True)
class TemplateFacts:
    """What the lint has to know of a template."""

    category: str
    channels: Sequence[str]
    locales: Sequence[str]
    must_arrive: bool = False


FindTemplate = Callable[[str], TemplateFacts | None]


def lint(
    definition: JourneyDefinition,
    find_template: FindTemplate,
    packs: policy.Packs,
    now: datetime,
    jurisdictions: Sequence[str] = tuple(PLACES),
) -> list[JourneyFinding]:
    """Everything that is wrong with a definition, errors first."""
    found = [
        *_ids(definition),
        *_conditions(definition),
        *order(definition),
        *_instalments(definition),
        *_gates(definition),
        *_shares(definition, find_template),
        *_templates(definition, find_template, jurisdictions),
    ]
    if not any(each.level == "error" for each in found):
        for jurisdiction in jurisdictions:
            found += _too_many_contacts(definition, find_template, packs, now, jurisdiction)
    return sorted(dict.fromkeys(found), key=lambda each: each.level != "error")


def _ids(definition: JourneyDefinition) -> Iterator[JourneyFinding]:
    seen: set[str] = set()
    for step in definition.steps:
        if step.id in seen:
            yield error("duplicate_step", step.id, "two steps have this id; give each one of its own")
        seen.add(step.id)
        if step.template is None and step.gate is None and step.emits is None:
            yield error("empty_step", step.id, "does nothing: give it a template, a gate or an event to emit")
        if (step.template is None) != (not step.route):
            yield error("empty_step", step.id, "has a template without a route, or a route without a template")
        if step.template is None and step.gentler is not None:
            yield error("empty_step", step.id, "has a gentler template and no usual one")
        if (step.day is None) == (step.after is None):
            yield error("undated_step", step.id, "needs either a day or after, and not both")
    arms = [each.name for each in definition.arms]
    for step in definition.steps:
        for name in step.arm:
            if name not in arms:
                yield error("unknown_arm", step.id, f"is for the arm {name}, which no [[arm]] declares")


def _conditions(definition: JourneyDefinition) -> Iterator[JourneyFinding]:
    yield from _known("enter", definition.enter.when, happened=False)
    for step in definition.steps:
        if step.when is not None:
            yield from _known(step.id, step.when, happened=True)
        for branch in step.branch:
            yield from _known(step.id, branch.when, happened=True)


def _known(place: str, conditions: Conditions, *, happened: bool) -> Iterator[JourneyFinding]:
    names = {*SEGMENT_FACTS, *COMPUTED_FACTS, *([HAPPENED] if happened else [])}
    for name in conditions:
        if name not in names:
            yield error(
                "unknown_fact", place, f"{name} is not a fact that may be asked for: {', '.join(sorted(names))}"
            )
    never = [name for name, bound in conditions.items() if isinstance(bound, Bound) and _contradicts_itself(bound)]
    if never:
        yield error("never_met", place, f"{', '.join(never)} can't be met by any value; correct the bounds")


def _contradicts_itself(bound: Bound) -> bool:
    low, high, equals = bound.at_least, bound.at_most, bound.equals
    if low is not None and high is not None and low > high:
        return True
    if isinstance(equals, int | float) and not isinstance(equals, bool):
        return (low is not None and equals < low) or (high is not None and equals > high)
    return bound.one_of == ()


def _instalments(definition: JourneyDefinition) -> Iterator[JourneyFinding]:
    """Steps of every instalment: dated from it, within the month, and by themselves."""
    repeated = [each for each in definition.steps if each.each is not None]
    for step in repeated:
        if definition.enter.counts_from != "first_instalment":
            yield error("instalments", step.id, 'is for each instalment: set counts_from = "first_instalment"')
        if step.day is None:
            yield error("instalments", step.id, "is for each instalment, and needs a day that counts from its date")
        if step.gate is not None or step.branch:
            yield error("instalments", step.id, "is for each instalment, and can have neither a gate nor a branch")
        if len(step.id) > _LONGEST_REPEATED:
            yield error("instalments", step.id, f"needs an id of at most {_LONGEST_REPEATED} characters")
    days = [each.day or 0 for each in repeated]
    if days and max(days) - min(days) >= _SHORTEST_MONTH:
        yield error("instalments", repeated[-1].id, "meets the next instalment's steps; keep them within 27 days")
    names = {each.id for each in repeated}
    for step in definition.steps:
        if any(each.to in names for each in step.branch):
            yield error("instalments", step.id, "leads to a step of each instalment; lead to one that is there once")


def _gates(definition: JourneyDefinition) -> Iterator[JourneyFinding]:
    """A legal step comes last: after an offer, with the notices that it needs."""
    for at, step in enumerate(definition.steps):
        if step.gate is None:
            if step.emits is not None and "legal" in step.emits:
                yield error("legal_without_gate", step.id, "announces a legal step and has no gate; give it one")
            continue
        before = definition.steps[:at]
        if "plan_offered" not in step.gate.needs or "no_hold" not in step.gate.needs:
            yield error("gate_needs", step.id, "must need plan_offered and no_hold")
        if "hardship_asked" in step.gate.needs and not any(each.asks for each in before):
            yield warning("hardship_not_asked", step.id, "needs hardship_asked, which no step before it asks")
        if "notice_over" in step.gate.needs and not any(each.gives_notice for each in before):
            yield error("no_notice", step.id, "needs notice_over, and no step before it gives_notice")
        if sum(bool(each.template) for each in before) < 2 and "two_delivered" in step.gate.needs:
            yield error("gate_needs", step.id, "needs two_delivered, and fewer than two messages come before it")
        if step.gate.expires <= timedelta(0):
            yield error("gate_expires", step.id, "lapses at once; give it days")


def _shares(definition: JourneyDefinition, find_template: FindTemplate) -> Iterator[JourneyFinding]:
    if sum(each.share for each in definition.arms) > 1:
        yield error("shares", "arm", "the arms' shares are more than 1 together")
    if definition.holdout is None:
        return
    required = [
        step.id for step in definition.steps if (found := find_template(step.template or "")) and found.must_arrive
    ]
    if required:
        detail = f"{', '.join(required)} send notices that must arrive: those may not wait in a holdout"
        yield error("holdout_of_notice", "holdout", detail)


def _templates(
    definition: JourneyDefinition, find_template: FindTemplate, jurisdictions: Sequence[str]
) -> Iterator[JourneyFinding]:
    used = [(each.id, name, each.route) for each in definition.steps for name in (each.template, each.gentler) if name]
    reminder = definition.promise.remind
    if reminder is not None:
        used.append(("promise", reminder.template, reminder.route))
    for place, name, route in used:
        found = find_template(name)
        if found is None:
            yield error("unknown_template", place, f"there is no template {name}")
            continue
        for channel in route:
            if channel not in found.channels:
                yield error("template_lacks_channel", place, f"{name} has no text for {channel}")
        for jurisdiction in jurisdictions:
            locale = PLACES[jurisdiction][1]
            if locale not in found.locales:
                yield error("template_lacks_locale", place, f"{name} has no text in {locale} ({jurisdiction})")
    if reminder is not None and (found := find_template(reminder.template)) and found.category == "collections":
        detail = "the promise's hold defers collections: remind with a template of the category service"
        yield error("promise_category", "promise", detail)


# ── contacts: the steps tried by the policy itself ──────────────────────────────────────────────────────────────────


def _too_many_contacts(
    definition: JourneyDefinition, find_template: FindTemplate, packs: policy.Packs, now: datetime, jurisdiction: str
) -> Iterator[JourneyFinding]:
    """The steps for which the packs allow no contact on their day, if every one before went out on all its channels."""
    for arm in [each.name for each in definition.arms] or [""]:
        contacts: list[Contact] = []
        at = start = _morning(now.date(), definition, jurisdiction)
        for step in definition.steps:
            if step.arm and arm not in step.arm:
                continue
            at = start + (step.day - 1) * _DAY if step.day is not None else at + (step.after or timedelta(0))
            if contacts:  # as ``advance`` spaces them
                at = max(at, contacts[-1].at + definition.pace.least)
            found = find_template(step.template or "")
            if found is None:
                continue
            for place, channel in enumerate(step.route):
                when = at + place * NEXT_CHANNEL
                like = _probe(step, jurisdiction, found.category, now)
                facts = Facts(contacts=tuple(contacts))
                verdict = policy.decide(like, channel, facts, packs, when, address_digest=channel)
                if verdict.reason in _CAPS:
                    rule = next(each for each in verdict.rules if each.reason is verdict.reason)
                    detail = f"{rule.pack} ({jurisdiction}) allows no further contact on day {_day(start, when)}"
                    yield error("too_many_contacts", step.id, f"{detail}: {rule.rule} {rule.detail}".rstrip())
                contacts.append(Contact(when, channel, "case", channel, step.id))


def _probe(step: StepRules, jurisdiction: str, category: str, now: datetime) -> Notification:
    place, locale = PLACES[jurisdiction]
    borrower = Borrower("borrower", "", locale, jurisdiction, (place,), {each: each for each in step.route})
    case = Case("case", "card", now.date(), step.stage or step.id)
    return Notification(
        id=step.id,
        tenant="lint",
        idempotency_key=step.id,
        dedup_key=step.id,
        borrower=borrower,
        case=case,
        template=step.template or "",
        template_version="",
        variables={},
        route=tuple(Step(each) for each in step.route),
        category=Category(category),
        accepted_at=now,
    )


def _morning(day: date, definition: JourneyDefinition, jurisdiction: str) -> datetime:
    local = zone(PLACES[jurisdiction][0]) or UTC
    return datetime.combine(day, time.fromisoformat(definition.pace.at), local).astimezone(UTC)


def _day(start: datetime, when: datetime) -> int:
    return (when - start) // _DAY + 1
