"""What came of a definition, per version and arm: counts, and shares with 95 % intervals. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from gateway.core.shares import TOO_FEW, wilson

_CURED = frozenset({"paid", "plan_agreed"})


@dataclass(frozen=True, slots=True)
class ReportRow:
    """One journey, as it counts."""

    version: str
    arm: str
    exited: bool
    reason: str
    contacts: int
    opted_out: bool = False
    complained: bool = False


def report(rows: Iterable[ReportRow]) -> list[dict[str, Any]]:
    """A line per version and arm."""
    groups: dict[tuple[str, str], list[ReportRow]] = {}
    for row in rows:
        groups.setdefault((row.version, row.arm), []).append(row)
    return [_line(version, arm, found) for (version, arm), found in sorted(groups.items())]


def _line(version: str, arm: str, rows: list[ReportRow]) -> dict[str, Any]:
    number = len(rows)
    return {
        "version": version,
        "arm": arm,
        "entered": number,
        "open": sum(not each.exited for each in rows),
        "exited": dict(sorted(Counter(each.reason for each in rows if each.exited).items())),
        "contacts": sum(each.contacts for each in rows),
        "cured": _share(sum(each.reason in _CURED for each in rows), number),
        "opted_out": _share(sum(each.opted_out for each in rows), number),
        "complained": _share(sum(each.complained for each in rows), number),
        "too_few_to_tell": number < TOO_FEW,
    }


def _share(hits: int, number: int) -> dict[str, Any]:
    low, high = wilson(hits, number)
    return {
        "number": hits,
        "share": round(hits / number, 4) if number else None,
        "interval": [round(low, 4), round(high, 4)],
    }
