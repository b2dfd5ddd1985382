"""Clocks by example: changes of the clocks, midnights that are missing or come twice, weeks, holidays and dates.

Packs here permit every hour but for what the example is about; the shipped packs are in test_policy_table.py.
Where a country decides on its clocks from year to year, the example is of a year that has passed.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta, tzinfo

import pytest

from gateway.core.facts import Facts, Hold
from gateway.core.reasons import HoldKind
from gateway.policy import Packs, decide
from gateway.policy.intervals import ContactHours, next_opening, parse_hours
from tests.support.rules.made_packs import MARK, cap, packs, window
from tests.support.rules.policy_cases import LONDON, NEW_YORK, PACKS, at, contact, notification

OPEN = packs()
ONE_A_DAY = packs(caps=[cap("borrower", "calendar_day", 1)])


def said(
    zone: str,
    now: datetime,
    chosen: Packs = OPEN,
    *,
    windows: tuple[tuple[str, str], ...] = (),
    contacts: tuple[datetime, ...] = (),
) -> tuple[str, str, datetime | None]:
    facts = Facts(contacts=tuple(contact(each) for each in contacts))
    verdict = decide(notification("zz", zone, windows=windows), "sms", facts, chosen, now, address_digest="digest")
    return verdict.kind, verdict.reason, verdict.until


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


# (zone, the borrower's own hours, now in UTC, until in UTC or None for send)
WISHES = [
    # New York, 2027-03-14: 02:00 to 03:00 does not exist. Hours that open in the gap open at its end.
    (NEW_YORK, ("02:30", "04:00"), "2027-03-14 06:59:59.999", "2027-03-14 07:00"),
    (NEW_YORK, ("02:30", "04:00"), "2027-03-14 07:00", None),
    (NEW_YORK, ("02:30", "04:00"), "2027-03-14 07:59:59.999", None),
    (NEW_YORK, ("02:30", "04:00"), "2027-03-14 08:00", "2027-03-15 06:30"),
    (NEW_YORK, ("01:00", "02:30"), "2027-03-14 06:59:59.999", None),
    (NEW_YORK, ("01:00", "02:30"), "2027-03-14 07:00", "2027-03-15 05:00"),
    # Hours that lie in the gap altogether don't open that day.
    (NEW_YORK, ("02:15", "02:45"), "2027-03-14 05:00", "2027-03-15 06:15"),
    # 2027-11-07: 01:00 to 02:00 comes twice, and so do hours inside it.
    (NEW_YORK, ("01:15", "01:45"), "2027-11-07 05:30", None),
    (NEW_YORK, ("01:15", "01:45"), "2027-11-07 05:45", "2027-11-07 06:15"),
    (NEW_YORK, ("01:15", "01:45"), "2027-11-07 06:30", None),
    (NEW_YORK, ("01:15", "01:45"), "2027-11-07 06:45", "2027-11-08 06:15"),
    # Across both occurrences it is one stretch.
    (NEW_YORK, ("00:30", "02:30"), "2027-11-07 06:00", None),
    (NEW_YORK, ("00:30", "02:30"), "2027-11-07 07:29:59.999", None),
    (NEW_YORK, ("00:30", "02:30"), "2027-11-07 07:30", "2027-11-08 05:30"),
    # A night shift's hours over the change: by the wall clock, an hour shorter or longer.
    (NEW_YORK, ("22:00", "02:30"), "2027-03-14 06:59:59.999", None),
    (NEW_YORK, ("22:00", "02:30"), "2027-03-14 07:00", "2027-03-15 02:00"),
    (NEW_YORK, ("22:00", "06:00"), "2027-11-07 10:59:59.999", None),
    (NEW_YORK, ("22:00", "06:00"), "2027-11-07 11:00", "2027-11-08 03:00"),
    # Lord Howe moves by half an hour: 01:30 to 02:00 comes twice on 2027-04-04, 02:00 to 02:30 is missing on 10-03.
    ("Australia/Lord_Howe", ("01:45", "02:15"), "2027-04-03 14:50", None),
    ("Australia/Lord_Howe", ("01:45", "02:15"), "2027-04-03 15:00", "2027-04-03 15:15"),
    ("Australia/Lord_Howe", ("01:45", "02:15"), "2027-04-03 15:44:59.999", None),
    ("Australia/Lord_Howe", ("02:10", "03:00"), "2027-10-02 15:29:59.999", "2027-10-02 15:30"),
    # Casablanca put its clocks back for Ramadan 2025 (02-23) and forward after it (04-06).
    ("Africa/Casablanca", ("09:00", "10:00"), "2025-02-22 10:00", "2025-02-23 09:00"),
    ("Africa/Casablanca", ("09:00", "10:00"), "2025-04-05 12:00", "2025-04-06 08:00"),
    # A quarter of an hour off, and no change at all.
    ("Asia/Kathmandu", ("09:00", "10:00"), "2027-03-14 03:14:59.999", "2027-03-14 03:15"),
    ("America/Phoenix", ("09:00", "10:00"), "2027-03-14 15:59:59.999", "2027-03-14 16:00"),
    # Equal ends: closed, so there is no hour to wait for.
    (NEW_YORK, ("08:00", "08:00"), "2027-06-01 12:00", "review"),
]


@pytest.mark.parametrize(("zone", "hours", "now", "until"), WISHES)
def test_the_borrowers_hours_are_those_on_the_wall(
    zone: str, hours: tuple[str, str], now: str, until: str | None
) -> None:
    """Hours that open in a gap open at its end; hours in a repeated hour are open twice."""
    kind, _, when = said(zone, utc(now), windows=(hours,))
    if until == "review":
        assert (kind, when) == ("review", None)
    else:
        assert (kind, when) == ("defer", utc(until)) if until else ("send", None)


# (zone, a contact, now, until or None for send), all in UTC; one contact a day is allowed.
DAYS = [
    # Midnight does not exist: the date begins with its first existing instant, 01:00.
    ("America/Havana", "2025-03-09 03:00", "2025-03-09 04:59:59.999", "2025-03-09 05:00"),
    ("Asia/Beirut", "2025-03-29 20:00", "2025-03-29 21:00", "2025-03-29 22:00"),
    ("Africa/Cairo", "2025-04-24 20:00", "2025-04-24 21:59:59", "2025-04-24 22:00"),
    ("America/Santiago", "2025-09-07 01:00", "2025-09-07 03:30", "2025-09-07 04:00"),
    # The hour before midnight comes twice: the date goes on.
    ("Asia/Beirut", "2025-10-25 10:00", "2025-10-25 21:30", "2025-10-25 22:00"),
    ("Africa/Cairo", "2025-10-30 10:00", "2025-10-30 21:30", "2025-10-30 22:00"),
    ("America/Santiago", "2025-04-05 15:00", "2025-04-06 03:30", "2025-04-06 04:00"),
    # The hour after midnight comes twice: the date has begun with the first of them, and does not begin again.
    ("America/Havana", "2025-11-02 03:30", "2025-11-02 04:00", None),
    ("America/Havana", "2025-11-02 04:30", "2025-11-02 05:30", "2025-11-03 05:00"),
    # A day of 23 and one of 25 hours.
    (NEW_YORK, "2027-03-14 06:00", "2027-03-15 03:59:59.999", "2027-03-15 04:00"),
    (NEW_YORK, "2027-11-07 05:00", "2027-11-08 04:59:59.999", "2027-11-08 05:00"),
    # By UTC's dates these two would be on different ones, by Guam's on the same.
    ("Pacific/Guam", "2027-01-14 23:00", "2027-01-15 01:00", "2027-01-15 14:00"),
]


@pytest.mark.parametrize(("zone", "contacted", "now", "until"), DAYS)
def test_a_calendar_day_begins_with_its_first_existing_instant(
    zone: str, contacted: str, now: str, until: str | None
) -> None:
    """One contact a day, where midnight is missing, comes twice, or lies elsewhere than in UTC."""
    expected = ("defer", "cap_borrower", utc(until)) if until else ("send", "permitted", None)
    assert said(zone, utc(now), ONE_A_DAY, contacts=(utc(contacted),)) == expected


# (kind, period, a contact, now, until), New York's clocks; one contact a period is allowed.
PERIODS = [
    # A conversation on Tuesday: the following Tuesday, not 168 hours later.
    ("consecutive_days", 7, "2026-11-24 15:00", "2026-11-30 23:59:59.999", "2026-12-01 00:00"),
    ("rolling_hours", 168, "2026-11-24 15:00", "2026-12-01 14:59", "2026-12-01 15:00"),
    ("consecutive_days", 1, "2026-11-24 15:00", "2026-11-24 23:00", "2026-11-25 00:00"),
    # Twenty-four hours are elapsed ones: 21:00 after the clocks went forward, 19:00 after they went back.
    ("rolling_hours", 24, "2027-03-13 20:00", "2027-03-14 20:00", "2027-03-14 21:00"),
    ("rolling_hours", 24, "2027-11-06 20:00", "2027-11-07 18:00", "2027-11-07 19:00"),
    # A calendar week begins on Monday, across the New Year too.
    ("calendar_week", 1, "2026-12-30 10:00", "2027-01-03 23:59:59", "2027-01-04 00:00"),
    ("calendar_week", 1, "2026-12-28 00:00", "2027-01-01 12:00", "2027-01-04 00:00"),
    # The clocks change within the seven dates.
    ("consecutive_days", 7, "2027-03-10 10:00", "2027-03-16 22:00", "2027-03-17 00:00"),
    ("anchored", 24, "2027-03-13 20:00", "2027-03-14 20:00", "2027-03-14 21:00"),
]


@pytest.mark.parametrize(("kind", "period", "contacted", "now", "until"), PERIODS)
def test_periods_end_by_dates_or_by_elapsed_hours(kind: str, period: int, contacted: str, now: str, until: str) -> None:
    """Dates are counted on the borrower's calendar with the contact's date as day one, hours as they elapse."""
    chosen = packs(caps=[cap("borrower", kind, 1, period)])
    expected = ("defer", "cap_borrower", at(until, NEW_YORK))
    assert said(NEW_YORK, at(now, NEW_YORK), chosen, contacts=(at(contacted, NEW_YORK),)) == expected
    assert said(NEW_YORK, at(until, NEW_YORK), chosen, contacts=(at(contacted, NEW_YORK),))[0] == "send"


def test_the_same_reading_of_the_clock_twice_is_two_instants() -> None:
    """01:30 before and after the clocks go back compare equal as local times; they are an hour apart."""
    first, second = utc("2027-11-07 05:30"), utc("2027-11-07 06:30")
    chosen = packs(min_gap={"value_minutes": 60, "mark": MARK})
    assert said(NEW_YORK, second - timedelta(milliseconds=1), chosen, contacts=(first,))[2] == second
    assert said(NEW_YORK, second, chosen, contacts=(first,))[0] == "send"


EXCLUSIVE = packs(windows={"collections": window("08:00-21:00", ends_exclusive=True)})
# Microseconds are the smallest step of our clock.
EDGES = [
    ("2026-11-24 07:59:59.999", "defer", "2026-11-24 08:00:00.000001"),
    ("2026-11-24 08:00", "defer", "2026-11-24 08:00:00.000001"),
    ("2026-11-24 08:00:00.001", "send", None),
    ("2026-11-24 20:59:59.999", "send", None),
    ("2026-11-24 21:00", "defer", "2026-11-25 08:00:00.000001"),
]


@pytest.mark.parametrize(("now", "kind", "until"), EDGES)
def test_a_window_whose_ends_the_law_excludes(now: str, kind: str, until: str | None) -> None:
    """After eight and before nine, as the statute has it: neither end belongs to it."""
    found = said(NEW_YORK, at(now, NEW_YORK), EXCLUSIVE)
    assert (found[0], found[2]) == (kind, at(until, NEW_YORK) if until else None)


HOURS = packs(windows={"collections": window("08:00-21:00"), "india": window("08:00-19:00", categories=["service"])})
SHARED = [
    ([NEW_YORK, "America/Los_Angeles"], "2027-01-13", [10]),
    ([NEW_YORK, "Pacific/Honolulu"], "2027-01-13", [8]),
    ([NEW_YORK, "Pacific/Honolulu"], "2027-07-14", [7]),
    ([NEW_YORK, "Asia/Shanghai"], "2027-01-13", [2]),
    ([NEW_YORK, "Asia/Shanghai"], "2027-07-14", [1, 1]),
    ([NEW_YORK, "Pacific/Guam"], "2027-01-13", [4]),
    ([NEW_YORK, "Pacific/Guam"], "2027-07-14", [3]),
    ([NEW_YORK, "America/Chicago", "America/Los_Angeles"], "2027-01-13", [10]),
]


@pytest.mark.parametrize(("zones", "day", "hours"), SHARED)
def test_how_long_several_zones_are_open_at_once(zones: list[str], day: str, hours: list[int]) -> None:
    """Eight to nine in every possible zone; what is left may cross a midnight, or come in pieces."""
    made = notification("zz", *zones)
    begin = at(f"{day} 00:00", NEW_YORK)
    stretches, now = [], begin
    while now < begin + timedelta(days=1):
        verdict = decide(made, "sms", Facts(), HOURS, now)
        assert verdict.kind in ("send", "defer")
        if verdict.kind == "send":
            assert verdict.valid_until is not None
            stretches.append((verdict.valid_until - now) / timedelta(hours=1))
        following = verdict.valid_until if verdict.kind == "send" else verdict.until
        assert following is not None
        now = following
    assert stretches == hours


@pytest.mark.parametrize("day", ["2027-01-13", "2027-07-14"])
def test_three_zones_may_have_no_common_hour(day: str) -> None:
    """New York, Los Angeles and Kolkata until seven: a person decides; nothing waits for ever."""
    chosen = packs(windows={"collections": window("08:00-19:00", guard_minutes=0)})
    made = notification("zz", NEW_YORK, "America/Los_Angeles", "Asia/Kolkata")
    verdict = decide(made, "sms", Facts(), chosen, at(f"{day} 12:00", NEW_YORK))
    assert (verdict.kind, verdict.reason, verdict.until) == ("review", "no_common_window", None)


class _Jump(tzinfo):
    """A place whose clocks go from UTC to ``after`` at ``when`` (UTC): no real one does so at eight or nine."""

    def __init__(self, when: datetime, after: timedelta) -> None:
        self._when = when.replace(tzinfo=None)
        self._after = after

    def utcoffset(self, moment: datetime | None) -> timedelta:
        assert moment is not None
        wall = moment.replace(tzinfo=None)
        if wall - self._after >= self._when and (wall >= self._when or moment.fold):
            return self._after
        return timedelta(0)

    def tzname(self, moment: datetime | None) -> str:
        return "jump"

    def dst(self, moment: datetime | None) -> timedelta:
        return timedelta(0)

    def fromutc(self, moment: datetime) -> datetime:
        passed = moment.replace(tzinfo=None) - self._when
        if passed < timedelta(0):
            return moment
        return (moment + self._after).replace(fold=int(passed < -self._after))


@pytest.mark.parametrize(
    ("change", "after", "expected"),
    [
        # Forward by an hour as it opens: the clock jumps from 08:00 to 09:00, and it is open.
        ("2027-05-05 08:00", 1, [("08:00", "20:00")]),
        # Back by an hour as it opens: seven again, so it closes at once.
        ("2027-05-05 08:00", -1, [("09:00", "22:00")]),
        # Forward as it closes.
        ("2027-05-05 21:00", 1, [("08:00", "21:00")]),
        # Back as it closes: the last hour again, without a break.
        ("2027-05-05 21:00", -1, [("08:00", "22:00")]),
        # Back half an hour after it opened: it closes, and opens again.
        ("2027-05-05 08:30", -1, [("08:00", "08:30"), ("09:00", "22:00")]),
    ],
)
def test_clocks_that_change_as_the_window_opens_or_closes(
    change: str, after: int, expected: list[tuple[str, str]]
) -> None:
    """What the clock on the wall reads decides, at the ends of the window too."""
    place = _Jump(utc(change), timedelta(hours=after))
    schedule = ContactHours((parse_hours("08:00", "21:00"),) * 7)
    now, found = utc("2027-05-05 02:00"), []
    while (opening := next_opening(schedule, (place,), now)) is not None and opening[0] < utc("2027-05-06 02:00"):
        found.append(opening)
        now = opening[1]
    assert found == [(utc(f"2027-05-05 {opens}"), utc(f"2027-05-05 {closes}")) for opens, closes in expected]


NIGHTS = packs(
    windows={"collections": window("closed", weekdays={"fri": "22:00-06:00"})},
    caps=[cap("borrower", "calendar_day", 1)],
)


def test_a_window_over_midnight_belongs_to_the_date_on_which_it_opens() -> None:
    """One o'clock on Saturday is Friday's; one o'clock on Sunday is nobody's. Caps count the instant's own date."""
    saturday, sunday = at("2026-11-28 01:00", LONDON), at("2026-11-29 01:00", LONDON)
    assert said(LONDON, saturday, NIGHTS)[0] == "send"
    assert said(LONDON, sunday, NIGHTS) == ("defer", "outside_window", at("2026-12-04 22:00", LONDON))
    friday = at("2026-11-27 23:00", LONDON)
    assert said(LONDON, friday + timedelta(minutes=30), NIGHTS, contacts=(friday,))[2] == at("2026-11-28 00:00", LONDON)
    assert said(LONDON, saturday, NIGHTS, contacts=(friday,))[0] == "send"


