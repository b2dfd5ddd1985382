"""The contact policy by example: what is decided, why, and until when. Clocks are the borrower's own."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from gateway.core.facts import AddressFacts, ChosenPreferences, Contact, DeclaredPreferences, Facts, Hold, OptOut
from gateway.core.notifications import Category, Notification
from gateway.core.reasons import HoldKind, PolicyReason
from gateway.core.verdicts import RuleResult
from gateway.policy import decide, has_common_hours, wishes
from gateway.policy.rule import EvaluationContext, Origin, PackSection, Rule
from gateway.policy.zones import zone
from tests.support.rules.policy_cases import (
    HONOLULU,
    KOLKATA,
    LONDON,
    LOS_ANGELES,
    NEW_YORK,
    PACKS,
    SHANGHAI,
    TAIPEI,
    at,
    contact,
    notification,
)


def said(
    made: Notification, now: datetime, *, channel: str = "sms", facts: Facts | None = None, text: str | None = None
) -> tuple[str, str, datetime | None]:
    verdict = decide(made, channel, facts or Facts(), PACKS, now, text=text, address_digest="digest")
    return verdict.kind, verdict.reason, verdict.until


# (jurisdiction, zones, now, expected verdict, reason, until) – all clocks are those of the first zone.
WINDOWS = [
    # Taiwan: 07:00-22:00 by the rule, 08:00-21:00 by our courtesy, the stricter wins.
    ("tw", [TAIPEI], "2026-11-24 10:00", "send", "permitted", None),
    ("tw", [TAIPEI], "2026-11-24 07:59:59.999999", "defer", "outside_window", "2026-11-24 08:00"),
    ("tw", [TAIPEI], "2026-11-24 08:00", "send", "permitted", None),
    ("tw", [TAIPEI], "2026-11-24 20:59:59.999999", "send", "permitted", None),
    ("tw", [TAIPEI], "2026-11-24 21:00", "defer", "outside_window", "2026-11-25 08:00"),
    ("tw", [], "2026-11-24 10:00", "send", "permitted", None),  # 18:00 in Taipei, which needs no stating
    # India: 08:00-19:00 with five minutes of guard.
    ("in", [KOLKATA], "2026-11-24 08:04:59.999", "defer", "outside_window", "2026-11-24 08:05"),
    ("in", [KOLKATA], "2026-11-24 08:05", "send", "permitted", None),
    ("in", [KOLKATA], "2026-11-24 18:54:59.999", "send", "permitted", None),
    ("in", [KOLKATA], "2026-11-24 18:55", "defer", "outside_window", "2026-11-25 08:05"),
    # China: 08:00-22:00 with guard.
    ("cn", [SHANGHAI], "2026-11-24 21:54:59", "send", "permitted", None),
    ("cn", [SHANGHAI], "2026-11-24 21:55", "defer", "outside_window", "2026-11-25 08:05"),
    ("cn", [SHANGHAI], "2026-11-24 03:00", "defer", "outside_window", "2026-11-24 08:05"),
    # Regulation F: strictly after 8:00 and before 21:00; the guard makes it 8:05 to 20:55.
    ("us", [NEW_YORK], "2026-11-24 08:00", "defer", "outside_window", "2026-11-24 08:05"),
    ("us", [NEW_YORK], "2026-11-24 08:05", "send", "permitted", None),
    ("us", [NEW_YORK], "2026-11-24 20:54:59.999", "send", "permitted", None),
    ("us", [NEW_YORK], "2026-11-24 20:55", "defer", "outside_window", "2026-11-25 08:05"),
    ("us", ["America/Phoenix"], "2026-07-01 08:05", "send", "permitted", None),
    # Several possible zones: all of them at once.
    ("us", [NEW_YORK, LOS_ANGELES], "2026-11-24 09:00", "defer", "outside_window", "2026-11-24 11:05"),
    ("us", [NEW_YORK, LOS_ANGELES], "2026-11-24 11:05", "send", "permitted", None),
    ("us", [NEW_YORK, LOS_ANGELES], "2026-11-24 20:55", "defer", "outside_window", "2026-11-25 11:05"),
    ("us", [NEW_YORK, HONOLULU], "2026-01-15 12:00", "defer", "outside_window", "2026-01-15 13:05"),
    ("us", [NEW_YORK, HONOLULU], "2026-07-15 13:30", "defer", "outside_window", "2026-07-15 14:05"),
    ("us", [NEW_YORK, "Pacific/Guam"], "2026-01-15 12:00", "defer", "outside_window", "2026-01-15 17:05"),
    ("us", [NEW_YORK, LOS_ANGELES, KOLKATA], "2026-11-24 12:00", "review", "no_common_window", None),
    ("us", [NEW_YORK, LOS_ANGELES, KOLKATA], "2026-07-15 12:00", "defer", "outside_window", "2026-07-16 11:05"),
    # None in winter, but the clocks change within the two months that we look ahead.
    ("us", [NEW_YORK, LOS_ANGELES, KOLKATA], "2026-01-15 12:00", "defer", "outside_window", "2026-03-08 11:05"),
    ("us", [NEW_YORK, SHANGHAI], "2026-01-15 12:00", "defer", "outside_window", "2026-01-15 19:05"),
    # Unknown zones deny.
    ("us", [], "2026-11-24 15:00", "review", "unknown_zone", None),
    ("us", ["Nowhere/Land"], "2026-11-24 15:00", "review", "unknown_zone", None),
    ("us", [NEW_YORK, "Nowhere/Land"], "2026-11-24 15:00", "review", "unknown_zone", None),
    ("zz", [], "2026-11-24 15:00", "review", "unknown_zone", None),
    # Clocks jump: the hours are those on the wall.
    ("us", [NEW_YORK], "2027-03-13 22:00", "defer", "outside_window", "2027-03-14 08:05"),
    ("us", [NEW_YORK], "2027-11-06 22:00", "defer", "outside_window", "2027-11-07 08:05"),
    ("us", ["America/Indiana/Knox"], "2026-11-24 08:05", "send", "permitted", None),
    ("zz", ["Australia/Lord_Howe"], "2027-04-03 22:00", "defer", "outside_window", "2027-04-04 09:05"),
    ("zz", ["Australia/Lord_Howe"], "2027-10-02 22:00", "defer", "outside_window", "2027-10-03 09:05"),
    ("zz", ["Africa/Cairo"], "2027-04-29 23:30", "defer", "outside_window", "2027-04-30 09:05"),
    ("zz", ["Asia/Kathmandu"], "2026-11-24 09:04:59", "defer", "outside_window", "2026-11-24 09:05"),
    ("zz", ["Asia/Kathmandu"], "2026-11-24 18:54:59", "send", "permitted", None),
    # United Kingdom: Sundays and bank holidays 10:00-18:00, substitute days too.
    ("uk", [LONDON], "2026-11-24 08:05", "send", "permitted", None),
    ("uk", [LONDON], "2026-11-22 09:00", "defer", "outside_window", "2026-11-22 10:05"),
    ("uk", [LONDON], "2026-11-22 17:55", "defer", "outside_window", "2026-11-23 08:05"),
    ("uk", [LONDON], "2026-12-25 09:00", "defer", "holiday", "2026-12-25 10:05"),
    ("uk", [LONDON], "2026-12-28 09:00", "defer", "holiday", "2026-12-28 10:05"),  # Boxing Day, a Saturday, moved
    ("uk", [LONDON], "2026-12-28 11:00", "send", "permitted", None),
    ("uk", [], "2026-12-01 11:00", "send", "permitted", None),  # one zone, so it need not be stated
    ("gb", [LONDON], "2026-12-01 07:00", "defer", "outside_window", "2026-12-01 08:05"),
    # A jurisdiction that no pack names: the strictest hours.
    ("zz", ["Europe/Paris"], "2026-11-24 09:04", "defer", "outside_window", "2026-11-24 09:05"),
    ("zz", ["Europe/Paris"], "2026-11-24 18:55", "defer", "outside_window", "2026-11-25 09:05"),
    ("zz", ["Europe/Paris"], "2026-11-24 12:00", "send", "permitted", None),
    # A legal single zone is added to what the borrower states, never replaced by it.
    ("cn", ["Asia/Urumqi"], "2026-11-24 07:00", "defer", "outside_window", "2026-11-24 08:05"),
    ("tw", [NEW_YORK], "2026-11-24 06:00", "defer", "outside_window", "2026-11-24 19:00"),
]


@pytest.mark.parametrize(("jurisdiction", "zones", "now", "verdict", "reason", "until"), WINDOWS)
def test_contact_windows(
    jurisdiction: str, zones: list[str], now: str, verdict: str, reason: str, until: str | None
) -> None:
    """The hours of each pack, at their edges, in every zone the borrower may be in."""
    place = zones[0] if zones and zone(zones[0]) else "UTC"
    expected = at(until, place) if until else None
    assert said(notification(jurisdiction, *zones), at(now, place)) == (verdict, reason, expected)


@pytest.mark.parametrize(
    ("windows", "now", "verdict", "until"),
    [
        ((("18:00", "20:00"),), "2026-11-24 17:00", "defer", "2026-11-24 18:00"),
        ((("18:00", "20:00"),), "2026-11-24 18:00", "send", None),
        ((("18:00", "20:00"),), "2026-11-24 20:00", "defer", "2026-11-25 18:00"),
        ((("22:00", "06:00"),), "2026-11-24 12:00", "review", None),  # night shift: never within the law's hours
        ((("20:00", "09:00"),), "2026-11-24 12:00", "defer", "2026-11-24 20:00"),
        ((("20:00", "09:00"),), "2026-11-24 21:30", "defer", "2026-11-25 08:00"),
        ((("20:00", "09:00"),), "2026-11-24 08:30", "send", None),
        ((("10:00", "10:00"),), "2026-11-24 10:00", "review", None),  # opens when it closes: never
        ((("09:00", "10:00"), ("19:00", "20:00")), "2026-11-24 12:00", "defer", "2026-11-24 19:00"),
    ],
)
def test_borrowers_own_hours(windows: tuple[tuple[str, str], ...], now: str, verdict: str, until: str | None) -> None:
    """What the borrower asked for narrows the permitted hours, across midnight too."""
    made = notification("tw", TAIPEI, windows=windows)
    kind, _, when = said(made, at(now, TAIPEI))
    assert (kind, when) == (verdict, at(until, TAIPEI) if until else None)


def _day(hour: str, day: int = 24) -> datetime:
    return at(f"2026-11-{day:02d} {hour}", TAIPEI)


CAPS = [
    ("first of the day", [], _day("10:00"), "send", "permitted", None),
    ("within the gap", [contact(_day("09:00"))], _day("12:59:59"), "defer", "min_gap", _day("13:00")),
    ("after the gap", [contact(_day("09:00"))], _day("13:00"), "send", "permitted", None),
    ("gap ends at night", [contact(_day("20:00"))], _day("20:30"), "defer", "min_gap", _day("08:00", 25)),
    (
        "two SMS a day",
        [contact(_day("08:10")), contact(_day("12:20"))],
        _day("17:00"),
        "defer",
        "cap_borrower",
        _day("08:00", 25),
    ),
    (
        "three of any kind a day",
        [contact(_day("08:00"), "email"), contact(_day("12:00"), "email"), contact(_day("16:00"), "email")],
        _day("20:30"),
        "defer",
        "cap_borrower",
        _day("08:00", 25),
    ),
    (
        "yesterday does not count today",
        [contact(_day("08:10", 23)), contact(_day("12:20", 23))],
        _day("08:30"),
        "send",
        "permitted",
        None,
    ),
    (
        "in-app disturbs nobody",
        [contact(_day("09:00"), "inapp"), contact(_day("09:30"), "inapp"), contact(_day("09:45"), "inapp")],
        _day("10:00"),
        "send",
        "permitted",
        None,
    ),
    (
        "seven for one case in seven days, day one counts",
        [contact(_day("10:00", day), "email") for day in range(17, 24)],
        _day("10:00"),
        "send",
        "permitted",
        None,
    ),
    (
        "the eighth within seven dates waits for the next date",
        [contact(_day("10:00", day), "email") for day in range(18, 24)] + [contact(_day("15:00", 23), "email")],
        _day("10:00"),
        "defer",
        "cap_case",
        _day("08:00", 25),
    ),
    (
        "another case has its own cap",
        [contact(_day("10:00", day), "email", case="C2") for day in range(18, 24)]
        + [contact(_day("15:00", 23), "email", case="C2")],
        _day("10:00"),
        "send",
        "permitted",
        None,
    ),
    (
        "its own earlier step is the same reminder",
        [contact(_day("10:00"), of="n1")],
        _day("10:30"),
        "send",
        "permitted",
        None,
    ),
]


@pytest.mark.parametrize(("name", "contacts", "now", "verdict", "reason", "until"), CAPS, ids=[row[0] for row in CAPS])
def test_caps_and_gap(
    name: str, contacts: list[Contact], now: datetime, verdict: str, reason: str, until: datetime | None
) -> None:
    """How often a borrower may be contacted, and the first instant at which the next contact fits."""
    made = notification("tw", TAIPEI)
    assert said(made, now, facts=Facts(contacts=tuple(contacts))) == (verdict, reason, until)


def test_a_gap_in_elapsed_time_is_not_a_gap_on_the_clock() -> None:
    """Twenty-four hours across a change of the clocks are twenty-four hours, not the same time of day."""
    last = at("2027-03-13 20:00", NEW_YORK)
    facts = Facts(contacts=(contact(last, "sms"),))
    kind, reason, until = said(notification("us", NEW_YORK), at("2027-03-14 20:30", NEW_YORK), facts=facts)
    assert (kind, reason) == ("defer", "min_gap")
    assert until == at("2027-03-15 08:05", NEW_YORK)  # 21:00 on the 14th, when the window has closed


def test_seven_consecutive_days_count_dates_not_hours() -> None:
    """Two SMS in seven dates: the first one's date leaves when the seventh date after it begins."""
    first, second = at("2026-11-17 18:00", NEW_YORK), at("2026-11-19 18:00", NEW_YORK)
    facts = Facts(contacts=(contact(first), contact(second)))
    made = notification("us", NEW_YORK)
    assert said(made, at("2026-11-23 12:00", NEW_YORK), facts=facts) == (
        "defer",
        "cap_borrower",
        at("2026-11-24 08:05", NEW_YORK),
    )
    assert said(made, at("2026-11-24 08:05", NEW_YORK), facts=facts)[0] == "send"


