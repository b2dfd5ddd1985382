"""Simulation: a portfolio goes through a definition, with the ``advance`` and the policy of production. Stores nothing.

Pure and deterministic: the same definition, cases, assumptions and packs give the same contacts in the same order. The
cases of one borrower are simulated together, as a queue of instants, for caps and opt-outs are the borrower's. What the
path does with a message (the policy's verdict, deferral, the next channel) is done here by the same policy function and
without providers.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from gateway import policy
from gateway.core.facts import Contact, Facts, OptOut
from gateway.core.journey_events import StepResult
from gateway.core.notifications import Case, Category, Notification, Step
from gateway.core.reasons import PolicyReason
from gateway.core.states import State
from gateway.core.verdicts import VerdictKind
from gateway.journeys.actions import Send
from gateway.journeys.advance import advance, enter
from gateway.journeys.cases.events import holds_of
from gateway.journeys.cases.record import (
    CaseRecord,
    ended_by,
    merged,
    zone_of,
)
from gateway.journeys.definitions.conditions import enters_at
from gateway.journeys.definitions.model import JourneyDefinition
from gateway.journeys.journey import Journey, JourneyFacts, SentStep, answered
from gateway.journeys.requests import NEXT_CHANNEL, NO_ADDRESS, expires_at, reachable
from gateway.journeys.simulation.assumptions import Assumptions
from gateway.journeys.simulation.borrower import Reaction, SimulatedBorrower, SimulatedPerson

_DAY = timedelta(days=1)
PAYS_AT = timedelta(hours=9)  # after the simulation's day begins, of who pays without any contact; our choice
RECEIPT_AFTER = timedelta(minutes=1)  # of a message that arrives; our choice
OPT_OUT_AFTER = timedelta(hours=1)  # of a message; our choice


@dataclass(frozen=True, slots=True)
class SimulatedContact:
    """Who would get what, and when."""

    at: datetime
    case_id: str
    step: str
    channel: str
    template: str


@dataclass(slots=True)
class Simulation:
    """The result. ``not_sent`` counts deferrals, suppressions and reviews by day, kind, reason and authority."""

    days: int
    start: datetime
    cases: int = 0
    entered: int = 0
    contacts: list[SimulatedContact] = field(default_factory=list)
    not_sent: Counter[tuple[str, str, str, str]] = field(default_factory=Counter)
    steps: Counter[tuple[str, str]] = field(default_factory=Counter)
    exits: Counter[str] = field(default_factory=Counter)
    cost: Counter[str] = field(default_factory=Counter)


@dataclass(frozen=True, slots=True)
class SimulationSetup:
    """What is the same for every case. ``category`` is that of a template.

    ``consents`` has the categories that need the borrower's consent to the channel, by channel.
    """

    definition: JourneyDefinition
    packs: policy.Packs
    assumed: Assumptions
    category: Callable[[str], str]
    start: datetime
    days: int
    consents: Mapping[str, frozenset[str]] = field(default_factory=dict)

    @property
    def end(self) -> datetime:
        return self.start + self.days * _DAY


def simulate(
    setup: SimulationSetup, records: Iterable[CaseRecord], done: Callable[[], None] = lambda: None
) -> Simulation:
    """Simulate every case. ``done`` is called after each, for a progress bar."""
    result = Simulation(setup.days, setup.start)
    people: dict[str, list[CaseRecord]] = {}
    for record in records:
        owner = f"borrower {record.snapshot.borrower.id}" if record.snapshot is not None else f"case {record.id}"
        people.setdefault(owner, []).append(record)
    for mine in people.values():
        _run_borrower(setup, mine, result)
        for _ in mine:
            done()
    result.contacts.sort(key=lambda each: (each.at, each.case_id, each.step))
    return result


def _run_borrower(setup: SimulationSetup, records: Sequence[CaseRecord], result: Simulation) -> None:
    """All cases of one borrower, from the start to the end of the simulation."""
    person = SimulatedPerson()
    courses = [_Course(setup, record, result, person) for record in records]
    for course in courses:
        result.cases += 1
        course.begin()
    person.live_until(setup.end)
    for course in courses:
        course.end()


@dataclass(slots=True)
class _RoutedMessage:
    """One step's message on its way along its route."""

    notification: Notification
    send: Send
    expires: datetime
    place: int = 0

    def address(self, channel: str) -> str:
        """What stands for the digest of the address."""
        return f"{channel}:{self.notification.address(channel)}"


