"""Properties of journeys and case feeds: for any definition, any facts and any order."""

from __future__ import annotations

import itertools
from datetime import date, datetime, timedelta
from decimal import Decimal
from functools import reduce

from hypothesis import given
from hypothesis import strategies as st

from gateway.core.facts import Hold
from gateway.core.reasons import HoldKind
from gateway.core.states import State
from gateway.journeys.actions import Send
from gateway.journeys.advance import advance, enter, exit_reason
from gateway.journeys.cases.instalments import for_plan
from gateway.journeys.cases.record import CaseRecord, Closing, Payment, Promise, RepaymentPlan, facts_of, merged
from gateway.journeys.definitions.model import JourneyDefinition, from_document
from gateway.journeys.journey import JourneyFacts, JourneyState, SentStep
from gateway.journeys.simulation.assumptions import Assumptions
from gateway.journeys.simulation.run import SimulationSetup, simulate
from tests.support.journeys.cases import DAY, START, snapshot
from tests.support.rules.policy_cases import PACKS

_durations = st.integers(0, 20).map(lambda days: timedelta(days=days))
_instants = st.integers(-30, 60).map(lambda hours: START + timedelta(hours=hours * 7))
_amounts = st.integers(1, 5000).map(Decimal)
_ids = st.sampled_from("abc")


@st.composite
def _definitions(draw: st.DrawFn) -> JourneyDefinition:
    """Any definition that can be read, sensible or not."""
    names = [f"s{number}" for number in range(draw(st.integers(1, 6)))]
    steps = []
    for name in names:
        step: dict[str, object] = {"id": name}
        if draw(st.booleans()):
            step["day"] = draw(st.integers(-5, 40))
        else:
            step["after"] = draw(_durations)
        kind = draw(st.sampled_from(["message", "gate", "event", "nothing"]))
        if kind == "message":
            step |= {"template": "overdue-first", "route": ["sms", "email"]}
            step["wait"] = {"until": draw(st.lists(st.sampled_from(["read", "failed"]))), "longest": draw(_durations)}
            if draw(st.booleans()):
                step["each"] = "instalment"
        elif kind == "gate":
            step |= {"gate": {"expires": draw(_durations)}, "emits": "case.legal_step_approved"}
        elif kind == "event":
            step["emits"] = "case.something"
        happened = draw(st.sampled_from([{}, {"happened": "failed"}, {"months_overdue": 1}, {"nothing": 2}]))
        step["branch"] = [{"when": happened, "to": draw(st.sampled_from([*names, "unknown"]))}]
        if draw(st.booleans()):
            step["when"] = draw(st.sampled_from([{"days_overdue": {"at_most": 9}}, {"stage": "x"}]))
        steps.append(step)
    pace = {"late": draw(st.sampled_from(["skip", "from_today"])), "least": draw(_durations)}
    pace["tolerance"] = draw(_durations)
    anchor = draw(st.sampled_from(["entry", "due_date", "first_instalment"]))
    return from_document(
        {
            "name": "any",
            "enter": {"when": {}, "counts_from": anchor},
            "exit": {"on": draw(st.sampled_from([[], ["plan_agreed", "dispute"]]))},
            "pause": {"resume_after": draw(_durations)},
            "pace": pace,
            "step": steps,
            **({"holdout": {"share": 0.5, "longest": draw(_durations)}} if draw(st.booleans()) else {}),
        }
    )


_parts = st.one_of(
    st.builds(lambda at, due: CaseRecord("C", snapshot(as_of=at, minimum_due=due)), _instants, _amounts),
    st.builds(lambda key, n, at: CaseRecord("C", payments={key: Payment(key, n, at)}), _ids, _amounts, _instants),
    st.builds(
        lambda key, n, days, at: CaseRecord("C", promises={key: Promise(key, n, START.date() + days * DAY, at)}),
        _ids,
        _amounts,
        st.integers(-3, 20),
        _instants,
    ),
    st.builds(
        lambda key, n, at, end: CaseRecord("C", plans={key: RepaymentPlan(key, n, 3, date(2026, 12, 1), at, end)}),
        _ids,
        _amounts,
        _instants,
        st.none() | _instants,
    ),
    st.builds(lambda at, why: CaseRecord("C", closing=Closing(why, at)), _instants, st.sampled_from(["paid", "sold"])),
)