HOLDS = [
    (HoldKind.DISPUTE, "defer", at("2026-12-01 12:00", TAIPEI)),
    (HoldKind.BREATHING_SPACE, "defer", at("2026-12-01 12:00", TAIPEI)),
    (HoldKind.PLAN_IN_PLACE, "defer", at("2026-12-01 12:00", TAIPEI)),
    (HoldKind.COMPLAINT_OPEN, "defer", at("2026-12-01 12:00", TAIPEI)),
    (HoldKind.DEBT_ADVISER, "defer", at("2026-12-01 12:00", TAIPEI)),
    (HoldKind.DISASTER, "defer", at("2026-12-01 12:00", TAIPEI)),
    (HoldKind.BEREAVEMENT, "defer", at("2026-12-01 12:00", TAIPEI)),
    (HoldKind.PROMISE_TO_PAY, "defer", at("2026-12-01 12:00", TAIPEI)),
    (HoldKind.PAYMENT_REPORTED, "defer", at("2026-12-01 12:00", TAIPEI)),
    (HoldKind.ATTORNEY, "suppress", None),
    (HoldKind.CEASE, "suppress", None),
    (HoldKind.BANKRUPTCY, "suppress", None),
    (HoldKind.DECEASED, "suppress", None),
    (HoldKind.WRONG_PARTY, "suppress", None),
    (HoldKind.VULNERABLE, "review", None),
    (HoldKind.MENTAL_CAPACITY, "review", None),
]


