"""Moving journeys under way to another version of their definition, with a dry difference of each one's next step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from gateway.core.clock import Clock
from gateway.core.codec import instant
from gateway.core.states import TemplateState
from gateway.journeys.claiming import ONCE_LIVE, ClaimedJourney
from gateway.journeys.definitions.model import JourneyDefinition, parse
from gateway.journeys.definitions.store import JourneyDefinitions, JourneyRefusal
from gateway.journeys.history import JourneyEvent
from gateway.journeys.journey import Gate
from gateway.journeys.steps import upcoming
from gateway.journeys.store import JourneyChange, JourneyStore

_BATCH = 200  # our choice, as the runner's
_APPROVED = (TemplateState.APPROVED, *ONCE_LIVE)
MOST_SHOWN = 1_000  # differences in one answer; our choice


class JourneyMigration:
    """Moves the journeys of one version to another."""

    def __init__(self, store: JourneyStore, definitions: JourneyDefinitions, clock: Clock) -> None:
        self._store = store
        self._definitions = definitions
        self._clock = clock

    async def migrate(
        self, tenant: str, name: str, before: int, after: int, actor: str, *, dry_run: bool
    ) -> dict[str, Any]:
        """Each journey's next step before and after; with ``dry_run`` nothing changes. Raises JourneyRefusal.

        Steps are matched by their ids: what is done stays done; approvals of an open gate were of the other text, and
        are void. One that changes meanwhile stays where it is, and is counted in ``missed``: run it again. Journeys
        move to what a second person has approved only; a dry run shows any version.
        """
        old = await self._definitions.find(tenant, name, before)
        new = await self._definitions.find(tenant, name, after)
        if not dry_run and new["state"] not in _APPROVED:
            raise JourneyRefusal("wrong_state", f"Version {after} is {new['state']}: have it approved first.")
        if not dry_run and new["stopped_at"] is not None:
            raise JourneyRefusal("wrong_state", f"Version {after} was stopped: its journeys end.")
        definition, now = parse(new["source"]), self._clock()
        rows: list[dict[str, Any]] = []
        number = missed = 0
        last = ""
        while batch := await self._store.open_of(tenant, name, old["version"], last, _BATCH):
            last = batch[-1].journey.id
            number += len(batch)
            rows += [_row(each, definition, now) for each in batch[: max(0, MOST_SHOWN - len(rows))]]
            if not dry_run:
                missed += await self._move(batch, new["version"], actor, now)
        changed = sum(each["before"] != each["after"] for each in rows)
        return {"journeys": number, "shown": len(rows), "changed": changed, "missed": missed, "rows": rows}

    async def _move(self, batch: Sequence[ClaimedJourney], version: str, actor: str, now: datetime) -> int:
        changes = [
            JourneyChange(
                each,
                replace(each.journey, due_at=now, gate=_unapproved(each.journey.gate)),
                (JourneyEvent("journey_migrated", "", {"from": each.version, "to": version}),),
                actor,
                version=version,
            )
            for each in batch
        ]
        return (await self._store.write(changes, now)).count(None)


def _unapproved(gate: Gate | None) -> Gate | None:
    return replace(gate, approvals=()) if gate is not None else None


def _row(claimed: ClaimedJourney, definition: JourneyDefinition, now: datetime) -> dict[str, Any]:
    before = upcoming(claimed.definition, claimed.journey, claimed.facts, now)
    after = upcoming(definition, claimed.journey, claimed.facts, now)
    return {
        "journey_id": claimed.journey.id,
        "case_id": claimed.journey.case_id,
        "before": {"step": before[0] or None, "at": instant(before[1])},
        "after": {"step": after[0] or None, "at": instant(after[1])},
    }
