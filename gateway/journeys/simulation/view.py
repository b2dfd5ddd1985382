"""A simulation's result as figures: what ``--json`` prints and the page shows, and the comparison of two. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

from gateway.journeys.simulation.assumptions import Assumptions
from gateway.journeys.simulation.run import Simulation


def view(result: Simulation, assumed: Assumptions, *, contacts: bool = True) -> dict[str, Any]:
    """The result as ``--json`` prints it."""
    zones = [each.at.astimezone(result.start.tzinfo) for each in result.contacts]
    by_day: Counter[tuple[str, str]] = Counter()
    for at, each in zip(zones, result.contacts, strict=True):
        by_day[(at.date().isoformat(), each.channel)] += 1
    cost = {channel: round(number * assumed.cost.get(channel, 0.0), 2) for channel, number in result.cost.items()}
    found: dict[str, Any] = {
        "start": result.start.isoformat(),
        "days": result.days,
        "cases": result.cases,
        "entered": result.entered,
        "contacts": len(result.contacts),
        "most_of_one_case": max(Counter(each.case_id for each in result.contacts).values(), default=0),
        "exits": dict(sorted(result.exits.items())),
        "steps": _nested(result.steps),
        "contacts_by_day": _nested(by_day),
        "not_sent": [
            {"date": day, "verdict": kind, "reason": reason, "authority": authority, "number": number}
            for (day, kind, reason, authority), number in sorted(result.not_sent.items())
        ],
        "contacts_by_hour": dict(sorted(Counter(f"{at.hour:02d}" for at in zones).items())),
        "busiest_hour": max(Counter(at.replace(minute=0, second=0, microsecond=0) for at in zones).values(), default=0),
        "cost": {"by_channel": dict(sorted(cost.items())), "total": round(sum(cost.values()), 2)},
    }
    if contacts:
        found["who"] = [
            {"at": each.at.isoformat(), "case": each.case_id, "step": each.step, "channel": each.channel}
            for each in result.contacts
        ]
    return found


def _nested(counts: Counter[tuple[str, str]]) -> dict[str, dict[str, int]]:
    found: dict[str, dict[str, int]] = {}
    for (outer, inner), number in sorted(counts.items()):
        found.setdefault(outer, {})[inner] = number
    return found


def difference(one: dict[str, Any], other: dict[str, Any]) -> Iterator[tuple[str, Any, Any]]:
    """(what, first, second) of the figures by which two results are compared."""
    for name in ("entered", "contacts", "most_of_one_case", "busiest_hour"):
        yield name, one[name], other[name]
    yield "cost", one["cost"]["total"], other["cost"]["total"]
    for reason in sorted({*one["exits"], *other["exits"]}):
        yield f"exited: {reason}", one["exits"].get(reason, 0), other["exits"].get(reason, 0)
