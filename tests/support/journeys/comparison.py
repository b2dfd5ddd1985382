"""Compares the contacts that a simulation promises with those that a gateway has made."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from tests.support.journeys.engine import MadeContact


@dataclass
class Comparison:
    """What differs between the simulated contacts and those that were made."""

    simulated: int
    made: int
    missing: list[str] = field(default_factory=list)
    extra: list[str] = field(default_factory=list)
    other_order_of_a_case: list[str] = field(default_factory=list)
    other_instant: list[str] = field(default_factory=list)
    other_order_among_cases: int = 0
    most_seconds_late: float = 0.0
    exits: dict[str, list[int]] = field(default_factory=dict)
    steps: dict[str, list[int]] = field(default_factory=dict)

    @property
    def same(self) -> bool:
        lists = (self.missing, self.extra, self.other_order_of_a_case, self.other_instant, self.exits, self.steps)
        return not any(lists) and not self.other_order_among_cases


def compare(expected: Sequence[MadeContact], found: Sequence[MadeContact], tolerance: timedelta) -> Comparison:
    """Both as sequences, in the order in which they were made."""
    made = Comparison(len(expected), len(found))
    one, other = Counter(map(_which, expected)), Counter(map(_which, found))
    made.missing = [" ".join(each) for each in sorted((one - other).elements())]
    made.extra = [" ".join(each) for each in sorted((other - one).elements())]
    by_case, found_by_case = _by_case(expected), _by_case(found)
    instants: dict[tuple[str, str, str], datetime] = {_which(each): each.at for each in expected}
    for case_id, contacts in by_case.items():
        mine = found_by_case.get(case_id, [])
        if [_which(each) for each in contacts] != [_which(each) for each in mine]:
            made.other_order_of_a_case.append(case_id)
    latest: datetime | None = None
    for each in found:
        at = instants.get(_which(each))
        if at is None:
            continue
        late = each.at - at
        made.most_seconds_late = max(made.most_seconds_late, late.total_seconds(), key=abs)
        if not timedelta(0) <= late <= tolerance:
            made.other_instant.append(f"{' '.join(_which(each))}: {at.isoformat()} simulated, {each.at.isoformat()}")
        if latest is not None and at < latest - tolerance:
            made.other_order_among_cases += 1
        latest = at if latest is None else max(latest, at)
    return made


def _which(contact: MadeContact) -> tuple[str, str, str]:
    return contact.case_id, contact.step, contact.channel


def _by_case(contacts: Sequence[MadeContact]) -> dict[str, list[MadeContact]]:
    found: dict[str, list[MadeContact]] = {}
    for each in contacts:
        found.setdefault(each.case_id, []).append(each)
    return found


def unequal(one: Counter[Any], other: Counter[Any]) -> dict[str, list[int]]:
    """The counts that differ: of the first and of the other."""
    return {str(each): [one[each], other[each]] for each in {**one, **other} if one[each] != other[each]}
