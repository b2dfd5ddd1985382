"""The assistant against persons alone: what became of the cases of each arm, with 95 % intervals.

Every case that the assistant would have answered is in one arm by a stable hash, and is counted there whatever happened
later (intention to treat): a person who takes over does not move it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, and_, case, exists, func, or_, select

from gateway.core.conversations import AssistantReason
from gateway.core.reasons import Intent
from gateway.replies.evaluation import Proportion
from gateway.storage.database import Database
from gateway.storage.tables.borrowers import borrowers, cases, replies
from gateway.storage.tables.conversations import conversations

ARMS = ("assistant", AssistantReason.HOLDOUT.value)


class AssistantReports:
    """Reads the comparison. Raises Unavailable."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def of(self, tenant: str) -> list[dict[str, Any]]:
        """A line for each arm: how many conversations, and of these the cases that were paid, and the harms."""
        return await self._database.read(lambda connection: _lines(connection, tenant))


def _lines(connection: Connection, tenant: str) -> list[dict[str, Any]]:
    measures = {
        "paid": exists().where(
            cases.c.tenant == tenant, cases.c.id == conversations.c.case_id, cases.c.closed_reason == "paid"
        ),
        "complained": _wrote(tenant, [Intent.COMPLAINT]),
        "stopped": _wrote(tenant, [Intent.STOP, Intent.MAYBE_STOP]),
        "wanted_a_person": _wrote(tenant, [Intent.WANTS_PERSON]),
        "opted_out": exists().where(
            borrowers.c.tenant == tenant,
            borrowers.c.id == conversations.c.borrower_id,
            borrowers.c.opt_outs != "[]",
        ),
    }
    sums = [func.coalesce(func.sum(case((each, 1), else_=0)), 0) for each in measures.values()]
    query = select(conversations.c.arm, func.count(), *sums).where(conversations.c.tenant == tenant)
    found = {row[0]: row for row in connection.execute(query.group_by(conversations.c.arm))}
    lines = []
    for arm in ARMS:
        number, *hits = map(int, tuple(found[arm])[1:] if arm in found else [0] * (len(measures) + 1))
        shares = {name: Proportion(hit, number).as_dict() for name, hit in zip(measures, hits, strict=True)}
        lines.append({"arm": arm, "conversations": number, **shares})
    return lines


def _wrote(tenant: str, intents: Sequence[Intent]) -> Any:
    said = or_(*(replies.c.intents.contains(each.value) for each in intents))
    mine = and_(replies.c.tenant == tenant, replies.c.borrower_id == conversations.c.borrower_id)
    return exists().where(mine, replies.c.conversation_id == conversations.c.id, said)