@pytest.mark.parametrize(("kind", "verdict", "until"), HOLDS, ids=[row[0] for row in HOLDS])
def test_holds(kind: HoldKind, verdict: str, until: datetime | None) -> None:
    """Each kind of hold keeps the borrower in peace: until its end, for good, or until a person decides."""
    hold = Hold(kind, _day("00:00", 1), at("2026-12-01 12:00", TAIPEI))
    made = notification("tw", TAIPEI)
    assert said(made, _day("10:00"), facts=Facts(holds=(hold,))) == (verdict, "hold", until)
    # It begins, it ends, and it is for its own case only.
    assert said(made, at("2026-12-01 12:00", TAIPEI), facts=Facts(holds=(hold,)))[0] == "send"
    later = replace(hold, start=_day("10:00", 25), end=None)
    assert said(made, _day("10:00"), facts=Facts(holds=(later,)))[0] == "send"
    assert said(made, _day("10:00"), facts=Facts(holds=(replace(hold, case_id="C2"),)))[0] == "send"


def test_a_review_ends_with_the_hold_that_asked_for_it() -> None:
    """Who was vulnerable until a day is looked at again then, without anybody's doing; without an end, never."""
    made = notification("tw", TAIPEI)
    first = Hold(HoldKind.VULNERABLE, _day("00:00", 1), _day("12:00", 30))
    second = replace(first, end=_day("18:00", 30), case_id="C1")
    asked = decide(made, "sms", Facts(holds=(first, second)), PACKS, _day("10:00"))
    assert (asked.kind, asked.until, asked.valid_until) == ("review", None, _day("18:00", 30))
    assert decide(made, "sms", Facts(holds=(replace(first, end=None),)), PACKS, _day("10:00")).valid_until is None
    assert decide(notification("us"), "sms", Facts(holds=(first,)), PACKS, _day("10:00")).valid_until == first.end


