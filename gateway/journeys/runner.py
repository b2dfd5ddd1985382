"""Running journeys: claim what is due, decide it by ``advance``, give its messages to ``accept``, write the decision.

Safe in any number of workers and at any death: a message has its step's idempotency key, so that a step is accepted
once however often it is tried; what a dead worker had accepted is found by that key, and only recorded.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from gateway.core.clock import Clock
from gateway.core.errors import InvalidData, UnknownTemplate
from gateway.core.requests import AcceptResult, NotificationRequest, RejectedRequest
from gateway.journeys.actions import Advance, CancelPending, EnterAnother, Send, exited
from gateway.journeys.advance import advance
from gateway.journeys.claiming import ClaimedJourney
from gateway.journeys.gates import approved, gate_step, refused, reopened
from gateway.journeys.history import JourneyEvent, events_of
from gateway.journeys.journey import Approval, Journey, JourneyState, StepResult
from gateway.journeys.requests import CLIENT, request_of
from gateway.journeys.store import JourneyChange, JourneyStore
from gateway.policy import Packs
from gateway.policy.notice import notice_period

_BATCH = 200  # journeys decided together; our choice: as many requests as one transaction of the path takes
_TRIES = 5  # of a person's act that meets a change of the journey; our choice

Accept = Callable[[str, Sequence[NotificationRequest], str], Awaitable[Sequence[AcceptResult | RejectedRequest]]]
# (tenant, template) → the variables that its live version declares. Raises UnknownTemplate.
Variables = Callable[[str, str], Collection[str]]
Cancel = Callable[[str, str, str], Awaitable[str]]


class NoSuchJourney(Exception):
    """The tenant has no such journey, or it has ended."""


@dataclass(frozen=True, slots=True)
class PathServices:
    """What journeys use of the path: accepting, cancelling, and the variables of templates."""

    accept: Accept
    cancel: Cancel
    variables: Variables


class JourneyRunner:
    """Advances journeys. ``due`` and ``run`` are for the due scanner, the others for persons."""

    def __init__(self, store: JourneyStore, path: PathServices, packs: Packs, clock: Clock) -> None:
        self._store = store
        self._path = path
        self._packs = packs
        self._clock = clock

    async def due(self, now: datetime, most: int) -> list[str]:
        """What is due, after entering and waking what is to be. Raises Unavailable."""
        while await self._store.enter(now):
            pass
        while await self._store.wake(now):
            pass
        return await self._store.due(now, most)

    async def run(self, ids: Sequence[str]) -> None:
        """Advance those of these journeys that are due."""
        for at in range(0, len(ids), _BATCH):
            now = self._clock()
            claimed = await self._store.claim(ids[at : at + _BATCH], now)
            if claimed:
                await self._advance(claimed, now)

    async def _advance(self, claimed: Sequence[ClaimedJourney], now: datetime) -> None:
        decided = [(each, advance(each.definition, each.journey, each.facts, now)) for each in claimed]
        answers = await self._accept(decided, now)
        for each, what in decided:
            await self._cancel(each, what)
        changes = [_change(each, what, answers.get(each.journey.id)) for each, what in decided]
        for change, current in zip(changes, await self._store.write(changes, now), strict=True):
            if not current:
                await self._take_back(change)

    async def _accept(
        self, decided: Sequence[tuple[ClaimedJourney, Advance]], now: datetime
    ) -> dict[str, AcceptResult | RejectedRequest]:
        """The answers to the journeys' requests, by the journey's id; each has one at most."""
        asked: dict[str, list[tuple[str, NotificationRequest]]] = {}
        answers: dict[str, AcceptResult | RejectedRequest] = {}
        for claimed, what in decided:
            for send in (each for each in what.actions if isinstance(each, Send)):
                try:
                    known = self._path.variables(claimed.tenant, send.template)
                except UnknownTemplate:
                    answers[claimed.journey.id] = RejectedRequest("unknown_template", ())
                    continue
                made = request_of(claimed.definition, claimed.journey, claimed.facts.case, send, known, now)
                asked.setdefault(claimed.tenant, []).append((claimed.journey.id, made))
        for tenant, requests in asked.items():
            results = await self._accepted(tenant, [each for _, each in requests])
            answers |= {journey_id: result for (journey_id, _), result in zip(requests, results, strict=True)}
        return answers

    async def _accepted(
        self, tenant: str, requests: Sequence[NotificationRequest]
    ) -> Sequence[AcceptResult | RejectedRequest]:
        """The answers in order. One that the ledger can't store is rejected, and does not hold up the others."""
        try:
            return await self._path.accept(tenant, requests, CLIENT)
        except InvalidData:
            if len(requests) == 1:
                return [RejectedRequest("invalid_request", ())]
        middle = len(requests) // 2
        return [
            *await self._accepted(tenant, requests[:middle]),
            *await self._accepted(tenant, requests[middle:]),
        ]

    async def _cancel(self, claimed: ClaimedJourney, what: Advance) -> None:
        if any(isinstance(each, CancelPending) for each in what.actions):
            for notification_id in claimed.notifications.values():
                await self._path.cancel(claimed.tenant, notification_id, CLIENT)

    async def _take_back(self, change: JourneyChange) -> None:
        """A fact changed between the claim and now. What was accepted on the older ones is taken back, where the
        journey no longer wants it; where it does, the next look finds it by its key.
        """
        looked = await self._store.look(change.claimed.tenant, change.after.id)
        if looked is not None:
            what = advance(looked.definition, looked.journey, looked.facts, self._clock())
            await self._cancel(looked, what)

    # ── persons' acts ───────────────────────────────────────────────────────────────────────────────────────────────

    async def approve(self, tenant: str, journey_id: str, actor: str, reason: str) -> Journey:
        """One person's yes to the gate. Raises NoSuchJourney, GateClosed, SameApprover, UnmetNeeds."""

        def act(claimed: ClaimedJourney, now: datetime) -> tuple[Journey, JourneyEvent]:
            snapshot = claimed.facts.case.snapshot
            place = snapshot.borrower.jurisdiction if snapshot is not None else ""
            notice = notice_period(self._packs.in_force(place, now).rules)
            made = approved(claimed.definition, claimed.journey, claimed.facts, Approval(actor, now, reason), notice)
            return made, JourneyEvent("journey_gate_approval", "", {"why": reason})

        return await self._act(tenant, journey_id, actor, act)

    async def refuse(self, tenant: str, journey_id: str, actor: str, reason: str) -> Journey:
        """One person's no to the gate: the journey ends. Raises NoSuchJourney, GateClosed."""

        def act(claimed: ClaimedJourney, now: datetime) -> tuple[Journey, JourneyEvent]:
            made = refused(claimed.definition, claimed.journey, actor, now)
            return made, JourneyEvent("journey_gate_refusal", "", {"why": reason})

        return await self._act(tenant, journey_id, actor, act)

    async def reopen(self, tenant: str, journey_id: str, actor: str, reason: str) -> Journey:
        """Open a lapsed gate again, without approvals. Raises NoSuchJourney."""

        def act(claimed: ClaimedJourney, now: datetime) -> tuple[Journey, JourneyEvent]:
            if claimed.journey.state is not JourneyState.REVIEW:
                raise NoSuchJourney
            step = next(
                each for each in claimed.definition.steps if each.gate and not claimed.journey.record_of(each.id)
            )
            made = reopened(claimed.journey, step.id, now)
            gate_step(claimed.definition, made)
            return made, JourneyEvent("journey_gate_reopened", "", {"why": reason})

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
            what = Advance(acted) if acted.ended else advance(claimed.definition, acted, claimed.facts, now)
            if any(isinstance(each, Send) for each in what.actions):  # sent by the next look, as every message is
                what = Advance(replace(acted, due_at=now))
            if cancels:
                await self._cancel(claimed, Advance(acted, (CancelPending("person"),)))
            events = (event, *events_of(claimed.journey, what.journey, what.actions, claimed.notifications))
            change = JourneyChange(claimed, what.journey, events, actor, _enters(what))
            [current] = await self._store.write([change], now)
            if current:
                return what.journey
        raise NoSuchJourney


