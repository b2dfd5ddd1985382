"""Journeys on SQLite and PostgreSQL: entered, advanced once each, woken, stopped, and decided by persons."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta

import pytest
from sqlalchemy import func, select

from gateway.cli.ledger.evidence import verify
from gateway.core.errors import InvalidData, Unavailable
from gateway.core.facts import Hold
from gateway.core.journey_events import StepResult
from gateway.core.reasons import HoldKind
from gateway.core.requests import AcceptResult, NotificationRequest
from gateway.journeys.cases.record import CaseRecord
from gateway.journeys.deciding import PathServices
from gateway.journeys.definitions.migration import JourneyMigration
from gateway.journeys.definitions.store import JourneyRefusal
from gateway.journeys.gates import GateClosed, SameApprover, UnmetNeeds
from gateway.journeys.journey import JourneyState
from gateway.journeys.report import report
from gateway.journeys.runner import JourneyRunner
from gateway.storage.database import Database
from gateway.storage.tables.path import events
from tests.support.journeys.cases import DAY, SHORT, START
from tests.support.journeys.path import PAID, JourneyBench
from tests.support.storage.ledgers import people_on


@pytest.fixture
async def bench(database: Database) -> JourneyBench:
    """A live definition, and one case that is overdue."""
    made = JourneyBench(database)
    await made.live()
    await made.case()
    return made


async def _count(bench: JourneyBench, kind: str) -> int:
    query = select(func.count()).where(events.c.kind == kind)
    return await bench.database.read(lambda connection: int(connection.execute(query).scalar_one()))


async def test_a_case_enters_once_and_goes_through_its_steps(bench: JourneyBench) -> None:
    """Each step is accepted once under its own key, on its day, with the case's figures."""
    await bench.run()
    await bench.run()
    journey = await bench.one()
    assert await bench.keys() == [f"jny:{journey.id}:remind"]
    assert bench.asked[0].variables == {"amount": "3913.00", "currency": "TWD", "due_date": "2026-11-20"}
    for _ in range(12):
        await bench.run(DAY)
    journey = await bench.one()
    assert [each.step for each in journey.steps] == ["remind", "offer"]
    assert journey.state is JourneyState.GATE
    assert len(bench.asked) == 2
    assert (await verify(bench.database)).broken == []


