"""The decision: every rule is asked, the strictest answer wins, and a deferral names the exact first instant.

Pure: no clock, no I/O. ``now`` is given, and so is everything that is known.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime

from gateway.core.model import Facts, Notification, PolicyReason, RuleResult, Verdict, VerdictKind
from gateway.policy.intervals import HORIZON
from gateway.policy.packs import Packs
from gateway.policy.rule import EvaluationContext, Origin, Rule
from gateway.policy.zones import TZDATA_VERSION, candidates

_STRICTNESS: Mapping[str, int] = {kind: rank for rank, kind in enumerate(VerdictKind)}
_REQUEST = Origin("request", authority="our_choice:request")
_PERMITTED = _REQUEST.allows()
_ENDING = (VerdictKind.SEND, VerdictKind.REVIEW)
_OPENING_HOURS = frozenset({PolicyReason.OUTSIDE_WINDOW, PolicyReason.HOLIDAY, PolicyReason.BORROWER_WISH})
# Each turn moves the instant past some rule's denial; a week of denials by ten rules is far fewer. Our choice.
MAX_ITERATIONS = 1_000


def decide(
    notification: Notification,
    channel: str,
    facts: Facts,
    packs: Packs,
    now: datetime,
    *,
    capability_categories: frozenset[str] | None = None,
    text: str | None = None,
    address_digest: str = "",
    approved: str = "",
    pack_names: Sequence[str] = (),
) -> Verdict:
    """What the policy says to sending ``notification`` on ``channel`` at ``now``.

    Args:
        facts: what is known of the borrower; addresses in it are keyed digests.
        capability_categories: what the channel's providers may carry; None while that is not known.
        text: the rendered message; None while it is not known.
        address_digest: the digest of the address that would be used.
        approved: the reason for review that a person has approved; rules that only asked for that are content.
        pack_names: packs to judge by in place of those of the borrower's jurisdiction.
    """
    in_force = packs.in_force(notification.borrower.jurisdiction, now, pack_names)
    # A contact that another worker's clock dates ahead of ours has happened all the same.
    if any(each.at > now for each in facts.contacts):
        contacts = tuple(replace(each, at=min(each.at, now)) for each in facts.contacts)
        facts = replace(facts, contacts=contacts)
    stated = _stated_zones(notification, facts)
    context = EvaluationContext(
        notification, channel, facts, address_digest, text, capability_categories, approved, stated
    )
    rules = in_force.concerning(notification.category, channel)
    answers = _asked(rules, context, now)
    results = [result for _, result in answers]
    final = _strictest(results)
    if final.verdict is VerdictKind.DEFER:
        final = _first_permitted(rules, context, now, final)
        if final.verdict is not VerdictKind.DEFER:
            results.append(final)  # what comes of waiting is a rule's word as well
    return Verdict(
        kind=final.verdict,
        reason=PolicyReason.PERMITTED if final.verdict is VerdictKind.SEND else final.reason,
        until=final.until,
        valid_until=_ends(answers, final.verdict, context, now) if final.verdict in _ENDING else None,
        rules=tuple(results),
        time_zones=tuple(str(each) for each in candidates(in_force.zoning, stated)),
        tzdata=TZDATA_VERSION,
        packs=in_force.packs,
    )


def _stated_zones(notification: Notification, facts: Facts) -> tuple[str, ...]:
    """Who has moved since a request was made may be here or there: both count, as any two possible zones do."""
    own, latest = notification.borrower.time_zones, facts.stated.time_zones
    return own if not latest or latest == own else tuple(dict.fromkeys((*own, *latest)))


Answers = list[tuple[Rule, RuleResult]]


def _asked(rules: Sequence[Rule], context: EvaluationContext, t: datetime) -> Answers:
    """Every rule's word on sending at ``t``, of those that have one."""
    found = [(rule, result) for rule in rules if (result := rule.evaluate(context, t)) is not None]
    if context.approved:
        found = [(rule, _reviewed(result, context)) for rule, result in found]
    expires_at, send_at = context.notification.expires_at, context.notification.send_at
    if expires_at is not None and expires_at <= t:
        found.append((Rule(_REQUEST), _REQUEST.suppresses(PolicyReason.EXPIRES_FIRST)))
    if send_at is not None and send_at > t:
        found.append((Rule(_REQUEST), _REQUEST.defers(PolicyReason.SCHEDULED, send_at)))
    return found


def _reviewed(result: RuleResult, context: EvaluationContext) -> RuleResult:
    """A rule that wants a person's word has had it where that word was given for its reason."""
    if result.verdict is not VerdictKind.REVIEW or result.reason != context.approved:
        return result
    return replace(result, verdict=VerdictKind.SEND, detail=f"{result.detail}, approved in review".lstrip(", "))


def _strictest(results: Sequence[RuleResult]) -> RuleResult:
    """The strictest answer; of several deferrals the one that lasts longest."""
    denials = [each for each in results if each.verdict is not VerdictKind.SEND]
    if not denials:
        return _PERMITTED
    return max(
        denials,
        key=lambda each: (_STRICTNESS[each.verdict], each.until.timestamp() if each.until is not None else 0.0),
    )


def _first_permitted(rules: Sequence[Rule], context: EvaluationContext, now: datetime, first: RuleResult) -> RuleResult:
    """The denial of now, with the first instant at which no rule defers any more.

    Each deferring rule's ``until`` is never later than the next instant that it would allow, so stepping to the
    latest of them passes over no permitted instant.
    """
    # Only waiting for opening hours can be in vain; a hold or a schedule may reach as far ahead as it likes.
    answer = first
    waited_from = now if first.reason in _OPENING_HOURS else first.until or now
    for _ in range(MAX_ITERATIONS):
        t = answer.until
        if t is None or t > waited_from + HORIZON:
            break
        if answer.open_ended:
            return replace(first, until=t)  # decided anew when the hold is lifted, and then at the latest
        answer = _strictest([result for _, result in _asked(rules, context, t)])
        if answer.verdict is VerdictKind.SEND:
            return replace(first, until=t)
        if answer.verdict is not VerdictKind.DEFER:
            return answer
        if answer.reason not in _OPENING_HOURS:
            waited_from = answer.until or t
    return replace(first, verdict=VerdictKind.REVIEW, reason=PolicyReason.NO_COMMON_WINDOW, until=None)


def _ends(answers: Answers, said: VerdictKind, context: EvaluationContext, now: datetime) -> datetime | None:
    """When the first of those that said so would no longer: a message permitted now must have arrived by then."""
    mine = (rule for rule, result in answers if result.verdict is said)
    return min((end for rule in mine if (end := rule.valid_until(context, now)) is not None), default=None)
