"""The policy against a second, slow one: random packs, borrowers and histories, minute by minute.

The other one reads the clock on the wall and counts dates as a person would; it knows nothing of intervals.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from gateway.core.facts import Contact, Facts, Hold, OptOut
from gateway.core.notifications import Notification
from gateway.core.reasons import HoldKind
from gateway.core.verdicts import VerdictKind
from gateway.policy import Packs, decide
from gateway.policy.zones import zone
from tests.support.rules.made_packs import MARK, cap, packs, window
from tests.support.rules.policy_cases import notification

_MINUTE = timedelta(minutes=1)
_DAYS = 4  # looked ahead by the slow one
_ZONES = ["Asia/Taipei", "Asia/Kathmandu", "Europe/London", "America/New_York", "America/Los_Angeles"]
_ZONES += ["Australia/Lord_Howe", "Pacific/Honolulu"]
# Around the changes of the clocks of 2025 in these zones.
_STARTS = [
    datetime(2025, month, day, tzinfo=UTC) for month, day in ((3, 8), (3, 29), (4, 4), (10, 4), (10, 25), (11, 1))
]
_HOURS = st.sampled_from(["08:00-21:00", "07:30-22:15", "20:00-09:30", "09:00-11:00", "00:00-24:00", "13:00-02:00"])
_CHANNELS = st.sampled_from(["sms", "email"])
_HOLDS = st.sampled_from([HoldKind.DISPUTE, HoldKind.PLAN_IN_PLACE, HoldKind.BREATHING_SPACE])


@dataclass(frozen=True)
class Situation:
    """A pack as it was written and as it was read, and a question to it."""

    written: dict[str, Any]
    packs: Packs
    made: Notification
    facts: Facts
    now: datetime


@st.composite
def written_packs(draw: st.DrawFn) -> dict[str, Any]:
    weekdays = draw(
        st.dictionaries(st.sampled_from(["mon", "sat", "sun"]), st.one_of(_HOURS, st.just("closed")), max_size=1)
    )
    caps = [
        cap(
            draw(st.sampled_from(["borrower", "case", "channel", "address"])),
            kind := draw(
                st.sampled_from(["calendar_day", "consecutive_days", "rolling_hours", "calendar_week", "anchored"])
            ),
            draw(st.integers(1, 3)),
            draw(st.integers(1, 36 if kind in ("rolling_hours", "anchored") else 3)),
            **({"channel": draw(_CHANNELS)} if draw(st.booleans()) else {}),
        )
        for _ in range(draw(st.integers(0, 3)))
    ]
    gap = {"value_minutes": draw(st.integers(1, 1500)), "mark": MARK}
    return {
        "windows": {"collections": window(draw(_HOURS), weekdays=weekdays)},
        "caps": caps,
        "min_gap": gap | ({"per": "channel"} if draw(st.booleans()) else {}),
    }


@st.composite
def situations(draw: st.DrawFn) -> Situation:
    rules = draw(written_packs())
    now = draw(st.sampled_from(_STARTS)) + _MINUTE * draw(st.integers(0, 3 * 1440))
    zones = draw(st.lists(st.sampled_from(_ZONES), min_size=1, max_size=2, unique=True))
    wishes = draw(
        st.sampled_from([(), (("18:00", "20:00"),), (("22:00", "10:30"),), (("09:00", "11:00"), ("17:00", "01:30"))])
    )
    contacts = tuple(
        Contact(
            now - _MINUTE * age, draw(_CHANNELS), draw(st.sampled_from(["C1", "C2"])), draw(st.sampled_from("ab")), "o"
        )
        for age in draw(st.lists(st.integers(0, 5 * 1440), max_size=6))
    )
    holds = tuple(
        Hold(draw(_HOLDS), now + _MINUTE * draw(st.integers(-500, 500)), now + _MINUTE * draw(st.integers(501, 3000)))
        for _ in range(draw(st.integers(0, 1)))
    )
    made = notification("zz", *zones, windows=wishes)
    return Situation(rules, packs(**rules), made, Facts(contacts=contacts, holds=holds), now)


def slowly_permitted(it: Situation, t: datetime) -> bool:
    """Whether sending an SMS to address "a" at ``t`` is permitted, worked out the long way."""
    walls = [t.astimezone(zone(name)) for name in it.made.borrower.time_zones]
    hours = it.written["windows"]["collections"]
    usual = [hours["weekdays"].get(day, hours["value"]) for day in ("mon", "tue", "wed", "thu", "fri", "sat", "sun")]
    wishes = [f"{opens}-{closes}" for opens, closes in it.made.borrower.windows]
    return (
        all(_open(wall, [[each] for each in usual]) and (not wishes or _open(wall, [wishes] * 7)) for wall in walls)
        and not any(hold.start <= t < (hold.end or t) for hold in it.facts.holds)
        and all(_room(it, rule, t) for rule in it.written["caps"])
        and not _too_soon(it, t)
    )


def _open(wall: datetime, by_weekday: list[list[str]]) -> bool:
    minute = wall.hour * 60 + wall.minute
    today, yesterday = by_weekday[wall.weekday()], by_weekday[wall.weekday() - 1]
    for text in today:
        if text != "closed":
            a, b = _valid_until(text)
            if a <= minute < (b if b > a else 1440):
                return True
    return any(b <= a and minute < b for text in yesterday if text != "closed" for a, b in [_valid_until(text)])


def _valid_until(text: str) -> tuple[int, int]:
    a, b = (int(each[:2]) * 60 + int(each[3:]) for each in text.split("-"))
    return a, b


def _room(it: Situation, rule: dict[str, Any], t: datetime) -> bool:
    if rule.get("channel") not in (None, "sms"):
        return True
    mine = sorted(
        each.at
        for each in it.facts.contacts
        if each.at <= t
        and rule.get("channel") in (None, each.channel)
        and (rule["scope"] != "case" or each.case_id == "C1")
        and (rule["scope"] != "address" or each.address == "a")
        and (rule["scope"] != "channel" or each.channel == "sms")
    )
    kind, period = rule["period_kind"], rule["period"]
    if kind == "rolling_hours":
        numbers = [sum(t - each < timedelta(hours=period) for each in mine)]
    elif kind == "anchored":
        numbers = [_anchored(mine, timedelta(hours=period), t)]
    else:
        numbers = [_by_dates(mine, kind, period, t, name) for name in it.made.borrower.time_zones]
    return max(numbers) < int(rule["value"])


def _anchored(mine: list[datetime], period: timedelta, t: datetime) -> int:
    opened: datetime | None = None
    number = 0
    for each in mine:
        if opened is None or each - opened >= period:
            opened, number = each, 0
        number += 1
    return number if opened is not None and t - opened < period else 0


def _by_dates(mine: list[datetime], kind: str, period: int, t: datetime, name: str) -> int:
    def date_of(instant: datetime) -> date:
        return instant.astimezone(zone(name)).date()

    if kind == "calendar_week":
        return sum(date_of(each).isocalendar()[:2] == date_of(t).isocalendar()[:2] for each in mine)
    return sum((date_of(t) - date_of(each)).days < period for each in mine)


def _too_soon(it: Situation, t: datetime) -> bool:
    gap = it.written["min_gap"]
    return any(
        each.at <= t < each.at + _MINUTE * gap["value_minutes"] and ("per" not in gap or each.channel == "sms")
        for each in it.facts.contacts
    )


def _decided(it: Situation, t: datetime) -> Any:
    return decide(it.made, "sms", it.facts, it.packs, t, text="hello", address_digest="a")


_SLOW = settings(max_examples=35, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@_SLOW
@given(situations())
def test_both_agree_at_every_instant(it: Situation) -> None:
    """Sent exactly where the slow one permits it, with no rule that denies; and the same for the same inputs."""
    for step in range(0, _DAYS * 1440, 97):
        t = it.now + _MINUTE * step
        verdict = _decided(it, t)
        assert (verdict.kind is VerdictKind.SEND) == slowly_permitted(it, t), t
        assert (verdict.kind is VerdictKind.SEND) == all(each.verdict is VerdictKind.SEND for each in verdict.rules)
        assert verdict == _decided(it, t)


@_SLOW
@given(situations())
def test_until_is_the_first_minute_that_the_slow_one_finds(it: Situation) -> None:
    """Every minute from now on is looked at: none before ``until`` is permitted, and ``until`` is."""
    verdict = _decided(it, it.now)
    assume(verdict.kind is VerdictKind.DEFER)
    minutes = range(_DAYS * 1440)
    found = next((it.now + _MINUTE * each for each in minutes if slowly_permitted(it, it.now + _MINUTE * each)), None)
    assert verdict.until is not None
    if found is None:
        assert verdict.until >= it.now + _MINUTE * len(minutes)
    else:
        assert verdict.until == found


@_SLOW
@given(situations(), written_packs(), st.sampled_from(["rules", "hold", "opt-out", "contact", "zone"]))
def test_whatever_is_added_permits_nothing_that_was_denied(it: Situation, more: dict[str, Any], kind: str) -> None:
    """Another cap, window, hold, opt-out, contact or possible zone, at any instant of four days."""
    rules, made, facts = it.written, it.made, it.facts
    if kind == "rules":
        rules = {
            **rules,
            "windows": {**rules["windows"], "more": more["windows"]["collections"]},
            "caps": [*rules["caps"], *more["caps"]],
        }
    elif kind == "hold":
        facts = replace(facts, holds=(*facts.holds, Hold(HoldKind.DECEASED, it.now)))
    elif kind == "opt-out":
        facts = replace(facts, opt_outs=(OptOut(it.now, "sms", "a", provisional=True),))
    elif kind == "contact":
        facts = replace(facts, contacts=(*facts.contacts, Contact(it.now, "sms", "C1", "a", "p")))
    else:
        made = replace(made, borrower=replace(made.borrower, time_zones=(*made.borrower.time_zones, "Pacific/Guam")))
    tightened = replace(it, written=rules, packs=packs(**rules), made=made, facts=facts)
    for step in range(0, _DAYS * 1440, 241):
        t = it.now + _MINUTE * step
        if _decided(it, t).kind is not VerdictKind.SEND:
            assert _decided(tightened, t).kind is not VerdictKind.SEND