@given(st.lists(_parts, min_size=1, max_size=5), st.randoms(use_true_random=False))
def test_a_feed_that_comes_late_or_twice_ends_the_same(parts: list[CaseRecord], random: object) -> None:
    """Every order of the parts, with any of them repeated, gives the same record."""
    expected = reduce(merged, parts, CaseRecord("C"))
    for order in itertools.islice(itertools.permutations(parts), 30):
        assert reduce(merged, [*order, order[0], parts[-1]], CaseRecord("C")) == expected


@given(st.lists(_parts, max_size=5), _instants)
def test_facts_can_always_be_computed(parts: list[CaseRecord], now: datetime) -> None:
    """Whatever was fed, once there is a snapshot."""
    record = reduce(merged, parts, CaseRecord("C", snapshot()))
    assert facts_of(record, now)["product"] == "card"


_holds = st.builds(
    Hold, st.sampled_from(list(HoldKind)), _instants, st.none() | _instants, st.sampled_from([None, "C", "other"])
)
_facts = st.builds(
    lambda parts, holds, state, read, stopped: JourneyFacts(
        reduce(merged, parts, CaseRecord("C", snapshot())),
        tuple(holds),
        {"s0": SentStep("ntf", START, state, read=read)} if state else {},
        stopped=stopped,
    ),
    st.lists(_parts, max_size=3),
    st.lists(_holds, max_size=2),
    st.none() | st.sampled_from(list(State)),
    st.booleans(),
    st.booleans(),
)


@given(_definitions(), st.lists(st.tuples(_facts, st.integers(0, 400)), min_size=1, max_size=12))
def test_an_exit_beats_everything(definition: JourneyDefinition, course: list[tuple[JourneyFacts, int]]) -> None:
    """At any instant of any course: where there is a reason to exit, the journey ends and nothing is sent."""
    journey, now = enter(definition, "jny", "C", START), START
    for known, hours in course:
        now += timedelta(hours=hours)
        reason = exit_reason(definition, known, now)
        before, done = journey, advance(definition, journey, known, now)
        journey = done.journey
        if before.ended:
            assert done.journey == before
            assert not done.actions
        elif reason:
            assert (journey.state, journey.reason) == (JourneyState.EXITED, reason)
            assert not any(isinstance(each, Send) for each in done.actions)
        assert sum(isinstance(each, Send) for each in done.actions) <= 1
        assert journey.due_at is None or journey.due_at > now or journey.ended


@given(_definitions(), st.integers(0, 15))
def test_a_journey_ends(definition: JourneyDefinition, instalments: int) -> None:
    """Called again whenever it is due, it comes to its end or to a person, after a bounded number of calls."""
    plan = RepaymentPlan("a", Decimal(9), instalments, date(2026, 12, 31), START)
    known = JourneyFacts(CaseRecord("C", snapshot(), plans={"a": plan} if instalments else {}))
    journey, now, sent = enter(definition, "jny", "C", START), START, 0
    steps = for_plan(definition, known.case).steps
    for _ in range(4 * len(steps) + 4):
        done = advance(definition, journey, known, now)
        sent += sum(isinstance(each, Send) for each in done.actions)
        journey = done.journey
        if journey.due_at is None:
            break
        assert journey.due_at > now
        now = journey.due_at
    assert journey.state in (JourneyState.EXITED, JourneyState.REVIEW)
    assert sent <= len(steps)
    assert len({each.step for each in journey.steps}) == len(journey.steps)


_IN_TAIPEI = timedelta(hours=8)
# templates/policies/tw.yaml: of a borrower two text messages and three contacts a day, of a case seven in seven days.
_CAPS = ((("sms",), 1, 2), (("sms", "email"), 1, 3), (("sms", "email"), 7, 7))


@given(_definitions(), st.integers(1, 9))
def test_no_definition_makes_more_contacts_than_the_packs_allow(definition: JourneyDefinition, seed: int) -> None:
    """Whatever its days, waits and pace, and whatever the borrower does."""
    assumed = Assumptions(seed=seed, delivered={"sms": 0.5}, paid_per_day=0, paid=0)
    setup = SimulationSetup(definition, PACKS, assumed, lambda name: "collections", START, 60)
    found = simulate(setup, [CaseRecord("C", snapshot())])
    for channels, days, most in _CAPS:
        dates = [(each.at + _IN_TAIPEI).date() for each in found.contacts if each.channel in channels]
        for day in dates:
            assert sum(day - (days - 1) * DAY <= each <= day for each in dates) <= most
    steps = sorted((each.at, each.step) for each in found.contacts)
    for (before, one), (after, other) in itertools.pairwise(steps):
        assert one == other or after - before >= timedelta(minutes=240)