async def test_a_death_between_accept_and_the_record_repeats_nothing(
    bench: JourneyBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next look finds what was accepted by its key, and only records it."""

    async def die(*_: object) -> list[int | None]:
        raise Unavailable

    with monkeypatch.context() as patched:
        patched.setattr(bench.store, "write", die)
        with pytest.raises(Unavailable):
            await bench.run()
    await bench.run(timedelta(minutes=2))  # past the dead worker's lease
    journey = await bench.one()
    assert [(each.step, each.result) for each in journey.steps] == [("remind", StepResult.SENT)]
    assert len(await bench.keys()) == 1


async def test_a_payment_between_decision_and_hand_over_sends_nothing(bench: JourneyBench) -> None:
    """The payment comes when the step is decided and not accepted yet: its message is cancelled, the journey paid."""

    async def pay() -> None:
        bench.before_accept = None
        await bench.feed(PAID)

    bench.before_accept = pay
    await bench.run()
    journey = await bench.one()
    assert (journey.state, journey.reason) == (JourneyState.EXITED, "paid")
    assert await bench.states() == ["cancelled"]


async def test_a_request_that_cannot_be_stored_holds_up_no_other(bench: JourneyBench) -> None:
    """Its step says that it was rejected; the others of the batch are sent."""
    accept = bench.accept

    async def refuse(tenant: str, requests: Sequence[NotificationRequest], client: str) -> Sequence[AcceptResult]:
        if any(each.case.id == "C-3" for each in requests):
            raise InvalidData
        return await accept(tenant, requests, client)

    for number in range(2, 6):
        await bench.case(number)
    path = PathServices(refuse, bench.cancel, lambda tenant, template: ())
    bench.runner = JourneyRunner(bench.store, path, bench.clock)
    await bench.run()
    results = {each.case_id: [record.result for record in each.steps] for each in await bench.all()}
    assert results.pop("C-3") == [StepResult.REJECTED]
    assert set(map(tuple, results.values())) == {(StepResult.SENT,)}


async def test_a_payment_wakes_a_journey_that_waits(bench: JourneyBench) -> None:
    """At once, and not on the day of the next step; what is pending of it is cancelled."""
    await bench.run()
    await bench.feed(PAID)
    await bench.run()
    assert (await bench.one()).reason == "paid"
    assert await bench.states() == ["cancelled"]
    assert await _count(bench, "journey.exited") == 1


async def test_a_hold_wakes_and_pauses_and_its_end_resumes(bench: JourneyBench) -> None:
    """By the events that the hold leaves, whoever set it."""
    await bench.run()
    await bench.run()
    people = people_on(bench.database, bench.now)
    await people.put_hold("acme", "B-1", Hold(HoldKind.COMPLAINT_OPEN, bench.now), "letter", "ops")
    await bench.run(timedelta(seconds=1))
    await bench.run(timedelta(seconds=1))  # PostgreSQL's tail is sure of an event at the second look
    assert (await bench.one()).state is JourneyState.PAUSED
    await people.lift_hold("acme", "B-1", HoldKind.COMPLAINT_OPEN, "ops")
    await bench.run(timedelta(seconds=1))
    await bench.run(timedelta(seconds=1))
    assert (await bench.one()).state is not JourneyState.PAUSED


async def test_many_workers_do_each_step_once(database: Database) -> None:
    """Three workers on sixty journeys: sixty first messages, and none twice."""
    benches = [JourneyBench(database) for _ in range(3)]
    await benches[0].live()
    for number in range(60):
        await benches[0].case(number)
    await asyncio.gather(*(each.run() for each in benches))
    keys = Counter(await benches[0].keys())
    assert len(keys) == 60
    assert set(keys.values()) == {1}
    assert all(len(each.steps) == 1 for each in await benches[0].all())


async def _to_gate(bench: JourneyBench) -> str:
    for _ in range(11):
        await bench.run(DAY)
    journey = await bench.one()
    assert journey.state is JourneyState.GATE
    return journey.id


async def test_the_gate_needs_two_people_and_what_it_says(bench: JourneyBench) -> None:
    """The needs are checked with every approval; one person counts once; a race makes one event."""
    journey_id = await _to_gate(bench)
    with pytest.raises(UnmetNeeds) as unmet:
        await bench.acts.approve("acme", journey_id, "user:ann", "checked")
    assert unmet.value.needs == ["plan_offered"]
    await bench.database.write(lambda connection: connection.exec_driver_sql("UPDATE notifications SET state = 'sent'"))
    await bench.acts.approve("acme", journey_id, "user:ann", "checked")
    with pytest.raises(SameApprover):
        await bench.acts.approve("acme", journey_id, "user:ann", "again")
    others = [bench.acts.approve("acme", journey_id, f"user:{name}", "checked") for name in ("bob", "eve")]
    results = await asyncio.gather(*others, return_exceptions=True)
    assert any(not isinstance(each, BaseException) for each in results)
    assert all(isinstance(each, GateClosed) for each in results if isinstance(each, BaseException))
    assert await _count(bench, "case.legal_step_approved") == 1
    await bench.run(DAY)
    assert (await bench.one()).reason == "completed"


async def test_a_gate_lapses_and_may_be_opened_again(bench: JourneyBench) -> None:
    """After its time it waits for a person, with an event that a webhook tells."""
    journey_id = await _to_gate(bench)
    await bench.run(6 * DAY)
    assert (await bench.one()).state is JourneyState.REVIEW
    assert await _count(bench, "case.gate_lapsed") == 1
    assert (await bench.acts.reopen("acme", journey_id, "user:ann", "new papers")).state is JourneyState.GATE
    assert (await bench.acts.refuse("acme", journey_id, "user:ann", "no")).reason == "gate_refused"


async def test_persons_pause_resume_and_end(bench: JourneyBench) -> None:
    """What is pending is cancelled; each act is in the course, with who and why."""
    await bench.run()
    journey_id = await bench.id()
    paused = await bench.acts.pause("acme", journey_id, "user:ann", "asked by phone")
    assert (paused.state, await bench.states()) == (JourneyState.PAUSED, ["cancelled"])
    assert (await bench.acts.resume("acme", journey_id, "user:ann", "done")).state is not JourneyState.PAUSED
    assert (await bench.acts.end("acme", journey_id, "user:ann", "sold")).reason == "ended_by_person"
    course = await bench.reads.find("acme", journey_id)
    assert course is not None
    acts = [(each["kind"], each["detail"].get("why")) for each in course["events"] if each["actor"] == "user:ann"]
    assert ("journey_held", "asked by phone") in acts
    assert await bench.reads.find("other", journey_id) is None


async def test_a_new_version_leaves_those_under_way_on_theirs(bench: JourneyBench) -> None:
    """The first case finishes by the version that it entered by; a stop ends it."""
    await bench.run()
    await bench.live(SHORT.replace('template = "plan-offer"', 'template = "final-notice"'))
    await bench.case(2)
    await bench.run()
    await bench.run(4 * DAY)
    await bench.run(DAY)
    assert sorted(each.template for each in bench.asked) == [
        "final-notice",
        "overdue-first",
        "overdue-first",
        "plan-offer",
    ]
    await bench.definitions.stop("acme", "short", 1, "user:ann")
    await bench.run()
    assert [each.reason for each in await bench.all()] == ["stopped", ""]
    made = "UPDATE deliveries SET contacted_at = created_at WHERE case_id = 'C-1' OR channel = 'sms'"
    await bench.database.write(lambda connection: connection.exec_driver_sql(made))
    rows = report(await bench.reads.report_rows("acme", "short", None))
    # What was accepted and handed over to nobody is no contact.
    assert sorted((each["entered"], list(each["exited"].items()), each["contacts"]) for each in rows) == [
        (1, [], 1),
        (1, [("stopped", 1)], 2),
    ]


async def test_a_stopped_text_lives_again_as_a_new_version_only(bench: JourneyBench) -> None:
    """Journeys of the stopped version end; those that enter by the same text later go on."""
    await bench.run()
    await bench.live(SHORT + "\n")
    await bench.definitions.stop("acme", "short", 1, "user:ann")
    with pytest.raises(JourneyRefusal) as back:
        await bench.definitions.roll_back("acme", "short", "user:bob")
    assert back.value.kind == "wrong_state"
    await bench.run(timedelta(minutes=1))
    await bench.live(SHORT)
    await bench.case(2)
    await bench.run()
    assert [(each.case_id, each.reason) for each in await bench.all()] == [("C-1", "stopped"), ("C-2", "")]
    assert [each.template for each in bench.asked] == ["overdue-first", "overdue-first"]
    await bench.definitions.stop("acme", "short", 3, "user:ann")
    await bench.run()
    assert [each.reason for each in await bench.all()] == ["stopped", "stopped"]


async def test_journeys_migrate_to_what_was_approved_and_gates_are_approved_anew(bench: JourneyBench) -> None:
    """A draft shows what it would do, and moves nobody; an approval of the old text does not count for the new one."""
    journey_id = await _to_gate(bench)
    await bench.database.write(lambda connection: connection.exec_driver_sql("UPDATE notifications SET state = 'sent'"))
    await bench.acts.approve("acme", journey_id, "user:ann", "checked")
    migration = JourneyMigration(bench.store, bench.definitions, bench.clock)
    made = await bench.definitions.save("acme", SHORT.replace("P5D", "P9D"), "user:ann")
    dry = await migration.migrate("acme", "short", 1, made["number"], "user:ann", dry_run=True)
    assert dry["journeys"] == 1
    with pytest.raises(JourneyRefusal) as unapproved:
        await migration.migrate("acme", "short", 1, made["number"], "user:ann", dry_run=False)
    assert unapproved.value.kind == "wrong_state"
    await bench.live(SHORT.replace("P5D", "P9D"))
    moved = await migration.migrate("acme", "short", 1, made["number"], "user:ann", dry_run=False)
    assert (moved["journeys"], moved["missed"]) == (1, 0)
    await bench.run()
    await bench.acts.approve("acme", journey_id, "user:bob", "checked")
    assert (await bench.one()).state is JourneyState.GATE
    await bench.acts.approve("acme", journey_id, "user:ann", "checked the new text")
    assert await _count(bench, "case.legal_step_approved") == 1


async def test_a_definition_needs_a_second_person(database: Database) -> None:
    """Who wrote or submitted it can't approve it; what was submitted can't go live unapproved."""
    bench = JourneyBench(database)
    made = await bench.definitions.save("acme", SHORT, "user:ann")
    await bench.definitions.submit("acme", "short", made["number"], "user:ann")
    with pytest.raises(JourneyRefusal) as same:
        await bench.definitions.approve("acme", "short", made["number"], "user:ann")
    assert same.value.kind == "same_person"
    with pytest.raises(JourneyRefusal) as unapproved:
        await bench.definitions.publish("acme", "short", made["number"], "user:bob")
    assert unapproved.value.kind == "wrong_state"
    await bench.live(SHORT + "\n")
    await bench.definitions.approve("acme", "short", made["number"], "user:bob")
    await bench.definitions.publish("acme", "short", made["number"], "user:bob")
    back = await bench.definitions.roll_back("acme", "short", "user:bob")
    assert (back["number"], back["state"]) == (2, "published")


async def test_a_case_enters_when_its_day_comes(database: Database) -> None:
    """Not overdue yet: it is looked at again on the first day that meets the conditions, and not before."""
    bench = JourneyBench(database)
    await bench.live()
    await bench.case()
    record = await bench.cases.find("acme", "C-1")
    assert record is not None
    assert record.snapshot is not None
    due = START.date() + timedelta(days=3)
    later = replace(record.snapshot, as_of=START, due_date=due)
    await bench.feed(CaseRecord("C-1", later))
    await bench.run(2 * DAY)
    assert await bench.all() == []
    await bench.run(2 * DAY)
    assert len(await bench.all()) == 1
