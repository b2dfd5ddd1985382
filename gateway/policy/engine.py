"""The decision: every rule is asked, the strictest answer stands, and a deferral names its exact instant.

Owns how answers combine. Reads no clock, no file and no network: the verdict is a function of its arguments.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import UTC, datetime

from gateway.model import Facts, Notification, PolicyReason, RuleResult, Verdict, VerdictKind
from gateway.policy.intervals import HORIZON
from gateway.policy.packs import InForce, Packs
from gateway.policy.rule import Intent, Origin, Rule
from gateway.policy.windows import RECURRING
from gateway.policy.zones import TZDATA_VERSION, candidates

_STRICTNESS = {kind: number for number, kind in enumerate(VerdictKind)}
_ENGINE = Origin("common_window")
_NEVER = datetime.min.replace(tzinfo=UTC)


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
) -> Verdict:
    """May ``notification`` go out on ``channel`` at ``now``, and if not, why not or when?

    The packs in force at ``now`` decide, also about later instants: whoever waits is decided anew at hand-off.
    ``address_digest`` is the keyed digest of the borrower's address on this channel, as in ``facts``; ``text`` is
    the rendered message where there is one already.
    """
    if now.tzinfo is None:
        raise ValueError("now must be aware")
    now = now.astimezone(UTC)
    in_force = packs.for_jurisdiction(notification.borrower.jurisdiction, now)
    if in_force is None:
        result = Origin("pack").says(VerdictKind.REVIEW, PolicyReason.PACK_MISSING)
        return Verdict(result.verdict, result.reason, rules=(result,), tzdata=TZDATA_VERSION)
    intent = Intent(notification, channel, facts, address_digest, text, capability_categories)
    results = _ask(in_force.rules, intent, now)
    strictest = _strictest(results)
    if strictest.verdict is VerdictKind.DEFER:
        until, last = _first_permitted(in_force.rules, intent, now, results)
        if until is None:
            return _verdict(in_force, intent, (*results, last), last)
        if last not in results:
            results.append(last)
        return _verdict(in_force, intent, results, strictest, until=until)
    if strictest.verdict is not VerdictKind.SEND:
        return _verdict(in_force, intent, results, strictest)
    ends = [end for rule in in_force.rules if (end := rule.ends(intent, now)) is not None]
    limits = tuple(limit for rule in in_force.rules if (limit := rule.limit(intent, now)) is not None)
    permitted = _verdict(in_force, intent, results, strictest)
    return replace(permitted, reason=PolicyReason.PERMITTED, valid_until=min(ends, default=None), limits=limits)


def _ask(rules: Iterable[Rule], intent: Intent, t: datetime) -> list[RuleResult]:
    return [result for rule in rules if (result := rule.judge(intent, t)) is not None]


def _strictest(results: Sequence[RuleResult]) -> RuleResult:
    """The strictest answer; of several deferrals the longest, else the first in order."""
    return max(results, key=lambda each: (_STRICTNESS[each.verdict], each.until or _NEVER))


def _first_permitted(
    rules: Sequence[Rule], intent: Intent, now: datetime, results: Sequence[RuleResult]
) -> tuple[datetime | None, RuleResult]:
    """The first instant that all rules allow, with the rule that held out longest; None with the rule that ends all.

    No rule allows before its own ``until``, so the latest of them bounds the answer from below. Going there and
    asking again, until nobody objects, reaches the first permitted instant and cannot pass it.
    """
    t, last_fixed = now, now
    pusher = _strictest(results)
    while denials := [each for each in results if each.verdict is not VerdictKind.SEND]:
        dead_ends = [each for each in denials if each.until is None]
        if dead_ends:
            return None, _dead_end(_strictest(dead_ends), pusher)
        pusher = max(denials, key=lambda each: each.until or _NEVER)
        assert pusher.until is not None
        t = pusher.until
        if pusher.reason not in RECURRING:
            last_fixed = t
        elif t - last_fixed > HORIZON:
            return None, _ENGINE.says(VerdictKind.REVIEW, PolicyReason.NO_COMMON_WINDOW)
        results = _ask(rules, intent, t)
    return t, pusher


def _dead_end(result: RuleResult, pusher: RuleResult) -> RuleResult:
    waits = f"{pusher.rule} of {pusher.pack} waits until {pusher.until:%Y-%m-%dT%H:%M:%SZ}"
    return replace(result, detail=f"{result.detail}; {waits}" if result.detail else waits)


def _verdict(
    in_force: InForce,
    intent: Intent,
    results: Sequence[RuleResult],
    decisive: RuleResult,
    *,
    until: datetime | None = None,
) -> Verdict:
    stated = intent.notification.borrower.time_zones
    names = dict.fromkeys(each.key for zoning in in_force.zonings for each in candidates(zoning, stated))
    return Verdict(
        decisive.verdict,
        decisive.reason,
        until,
        rules=tuple(results),
        time_zones=tuple(names),
        tzdata=TZDATA_VERSION,
        packs=in_force.identities,
    )
