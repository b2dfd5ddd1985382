"""Requests a decision for every row of a portfolio from ``POST /v1/decisions``, and counts them by verdict and reason.

Owns the requests. Must not know files, terminals or policy rules.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field
from operator import attrgetter
from typing import TYPE_CHECKING, Any

from gateway.cli.client import ApiTarget, CallFailed, call, dotted
from gateway.cli.portfolio.files import PortfolioRow, RowError

if TYPE_CHECKING:
    import aiohttp

_AT_ONCE = 16  # concurrent requests; our choice: uses one API process fully, and leaves room for other clients
_UNFIT = frozenset({413, 422})  # the request of the row is invalid


@dataclass(frozen=True, slots=True)
class RowDecision:
    """The decision on one row, and the rule behind it: its name, and the pack and the authority that it comes from."""

    line: int
    verdict: str
    reason: str
    until: str | None
    rule: str

    @classmethod
    def of(cls, line: int, answer: Mapping[str, Any]) -> RowDecision:
        verdict, reason = str(answer["verdict"]), str(answer["reason"])
        behind = (each for each in answer["rules"] if (each["verdict"], each["reason"]) == (verdict, reason))
        named = next((f"{each['rule']} ({_origin(each)})" for each in behind), "") if verdict != "send" else ""
        return cls(line, verdict, reason, answer.get("until"), named)


def _origin(rule: Mapping[str, Any]) -> str:
    return ", ".join(str(rule[name]) for name in ("pack", "authority") if rule[name]) or "gateway"


@dataclass(slots=True)
class DecisionCounts:
    """The decisions by row; counted by verdict and reason, with the earliest ``until`` of deferred ones."""

    decided: list[RowDecision] = field(default_factory=list)
    errors: list[RowError] = field(default_factory=list)

    def groups(self) -> list[tuple[str, str, int, str, str, int]]:
        """Verdict, reason, number, earliest ``until``, rule and line of the first row; the most frequent first."""
        grouped: dict[tuple[str, str], list[RowDecision]] = {}
        for each in self.decided:
            grouped.setdefault((each.verdict, each.reason), []).append(each)
        found = [
            # UTC in one format, so that texts compare like instants.
            (*which, len(rows), min((each.until for each in rows if each.until), default=""), first.rule, first.line)
            for which, rows in grouped.items()
            for first in [min(rows, key=attrgetter("line"))]
        ]
        return sorted(found, key=lambda each: (-each[2], each))

    def view(self) -> dict[str, Any]:
        """The same as ``--json`` prints it."""
        verdicts = [
            {"verdict": verdict, "reason": reason, "number": number, "earliest": earliest or None, "rule": rule or None}
            for verdict, reason, number, earliest, rule, _ in self.groups()
        ]
        rows = [asdict(each) for each in sorted(self.decided, key=attrgetter("line"))]
        errors = [{"line": each.line, "field": each.field, "detail": each.detail} for each in self.errors]
        return {"verdicts": verdicts, "rows": rows, "errors": errors}


async def decide(
    rows: Iterable[PortfolioRow | RowError],
    target: ApiTarget,
    row_done: Callable[[], None],
    bad_row: Callable[[RowError], None],
) -> DecisionCounts:
    """Request the decision for every row. Raises CallFailed."""
    verdicts = DecisionCounts()
    source = iter(rows)

    async def request_rows(session: aiohttp.ClientSession) -> None:
        for row in source:
            answer = row if isinstance(row, RowError) else await _ask(session, target, row)
            if isinstance(answer, RowError):
                verdicts.errors.append(answer)
                bad_row(answer)
            else:
                verdicts.decided.append(RowDecision.of(row.line, answer))
            row_done()

    try:
        async with target.session() as session, asyncio.TaskGroup() as tasks:
            for _ in range(_AT_ONCE):
                tasks.create_task(request_rows(session))
    except ExceptionGroup as group:
        raise group.exceptions[0] from None
    return verdicts


async def _ask(session: aiohttp.ClientSession, target: ApiTarget, row: PortfolioRow) -> dict[str, Any] | RowError:
    try:
        answer: dict[str, Any] = await call(session, target, "/v1/decisions", row.request)
    except CallFailed as error:
        if error.status not in _UNFIT:
            raise
        first = next(iter(error.errors), {})
        place = dotted(str(first.get("pointer") or ""))
        return RowError(row.line, place, str(first.get("detail") or error))
    return answer
