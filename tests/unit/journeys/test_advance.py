"""What a journey does next: table tests of ``advance``, with the time given."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, datetime, timedelta
from decimal import Decimal

import pytest

from gateway.core.journey_events import StepResult
from gateway.core.reasons import HoldKind
from gateway.core.states import State
from gateway.journeys.actions import Advance, CancelPending, Emit, EnterAnother, Send
from gateway.journeys.advance import advance, enter
from gateway.journeys.arms import arm_of, in_holdout
from gateway.journeys.cases.record import CaseRecord, Closing, Payment, Promise, RepaymentPlan
from gateway.journeys.definitions.model import parse
from gateway.journeys.journey import Approval, Journey, JourneyFacts, JourneyState
from gateway.journeys.requests import request_of
from gateway.journeys.steps import plan_step
from gateway.stages.accept import dedup_key
from tests.support.journeys.cases import DAY, SHORT, START, case, facts, hold, sent, shipped

DEFINITION = parse(SHORT)


def begun() -> Journey:
    return enter(DEFINITION, "jny_1", "C-1", START)


def step(journey: Journey, known: JourneyFacts, now: datetime) -> Advance:
    return advance(DEFINITION, journey, known, now)


def test_the_first_step_is_sent_at_once_and_then_it_waits() -> None:
    """Day 1 is the day of entry; the step's wait decides when the journey is looked at again."""
    done = step(begun(), facts(), START)
    assert done.actions == (Send("remind", "overdue-first", ("sms",), "remind"),)
    assert (done.journey.state, done.journey.due_at) == (JourneyState.WAITING, START + 2 * DAY)


def test_a_wait_ends_when_what_it_waits_for_happens() -> None:
    """Reading the message ends the wait; the next step still comes on its own day."""
    waiting = step(begun(), facts(), START).journey
    read = facts(sent={"remind": sent(read=True)})
    done = step(waiting, read, START + DAY)
    assert (done.journey.state, done.actions) == (JourneyState.ACTIVE, ())
    assert done.journey.due_at == START + 3 * DAY


def test_a_step_that_the_path_knows_is_not_sent_again() -> None:
    """After a crash between ``accept`` and the record of the step, only the record is made."""
    done = step(begun(), facts(sent={"remind": sent(START)}), START + timedelta(minutes=1))
    assert done.actions == ()
    assert [(each.step, each.at) for each in done.journey.steps] == [("remind", START)]


@pytest.mark.parametrize(
    ("known", "reason"),
    [
        (facts(case(payments={"p": Payment("p", Decimal("3913.00"), START)})), "paid"),
        (facts(case(closing=Closing("sold", START))), "closed"),
        (facts(case(closing=Closing("paid", START))), "paid"),
        (facts(holds=(hold(HoldKind.DISPUTE),)), "dispute"),
        (facts(holds=(hold(HoldKind.DECEASED), hold(HoldKind.PROMISE_TO_PAY))), "deceased"),
        (facts(holds=(hold(HoldKind.WRONG_PARTY),)), "wrong_party"),
        (facts(case(plans={"r": RepaymentPlan("r", Decimal(9), 3, date(2026, 12, 1), START)})), "plan_agreed"),
        (facts(stopped=True), "stopped"),
    ],
)
def test_an_exit_beats_the_step_that_is_due(known: JourneyFacts, reason: str) -> None:
    """Whatever ends the case ends the journey, before anything else is done; what is pending is cancelled."""
    done = step(begun(), known, START + DAY)
    assert (done.journey.state, done.journey.reason, done.journey.due_at) == (JourneyState.EXITED, reason, None)
    assert done.actions == (CancelPending(reason),)


def test_a_part_payment_is_no_exit() -> None:
    """The rest is still due."""
    known = facts(case(payments={"p": Payment("p", Decimal("10.00"), START)}))
    assert step(begun(), known, START).journey.state is JourneyState.WAITING


def test_an_agreed_plan_enters_its_own_journey() -> None:
    """Where the definition names one."""
    definition = shipped()
    known = facts(case(plans={"r": RepaymentPlan("r", Decimal(9), 3, date(2026, 12, 1), START)}))
    done = advance(definition, enter(definition, "jny_1", "C-1", START), known, START)
    assert done.actions[-1] == EnterAnother("plan-reminders")


def test_a_hold_pauses_and_moves_the_days_of_later_steps() -> None:
    """Two days on hold: the offer comes two days later."""
    waiting = step(begun(), facts(), START).journey
    held = facts(holds=(hold(HoldKind.COMPLAINT_OPEN, START + DAY, START + 3 * DAY),))
    paused = step(waiting, held, START + DAY).journey
    assert (paused.state, paused.reason, paused.due_at) == (JourneyState.PAUSED, "complaint_open", START + 3 * DAY)
    resumed = step(paused, facts(), START + 3 * DAY).journey
    assert (resumed.state, resumed.due_at) == (JourneyState.ACTIVE, START + 5 * DAY)


