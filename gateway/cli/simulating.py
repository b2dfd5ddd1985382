"""Runs a simulation for the command line: reads cases from a portfolio, and shows the result."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from html import escape
from pathlib import Path
from typing import Any

from channels import registry
from gateway.api.http.bodies import validated
from gateway.api.http.problems import Problem
from gateway.api.requests.cases import CaseItemIn
from gateway.cli import console
from gateway.cli.portfolio import files, mapping
from gateway.cli.runner import fail
from gateway.journeys.cases.record import CaseRecord
from gateway.journeys.definitions.model import JourneyDefinition
from gateway.journeys.simulation.assumptions import Assumptions
from gateway.journeys.simulation.run import Simulation, SimulationSetup, simulate
from gateway.policy import Packs
from gateway.web.plots import PlotSeries, columns

_MOST_ROWS = 20  # of a table on the terminal; our choice


def read_cases(path: Path, mapping_file: Path | None) -> list[CaseRecord]:
    """The cases of a file, as ``gateway cases load`` would feed them; bad rows are named and left out."""
    mapper = mapping.load(mapping_file) if mapping_file is not None else None
    records = []
    for row in files.read(path, mapper):
        if isinstance(row, files.RowError):
            console.bad_row(row)
            continue
        try:
            item = validated(CaseItemIn, row.request)
        except Problem as problem:
            first = problem.errors[0]
            console.bad_row(files.RowError(row.line, first.pointer, first.detail))
            continue
        if item.case is not None:
            records.append(item.record(item.case.as_of))
    if not records:
        fail(f"{path}: has no case with a snapshot", 2)
    return records


def run(
    definition: JourneyDefinition,
    records: Sequence[CaseRecord],
    packs: Packs,
    assumed: Assumptions,
    category: Callable[[str], str],
    start: datetime,
    days: int,
    done: Callable[[], None],
) -> Simulation:
    """Simulate one definition."""
    consents = {name: each.profile.consent_categories for name, each in registry.discover().items()}
    setup = SimulationSetup(definition, packs, assumed, category, start, days, consents)
    return simulate(setup, records, done)


def svg(found: dict[str, Any]) -> str:
    """Contacts by day and channel as an SVG."""
    days = sorted(found["contacts_by_day"])
    channels = sorted({channel for each in found["contacts_by_day"].values() for channel in each})
    series = [
        PlotSeries(channel, [found["contacts_by_day"][day].get(channel, 0) for day in days]) for channel in channels
    ]
    drawn = str(columns("Contacts by day", series, days))
    style = (
        "<style>.series-0{fill:#2f6db5}.series-1{fill:#c46a1b}.series-2{fill:#3a8f5c}text{font:12px sans-serif}</style>"
    )
    opened = drawn.replace("<svg ", '<svg xmlns="http://www.w3.org/2000/svg" ', 1)
    return opened.replace(">", f">{style}", 1)


def html(names: Sequence[str], found: Sequence[dict[str, Any]]) -> str:
    """The results as one page without scripts: a plot and the figures of each definition."""
    parts = [_section(name, each) for name, each in zip(names, found, strict=True)]
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8"><title>Simulation</title>'
        "<style>body{font:16px sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}"
        "table{border-collapse:collapse;margin:1rem 0}td,th{border:1px solid #888;padding:.3rem .6rem;text-align:left}"
        f"svg{{width:100%}}</style><h1>Simulation</h1>{''.join(parts)}</html>"
    )


def _section(name: str, found: dict[str, Any]) -> str:
    figures = [(each, found[each]) for each in ("start", "days", "cases", "entered", "contacts", "busiest_hour")]
    figures.append(("cost", found["cost"]["total"]))
    not_sent = [(each["date"], each["verdict"], each["reason"], each["number"]) for each in found["not_sent"]]
    steps = [(step, what, number) for step, each in found["steps"].items() for what, number in each.items()]
    tables = [
        _table(("figure", ""), figures),
        _table(("exit", "number"), list(found["exits"].items())),
        _table(("step", "what", "number"), steps),
        _table(("hour", "contacts"), list(found["contacts_by_hour"].items())),
        _table(("date", "not sent", "reason", "number"), not_sent),
    ]
    return f"<h2>{escape(name)}</h2>{svg(found)}{''.join(tables)}"


def _table(columns_: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    head = "".join(f"<th>{escape(each)}</th>" for each in columns_)
    body = "".join("<tr>" + "".join(f"<td>{escape(str(cell))}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<table><tr>{head}</tr>{body}</table>"


def show(found: dict[str, Any]) -> None:
    """The result as tables."""
    figures = [
        ("cases, entered", f"{found['cases']:,}, {found['entered']:,}"),
        ("contacts, most of one case", f"{found['contacts']:,}, {found['most_of_one_case']}"),
        ("busiest hour", f"{found['busiest_hour']:,}"),
        ("cost", f"{found['cost']['total']:,}"),
    ]
    console.STDOUT.print(console.table(None, ("", ""), figures))
    steps = [(step, what, number) for step, each in found["steps"].items() for what, number in each.items()]
    console.STDOUT.print(console.table("steps", ("step", "what", "number"), steps))
    console.STDOUT.print(console.table("exits", ("reason", "number"), list(found["exits"].items())))
    by_reason: dict[tuple[str, str, str], int] = {}
    for each in found["not_sent"]:
        which = (console.DECISIONS[each["verdict"]], each["reason"], each["authority"])
        by_reason[which] = by_reason.get(which, 0) + each["number"]
    rows = [(*which, number) for which, number in sorted(by_reason.items(), key=lambda each: -each[1])]
    console.STDOUT.print(console.table("not sent", ("decision", "reason", "authority", "number"), rows[:_MOST_ROWS]))
    days = [
        (day, sum(each.values()), " ".join(f"{channel} {number}" for channel, number in each.items()))
        for day, each in found["contacts_by_day"].items()
    ]
    busiest = sorted(days, key=lambda each: -each[1])[:_MOST_ROWS]
    console.STDOUT.print(console.table("busiest days", ("date", "contacts", "by channel"), sorted(busiest)))
