"""The decision: every rule is evaluated, the strictest result wins, a deferral names the first permitted instant.

Pure: no clock and no I/O. ``now`` and all facts are arguments.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime

from gateway.core.facts import Facts
from gateway.core.notifications import Notification
from gateway.core.reasons import PolicyReason
from gateway.core.verdicts import RuleResult, Verdict, VerdictKind
from gateway.policy.intervals import SEARCH_LIMIT
from gateway.policy.packs import Packs
from gateway.policy.rule import EvaluationContext, Origin, Rule
from gateway.policy.windows import ContactWindow, PreferredHours
from gateway.policy.wishes import ChannelConsent
from gateway.policy.zones import TZDATA_VERSION, candidate_zones

# What the channel declares, whatever the packs say; they may only want more.
_CHANNEL_CONSENT = ChannelConsent(Origin("channel_consent", authority="our_choice:channel"), {})
_STRICTNESS: Mapping[str, int] = {kind: rank for rank, kind in enumerate(VerdictKind)}
_REQUEST = Origin("request", authority="our_choice:request")
_PERMITTED = _REQUEST.allow()
_ENDING = (VerdictKind.SEND, VerdictKind.REVIEW)
_OPENING_HOURS = frozenset({PolicyReason.OUTSIDE_WINDOW, PolicyReason.HOLIDAY, PolicyReason.BORROWER_WISH})
# Each iteration moves the instant past one deferral; a week of deferrals by ten rules takes far fewer. Our choice.
MAX_ITERATIONS = 1_000


def decide(
    notification: Notification,
    channel: str,
    facts: Facts,
    packs: Packs,
    now: datetime,
    *,
    capability_categories: frozenset[str] | None = None,
    consent_categories: frozenset[str] = frozenset(),
    text: str | None = None,
    address_digest: str = "",
    approved: str = "",
    pack_names: Sequence[str] = (),
) -> Verdict:
    """The verdict on sending ``notification`` on ``channel`` at ``now``.

    Args:
        facts: what is known of the borrower; addresses in it are keyed digests.
        capability_categories: what the channel's providers may carry; None while that is not known.
        consent_categories: those that need the borrower's consent to the channel, as the channel declares it.
        text: the rendered message; None while it is not known.
        address_digest: the digest of the address that would be used.
        approved: the review reason that a person has approved; a rule that asks for that review permits.
        pack_names: packs to use in place of those of the borrower's jurisdiction.
    """
    in_force = packs.in_force(notification.borrower.jurisdiction, now, pack_names)
    facts = _without_future_contacts(facts, now)
    stated = _stated_zones(notification, facts)
    context = EvaluationContext(
        notification, channel, facts, address_digest, text, capability_categories, approved, stated
    )
    rules = in_force.applicable(notification.category, channel)
    if notification.category in consent_categories:
        rules = (*rules, _CHANNEL_CONSENT)
    results_by_rule = _evaluate_all(rules, context, now)
    results = [result for _, result in results_by_rule]
    final = _strictest(results)
    if final.verdict is VerdictKind.DEFER:
        final = _first_permitted(rules, context, now, final)
        if final.verdict is not VerdictKind.DEFER:
            results.append(final)  # the denial that waiting would run into is recorded with the others
    return Verdict(
        kind=final.verdict,
        reason=PolicyReason.PERMITTED if final.verdict is VerdictKind.SEND else final.reason,
        until=final.until,
        valid_until=_valid_until(results_by_rule, final.verdict, context, now) if final.verdict in _ENDING else None,
        rules=tuple(results),
        time_zones=tuple(str(each) for each in candidate_zones(in_force.zoning, stated)),
        tzdata=TZDATA_VERSION,
        packs=in_force.packs,
    )


def has_common_hours(
    notification: Notification, channel: str, facts: Facts, packs: Packs, now: datetime, pack_names: Sequence[str] = ()
) -> bool:
    """Whether the hours of the packs, of the request and of the borrower's choice have any in common from ``now`` on.

    Other rules are left out: a hold or an opt-out says nothing about hours.
    """
    in_force = packs.in_force(notification.borrower.jurisdiction, now, pack_names)
    applicable = in_force.applicable(notification.category, channel)
    rules = [each for each in applicable if isinstance(each, ContactWindow | PreferredHours)]
    like = replace(notification, send_at=None, expires_at=None)
    context = EvaluationContext(like, channel, facts, time_zones=_stated_zones(notification, facts))
    first = _strictest([result for _, result in _evaluate_all(rules, context, now)])
    if first.verdict is VerdictKind.DEFER:
        first = _first_permitted(rules, context, now, first)
    return first.reason is not PolicyReason.NO_COMMON_WINDOW


def _without_future_contacts(facts: Facts, now: datetime) -> Facts:
    """Another worker's clock may be ahead of ours: its contacts count as of now."""
    if all(each.at <= now for each in facts.contacts):
        return facts
    return replace(facts, contacts=tuple(replace(each, at=min(each.at, now)) for each in facts.contacts))