def _enters(what: Advance) -> tuple[str, ...]:
    return tuple(each.definition for each in what.actions if isinstance(each, EnterAnother))


def _change(claimed: ClaimedJourney, what: Advance, answer: AcceptResult | RejectedRequest | None) -> JourneyChange:
    """What is to be written of a decision, with what ``accept`` said to its message."""
    sends = [each for each in what.actions if isinstance(each, Send)]
    after, notifications = what.journey, dict(claimed.notifications)
    if sends and answer is not None:
        after = _answered(after, sends[0].key, answer)
        if isinstance(answer, AcceptResult):
            notifications[sends[0].key] = answer.id
    events = tuple(events_of(claimed.journey, after, what.actions, notifications))
    return JourneyChange(claimed, after, events, enters=_enters(what))


def _answered(journey: Journey, key: str, answer: AcceptResult | RejectedRequest) -> Journey:
    """The journey with what was said to a step's message in the step's record."""
    result, reason = StepResult.SENT, ""
    if isinstance(answer, RejectedRequest):
        result, reason = StepResult.REJECTED, answer.reason
    elif answer.duplicate_of is not None:
        reason = "duplicate"
    elif answer.reason:
        reason = f"{answer.state} {answer.reason}"
    steps: Mapping[str, StepResult] = {key: result}
    changed = tuple(
        replace(each, result=result, reason=reason[:40]) if each.step in steps else each for each in journey.steps
    )
    return replace(journey, steps=changed)