def test_every_hold_has_a_rule() -> None:
    """No kind of hold exists that the packs say nothing about."""
    assert {row[0] for row in HOLDS} == set(HoldKind)


def test_a_hold_may_end_far_ahead_or_not_at_all() -> None:
    """A hold that ends in three months defers until then; one without an end until it is looked at again."""
    made = notification("tw", TAIPEI)
    far = Hold(HoldKind.DISPUTE, _day("00:00", 1), at("2027-02-20 23:00", TAIPEI))
    assert said(made, _day("10:00"), facts=Facts(holds=(far,))) == ("defer", "hold", at("2027-02-21 08:00", TAIPEI))
    open_ended = replace(far, end=None)
    assert said(made, _day("10:00"), facts=Facts(holds=(open_ended,))) == (
        "defer",
        "hold",
        _day("10:00") + timedelta(days=30),
    )


def test_a_schedule_far_ahead_still_waits_for_the_window() -> None:
    """Asked for in ten weeks, at night: the morning after."""
    made = notification("tw", TAIPEI, send_at=at("2027-02-02 23:30", TAIPEI))
    assert said(made, _day("10:00")) == ("defer", "scheduled", at("2027-02-03 08:00", TAIPEI))


@pytest.mark.parametrize("kind", [HoldKind.BREATHING_SPACE, HoldKind.CEASE, HoldKind.BANKRUPTCY])
def test_what_the_law_stops_it_stops_for_service_messages_too(kind: HoldKind) -> None:
    """The law exempts named notices, not whatever a lender calls service."""
    hold = Hold(kind, _day("00:00", 1), _day("10:00", 30))
    made = notification("tw", TAIPEI, category=Category.SERVICE)
    assert said(made, _day("10:00"), facts=Facts(holds=(hold,)))[0] in ("defer", "suppress")


