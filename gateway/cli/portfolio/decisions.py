"""Requests a decision for every row of a portfolio from ``POST /v1/decisions``, and counts them by verdict and reason.

Owns the requests. Must not know files, terminals or policy rules.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import aiohttp

from gateway.cli.client import ApiTarget, CallFailed, call, dotted
from gateway.cli.portfolio.files import PortfolioRow, RowError

_AT_ONCE = 16  # concurrent requests; our choice: uses one API process fully, and leaves room for other clients
_UNFIT = frozenset({413, 422})  # the request of the row is invalid


@dataclass(slots=True)
class DecisionCounts:
    """The number of decisions by verdict and reason, and the earliest ``until`` of deferred ones."""

    number: dict[tuple[str, str], int] = field(default_factory=dict)
    earliest: dict[tuple[str, str], str] = field(default_factory=dict)
    errors: list[RowError] = field(default_factory=list)

    def add(self, verdict: dict[str, Any]) -> None:
        which = (str(verdict["verdict"]), str(verdict["reason"]))
        self.number[which] = self.number.get(which, 0) + 1
        until = verdict.get("until")
        if until:  # UTC in one format, so that texts compare like instants
            self.earliest[which] = min(until, self.earliest.get(which, until))

    def rows(self) -> list[tuple[str, str, int, str]]:
        """The table, the most frequent first; rejected rows as a line of their own."""
        found = [(*which, number, self.earliest.get(which, "")) for which, number in self.number.items()]
        found.sort(key=lambda each: (-each[2], each))
        return [*found, ("rejected", "", len(self.errors), "")] if self.errors else found

    def view(self) -> dict[str, Any]:
        """The same as ``--json`` prints it."""
        verdicts = [
            {"verdict": verdict, "reason": reason, "number": number, "earliest": earliest or None}
            for verdict, reason, number, earliest in self.rows()
            if verdict != "rejected"
        ]
        errors = [{"line": each.line, "field": each.field, "detail": each.detail} for each in self.errors]
        return {"verdicts": verdicts, "errors": errors}


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
                verdicts.add(answer)
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
