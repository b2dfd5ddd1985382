"""A fault of one journey, one case or one definition holds up no other, of any tenant."""

from __future__ import annotations

from datetime import timedelta

import pytest
from sqlalchemy import update

from gateway.journeys.acts import NoSuchJourney
from gateway.journeys.advance import advance
from gateway.journeys.cases.record import CaseRecord
from gateway.journeys.journey import Journey, JourneyState
from gateway.storage.database import Database
from gateway.storage.tables.journeys import case_records, journey_versions, journeys
from tests.support.journeys.cases import DAY, SHORT, snapshot
from tests.support.journeys.path import PAID, JourneyBench

OTHER = SHORT.replace('name = "short"', 'name = "other"')


@pytest.fixture
async def bench(database: Database) -> JourneyBench:
    """Two live definitions; two cases of one lender and one of another, in both of the first lender's definitions."""
    made = JourneyBench(database)
    await made.live()
    await made.live(OTHER)
    await made.live(SHORT, tenant="globex")
    await made.case(1)
    await made.case(2)
    await made.cases.feed("globex", [CaseRecord("G-1", snapshot())], "key:1")
    return made


async def _break(bench: JourneyBench, source: str = "name = ") -> None:
    """Overwrite the stored text of the first lender's definition, as a hand or a bad restore would."""
    these = journey_versions.c.tenant == "acme", journey_versions.c.name == "short"
    broken = update(journey_versions).where(*these).values(source=source)
    await bench.database.write(lambda connection: connection.execute(broken))


async def _of(bench: JourneyBench, tenant: str, definition: str) -> list[Journey]:
    ids = [each["id"] for each in await bench.reads.listed(tenant, definition=definition, limit=10)]
    found = [await bench.store.look(tenant, each) for each in sorted(ids)]
    return sorted((each.journey for each in found if each is not None), key=lambda each: each.case_id)


@pytest.mark.parametrize("source", ["name = ", OTHER], ids=["no definition", "another text than was pinned"])
async def test_an_unreadable_definition_sets_its_journeys_aside_and_no_others(bench: JourneyBench, source: str) -> None:
    """They wait for a person with the reason, are counted once, and send nothing; all others go on."""
    await bench.run()
    await _break(bench, source)
    sent = len(bench.asked)
    await bench.run(4 * DAY)
    await bench.run(DAY)
    aside = await _of(bench, "acme", "short")
    assert [(each.state, each.reason, each.due_at) for each in aside] == [
        (JourneyState.REVIEW, "definition_unreadable", None)
    ] * 2
    assert sorted(each.kind for each in bench.observed if each.kind == "journey_set_aside") == ["journey_set_aside"] * 2
    backlog = await bench.reads.backlog(bench.now)
    assert (backlog.due, backlog.review, backlog.unreadable) == (0, {"definition_unreadable": 2}, 1)
    others = [*await _of(bench, "acme", "other"), *await _of(bench, "globex", "short")]
    assert [[step.step for step in each.steps] for each in others] == [["remind", "offer"]] * 3
    assert len(bench.asked) == sent + 3


async def test_what_is_set_aside_still_ends_and_goes_on_when_it_can_be_read(bench: JourneyBench) -> None:
    """A payment ends it and cancels what is pending; a person has it go on, but not before the text is back."""
    await bench.run()
    await _break(bench)
    await bench.run(4 * DAY)
    await bench.feed(PAID)
    await bench.run(timedelta(minutes=2))
    first, second = await _of(bench, "acme", "short")
    assert (first.state, first.reason) == (JourneyState.EXITED, "paid")
    assert await bench.cancelled("C-1") > 0
    with pytest.raises(NoSuchJourney):
        await bench.acts.reopen("acme", second.id, "user:ann", "looked at")
    await _break(bench, SHORT)
    again = await bench.acts.reopen("acme", second.id, "user:ann", "the text is back")
    assert again.state is JourneyState.ACTIVE
    await bench.run()
    assert [each.step for each in (await _of(bench, "acme", "short"))[1].steps] == ["remind", "offer"]


async def test_an_unreadable_live_definition_keeps_no_case_out_of_others(bench: JourneyBench) -> None:
    """Cases enter the other definitions at once, and this one within the hour once it can be read."""
    await _break(bench)
    await bench.run()
    assert len(await _of(bench, "acme", "other")) == 2
    assert len(await _of(bench, "globex", "short")) == 1
    assert await _of(bench, "acme", "short") == []
    await _break(bench, SHORT)
    await bench.run(timedelta(hours=1))
    assert len(await _of(bench, "acme", "short")) == 2


async def test_a_decision_that_fails_is_one_journeys_fault(
    bench: JourneyBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An exception while one journey is decided sets that one aside; the others of its batch are sent."""

    def fail(definition: object, journey: Journey, *rest: object) -> object:
        if journey.case_id == "C-2":
            raise ArithmeticError
        return advance(definition, journey, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr("gateway.journeys.deciding.advance", fail)
    await bench.run()
    found = [*await _of(bench, "acme", "short"), *await _of(bench, "globex", "short")]
    assert [(each.case_id, str(each.state), each.reason) for each in found] == [
        ("C-1", "waiting", ""),
        ("C-2", "review", "decision_failed"),
        ("G-1", "waiting", ""),
    ]


async def test_a_text_that_a_newer_process_wrote_is_left_to_it(bench: JourneyBench) -> None:
    """A journey or a case that this process can't decode keeps its state, stays due, and holds up no other."""
    await bench.run()
    newer = update(journeys).where(journeys.c.case_id == "C-1").values(body='{"state": "a new one"}', due_at=bench.now)
    case = update(case_records).where(case_records.c.id == "C-2").values(body="{}", check_at=bench.now)
    for statement in (newer, case):
        await bench.database.write(lambda connection, statement=statement: connection.execute(statement))
    await bench.run(4 * DAY, rounds=1)
    assert [each.step for each in (await _of(bench, "globex", "short"))[0].steps] == ["remind", "offer"]
    assert await _of(bench, "acme", "short") == []
    await bench.run(timedelta(minutes=2), rounds=1)
    assert len(await bench.runner.due(bench.now + timedelta(minutes=2), 10)) == 4  # two cases in two definitions
