"""Every scope of a cap over every kind of period: what counts, and when there is room again."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.core.facts import Contact, Facts
from gateway.policy import decide
from gateway.policy.caps import Cap
from gateway.policy.rule import EvaluationContext
from tests.support.rules.made_packs import MARK, cap, packs
from tests.support.rules.policy_cases import NEW_YORK, TAIPEI, at, notification

# A Wednesday, 15:00; two contacts before it on Tuesday at 20:00 and Wednesday at 09:00.
NOW = at("2026-11-25 15:00", TAIPEI)
EARLIER = (at("2026-11-24 20:00", TAIPEI), at("2026-11-25 09:00", TAIPEI))

# kind, period, how many of the two count now, and when the first of two that count has left
KINDS = [
    ("calendar_day", 1, 1, at("2026-11-26 00:00", TAIPEI)),
    ("consecutive_days", 2, 2, at("2026-11-26 00:00", TAIPEI)),
    ("rolling_hours", 24, 2, at("2026-11-25 20:00", TAIPEI)),
    ("calendar_week", 1, 2, at("2026-11-30 00:00", TAIPEI)),
    ("anchored", 36, 2, at("2026-11-26 08:00", TAIPEI)),
]

# scope and channel of the cap, and how an earlier contact is not of this scope
SCOPES: list[tuple[str, dict[str, str], dict[str, str]]] = [
    ("borrower", {}, {}),
    ("borrower", {"channel": "sms"}, {"channel": "email"}),
    ("case", {}, {"case_id": "C2"}),
    ("channel", {}, {"channel": "email"}),
    ("address", {}, {"address": "another"}),
]


def facts(number: int, **changes: str) -> Facts:
    made = [Contact(when, "sms", "C1", "digest", "other") for when in EARLIER[-number:]]
    return Facts(contacts=tuple(replace(each, **changes) for each in made))  # type: ignore[arg-type]


@pytest.mark.parametrize(("scope", "narrowed", "elsewhere"), SCOPES, ids=[f"{row[0]}{row[1]}" for row in SCOPES])
@pytest.mark.parametrize(("kind", "period", "counts", "until"), KINDS, ids=[row[0] for row in KINDS])
def test_a_cap_of_each_scope_over_each_kind_of_period(
    scope: str,
    narrowed: dict[str, str],
    elsewhere: dict[str, str],
    kind: str,
    period: int,
    counts: int,
    until: datetime,
) -> None:
    """What is of the scope and within the period counts, up to the maximum; nothing else does."""
    made = notification("zz", TAIPEI)

    def said(maximum: int, known: Facts) -> tuple[str, str, datetime | None]:
        chosen = packs(caps=[cap(scope, kind, maximum, period, **narrowed)])
        verdict = decide(made, "sms", known, chosen, NOW, address_digest="digest")
        return verdict.kind, verdict.reason, verdict.until

    reason = f"cap_{scope}"
    assert said(counts, facts(2)) == ("defer", reason, until)
    assert said(counts + 1, facts(2))[0] == "send"
    if elsewhere:
        assert said(1, facts(2, **elsewhere))[0] == "send"
    else:
        assert said(1, facts(2, channel="email", case_id="C2", address="another"))[0] == "defer"


def test_the_use_of_a_cap_is_in_its_word() -> None:
    """So that the borrower's record can show how much is used now."""
    chosen = packs(caps=[cap("borrower", "consecutive_days", 3, 2)])
    verdict = decide(notification("zz", TAIPEI), "sms", facts(2), chosen, NOW)
    assert [rule.detail for rule in verdict.rules if rule.rule == "cap_borrower_any"] == [
        "2 of 3 in 2 consecutive_days"
    ]


def test_an_anchored_period_opens_anew_with_the_first_contact_after_it() -> None:
    """Three in a day from the first on: the fourth waits for the end, and opens the next period."""
    chosen = packs(caps=[cap("borrower", "anchored", 2, 24)])
    begin = at("2026-11-24 10:00", TAIPEI)
    contacts = tuple(Contact(begin + timedelta(hours=h), "sms", "C1", "digest", f"o{h}") for h in (0, 23, 25))

    def until(number: int, hours: float) -> datetime | None:
        known = Facts(contacts=contacts[:number])
        return decide(notification("zz", TAIPEI), "sms", known, chosen, begin + timedelta(hours=hours)).until

    assert until(1, 1) is None
    assert until(2, 23.5) == begin + timedelta(hours=24)
    assert until(2, 24) is None
    assert until(3, 26) is None  # one of two in the period that opened at 25 h
    at_its_end = Facts(contacts=(contacts[0], replace(contacts[0], at=begin + timedelta(hours=24))))
    single = packs(caps=[cap("borrower", "anchored", 1, 24)])
    verdict = decide(notification("zz", TAIPEI), "sms", at_its_end, single, begin + timedelta(hours=25))
    assert verdict.until == begin + timedelta(hours=48)  # what comes as the period ends opens the next one
    rolling = packs(caps=[cap("borrower", "rolling_hours", 2, 24)])
    verdict = decide(notification("zz", TAIPEI), "sms", Facts(contacts=contacts), rolling, begin + timedelta(hours=26))
    assert verdict.until == begin + timedelta(hours=47)  # 24 h after the second: it is still in the last 24