def test_a_promise_is_reminded_on_the_day_before_and_goes_on_gently_when_broken() -> None:
    """The promise pauses; its reminder is a message of its own; after it the gentler message is sent."""
    definition = shipped()
    promise = Promise("p1", Decimal("100.00"), date(2026, 12, 1), START)
    record = case(promises={"p1": promise})
    held = facts(record, holds=(hold(HoldKind.PROMISE_TO_PAY, START, START + 9 * DAY),))
    paused = advance(definition, enter(definition, "jny_1", "C-1", START), held, START)
    assert paused.journey.state is JourneyState.PAUSED
    assert paused.actions == ()
    assert paused.journey.due_at is not None
    assert paused.journey.due_at.date() == date(2026, 11, 30)
    reminded = advance(definition, paused.journey, held, paused.journey.due_at)
    assert [(each.key, each.template) for each in reminded.actions if isinstance(each, Send)] == [
        ("promise-p1", "due-soon")
    ]
    again = advance(definition, reminded.journey, held, paused.journey.due_at)
    assert again.actions == ()
    over = advance(definition, reminded.journey, facts(record), START + 9 * DAY)
    assert Emit("case.promise_broken", "") in over.actions
    broken = over.journey
    for _ in range(4):
        assert broken.due_at is not None
        done = advance(definition, broken, facts(record), broken.due_at)
        broken = done.journey
        if broken.record_of("follow_up"):
            break
    assert [each.template for each in done.actions if isinstance(each, Send)] == ["overdue-first"]


def test_a_broken_promise_is_announced_once_whatever_else_paused_the_journey() -> None:
    """A person pauses during a promise and resumes after it; the next pause does not announce it again."""
    record = case(promises={"p1": Promise("p1", Decimal("100.00"), date(2026, 12, 1), START)})
    held = facts(record, holds=(hold(HoldKind.PROMISE_TO_PAY, START, START + 9 * DAY),))
    paused = step(replace(begun(), held_by="user:ann"), held, START).journey
    assert paused.reason == "person"
    resumed = step(replace(paused, held_by=""), facts(record), START + 20 * DAY)
    assert Emit("case.promise_broken", "") in resumed.actions
    again = step(replace(resumed.journey, held_by="user:ann"), facts(record), START + 21 * DAY).journey
    assert (
        Emit("case.promise_broken", "") not in step(replace(again, held_by=""), facts(record), START + 22 * DAY).actions
    )


def test_an_outage_is_not_followed_by_a_burst() -> None:
    """After ten days away one step is done, and the days of those to come move with it."""
    done = step(begun(), facts(), START + 10 * DAY)
    assert len(done.actions) == 1
    assert done.journey.due_at is not None
    assert done.journey.due_at > START + 10 * DAY
    after = step(done.journey, facts(), START + 12 * DAY).journey
    assert (after.due_at, len(after.steps)) == (START + 13 * DAY, 1)


def test_steps_of_different_days_stay_apart_after_an_outage() -> None:
    """Nor where the lateness is tolerated and no least time is set: the next day's step waits half a day."""
    daily = parse(SHORT.replace("day = 4", "day = 2").replace('longest = "P2D"', 'longest = "PT0S"'))
    late = START + DAY - timedelta(minutes=1)
    done = advance(daily, enter(daily, "jny_1", "C-1", START), facts(), late)
    assert [each.key for each in done.actions if isinstance(each, Send)] == ["remind"]
    assert done.journey.due_at == late + timedelta(hours=12)


def test_a_message_that_waits_does_not_meet_the_next_one() -> None:
    """It expires when the next message may follow; otherwise after the tolerance."""
    daily = parse(SHORT.replace("day = 4", "day = 2").replace('longest = "P2D"', 'longest = "PT0S"'))
    for definition, longest in ((daily, DAY), (DEFINITION, 2 * DAY)):
        done = advance(definition, enter(definition, "jny_1", "C-1", START), facts(), START)
        [send] = [each for each in done.actions if isinstance(each, Send)]
        request = request_of(definition, done.journey, facts(), send, (), START)
        assert request.expires_at == START + longest


def test_a_definition_may_skip_what_an_outage_held_up() -> None:
    """``late = "skip"``: the steps of those days are left out, and recorded as missed."""
    skipping = parse(SHORT.replace('least = "PT0S"', 'least = "PT0S", late = "skip"'))
    done = advance(skipping, enter(skipping, "jny_1", "C-1", START), facts(), START + 10 * DAY)
    assert [(each.step, each.result) for each in done.journey.steps] == [
        ("remind", StepResult.MISSED),
        ("offer", StepResult.MISSED),
    ]
    assert done.journey.state is JourneyState.GATE


