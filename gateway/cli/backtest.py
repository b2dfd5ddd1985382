"""Backtest of policy packs: repeats past decisions with changed packs, and compares the results.

Owns the comparison. Both decisions are computed from the same facts, so a difference comes from the packs alone.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from gateway import policy
from gateway.core.errors import RenderFailed, UnknownTemplate
from gateway.core.verdicts import Verdict
from gateway.evidence.history import History, PastDecision
from gateway.templates import Catalog

_EXAMPLES = 3  # example notifications for each kind of difference; our choice

Change = tuple[str, str, str]  # when, the verdict before, the verdict after


@dataclass(slots=True)
class Backtest:
    """The number of decisions, and those that differ, by the kind of difference."""

    decisions: int = 0
    changes: dict[Change, int] = field(default_factory=dict)
    examples: dict[Change, list[str]] = field(default_factory=dict)

    def add(self, decision: PastDecision, before: Verdict, after: Verdict) -> None:
        self.decisions += 1
        if (before.kind, before.reason, before.until) == (after.kind, after.reason, after.until):
            return
        change = (decision.when, f"{before.kind} {before.reason}", f"{after.kind} {after.reason}")
        self.changes[change] = self.changes.get(change, 0) + 1
        named = self.examples.setdefault(change, [])
        if len(named) < _EXAMPLES and decision.notification.id not in named:
            named.append(decision.notification.id)

    def rows(self) -> list[tuple[str, str, str, int, str]]:
        """The table: when, before, after, how many, some of their ids."""
        ordered = sorted(self.changes.items(), key=lambda each: (-each[1], each[0]))
        return [(*change, number, " ".join(self.examples[change])) for change, number in ordered]

    def view(self) -> dict[str, Any]:
        """The same as ``--json`` prints it."""
        names = ("when", "before", "after", "number", "examples")
        changes = [dict(zip(names, (*row[:4], row[4].split()), strict=True)) for row in self.rows()]
        return {"decisions": self.decisions, "differ": sum(self.changes.values()), "changes": changes}


async def backtest(
    history: History,
    templates: Catalog,
    present: policy.Packs,
    changed: policy.Packs,
    since: datetime,
    until: datetime,
    tenant: str | None,
    advanced: Callable[[int], None],
) -> Backtest:
    """Repeat the decisions of ``[since, until)`` with both sets of packs. Raises Unavailable."""
    result = Backtest()
    horizon = max(present.contact_horizon, changed.contact_horizon)
    async for batch in history.decisions(since, until, horizon, tenant):
        notifications = [each.notification for each in batch]
        await templates.ensure({(each.tenant, each.template, each.template_version) for each in notifications})
        for decision in batch:
            before, after = (_decided(decision, packs, templates) for packs in (present, changed))
            result.add(decision, before, after)
        advanced(len(batch))
    return result


def _decided(decision: PastDecision, packs: policy.Packs, templates: Catalog) -> Verdict:
    return policy.decide(
        decision.notification,
        decision.channel,
        decision.facts,
        packs,
        decision.at,
        text=_text(decision, templates),
        address_digest=decision.address_digest,
        approved=decision.approved,
    )


def _text(decision: PastDecision, templates: Catalog) -> str | None:
    """The text that was sent; None where it was erased, so that rules about texts are skipped."""
    try:
        return templates.render(decision.notification, decision.channel).text
    except (RenderFailed, UnknownTemplate):
        return None
