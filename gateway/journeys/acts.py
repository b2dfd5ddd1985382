"""What persons decide on journeys: the gate before a legal step, pausing, resuming, ending; each with a reason.

A person's act is written with what follows from it at once. It sends nothing itself: the worker's next look does.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timedelta

from gateway.core.clock import Clock
from gateway.core.journey_events import JourneyReview
from gateway.journeys.actions import Advance, CancelPending, Send, exited
from gateway.journeys.cases.instalments import for_plan
from gateway.journeys.claiming import ClaimedJourney
from gateway.journeys.deciding import Observe, PathServices, cancel_pending_of, decide, enters
from gateway.journeys.gates import GateClosed, GateView, approved, refused, reopened, view
from gateway.journeys.history import JourneyEvent, events_of
from gateway.journeys.journey import Approval, Journey, JourneyState
from gateway.journeys.steps import plan_step
from gateway.journeys.store import JourneyChange, JourneyStore
from gateway.policy import Packs
from gateway.policy.notice import notice_period

_TRIES = 5  # of a person's act that meets a change of the journey; our choice


class NoSuchJourney(Exception):
    """The tenant has no such journey, or it has ended."""


class JourneyActs:
    """The acts of persons on one tenant's journeys."""

    def __init__(
        self,
        store: JourneyStore,
        path: PathServices,
        packs: Packs,
        clock: Clock,
        observe: Observe = lambda events: None,
    ) -> None:
        self._store = store
        self._path = path
        self._packs = packs
        self._clock = clock
        self._observe = observe

    async def approve(self, tenant: str, journey_id: str, actor: str, reason: str) -> Journey:
        """One person's yes to the gate. Raises NoSuchJourney, NotAPerson, GateClosed, SameApprover, UnmetNeeds."""

        def act(claimed: ClaimedJourney, now: datetime) -> tuple[Journey, JourneyEvent]:
            approval, notice = Approval(actor, now, reason), self._notice(claimed, now)
            made = approved(claimed.definition, claimed.journey, claimed.facts, approval, notice)
            return made, JourneyEvent("journey_gate_approval", "", {"why": reason})

        return await self._act(tenant, journey_id, actor, act)

    def _notice(self, claimed: ClaimedJourney, now: datetime) -> timedelta:
        """The notice period of the packs in force where the borrower is."""
        snapshot = claimed.facts.case.snapshot
        place = snapshot.borrower.jurisdiction if snapshot is not None else ""
        return notice_period(self._packs.in_force(place, now).rules)

    async def gate(self, tenant: str, journey_id: str) -> GateView | None:
        """The open gate as it stands now; None where there is none."""
        claimed, now = await self._store.look(tenant, journey_id), self._clock()
        if claimed is None:
            return None
        try:
            return view(claimed.definition, claimed.journey, claimed.facts, now, self._notice(claimed, now))
        except GateClosed:
            return None

    async def refuse(self, tenant: str, journey_id: str, actor: str, reason: str) -> Journey:
        """One person's no to the gate: the journey ends. Raises NoSuchJourney, GateClosed."""

        def act(claimed: ClaimedJourney, now: datetime) -> tuple[Journey, JourneyEvent]:
            made = refused(claimed.definition, claimed.journey, actor, now)
            return made, JourneyEvent("journey_gate_refusal", "", {"why": reason})

        return await self._act(tenant, journey_id, actor, act)

    async def reopen(self, tenant: str, journey_id: str, actor: str, reason: str) -> Journey:
        """Open a lapsed gate again, without approvals, or go on with what was set aside.

        Raises NoSuchJourney, also while its definition still can't be read.
        """

        def act(claimed: ClaimedJourney, now: datetime) -> tuple[Journey, JourneyEvent]:
            journey = claimed.journey
            if journey.state is not JourneyState.REVIEW or claimed.fault is not None:
                raise NoSuchJourney
            gates = [each.id for each in claimed.definition.steps if each.gate and not journey.record_of(each.id)]
            if journey.reason == JourneyReview.GATE_LAPSED and gates:
                return reopened(journey, gates[0], now), JourneyEvent("journey_gate_reopened", "", {"why": reason})
            again = replace(journey, state=JourneyState.ACTIVE, reason="", due_at=now)
            return again, JourneyEvent("journey_taken_up", "", {"why": reason})

        return await self._act(tenant, journey_id, actor, act)

    async def pause(self, tenant: str, journey_id: str, actor: str, reason: str) -> Journey:
        """Nothing follows until somebody resumes it; what is pending is cancelled. Raises NoSuchJourney."""

        def act(claimed: ClaimedJourney, now: datetime) -> tuple[Journey, JourneyEvent]:
            return replace(claimed.journey, held_by=actor), JourneyEvent("journey_held", "", {"why": reason})

        return await self._act(tenant, journey_id, actor, act, cancels=True)

    async def resume(self, tenant: str, journey_id: str, actor: str, reason: str) -> Journey:
        """Raises NoSuchJourney, also where nobody paused it."""

        def act(claimed: ClaimedJourney, now: datetime) -> tuple[Journey, JourneyEvent]:
            if not claimed.journey.held_by:
                raise NoSuchJourney
            return replace(claimed.journey, held_by=""), JourneyEvent("journey_released", "", {"why": reason})

        return await self._act(tenant, journey_id, actor, act)

    async def plan_journey(self, tenant: str, case_id: str) -> str:
        """The journey that can offer this case's borrower a plan now; "" for none: a person has to."""
        now = self._clock()
        for each in await self._store.open_of_case(tenant, case_id):
            going = each.fault is None and each.journey.state in (JourneyState.ACTIVE, JourneyState.WAITING)
            going = going and not each.journey.held_by
            if going and plan_step(for_plan(each.definition, each.facts.case), each.journey, each.facts, now):
                return each.journey.id
        return ""

    async def ask_plan(self, tenant: str, journey_id: str, actor: str) -> None:
        """The step that offers a plan comes now. Again: no further effect. Raises NoSuchJourney."""

        def act(claimed: ClaimedJourney, now: datetime) -> tuple[Journey, JourneyEvent]:
            asked = replace(claimed.journey, plan_asked_at=claimed.journey.plan_asked_at or now)
            return asked, JourneyEvent("journey_plan_asked", "", {})

        await self._act(tenant, journey_id, actor, act)

    async def withdraw_plan(self, tenant: str, case_id: str, actor: str) -> None:
        """The borrower doesn't want one any more: an offer that has not gone out is cancelled."""
        for each in await self._store.open_of_case(tenant, case_id):
            latest = each.journey.steps[-1].step if each.journey.steps else ""
            at = each.definition.index_of(latest) if each.fault is None else -1
            offered = at >= 0 and each.definition.steps[at].offer is not None
            if each.journey.plan_asked_at is not None or offered:
                with suppress(NoSuchJourney):  # it has ended meanwhile, and took its messages along
                    await self._act(tenant, each.journey.id, actor, _plan_withdrawn, cancels=True)

    async def end(self, tenant: str, journey_id: str, actor: str, reason: str) -> Journey:
        """End it; what is pending is cancelled. Raises NoSuchJourney."""

        def act(claimed: ClaimedJourney, now: datetime) -> tuple[Journey, JourneyEvent]:
            ended = exited(claimed.journey, "ended_by_person").journey
            return ended, JourneyEvent("journey_ended_by_person", "", {"why": reason})

        return await self._act(tenant, journey_id, actor, act, cancels=True)

    async def _act(
        self,
        tenant: str,
        journey_id: str,
        actor: str,
        act: Callable[[ClaimedJourney, datetime], tuple[Journey, JourneyEvent]],
        *,
        cancels: bool = False,
    ) -> Journey:
        """A person's act, and what follows from it at once; made again where the journey changes meanwhile."""
        for _ in range(_TRIES):
            now = self._clock()
            claimed = await self._store.look(tenant, journey_id)
            if claimed is None or claimed.journey.ended:
                raise NoSuchJourney
            acted, event = act(claimed, now)
            what = Advance(acted) if acted.ended else decide(replace(claimed, journey=acted), now)
            if any(isinstance(each, Send) for each in what.actions):  # sent by the next look, as every message is
                what = Advance(replace(acted, due_at=now))
            if cancels:
                await cancel_pending_of(self._path, claimed, Advance(acted, (CancelPending("person"),)))
            events = (event, *events_of(claimed.journey, what.journey, what.actions, claimed.notifications))
            change = JourneyChange(claimed, what.journey, events, actor, enters(what))
            [entered] = await self._store.write([change], now)
            if entered is not None:
                self._observe(events)
                return what.journey
        raise NoSuchJourney


def _plan_withdrawn(claimed: ClaimedJourney, now: datetime) -> tuple[Journey, JourneyEvent]:
    return replace(claimed.journey, plan_asked_at=None), JourneyEvent("journey_plan_withdrawn", "", {})
