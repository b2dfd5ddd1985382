"""The simulation: deterministic, and by the policy; test_engine.py compares it with the engine."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import msgspec
import pytest
from typer.testing import CliRunner

from gateway.cli import app
from gateway.journeys.cases.record import CaseRecord
from gateway.journeys.definitions.model import BadDefinition, JourneyDefinition, parse
from gateway.journeys.simulation.assumptions import Assumptions, read_assumptions
from gateway.journeys.simulation.run import Simulation, SimulationSetup, simulate
from gateway.journeys.simulation.view import difference, view
from tests.support.journeys.cases import SHORT, START, shipped, snapshot
from tests.support.rules.policy_cases import PACKS

NOBODY_ANSWERS = Assumptions(
    delivered={}, read={}, replied=0, paid_per_day=0, paid=0, promised=0, plan_agreed=0, opted_out=0
)
SERVICE = {"due-soon": "service", "plan-confirmed": "service"}


def records(number: int = 30) -> list[CaseRecord]:
    made = []
    for each in range(number):
        borrower = replace(snapshot().borrower, id=f"B-{each}", addresses={"sms": "x", "email": "y", "inapp": "z"})
        made.append(CaseRecord(f"C-{each}", snapshot(borrower=borrower, facts={"months_overdue": 1 + each % 3})))
    return made


def simulated(
    definition: JourneyDefinition, assumed: Assumptions = NOBODY_ANSWERS, days: int = 70, number: int = 30
) -> Simulation:
    setup = SimulationSetup(definition, PACKS, assumed, lambda name: SERVICE.get(name, "collections"), START, days)
    return simulate(setup, records(number))


def test_the_same_seed_gives_the_same_result() -> None:
    """Another seed gives another one."""
    one, two = (view(simulated(shipped(), Assumptions(seed=7)), Assumptions()) for _ in range(2))
    assert json.dumps(one) == json.dumps(two)
    assert json.dumps(one) != json.dumps(view(simulated(shipped(), Assumptions(seed=8)), Assumptions()))


def test_what_the_policy_forbids_is_counted_and_not_made() -> None:
    """Steps at night wait for the morning; a definition of too many messages meets the caps."""
    night = parse(SHORT.replace('at = "10:00"', 'at = "03:00"'))
    found = simulated(night, days=12)
    assert {each.at.hour for each in found.contacts if each.step == "offer"} == {0}  # eight in Taipei
    assert {(kind, reason) for _, kind, reason, _ in found.not_sent} == {("defer", "outside_window")}
    many = "".join(
        f'[[step]]\nid = "s{hour}"\nafter = "PT5H"\ntemplate = "overdue-first"\nroute = ["sms"]\n' for hour in range(20)
    )
    head = 'name = "many"\nenter = { when = {} }\npace = { least = "PT0S" }\n'
    capped = simulated(parse(head + many), days=9, number=1)
    by_day: dict[str, int] = {}
    for each in capped.contacts:
        day = (each.at + timedelta(hours=8)).date().isoformat()
        by_day[day] = by_day.get(day, 0) + 1
    assert max(by_day.values()) <= 2  # the pack tw: two text messages a day
    assert any(reason.startswith("cap_") for _, _, reason, _ in capped.not_sent)


def test_an_outcome_ends_a_journey() -> None:
    """Everybody who gets a message pays: one message each, and all exits are paid."""
    found = simulated(parse(SHORT), replace_chances(paid=1.0))
    assert found.exits == {"paid": 30}
    assert len(found.contacts) == 30


def test_a_borrower_with_two_cases_is_one_person() -> None:
    """The least time between two messages holds across cases, and an opt-out stops both."""
    two = [CaseRecord(f"C-{number}", snapshot(facts={"months_overdue": 1})) for number in range(2)]
    setup = SimulationSetup(parse(SHORT), PACKS, NOBODY_ANSWERS, lambda name: "collections", START, 2)
    found = simulate(setup, two)
    assert [each.at - START for each in found.contacts] == [
        timedelta(0),
        timedelta(hours=4),
    ]  # as tw says
    stopped = simulate(replace(setup, assumed=replace_chances(opted_out=1.0), days=12), two)
    assert len(stopped.contacts) == 1


def test_a_message_goes_where_the_borrower_has_an_address() -> None:
    """A channel without one is left out of the route; a step that reaches nobody is rejected."""
    borrower = replace(snapshot().borrower, addresses={"email": "b@example.com"})
    setup = SimulationSetup(parse(SHORT), PACKS, NOBODY_ANSWERS, lambda name: "collections", START, 12)
    found = simulate(setup, [CaseRecord("C-1", snapshot(borrower=borrower))])
    assert [(each.step, each.channel) for each in found.contacts] == [("offer", "email")]
    assert found.steps == {("remind", "rejected"): 1, ("offer", "sent"): 1}


def test_a_channel_that_asks_for_consent_has_it_where_it_is_assumed() -> None:
    """Nobody by default, for a portfolio does not say; then the next channel of the route is tried at once."""
    addresses = {"whatsapp": "+12025550123", "email": "b@example.com"}
    borrower = replace(snapshot().borrower, addresses=addresses)
    asks = {"whatsapp": frozenset({"collections"})}
    definition = parse(SHORT.replace('route = ["sms"]', 'route = ["whatsapp", "email"]'))
    setup = SimulationSetup(definition, PACKS, NOBODY_ANSWERS, lambda name: "collections", START, 2, asks)
    for consented, channel in (({}, "email"), ({"whatsapp": 1.0}, "whatsapp")):
        assumed = msgspec.structs.replace(NOBODY_ANSWERS, consented=consented)
        found = simulate(replace(setup, assumed=assumed), [CaseRecord("C-1", snapshot(borrower=borrower))])
        assert [each.channel for each in found.contacts] == [channel]


def replace_chances(**changes: float) -> Assumptions:
    values = {name: getattr(NOBODY_ANSWERS, name) for name in NOBODY_ANSWERS.__struct_fields__}
    return Assumptions(**{**values, **changes})


def test_two_definitions_are_compared() -> None:
    """By the figures that a strategy manager decides on."""
    views = [view(simulated(each), NOBODY_ANSWERS) for each in (shipped(), parse(SHORT))]
    rows = {name: (one, other) for name, one, other in difference(*views)}
    assert rows["entered"] == (30, 30)
    assert rows["contacts"][0] > rows["contacts"][1]


def test_wrong_assumptions_are_refused() -> None:
    """Unknown names, and chances that are none."""
    assert read_assumptions("seed = 4\npaid = 0.5").paid == 0.5
    for text in ("payed = 0.5", "paid = 2.0", "paid ="):
        with pytest.raises(BadDefinition):
            read_assumptions(text)


def test_the_command_prints_the_same_bytes_twice(tmp_path: Path) -> None:
    """A file of cases, a definition, JSON on stdout and a plot; a bad row is named and left out."""
    body = {
        "as_of": "2026-11-23T10:00:00Z",
        "borrower": {"id": "B", "name": "N", "locale": "zh-TW", "jurisdiction": "tw", "time_zones": ["Asia/Taipei"]}
        | {"addresses": {"sms": "+12025550123"}},
        "product": "card",
        "currency": "TWD",
        "balance": "10.00",
        "minimum_due": "10.00",
        "due_date": "2026-11-01",
    }
    lines = [json.dumps({"id": f"C-{number}", "case": body}) for number in range(5)]
    portfolio = tmp_path / "cases.jsonl"
    portfolio.write_text("\n".join([*lines, "{}"]), "utf-8")
    definition = tmp_path / "short.toml"
    definition.write_text(SHORT, "utf-8")
    plot = tmp_path / "plot.svg"
    arguments = ["journey", "simulate", str(definition), "--portfolio", str(portfolio), "--days", "20"]
    arguments += ["--page", str(tmp_path / "page.html")]
    outputs = [CliRunner().invoke(app, [*arguments, "--json", "--plot", str(plot)]).stdout for _ in range(2)]
    assert outputs[0] == outputs[1]
    assert json.loads(outputs[0])["entered"] == 5
    assert plot.read_text("utf-8").startswith("<svg xmlns")
    assert "<h2>short</h2>" in (tmp_path / "page.html").read_text("utf-8")
    assert CliRunner().invoke(app, ["journey", "lint", str(definition)]).exit_code == 0