def test_who_has_moved_since_is_written_to_where_it_is_day_in_both_places() -> None:
    """A request that waited holds the old zone; what the latest request states is a possible one as well."""
    made = notification("us", NEW_YORK)
    moved = Facts(stated=DeclaredPreferences((LOS_ANGELES,)))
    morning = at("2026-11-24 09:00", NEW_YORK)
    assert said(made, morning, facts=Facts(stated=DeclaredPreferences((NEW_YORK,))))[0] == "send"
    assert said(made, morning, facts=moved) == ("defer", "outside_window", at("2026-11-24 08:05", LOS_ANGELES))
    found = decide(made, "sms", moved, PACKS, morning, address_digest="digest")
    assert found.time_zones == (NEW_YORK, LOS_ANGELES)
    assert said(made, morning, facts=Facts(stated=DeclaredPreferences(("Nowhere/Land",))))[:2] == (
        "review",
        "unknown_zone",
    )


def test_a_wish_of_today_holds_for_what_was_accepted_yesterday() -> None:
    """The hours that the latest request states narrow those of an earlier one, and end its permission."""
    evening = Facts(stated=DeclaredPreferences((TAIPEI,), (("18:00", "20:00"),)))
    made = notification("tw", TAIPEI)
    assert said(made, _day("10:00"), facts=evening) == ("defer", "borrower_wish", _day("18:00"))
    narrower = notification("tw", TAIPEI, windows=(("09:00", "10:00"), ("19:00", "21:00")))
    assert said(narrower, _day("09:30"), facts=evening) == ("defer", "borrower_wish", _day("19:00"))
    assert decide(narrower, "sms", evening, PACKS, _day("19:30")).valid_until == _day("20:00")
    never = notification("tw", TAIPEI, windows=(("09:00", "10:00"),))
    assert said(never, _day("09:30"), facts=evening)[:2] == ("review", "no_common_window")


