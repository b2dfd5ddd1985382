"""The contact policy with any borrower, history and instant: what must hold of every verdict."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from hypothesis import assume, given, settings
from hypothesis import strategies as st

from gateway.core.facts import Contact, Facts, Hold, OptOut
from gateway.core.reasons import HoldKind
from gateway.core.verdicts import VerdictKind
from gateway.policy import decide
from tests.support.rules.policy_cases import PACKS, notification

_ZONES = [
    "Asia/Taipei",
    "Asia/Kolkata",
    "Asia/Kathmandu",
    "Europe/London",
    "America/New_York",
    "America/Los_Angeles",
    "America/Havana",
    "Australia/Lord_Howe",
    "Africa/Cairo",
    "Pacific/Honolulu",
]
# Around the changes of the clocks of 2027 in these zones, where mistakes live.
_STARTS = st.sampled_from(
    [datetime(2027, 3, 13, tzinfo=UTC), datetime(2027, 4, 2, tzinfo=UTC), datetime(2027, 4, 29, tzinfo=UTC)]
    + [datetime(2027, 10, 29, tzinfo=UTC), datetime(2027, 11, 6, tzinfo=UTC), datetime(2026, 12, 24, tzinfo=UTC)]
)
_INSTANTS = st.builds(lambda start, minutes: start + timedelta(minutes=minutes), _STARTS, st.integers(0, 4 * 1440))
_JURISDICTIONS = st.sampled_from(["tw", "us", "uk", "in", "cn", "zz"])
_WISHES = st.sampled_from([(), (("18:00", "20:00"),), (("22:00", "10:00"),), (("09:00", "11:00"), ("17:00", "18:30"))])


@st.composite
def situations(draw: st.DrawFn) -> tuple[str, tuple[str, ...], tuple[tuple[str, str], ...], Facts, datetime]:
    now = draw(_INSTANTS)
    ages = draw(st.lists(st.integers(0, 9 * 1440), max_size=6))
    channels = st.sampled_from(["sms", "email", "inapp"])
    contacts = [
        Contact(now - timedelta(minutes=age), draw(channels), draw(st.sampled_from(["C1", "C2"])), "digest", "o")
        for age in ages
    ]
    holds = [
        Hold(kind, now - timedelta(hours=1), now + timedelta(minutes=minutes))
        for kind, minutes in draw(
            st.lists(
                st.tuples(st.sampled_from([HoldKind.DISPUTE, HoldKind.PLAN_IN_PLACE]), st.integers(1, 3000)),
                max_size=1,
            )
        )
    ]
    zones = tuple(draw(st.lists(st.sampled_from(_ZONES), min_size=1, max_size=2, unique=True)))
    return draw(_JURISDICTIONS), zones, draw(_WISHES), Facts(contacts=tuple(contacts), holds=tuple(holds)), now


@settings(max_examples=150, deadline=None)
@given(situations())
def test_send_is_never_given_while_a_rule_denies(situation: tuple) -> None:  # type: ignore[type-arg]
    """A verdict is as strict as its strictest rule, and the same for the same inputs."""
    jurisdiction, zones, windows, facts, now = situation
    made = notification(jurisdiction, *zones, windows=windows)
    verdict = decide(made, "sms", facts, PACKS, now, address_digest="digest")
    if verdict.kind is VerdictKind.SEND:
        assert {rule.verdict for rule in verdict.rules} == {VerdictKind.SEND}
        assert verdict.valid_until is None or verdict.valid_until > now
    else:
        assert any(rule.verdict is not VerdictKind.SEND for rule in verdict.rules)
    assert verdict == decide(made, "sms", facts, PACKS, now, address_digest="digest")


@settings(max_examples=60, deadline=None)
@given(situations())
def test_until_is_the_first_permitted_instant(situation: tuple) -> None:  # type: ignore[type-arg]
    """A scan minute by minute finds nothing permitted before ``until``, and ``until`` itself is."""
    jurisdiction, zones, windows, facts, now = situation
    made = notification(jurisdiction, *zones, windows=windows)
    verdict = decide(made, "sms", facts, PACKS, now, address_digest="digest")
    assume(verdict.kind is VerdictKind.DEFER and verdict.until is not None)
    assert verdict.until is not None
    assert decide(made, "sms", facts, PACKS, verdict.until, address_digest="digest").kind is VerdictKind.SEND
    minutes = min(int((verdict.until - now) / timedelta(minutes=1)), 600)
    scanned = [now + timedelta(minutes=minute) for minute in range(minutes)]
    scanned += [verdict.until - timedelta(minutes=minute) for minute in range(1, 120)]
    for instant in (each for each in scanned if now <= each < verdict.until):
        assert decide(made, "sms", facts, PACKS, instant, address_digest="digest").kind is not VerdictKind.SEND


@settings(max_examples=100, deadline=None)
@given(situations(), st.sampled_from(["hold", "opt-out", "contact", "wish", "zone"]))
def test_a_further_restriction_never_turns_a_denial_into_send(situation: tuple, kind: str) -> None:  # type: ignore[type-arg]
    """Knowing one more reason not to contact somebody never leads to a contact."""
    jurisdiction, zones, windows, facts, now = situation
    made = notification(jurisdiction, *zones, windows=windows)
    before = decide(made, "sms", facts, PACKS, now, address_digest="digest")
    assume(before.kind is not VerdictKind.SEND)
    borrower = made.borrower
    if kind == "hold":
        facts = replace(facts, holds=(*facts.holds, Hold(HoldKind.DECEASED, now)))
    elif kind == "opt-out":
        facts = replace(facts, opt_outs=(OptOut(now, "email"),))
    elif kind == "contact":
        facts = replace(facts, contacts=(*facts.contacts, Contact(now, "sms", "C1", "digest", "p")))
    elif kind == "wish" and not borrower.windows:
        borrower = replace(borrower, windows=(("12:00", "13:00"),))
    elif kind == "zone":
        borrower = replace(borrower, time_zones=(*borrower.time_zones, "Pacific/Guam"))
    after = decide(replace(made, borrower=borrower), "sms", facts, PACKS, now, address_digest="digest")
    assert after.kind is not VerdictKind.SEND