def _stated_zones(notification: Notification, facts: Facts) -> tuple[str, ...]:
    """The zones of this request and of the latest one: a borrower who has moved may be in either."""
    own, latest = notification.borrower.time_zones, facts.stated.time_zones
    return own if not latest or latest == own else tuple(dict.fromkeys((*own, *latest)))


ResultsByRule = list[tuple[Rule, RuleResult]]


def _evaluate_all(rules: Sequence[Rule], context: EvaluationContext, t: datetime) -> ResultsByRule:
    """The rules' results for sending at ``t``, and those of the request's own times."""
    found = [(rule, result) for rule in rules if (result := rule.evaluate(context, t)) is not None]
    if context.approved:
        found = [(rule, _with_approval(result, context)) for rule, result in found]
    expires_at, send_at = context.notification.expires_at, context.notification.send_at
    if expires_at is not None and expires_at <= t:
        found.append((Rule(_REQUEST), _REQUEST.suppress(PolicyReason.EXPIRES_FIRST)))
    if send_at is not None and send_at > t:
        found.append((Rule(_REQUEST), _REQUEST.defer(PolicyReason.SCHEDULED, send_at)))
    return found


def _with_approval(result: RuleResult, context: EvaluationContext) -> RuleResult:
    """The result, permitted where a person has approved the review that it asks for."""
    if result.verdict is not VerdictKind.REVIEW or result.reason != context.approved:
        return result
    return replace(result, verdict=VerdictKind.SEND, detail=f"{result.detail}, approved in review".lstrip(", "))


def _strictest(results: Sequence[RuleResult]) -> RuleResult:
    """The strictest result; of several deferrals the one that lasts longest."""
    denials = [each for each in results if each.verdict is not VerdictKind.SEND]
    if not denials:
        return _PERMITTED
    return max(
        denials,
        key=lambda each: (_STRICTNESS[each.verdict], each.until.timestamp() if each.until is not None else 0.0),
    )


def _first_permitted(rules: Sequence[Rule], context: EvaluationContext, now: datetime, first: RuleResult) -> RuleResult:
    """The deferral of now, with the first instant at which no rule defers any more.

    A deferring rule's ``until`` is never later than the next instant that it permits, so advancing to the latest of
    them skips no permitted instant.
    """
    # Only opening hours are bounded: rules may have no common window. A hold or a schedule may end at any time.
    answer = first
    waited_from = now if first.reason in _OPENING_HOURS else first.until or now
    for _ in range(MAX_ITERATIONS):
        t = answer.until
        if t is None or t > waited_from + SEARCH_LIMIT:
            break
        if answer.open_ended:
            return replace(first, until=t)  # decided anew when the hold is lifted, and then at the latest
        answer = _strictest([result for _, result in _evaluate_all(rules, context, t)])
        if answer.verdict is VerdictKind.SEND:
            return replace(first, until=t)
        if answer.verdict is not VerdictKind.DEFER:
            return answer
        if answer.reason not in _OPENING_HOURS:
            waited_from = answer.until or t
    return replace(first, verdict=VerdictKind.REVIEW, reason=PolicyReason.NO_COMMON_WINDOW, until=None)


def _valid_until(
    results_by_rule: ResultsByRule, kind: VerdictKind, context: EvaluationContext, now: datetime
) -> datetime | None:
    """The earliest end among the results of this kind: a message permitted now must have arrived by then."""
    mine = (rule for rule, result in results_by_rule if result.verdict is kind)
    return min((end for rule in mine if (end := rule.valid_until(context, now)) is not None), default=None)