def test_hours_that_a_borrower_chose_narrow_all_others() -> None:
    """They hold beside those that the requests state; where none are left in common, that is known before."""
    made = notification("tw", TAIPEI, windows=(("09:00", "19:00"),))
    chosen = Facts(chosen=ChosenPreferences((("18:00", "20:00"),)))
    assert said(made, _day("10:00"), facts=chosen) == ("defer", "borrower_wish", _day("18:00"))
    assert decide(made, "sms", chosen, PACKS, _day("18:30")).valid_until == _day("19:00")
    assert has_common_hours(made, "sms", chosen, PACKS, _day("10:00"))
    night = Facts(chosen=ChosenPreferences((("22:00", "23:00"),)))
    assert not has_common_hours(made, "sms", night, PACKS, _day("10:00"))


def test_an_unknown_zone_denies_every_channel() -> None:
    """Nobody is written to whose time of day is unknown, not even in the app."""
    assert said(notification("us"), _day("10:00"), channel="inapp")[:2] == ("review", "unknown_zone")


def test_an_opt_out_holds_where_the_address_is_not_known() -> None:
    """Without the address's digest the opted-out one may be meant."""
    facts = Facts(opt_outs=(OptOut(_day("09:00"), "sms", "digest"),))
    assert decide(notification("tw", TAIPEI), "sms", facts, PACKS, _day("10:00")).kind == "suppress"


def test_a_service_message_passes_a_plan_and_a_dispute() -> None:
    """What helps a borrower with a plan is not held back by the plan."""
    hold = Hold(HoldKind.PLAN_IN_PLACE, _day("00:00", 1))
    made = notification("tw", TAIPEI, category=Category.SERVICE)
    assert said(made, _day("10:00"), facts=Facts(holds=(hold,)))[0] == "send"


@pytest.mark.parametrize(
    ("opt_out", "channel", "verdict"),
    [
        (OptOut(_day("09:00")), "sms", "suppress"),
        (OptOut(_day("09:00")), "inapp", "suppress"),
        (OptOut(_day("09:00"), "sms"), "sms", "suppress"),
        (OptOut(_day("09:00"), "sms"), "email", "send"),
        (OptOut(_day("09:00"), "sms", "digest"), "sms", "suppress"),
        (OptOut(_day("09:00"), "sms", "another"), "sms", "send"),
        (OptOut(_day("09:00"), category=Category.PROMOTIONAL), "sms", "send"),
        (OptOut(_day("09:00"), "sms", provisional=True), "sms", "review"),
    ],
)
def test_opt_outs(opt_out: OptOut, channel: str, verdict: str) -> None:
    """A no to an address, a channel, a category or everything holds exactly as far as it was said."""
    facts = Facts(opt_outs=(opt_out,))
    assert said(notification("tw", TAIPEI), _day("10:00"), channel=channel, facts=facts)[0] == verdict


@pytest.mark.parametrize(
    ("changes", "facts", "verdict", "reason"),
    [
        ({}, Facts(case_closed=True), "suppress", "case_closed"),
        ({"audience": "guarantor"}, Facts(), "send", "permitted"),
        ({"audience": "third_party"}, Facts(), "suppress", "third_party"),
        ({"audience": "related_third_party"}, Facts(), "suppress", "third_party"),
        ({"category": Category.PROMOTIONAL}, Facts(), "suppress", "no_consent"),
        ({"category": Category.PROMOTIONAL}, Facts(consents=frozenset({Category.PROMOTIONAL})), "send", "permitted"),
        ({"send_at": _day("12:00")}, Facts(), "defer", "scheduled"),
        ({"send_at": _day("12:00"), "expires_at": _day("11:00")}, Facts(), "suppress", "expires_first"),
        ({"send_at": _day("09:00")}, Facts(), "send", "permitted"),
        ({"expires_at": _day("09:00")}, Facts(), "suppress", "expires_first"),
        ({}, Facts(contacts=(contact(_day("10:00") + timedelta(seconds=1)),)), "defer", "min_gap"),
    ],
)
def test_other_reasons(changes: dict[str, object], facts: Facts, verdict: str, reason: str) -> None:
    """Closed cases, third parties, missing consent, schedules and expiry."""
    assert said(notification("tw", TAIPEI, **changes), _day("10:00"), facts=facts)[:2] == (verdict, reason)