HOLIDAYS = [
    ("2026-11-30 09:00", "holiday", "2026-11-30 10:05"),  # St Andrew's Day is Scotland's alone; which one is not known
    ("2027-12-27 09:00", "holiday", "2027-12-27 10:05"),  # Christmas Day, a Saturday, is made up for on Monday
    ("2027-12-28 09:00", "holiday", "2027-12-28 10:05"),  # and Boxing Day, a Sunday, on Tuesday
    ("2027-12-29 09:00", "permitted", None),
    ("2027-01-01 20:00", "holiday", "2027-01-02 10:05"),  # the second of January is Scotland's too
    ("2027-12-25 19:00", "holiday", "2027-12-26 10:05"),  # the date itself, though a Saturday
]


@pytest.mark.parametrize(("now", "reason", "until"), HOLIDAYS)
def test_public_holidays_and_their_substitutes(now: str, reason: str, until: str | None) -> None:
    """Days off of every part of the country, and those that stand in for them."""
    verdict = decide(notification("uk", LONDON), "sms", Facts(), PACKS, at(now, LONDON))
    assert (verdict.reason, verdict.until) == (reason, at(until, LONDON) if until else None)


def test_a_holiday_narrows_a_window_over_midnight_by_its_opening_date() -> None:
    """What opens on Christmas Eve is not Christmas's; what opens on Christmas Day keeps its hours."""
    chosen = packs(
        windows={"collections": window("20:00-04:00")},
        holidays={"country": "GB", "value": "20:00-23:00", "mark": MARK},
    )
    assert said(LONDON, at("2026-12-25 01:00", LONDON), chosen)[0] == "send"
    assert said(LONDON, at("2026-12-25 23:30", LONDON), chosen)[1] == "holiday"