def test_a_gate_takes_two_different_people() -> None:
    """One person twice is one approval; the second one emits the event, once."""
    journey = replace(begun(), steps=step(begun(), facts(), START).journey.steps)
    journey = step(journey, facts(), START + 3 * DAY).journey
    journey = step(journey, facts(), START + 9 * DAY).journey
    assert (journey.state, journey.due_at) == (JourneyState.GATE, START + 14 * DAY)
    assert journey.gate is not None
    ann, bob = Approval("user:ann", START, "checked"), Approval("user:bob", START, "checked")
    once = replace(journey, gate=replace(journey.gate, approvals=(ann, ann)))
    assert step(once, facts(), START + 9 * DAY).journey.state is JourneyState.GATE
    twice = step(replace(journey, gate=replace(journey.gate, approvals=(ann, bob))), facts(), START + 9 * DAY)
    assert twice.actions == (Emit("case.legal_step_approved", "legal"),)
    assert twice.journey.due_at is not None
    assert step(twice.journey, facts(), twice.journey.due_at).journey.reason == "completed"


def test_a_gate_that_nobody_passes_goes_to_review() -> None:
    """After its time a person decides; nothing is announced as approved."""
    journey = begun()
    for day in (0, 3, 9):
        journey = step(journey, facts(), START + day * DAY).journey
    done = step(journey, facts(), START + 14 * DAY)
    assert (done.journey.state, done.journey.reason) == (JourneyState.REVIEW, "gate_lapsed")
    assert done.actions == (Emit("case.gate_lapsed", "legal"),)


def test_the_end_of_the_steps_cancels_nothing() -> None:
    """The last step's message may not have been handed over yet: it goes its way."""
    last = parse(
        SHORT.partition('[[step]]\nid = "offer"')[0].replace('wait = { until = ["read"], longest = "P2D" }', "")
    )
    journey = advance(last, enter(last, "jny_1", "C-1", START), facts(), START).journey
    assert journey.due_at is not None
    done = advance(last, journey, facts(), journey.due_at)
    assert (done.journey.reason, done.actions) == ("completed", ())


def test_a_branch_follows_what_happened() -> None:
    """A message that failed leads past the step that would follow it."""
    branching = parse(
        SHORT.replace(
            'wait = { until = ["read"], longest = "P2D" }',
            'branch = [{ when = { happened = "failed" }, to = "legal" }]',
        )
    )
    first = advance(branching, enter(branching, "jny_1", "C-1", START), facts(), START).journey
    failed = facts(sent={"remind": sent(state=State.UNDELIVERED)})
    assert advance(branching, first, failed, START + 9 * DAY).journey.state is JourneyState.GATE
    assert advance(branching, first, facts(), START + 3 * DAY).journey.record_of("offer") is not None


def test_a_holdout_waits_and_then_begins() -> None:
    """For a bounded time; who waits depends on the case alone."""
    holding = parse('name = "short"\nholdout = { share = 0.5, longest = "P7D" }\n' + SHORT.partition("\n")[2][15:])
    chosen = next(f"C-{number}" for number in range(99) if in_holdout(holding, f"C-{number}"))
    record = CaseRecord(chosen, case().snapshot)
    journey = enter(holding, "jny_1", chosen, START)
    waiting = advance(holding, journey, facts(record), START)
    assert (waiting.journey.state, waiting.actions) == (JourneyState.HOLDOUT, ())
    assert waiting.journey.due_at == START + 7 * DAY
    assert len(advance(holding, waiting.journey, facts(record), START + 7 * DAY).actions) == 1


def test_arms_share_the_cases_as_the_definition_says() -> None:
    """A stable hash: the same case is always in the same arm."""
    armed = parse(SHORT + '[[arm]]\nname = "gentle"\nshare = 0.3\n')
    arms = [arm_of(armed, f"C-{number}") for number in range(10_000)]
    assert arms == [arm_of(armed, f"C-{number}") for number in range(10_000)]
    assert 0.28 < arms.count("gentle") / len(arms) < 0.32


# ── instalments of a plan ───────────────────────────────────────────────────────────────────────────────────────────

REMINDERS = shipped("plan-reminders")


def _plan(key: str = "l1", first: date = date(2026, 12, 31), instalments: int = 4) -> RepaymentPlan:
    return RepaymentPlan(key, Decimal("900.00"), instalments, first, START - timedelta(hours=1))


def _sent_over(
    record: CaseRecord, days: int, journey: Journey | None = None
) -> tuple[Journey, list[tuple[date, Send]]]:
    """A journey of the plan's reminders looked at whenever it is due, and what it sent on which day in Taipei."""
    journey = journey or enter(REMINDERS, "jny_1", "C-1", START)
    found: list[tuple[date, Send]] = []
    now, known = START, JourneyFacts(record)
    while journey.due_at is not None and journey.due_at < START + days * DAY:
        now = max(now, journey.due_at)
        done = advance(REMINDERS, journey, known, now)
        journey = done.journey
        local = (now + timedelta(hours=8)).date()
        found += [(local, each) for each in done.actions if isinstance(each, Send)]
    return journey, found


