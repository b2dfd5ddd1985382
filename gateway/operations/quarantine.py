"""After a restore, holds what may have been sent since the backup, so that nothing is sent twice.

A restored ledger has no record of what was done after the backup. A message that was due since then may have reached
the borrower, so it goes to review, where a person decides by the provider's records; a route's next step that would
have been opened is opened into review as well. All hand-overs are paused until the stops and payments since the backup
have been entered again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, and_, insert, or_, select

from gateway.core.clock import Clock
from gateway.core.controls import SwitchKind, SwitchScope
from gateway.core.deliveries import Transition
from gateway.core.notifications import new_id
from gateway.core.reasons import EndReason
from gateway.core.states import PENDING_STATES, State
from gateway.stages.route_rules import Digest, reached, route_rules
from gateway.storage.database import Database
from gateway.storage.tables.operations import switches
from gateway.storage.tables.path import deliveries
from gateway.storage.unit_of_work import UnitOfWork

_BATCH = 500
_WAITING = sorted(PENDING_STATES - {State.REVIEW})
_FOLLOWED = sorted({State.SENT, State.UNKNOWN, State.UNDELIVERED, State.DELIVERED})


@dataclass(frozen=True, slots=True)
class QuarantineResult:
    """What was held: deliveries that were due, next steps that were, and the pause (its id)."""

    due: int
    next_steps: int
    pause: str


class Quarantine:
    """Run once after a restore, before any process is started. Repeating it finds nothing more to hold."""

    def __init__(self, database: Database, digest: Digest, clock: Clock) -> None:
        self._database = database
        self._rules = route_rules(digest)
        self._clock = clock

    async def hold(self, why: str, actor: str, *, everything: bool = False) -> QuarantineResult:
        """Hold what was due by now; ``everything``: also what is due later. Raises Unavailable."""
        now = self._clock()
        pause = await self._database.write(lambda connection: _pause(connection, why, actor, now))
        until = None if everything else now
        due = await self._all(_due(until), lambda page, key: _hold(page, key, why, actor, now))
        steps = await self._all(_escalating(until), lambda page, key: _hold_next(page, key, why, actor, now))
        return QuarantineResult(due, steps, pause)

    async def _all(self, condition: Any, hold: Any) -> int:
        total, after = 0, ""
        while True:

            def write(connection: Connection, after: str = after) -> Sequence[str]:
                query = select(deliveries.c.id).where(condition, deliveries.c.id > after)
                found = list(connection.execute(query.order_by(deliveries.c.id).limit(_BATCH)).scalars())
                page = UnitOfWork.of_deliveries(connection, found, self._rules)
                for key in found:
                    hold(page, key)
                page.write()
                return found

            held = await self._database.write(write)
            if not held:
                return total
            total, after = total + len(held), held[-1]


def _due(until: datetime | None) -> Any:
    waiting = deliveries.c.state.in_(_WAITING)
    # What a pause held up has no time of its own: the pause may have ended meanwhile.
    return waiting if until is None else and_(waiting, or_(deliveries.c.due_at <= until, deliveries.c.paused != ""))


def _escalating(until: datetime | None) -> Any:
    followed = and_(deliveries.c.state.in_(_FOLLOWED), deliveries.c.escalate_at.is_not(None))
    return followed if until is None else and_(followed, deliveries.c.escalate_at <= until)


def _hold(page: UnitOfWork, key: str, why: str, actor: str, now: datetime) -> None:
    page.apply(
        Transition(
            key,
            "restored",
            now,
            to=State.REVIEW,
            reason=EndReason.RESTORED,
            actor=actor,
            changes={"paused": ""},  # or the end of that pause would send it
            detail={"why": why},
        )
    )


def _hold_next(page: UnitOfWork, key: str, why: str, actor: str, now: datetime) -> None:
    """Open the next step into review; where there is none, or it is open already, nothing happens."""
    before = len(page.opened)
    delivery = page.deliveries[key]
    move = Transition(
        key,
        "restored",
        now,
        actor=actor,
        due_at=delivery.receipt_by,
        changes={"escalate_at": None},
        detail={"why": why},
        next_step=not reached(page.owner(key).route, delivery),
    )
    page.apply(move)
    for opened in page.opened[before:]:
        _hold(page, opened, why, actor, now)


def _pause(connection: Connection, why: str, actor: str, now: datetime) -> str:
    """Pause all hand-overs until a person has entered again the stops and payments since the backup; once."""
    mine = and_(switches.c.reason == _reason(why), switches.c.ended_at.is_(None))
    known = connection.execute(select(switches.c.id).where(mine)).scalar()
    if known is not None:
        return str(known)
    row = {
        "id": new_id("swi", now),
        "kind": SwitchKind.PAUSE,
        "scope": SwitchScope.ALL,
        "reason": _reason(why),
        "actor": actor,
        "since": now,
    }
    connection.execute(insert(switches), [row])
    return str(row["id"])


def _reason(why: str) -> str:
    return f"restored: {why}"[:500]
