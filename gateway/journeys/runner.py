"""Running journeys: claim what is due, decide it by ``advance``, give its messages to ``accept``, write the decision.

Safe in any number of workers and at any death: a message has its step's idempotency key, so that a step is accepted
once however often it is tried; what a dead worker had accepted is found by that key, and only recorded. A journey that
can't be decided is set aside for a person, and holds up no other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from gateway.core.clock import Clock
from gateway.core.errors import InvalidData, UnknownTemplate
from gateway.core.journey_events import StepResult
from gateway.core.requests import AcceptResult, NotificationRequest, RejectedRequest
from gateway.journeys.actions import Advance, Send
from gateway.journeys.claiming import ClaimedJourney
from gateway.journeys.deciding import Observe, PathServices, cancel_pending_of, decide, enters, failed
from gateway.journeys.history import JourneyEvent, events_of
from gateway.journeys.journey import Journey, answered
from gateway.journeys.requests import CLIENT, NO_ADDRESS, reachable, request_of
from gateway.journeys.store import JourneyChange, JourneyStore

_BATCH = 200  # journeys decided together; our choice: as many requests as one transaction of the path takes


@dataclass(slots=True)
class _Decision:
    """What a claimed journey does now: its request to ``accept``, and the answer. A journey makes one at most."""

    claimed: ClaimedJourney
    what: Advance
    request: NotificationRequest | None = None
    answer: AcceptResult | RejectedRequest | None = None


class JourneyRunner:
    """Advances journeys, for the due scanner. ``observe`` is told of the events of what was written."""

    def __init__(
        self, store: JourneyStore, path: PathServices, clock: Clock, observe: Observe = lambda events: None
    ) -> None:
        self._store = store
        self._path = path
        self._clock = clock
        self._observe = observe

    async def due(self, now: datetime, most: int) -> list[str]:
        """What is due, after entering and waking what is to be. Raises Unavailable."""
        while (entered := await self._store.enter(now)) is not None:
            self._observe([JourneyEvent("journey.entered")] * entered)
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
        decisions = [self._decide(each, now) for each in claimed]
        await self._accept(decisions)
        for each in decisions:
            await cancel_pending_of(self._path, each.claimed, each.what)
        changes = [_change(each) for each in decisions]
        for change, entered in zip(changes, await self._store.write(changes, now), strict=True):
            if entered is None:
                await self._take_back(change)
            else:
                self._observe([*change.events, *[JourneyEvent("journey.entered")] * entered])

    def _decide(self, claimed: ClaimedJourney, now: datetime) -> _Decision:
        made = _Decision(claimed, decide(claimed, now))
        for send in (each for each in made.what.actions if isinstance(each, Send)):
            snapshot = claimed.facts.case.snapshot
            if snapshot is not None and not reachable(send.route, snapshot.borrower):
                made.answer = RejectedRequest(NO_ADDRESS, ())
                continue
            try:
                known = self._path.variables(claimed.tenant, send.template)
                made.request = request_of(claimed.definition, made.what.journey, claimed.facts, send, known, now)
            except UnknownTemplate:
                made.answer = RejectedRequest("unknown_template", ())
            except Exception as error:  # figures that no request can be made of: one case's fault must not stop others
                return _Decision(claimed, failed(claimed, error))
        return made

    async def _accept(self, decisions: Sequence[_Decision]) -> None:
        """Give the requests to the path, one call for each tenant, and keep the answers."""
        asking: dict[str, list[_Decision]] = {}
        for each in decisions:
            if each.request is not None:
                asking.setdefault(each.claimed.tenant, []).append(each)
        for tenant, mine in asking.items():
            results = await self._accepted(tenant, [each.request for each in mine if each.request is not None])
            for each, result in zip(mine, results, strict=True):
                each.answer = result

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

    async def _take_back(self, change: JourneyChange) -> None:
        """A fact changed between the claim and now. What was accepted on the older ones is taken back, where the
        journey no longer wants it; where it does, the next look finds it by its key.
        """
        looked = await self._store.look(change.claimed.tenant, change.after.id)
        if looked is not None:
            await cancel_pending_of(self._path, looked, decide(looked, self._clock()))


def _change(decision: _Decision) -> JourneyChange:
    """What is to be written of a decision, with what ``accept`` said to its message."""
    claimed, what, answer = decision.claimed, decision.what, decision.answer
    sends = [each for each in what.actions if isinstance(each, Send)]
    after, notifications = what.journey, dict(claimed.notifications)
    if sends and answer is not None:
        after = _answered(after, sends[0].key, answer)
        if isinstance(answer, AcceptResult):
            notifications[sends[0].key] = answer.id
    events = tuple(events_of(claimed.journey, after, what.actions, notifications))
    return JourneyChange(claimed, after, events, enters=enters(what))


def _answered(journey: Journey, key: str, answer: AcceptResult | RejectedRequest) -> Journey:
    if isinstance(answer, RejectedRequest):
        return answered(journey, key, StepResult.REJECTED, answer.reason)
    reason = f"{answer.state} {answer.reason}" if answer.reason else ""
    return answered(journey, key, StepResult.SENT, "duplicate" if answer.duplicate_of is not None else reason)