def test_every_instalment_has_its_reminder_two_days_before() -> None:
    """Monthly on the first one's day, or on the last day of a shorter month; then the journey is completed."""
    journey, found = _sent_over(case(plans={"l1": _plan()}), 200)
    assert [(day, each.key) for day, each in found] == [
        (date(2026, 11, 24), "confirm"),
        (date(2026, 12, 29), "before-2026-12-31"),
        (date(2027, 1, 29), "before-2027-01-31"),
        (date(2027, 2, 26), "before-2027-02-28"),
        (date(2027, 3, 29), "before-2027-03-31"),
    ]
    assert [each.instalment_due for _, each in found][1:3] == [date(2026, 12, 31), date(2027, 1, 31)]
    assert journey.reason == "completed"


def test_a_paid_instalment_is_not_reminded_of() -> None:
    """Two of four are paid at once: the reminders of the other two follow."""
    paid = {"p1": Payment("p1", Decimal("1800.00"), START + DAY)}
    _, found = _sent_over(case(plans={"l1": _plan()}, payments=paid), 200)
    assert [each.key for _, each in found] == ["confirm", "before-2027-02-28", "before-2027-03-31"]


def test_a_new_plan_goes_on_with_its_own_dates() -> None:
    """What was sent for the one before stays done; an outage skips what is past, and sends no two at once."""
    journey, _ = _sent_over(case(plans={"l1": _plan()}), 70)
    later = replace(_plan("l2", date(2027, 2, 15), 2), agreed_at=START + 60 * DAY)
    record = case(plans={"l1": _plan(), "l2": later})
    woken = replace(journey, due_at=START + 80 * DAY)
    _, found = _sent_over(record, 200, woken)
    assert [(day, each.key) for day, each in found] == [
        (date(2027, 2, 13), "before-2027-02-15"),
        (date(2027, 3, 13), "before-2027-03-15"),
    ]
    _, late = _sent_over(record, 200, replace(journey, due_at=START + 120 * DAY))
    assert late == []


def test_the_request_of_an_instalment_has_its_date_and_amount() -> None:
    """So that two instalments' reminders are no duplicates of each other."""
    record = case(plans={"l1": _plan()})
    journey, found = _sent_over(record, 200)
    known = ("amount", "due_date")
    made = [request_of(REMINDERS, journey, JourneyFacts(record), each, known, START) for _, each in found[1:3]]
    assert [each.variables for each in made] == [
        {"amount": "900.00", "due_date": "2026-12-31"},
        {"amount": "900.00", "due_date": "2027-01-31"},
    ]
    keys = {dedup_key("B-1", each.case, each.dedup_key) for each in made}
    assert len(keys) == 2


def test_a_plan_that_was_asked_for_is_offered_at_once() -> None:
    """The steps before the offer don't come any more, its own wait for an answer is as ever, and it comes once."""
    waiting = step(begun(), facts(), START).journey
    asked = replace(waiting, plan_asked_at=START + DAY)
    known = facts(sent={"remind": sent(START)})
    done = step(asked, known, START + DAY)
    assert [type(each) for each in done.actions] == [Send]
    assert [(each.step, each.result) for each in done.journey.steps] == [
        ("remind", StepResult.SENT),
        ("offer", StepResult.SENT),
    ]
    assert done.journey.plan_asked_at is None
    again = step(replace(done.journey, plan_asked_at=START + 2 * DAY), known, START + 2 * DAY)
    assert again.actions == ()
    assert again.journey.plan_asked_at is None


def test_a_plan_that_was_asked_for_skips_what_is_before_it() -> None:
    """Before the first reminder went out: the reminder is left out."""
    done = step(replace(begun(), plan_asked_at=START), facts(), START)
    assert [(each.step, each.result) for each in done.journey.steps] == [
        ("remind", StepResult.SKIPPED),
        ("offer", StepResult.SENT),
    ]


def test_no_plan_is_offered_while_a_hold_stands_or_behind_a_gate() -> None:
    """A hold pauses it, and the wish is kept; a step behind a gate is out of reach."""
    asked = replace(begun(), plan_asked_at=START)
    held = step(asked, facts(holds=(hold(HoldKind.VULNERABLE),)), START)
    assert (held.journey.state, held.journey.plan_asked_at) == (JourneyState.PAUSED, START)
    late = step(begun(), facts(), START).journey
    late = step(late, facts(sent={"remind": sent(read=True)}), START + 3 * DAY).journey
    assert plan_step(DEFINITION, late, facts(), START + 4 * DAY) is None
