"""Four eyes: an act that a policy pack marks is proposed by one person and decided by another.

A proposal stands in the borrower's row and is an event. Which acts are marked is gateway/policy/four_eyes.py's.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Any

import msgspec
from sqlalchemy import Connection, select

from gateway.borrowers.changes import ChangeRecord, change_borrower
from gateway.core.clock import Clock
from gateway.core.codec import encode
from gateway.policy import Packs, SharedAct, needs_second_person
from gateway.stages.route_rules import Digest, route_rules
from gateway.storage.database import Database
from gateway.storage.reads import Reads
from gateway.storage.tables.borrowers import borrowers

_STANDS = timedelta(days=7)  # our choice: what nobody took up in a week is proposed again, on the facts of that day


class ProposedByThemselves(Exception):
    """The one who proposed an act wants to decide it."""


@dataclass(frozen=True, slots=True)
class Proposal:
    """``target``: the review's id, or the kind of the hold."""

    act: SharedAct
    target: str
    reason: str
    actor: str
    at: datetime


_decode = msgspec.json.Decoder(list[Proposal]).decode


def standing_proposals(text: str, now: datetime) -> list[Proposal]:
    """Those of a borrower's row that may still be decided."""
    return [each for each in _decode(text) if now - each.at < _STANDS]


class FourEyes:
    """Proposals of the marked acts. Raises Unavailable."""

    def __init__(self, database: Database, reads: Reads, packs: Packs, digest: Digest, clock: Clock) -> None:
        self._database = database
        self._reads = reads
        self._packs = packs
        self._rules = route_rules(digest)
        self._clock = clock

    async def needed(self, tenant: str, borrower_id: str, act: SharedAct, kind: str) -> bool:
        """Whether a pack in force for the borrower marks this act."""
        latest = await self._reads.latest(tenant, borrower_id)
        jurisdiction = latest.borrower.jurisdiction if latest is not None else ""
        return needs_second_person(self._packs.in_force(jurisdiction, self._clock()).rules, act, kind)

    async def standing(self, tenant: str, borrower_ids: Collection[str]) -> list[Proposal]:
        """The proposals for these borrowers that may still be decided."""
        query = select(borrowers.c.proposals).where(borrowers.c.tenant == tenant, borrowers.c.id.in_(borrower_ids))
        texts = await self._database.read(lambda connection: list(connection.execute(query).scalars()))
        return [each for text in texts for each in standing_proposals(text, self._clock())]

    async def permit(
        self, tenant: str, borrower_id: str, act: SharedAct, target: str, kind: str, reason: str, actor: str
    ) -> bool:
        """Whether ``actor`` may do it now: nobody marks it, or another person proposed it. False: it is proposed now.

        Raises ProposedByThemselves.
        """
        if not await self.needed(tenant, borrower_id, act, kind):
            return True
        now, proposed = self._clock(), False
        before: list[Proposal] = []

        def change(row: Any) -> dict[str, Any] | None:
            standing = standing_proposals(row.proposals, now)
            before[:] = [each for each in standing if (each.act, each.target) == (act, target)]
            return None if before else {"proposals": encode([*standing, Proposal(act, target, reason, actor, now)])}

        what = ChangeRecord("act_proposed", actor, act, {"act": act, "target": target, "kind": kind, "why": reason})
        proposed = await self._database.write(partial(self._change, tenant, borrower_id, what, change, now))
        if not proposed and any(each.actor == actor for each in before):
            raise ProposedByThemselves
        return not proposed

    async def done(self, tenant: str, borrower_id: str, act: SharedAct, target: str, actor: str) -> None:
        """The act was done or refused: nothing of it is to be decided any more."""
        now = self._clock()

        def change(row: Any) -> dict[str, Any] | None:
            known = _decode(row.proposals)
            kept = [each for each in known if (each.act, each.target) != (act, target)]
            return None if len(kept) == len(known) else {"proposals": encode(kept)}

        what = ChangeRecord("proposal_decided", actor, act, {"act": act, "target": target})
        await self._database.write(partial(self._change, tenant, borrower_id, what, change, now))

    def _change(
        self,
        tenant: str,
        borrower_id: str,
        what: ChangeRecord,
        change: Any,
        now: datetime,
        connection: Connection,
    ) -> bool:
        return change_borrower(connection, self._rules, (tenant, borrower_id), what, change, now, decides=False)