@pytest.mark.parametrize(
    ("jurisdiction", "zone_name", "channel", "text", "verdict", "reason"),
    [
        ("us", NEW_YORK, "sms", "You owe us. Reply STOP to opt out.", "send", "permitted"),
        ("us", NEW_YORK, "sms", "You owe us.", "suppress", "opt_out_text_missing"),
        ("us", NEW_YORK, "inapp", "You owe us.", "send", "permitted"),
        ("cn", SHANGHAI, "sms", "您好", "send", "permitted"),
        ("cn", SHANGHAI, "sms", "您好,拒收请回复R", "suppress", "opt_out_text_forbidden"),
        ("tw", TAIPEI, "sms", "您好", "send", "permitted"),
    ],
)
def test_opt_out_text(jurisdiction: str, zone_name: str, channel: str, text: str, verdict: str, reason: str) -> None:
    """A line that one law requires is forbidden elsewhere."""
    made = notification(jurisdiction, zone_name)
    assert said(made, at("2026-11-24 12:00", zone_name), channel=channel, text=text)[:2] == (verdict, reason)


def test_a_provider_that_may_not_carry_it() -> None:
    """A channel whose providers may not carry the category is not used."""
    verdict = decide(
        notification("tw", TAIPEI), "sms", Facts(), PACKS, _day("10:00"), capability_categories=frozenset({"service"})
    )
    assert (verdict.kind, verdict.reason) == ("suppress", "provider_incapable")


_STALE = _day("10:00") - timedelta(days=60)


@pytest.mark.parametrize(
    ("jurisdiction", "confirmed", "known", "verdict", "reason"),
    [
        ("tw", None, AddressFacts(suppressed="wrong_party"), "suppress", "address_suppressed"),
        ("us", _STALE, None, "suppress", "address_stale"),
        ("us", _STALE + timedelta(microseconds=1), None, "send", "permitted"),
        ("us", _STALE, AddressFacts(confirmed_at=_day("09:00")), "send", "permitted"),
        ("us", None, None, "send", "permitted"),
        ("tw", _STALE, None, "send", "permitted"),
    ],
)
def test_what_is_known_of_the_address(
    jurisdiction: str, confirmed: datetime | None, known: AddressFacts | None, verdict: str, reason: str
) -> None:
    """A number that was suppressed, or that nobody confirmed for 60 days where that counts, is not used."""
    made = notification(jurisdiction, HONOLULU if jurisdiction == "us" else TAIPEI)
    made = replace(made, borrower=replace(made.borrower, confirmed={"sms": confirmed} if confirmed else {}))
    now = at("2026-11-24 12:00", HONOLULU) if jurisdiction == "us" else _day("10:00")
    shift = now - _day("10:00")
    if confirmed is not None:
        made = replace(made, borrower=replace(made.borrower, confirmed={"sms": confirmed + shift}))
    facts = Facts(addresses={"digest": known} if known else {})
    assert said(made, now, facts=facts, text="Reply STOP to opt out")[:2] == (verdict, reason)


def test_a_persons_approval_answers_only_the_question_that_was_asked() -> None:
    """What was reviewed and approved is sent; an approval of something else, or beside an opt-out, counts nothing."""
    made = notification("tw", TAIPEI)
    hold = Hold(HoldKind.VULNERABLE, _day("00:00", 1), None)
    asked = decide(made, "sms", Facts(holds=(hold,)), PACKS, _day("10:00"))
    assert asked.kind == "review"
    again = decide(made, "sms", Facts(holds=(hold,)), PACKS, _day("10:00"), approved=asked.reason)
    assert again.kind == "send"
    assert decide(made, "sms", Facts(holds=(hold,)), PACKS, _day("10:00"), approved="unknown_zone").kind == "review"
    gone = Facts(holds=(hold,), opt_outs=(OptOut("all"),))
    assert decide(made, "sms", gone, PACKS, _day("10:00"), approved=asked.reason).kind == "suppress"


def test_validity_ends_with_the_window() -> None:
    """The provider is told not to deliver after the permitted hours."""
    verdict = decide(notification("in", KOLKATA), "sms", Facts(), PACKS, at("2026-11-24 12:00", KOLKATA))
    assert verdict.valid_until == at("2026-11-24 18:55", KOLKATA)


def test_a_message_for_the_app_waits_for_no_window_but_for_a_hold() -> None:
    """In-app rings nowhere, so it may come at night; a hold still holds it."""
    made = notification("tw", TAIPEI)
    assert said(made, _day("03:00"), channel="inapp")[0] == "send"
    hold = Hold(HoldKind.DISPUTE, _day("00:00", 1), _day("10:00", 30))
    assert said(made, _day("03:00"), channel="inapp", facts=Facts(holds=(hold,)))[0] == "defer"