def test_a_holiday_elsewhere_is_no_holiday_here() -> None:
    """The calendar is that of the borrower's jurisdiction, not of the zone they happen to be in."""
    thanksgiving = at("2026-11-26 09:00", LONDON)
    assert decide(notification("uk", LONDON), "sms", Facts(), PACKS, thanksgiving).kind == "send"


def test_breathing_space_ends_at_its_instant_across_a_change_of_the_clocks() -> None:
    """Sixty days from a winter midnight end at a summer midnight, and what waited goes then, in the window."""
    begin, end = at("2027-02-10 00:00", LONDON), at("2027-04-11 00:00", LONDON)
    assert end - begin == timedelta(days=60) - timedelta(hours=1)
    facts = Facts(holds=(Hold(HoldKind.BREATHING_SPACE, begin, end),))
    made = notification("uk", LONDON)
    waiting = decide(made, "sms", facts, PACKS, at("2027-03-01 12:00", LONDON))
    assert (waiting.kind, waiting.reason, waiting.until) == (
        "defer",
        "hold",
        at("2027-04-11 10:05", LONDON),
    )  # a Sunday
    assert decide(made, "sms", facts, OPEN, end - timedelta(microseconds=1)).kind == "defer"
    assert decide(made, "sms", facts, OPEN, end).kind == "send"


def test_sixty_days_of_freshness_are_elapsed_days() -> None:
    """Across the change of the clocks a number confirmed at noon is stale at one o'clock, sixty days later."""
    confirmed = at("2027-02-01 12:00", NEW_YORK)
    made = notification("us", NEW_YORK)
    made = replace(made, borrower=replace(made.borrower, confirmed={"sms": confirmed}))
    stale = at("2027-04-02 13:00", NEW_YORK)
    before = decide(made, "sms", Facts(), PACKS, stale - timedelta(microseconds=1), text="Reply STOP")
    assert (before.kind, before.valid_until) == ("send", stale)
    assert decide(made, "sms", Facts(), PACKS, stale, text="Reply STOP").reason == "address_stale"