def test_of_several_possible_zones_the_fullest_counts() -> None:
    """It is yesterday in New York and today in Taipei: what may have been today counts."""
    chosen = packs(caps=[cap("borrower", "calendar_day", 1)])
    now = at("2026-11-25 08:00", TAIPEI)
    known = Facts(contacts=(Contact(now - timedelta(hours=9), "sms", "C1", "digest", "other"),))
    assert decide(notification("zz", TAIPEI), "sms", known, chosen, now).kind == "send"
    both = decide(notification("zz", TAIPEI, NEW_YORK), "sms", known, chosen, now)
    assert (both.kind, both.until) == ("defer", at("2026-11-25 00:00", NEW_YORK))


@pytest.mark.parametrize(
    ("per", "channel", "kind"), [(None, "email", "defer"), ("channel", "email", "send"), ("channel", "sms", "defer")]
)
def test_the_gap_between_any_two_contacts_or_two_of_a_channel(per: str | None, channel: str, kind: str) -> None:
    """Four hours after an SMS: anything waits, or the next SMS alone."""
    gap = {"value_minutes": 240, "mark": MARK} | ({"per": per} if per else {})
    known = Facts(contacts=(Contact(NOW - timedelta(hours=3), "sms", "C1", "digest", "other"),))
    assert decide(notification("zz", TAIPEI), channel, known, packs(min_gap=gap), NOW).kind == kind


def test_what_the_app_shows_neither_counts_nor_is_counted_where_the_pack_says_so() -> None:
    """A pack may leave channels out of every cap and of the gap."""
    quiet = {"value": ["inapp"], "mark": MARK}
    chosen = packs(caps=[cap("borrower", "calendar_day", 1)], channels_without_caps=quiet)
    shown = Facts(contacts=(Contact(NOW, "inapp", "C1", "digest", "other"),))
    sent = Facts(contacts=(Contact(NOW, "sms", "C1", "digest", "other"),))
    made = notification("zz", TAIPEI)
    assert decide(made, "sms", shown, chosen, NOW).kind == "send"
    assert decide(made, "inapp", sent, chosen, NOW).kind == "send"
    assert decide(made, "sms", sent, chosen, NOW).kind == "defer"


@settings(max_examples=200, deadline=None)
@given(
    st.sampled_from(["calendar_day", "consecutive_days", "rolling_hours", "calendar_week"]),
    st.integers(1, 100),
    st.integers(1, 4),
    st.sampled_from(["Asia/Taipei", "Pacific/Apia", "America/New_York", "Pacific/Honolulu"]),
    st.lists(st.integers(0, 110 * 1440), max_size=12),
    st.integers(0, 400 * 1440),
)
def test_a_rule_counts_nothing_from_before_its_lookback(
    kind: str, period: int, maximum: int, zone: str, ages: list[int], minute: int
) -> None:
    """The contacts within a rule's lookback give the same result as all contacts."""
    [pack] = packs(caps=[cap("borrower", kind, maximum, period)]).by_name["default"]
    [rule] = [each for each in pack.rules if isinstance(each, Cap)]
    now = at("2011-06-01 00:00") + timedelta(minutes=minute)  # Samoa skipped a date at the end of that year
    known = [Contact(now - timedelta(minutes=age), "sms", "C1", "digest", "o") for age in ages]
    recent = tuple(each for each in known if each.at > now - rule.lookback())
    made = notification("zz", zone)
    results = [
        rule.evaluate(EvaluationContext(made, "sms", Facts(contacts=some), "digest", time_zones=(zone,)), now)
        for some in (tuple(known), recent)
    ]
    assert results[0] == results[1]


def test_the_contact_horizon_is_the_longest_period_of_the_packs() -> None:
    """Ninety days and a margin for dates where a cap says ninety; the gap's time where there is no cap."""
    assert packs().contact_horizon == timedelta(minutes=1)
    assert packs(caps=[cap("case", "consecutive_days", 7, 90)]).contact_horizon == timedelta(days=92)
    assert packs(caps=[cap("case", "rolling_hours", 7, 2160)]).contact_horizon == timedelta(days=90)
    assert packs(min_gap={"value_minutes": 200_000, "mark": MARK}).contact_horizon == timedelta(minutes=200_000)