class _Course:
    """One case from the start to the end of the simulation."""

    def __init__(self, setup: SimulationSetup, record: CaseRecord, result: Simulation, person: SimulatedPerson) -> None:
        self._setup, self._record, self._result, self._person = setup, record, result, person
        person.woken.append(self._advance)
        self._journey: Journey | None = None
        self._sent: dict[str, SentStep] = {}
        self._borrower = SimulatedBorrower(setup.assumed, record.id)

    def begin(self) -> None:
        setup = self._setup
        at = enters_at(setup.definition.enter.when, self._record, setup.start)
        if at is None or ended_by(self._record) is not None:
            return
        self._person.at(at, self._enter)
        day = setup.assumed.day_paid(self._record.id)
        if day is not None:
            self._person.at(setup.start + day * _DAY + PAYS_AT, self._pay)

    def end(self) -> None:
        if self._journey is not None and not self._journey.ended:
            self._result.exits[f"still {self._journey.state}"] += 1

    # ── the journey ─────────────────────────────────────────────────────────────────────────────────────────────────

    def _enter(self, now: datetime) -> None:
        self._journey = enter(self._setup.definition, f"jny_{self._record.id}", self._record.id, now)
        self._result.entered += 1
        self._advance(now)

    def _advance(self, now: datetime) -> None:
        """As the runner does: decide, do what was decided, and look again when it is due."""
        before = self._journey
        if before is None or before.ended:
            return
        holds = tuple(holds_of(self._record, now))
        facts = JourneyFacts(self._record, holds, dict(self._sent), bool(self._person.opt_outs))
        done = advance(self._setup.definition, before, facts, now)
        after, sends = done.journey, [each for each in done.actions if isinstance(each, Send)]
        for unreachable in [each for each in sends if not self._reachable(each)]:
            sends.remove(unreachable)
            after = answered(after, unreachable.key, StepResult.REJECTED, NO_ADDRESS)
        self._journey = after
        for record in after.steps[len(before.steps) :]:
            self._result.steps[(record.step, str(record.result))] += 1
        for send in sends:
            self._send(send, expires_at(self._setup.definition, after, facts, now), now)
        if after.ended:
            self._result.exits[after.reason] += 1
        elif after.due_at is not None:
            due = after.due_at
            self._person.at(due, lambda at: self._advance_due(at, due))

    def _reachable(self, send: Send) -> bool:
        snapshot = self._record.snapshot
        return snapshot is not None and bool(reachable(send.route, snapshot.borrower))

    def _advance_due(self, now: datetime, due: datetime) -> None:
        """Only if it is still due then: what woke it in between has set another instant."""
        if self._journey is not None and self._journey.due_at == due:
            self._advance(now)

    # ── the path ────────────────────────────────────────────────────────────────────────────────────────────────────

    def _send(self, send: Send, expires: datetime, now: datetime) -> None:
        snapshot = self._record.snapshot
        assert snapshot is not None
        route = reachable(send.route, snapshot.borrower)
        notification = Notification(
            id=f"{self._record.id}:{send.key}",
            tenant="",
            idempotency_key=send.key,
            dedup_key=send.key,
            borrower=snapshot.borrower,
            case=Case(self._record.id, snapshot.product, snapshot.due_date, send.stage),
            template=send.template,
            template_version="",
            variables={},
            route=tuple(Step(each) for each in route),
            category=Category(self._setup.category(send.template)),
            accepted_at=now,
            expires_at=expires,
        )
        self._sent[send.key] = SentStep(notification.id, now, State.ACCEPTED)
        self._offer(_RoutedMessage(notification, send, expires), now)

    def _offer(self, message: _RoutedMessage, now: datetime) -> None:
        """Ask the policy about the message's channel now; hand it over, wait, or go on to the next channel."""
        if self._sent[message.send.key].state in (State.CANCELLED, State.EXPIRED):
            return
        if now >= message.expires:
            self._outcome(message, State.EXPIRED, now)
            return
        channel, setup = message.notification.route[message.place].channel, self._setup
        category, borrower = message.notification.category, message.notification.borrower
        facts = Facts(
            contacts=tuple(self._person.contacts),
            holds=tuple(holds_of(self._record, now)),
            opt_outs=tuple(self._person.opt_outs),
            channel_consents=frozenset({(channel, category)} if setup.assumed.consents(borrower.id, channel) else ()),
            case_closed=ended_by(self._record) is not None,
        )
        verdict = policy.decide(
            message.notification,
            channel,
            facts,
            setup.packs,
            now,
            consent_categories=setup.consents.get(channel, frozenset()),
            address_digest=message.address(channel),
        )
        if verdict.kind is VerdictKind.SEND:
            self._hand_over(message, channel, now)
            return
        rule = next((each for each in verdict.rules if each.reason is verdict.reason), None)
        if verdict.reason is PolicyReason.EXPIRES_FIRST:  # what it would have had to wait for says more
            rule = next((each for each in verdict.rules if each.verdict is VerdictKind.DEFER), rule)
        reason, authority = (rule.reason, rule.authority) if rule is not None else (verdict.reason, "")
        day = now.astimezone(zone_of(self._record)).date().isoformat()
        self._result.not_sent[(day, str(verdict.kind), str(reason), authority)] += 1
        if verdict.kind is VerdictKind.DEFER and verdict.until is not None:
            self._state(message, State.DEFERRED)
            self._person.at(verdict.until, lambda at: self._offer(message, at))
        elif verdict.kind is VerdictKind.SUPPRESS:
            self._next_channel(message, State.SUPPRESSED, now)
        else:
            self._outcome(message, State.REVIEW, now)

    def _hand_over(self, message: _RoutedMessage, channel: str, now: datetime) -> None:
        notification, send = message.notification, message.send
        self._person.contacts.append(Contact(now, channel, self._record.id, message.address(channel), notification.id))
        self._result.contacts.append(SimulatedContact(now, self._record.id, send.key, channel, send.template))
        self._result.cost[channel] += 1
        self._state(message, State.SENT)
        reaction = self._borrower.reaction(send.key, channel, offers=send.offer is not None)
        if reaction.delivered:
            self._person.at(now + RECEIPT_AFTER, lambda at: self._delivered(message, reaction, at))
        else:
            self._person.at(now + NEXT_CHANNEL, lambda at: self._next_channel(message, State.UNDELIVERED, at))

    def _next_channel(self, message: _RoutedMessage, otherwise: State, now: datetime) -> None:
        message.place += 1
        if message.place < len(message.notification.route):
            self._offer(message, now)
        else:
            self._outcome(message, otherwise, now)

    def _state(self, message: _RoutedMessage, state: State, **flags: bool) -> None:
        key = message.send.key
        self._sent[key] = replace(self._sent[key], state=state, **flags)  # type: ignore[arg-type]

    def _outcome(self, message: _RoutedMessage, state: State, now: datetime, **flags: bool) -> None:
        """What the path reports: it wakes the journey, as a receipt does."""
        self._state(message, state, **flags)
        self._advance(now)

    # ── the borrower ────────────────────────────────────────────────────────────────────────────────────────────────

    def _delivered(self, message: _RoutedMessage, reaction: Reaction, now: datetime) -> None:
        """The message arrived: what the borrower does about it."""
        self._outcome(message, State.DELIVERED, now, delivered=True, read=reaction.read, replied=reaction.replied)
        if reaction.opts_out:
            self._person.at(now + OPT_OUT_AFTER, self._opt_out)
        if reaction.then:
            self._person.at(
                now + reaction.after, {"pay": self._pay, "plan": self._agree, "promise": self._promise}[reaction.then]
            )

    def _feed(self, part: CaseRecord | None, now: datetime) -> None:
        if part is not None:
            self._record = merged(self._record, part)
            self._advance(now)

    def _pay(self, now: datetime) -> None:
        self._feed(self._borrower.payment(self._record, now), now)

    def _promise(self, now: datetime) -> None:
        promised = self._borrower.promise(self._record, now)
        if promised is not None:
            self._feed(promised[0], now)
            if promised[1] is not None:
                self._person.at(promised[1], self._pay)

    def _agree(self, now: datetime) -> None:
        self._feed(self._borrower.plan(self._record, now), now)

    def _opt_out(self, now: datetime) -> None:
        self._person.opt_outs.append(OptOut(now))
        for wake in self._person.woken:
            wake(now)