def test_verdict_names_packs_zones_and_authorities() -> None:
    """The evidence: which version of which pack, by what authority, with which zone data."""
    verdict = decide(notification("tw", TAIPEI), "sms", Facts(), PACKS, _day("10:00") + timedelta(seconds=1))
    assert [name for name, _, _ in verdict.packs] == ["default", "tw"]
    assert all(len(sha) == 64 for _, _, sha in verdict.packs)
    assert verdict.time_zones == (TAIPEI,)
    assert decide(notification("tw"), "sms", Facts(), PACKS, _day("10:00")).time_zones == (TAIPEI,)
    assert verdict.tzdata
    assert all(rule.authority and rule.pack and rule.version for rule in verdict.rules)


def test_an_open_ended_deferral_is_a_field_and_not_the_end_of_a_sentence() -> None:
    """A rule that defers without a known end is evaluated again at its ``until``, whatever its detail says."""

    class Never(Rule):
        """Defers for ten days, again and again."""

        __slots__ = ()

        def evaluate(self, context: EvaluationContext, t: datetime) -> RuleResult | None:
            return self.origin.defer(PolicyReason.HOLD, t + timedelta(days=10), "under way", open_ended=True)

    [pack] = PACKS.by_name["tw"]
    packs = PACKS.with_pack(replace(pack, rules=(*pack.rules, Never(Origin("never")))))
    verdict = decide(notification("tw", TAIPEI), "sms", Facts(), packs, _day("10:00"))
    assert (verdict.kind, verdict.until) == ("defer", _day("10:00") + timedelta(days=10))
    open_ended = Hold(HoldKind.DISPUTE, _day("00:00", 1))
    for hold, expected in ((open_ended, True), (replace(open_ended, end=_day("10:00", 30)), False)):
        rules = decide(notification("tw", TAIPEI), "sms", Facts(holds=(hold,)), PACKS, _day("10:00")).rules
        assert [each.open_ended for each in rules if each.reason == "hold"] == [expected]


@pytest.mark.parametrize(
    ("channel", "category", "given", "verdict", "reason"),
    [
        ("whatsapp", Category.SERVICE, set(), "suppress", "no_consent"),
        ("whatsapp", Category.SERVICE, {("whatsapp", Category.SERVICE)}, "send", "permitted"),
        ("whatsapp", Category.SERVICE, {("sms", Category.SERVICE)}, "suppress", "no_consent"),
        ("whatsapp", Category.SERVICE, {("whatsapp", Category.COLLECTIONS)}, "suppress", "no_consent"),
        ("whatsapp", Category.COLLECTIONS, set(), "send", "permitted"),  # the channel asks for none
        ("sms", Category.SERVICE, set(), "send", "permitted"),
    ],
)
def test_a_channel_that_wants_consent_is_used_with_consent_to_it_alone(
    channel: str, category: Category, given: set[tuple[str, Category]], verdict: str, reason: str
) -> None:
    """A consent to the category, or to another channel, is none; the channel names the categories."""
    facts = Facts(consents=frozenset(Category), channel_consents=frozenset(given))
    needed = frozenset({"service"}) if channel == "whatsapp" else frozenset[str]()
    made = replace(notification("tw", TAIPEI), category=category)
    decided = decide(made, channel, facts, PACKS, _day("10:00"), consent_categories=needed)
    assert (decided.kind, decided.reason) == (verdict, reason)
    assert ("channel_consent" in {each.rule for each in decided.rules}) is (category in needed)


@pytest.mark.parametrize(
    ("channel", "category", "applies"),
    [
        ("whatsapp", "collections", True),
        ("line", "collections", True),
        ("whatsapp", "service", False),
        ("sms", "collections", False),
    ],
)
def test_a_pack_may_want_consent_to_more_channels(channel: str, category: str, applies: bool) -> None:
    """By its section ``channel_consent``; it can't release what a channel wants."""
    mark = {"authority": "our_choice", "seen": "not_applicable", "source": "our choice"}
    section = {"channels": ["whatsapp", "line"], "categories": ["collections"], "mark": mark}
    [rule] = wishes.rules(PackSection("made", "1", {"channel_consent": [section]}))
    assert rule.applies_to(category, channel) is applies
    context = EvaluationContext(notification("tw", TAIPEI), channel, Facts())
    denied = rule.evaluate(context, _day("10:00"))
    assert denied is not None
    assert (denied.verdict, denied.reason, denied.pack) == ("suppress", "no_consent", "made")
