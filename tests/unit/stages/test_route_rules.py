"""The route rules: what one transition means for the other steps of its route, as pure decisions on values."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.controls import Switch
from gateway.core.controls import SwitchKind as Kind
from gateway.core.controls import SwitchScope as Scope
from gateway.core.deliveries import ClaimedDelivery, Delivery, Transition
from gateway.core.facts import BorrowerFacts, Facts
from gateway.core.notifications import Step
from gateway.core.reasons import EndReason
from gateway.core.routes import Route
from gateway.core.states import END_STATES, PENDING_STATES, TRANSITIONS, State
from gateway.stages.route_rules import advance, goal_reached, start, stop
from tests.support.storage.ledgers import NOW, digest, draft, later, outgoing

NOTIFICATION = draft("k", route=(Step("sms", timedelta(minutes=30)), Step("email"))).notification


def _delivery(step: int = 0, state: State = State.SENT, **values: object) -> Delivery:
    channel = NOTIFICATION.route[step].channel
    return replace(Delivery(f"dlv_{step}", NOTIFICATION.id, step, channel, "digest", state), **values)  # type: ignore[arg-type]


def _route(*deliveries: Delivery, stopped: str = "") -> Route:
    last = deliveries[-1]
    steps = {each.step: each for each in deliveries}
    return Route(NOTIFICATION, steps, last.step, stopped, last.state, last.reason, None)


def _failed(**values: object) -> Transition:
    return Transition("dlv_0", "receipt", NOW, to=State.UNDELIVERED, next_step=True, **values)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("until", "state", "read", "met"),
    [
        ("sent", State.SENT, False, True),
        ("sent", State.UNDELIVERED, False, False),
        ("delivered", State.SENT, False, False),
        ("delivered", State.DELIVERED, False, True),
        ("read", State.DELIVERED, False, False),
        ("read", State.DELIVERED, True, True),
    ],
)
def test_a_goal_is_met_by_its_state_or_by_what_comes_after(until: str, state: State, read: bool, met: bool) -> None:
    """``sent`` is met by sent and delivered, ``delivered`` by delivered, ``read`` by a read receipt alone."""
    assert goal_reached(until, state, read=read) is met


def test_a_failed_step_opens_the_next_one_once() -> None:
    """The next step is due at once; a second transition that asks for it opens nothing."""
    change = advance(digest, _route(_delivery()), _failed())
    assert [(each.kind, delivery.step) for each, delivery in change.events] == [("receipt", 0), ("step_opened", 1)]
    opened = change.route.deliveries[1]
    assert (opened.channel, opened.state, opened.due_at) == ("email", State.ACCEPTED, NOW)
    assert opened.address_digest == digest("acme", "email", "b@example.com")
    assert (change.route.step, change.route.state) == (1, State.ACCEPTED)
    again = advance(digest, change.route, Transition("dlv_0", "escalated", NOW, next_step=True))
    assert len(again.route.deliveries) == 2


@pytest.mark.parametrize(
    "route",
    [
        _route(_delivery(), stopped=EndReason.REPLIED),
        _route(_delivery(), _delivery(1)),
        _route(_delivery(state=State.DELIVERED)),
    ],
    ids=["stopped", "open already", "goal met"],
)
def test_no_step_is_opened_that_is_not_needed(route: Route) -> None:
    """A stopped route, a step that is open already, and a goal met by a receipt that came first open nothing."""
    change = advance(digest, route, Transition("dlv_0", "escalated", NOW, next_step=True))
    assert change.route.deliveries.keys() == route.deliveries.keys()


def test_a_late_receipt_cancels_what_has_not_been_handed_over() -> None:
    """Delivered after all: the later step is cancelled while it waits, and the notification is delivered."""
    route = _route(_delivery(state=State.UNDELIVERED), _delivery(1, State.DEFERRED, due_at=later(60)))
    change = advance(digest, route, Transition("dlv_0", "receipt", NOW, to=State.DELIVERED))
    cancelled = change.route.deliveries[1]
    assert (cancelled.state, cancelled.reason, cancelled.due_at) == (State.CANCELLED, EndReason.GOAL_REACHED, None)
    assert change.route.state is State.DELIVERED


def test_what_was_handed_over_is_not_cancelled() -> None:
    """A later step that its provider has goes on."""
    route = _route(_delivery(state=State.UNDELIVERED), _delivery(1))
    change = advance(digest, route, Transition("dlv_0", "receipt", NOW, to=State.DELIVERED))
    assert change.route.deliveries[1].state is State.SENT


@given(state=st.sampled_from(State), to=st.sampled_from(State))
def test_an_illegal_transition_is_recorded_and_changes_nothing(state: State, to: State) -> None:
    """Legal is what the table of transitions says, for every pair of states."""
    route = _route(_delivery(state=state))
    change = advance(digest, route, Transition("dlv_0", "receipt", NOW, to=to))
    assert change.legal is (to in TRANSITIONS[state])
    if not change.legal:
        assert change.route is route
        assert [(each.kind, each.detail["to"]) for each, _ in change.events] == [("ignored", to)]


@given(state=st.sampled_from(State), disproved=st.booleans(), contacted=st.booleans())
def test_a_contact_ends_only_by_proof_and_begins_by_any_hand_over(
    state: State, disproved: bool, contacted: bool
) -> None:
    """``contacted_at`` is cleared by ``contact_disproved`` alone, and set where a provider has the message."""
    before = _delivery(state=state, contacted_at=NOW if contacted else None)
    move = Transition("dlv_0", "receipt", later(1), contact_disproved=disproved)
    [(_, after)] = advance(digest, _route(before), move).events
    if disproved:
        assert after.contacted_at is None
    elif contacted:
        assert after.contacted_at == NOW
    else:
        assert after.contacted_at == (later(1) if state in (State.SENT, State.DELIVERED) else None)


def test_a_transition_ends_the_claim_unless_it_renews_it() -> None:
    """Every transition gives the lease back; the start of an attempt sets its own."""
    route = _route(_delivery(lease_until=NOW))
    assert advance(digest, route, Transition("dlv_0", "checked", NOW)).route.deliveries[0].lease_until is None
    renewed = Transition("dlv_0", "attempt_started", NOW, changes={"lease_until": later(60)})
    assert advance(digest, route, renewed).route.deliveries[0].lease_until == later(60)


def test_a_stopped_route_waits_for_nothing() -> None:
    """Stopping ends each wait for a next step with an event, and keeps the wait for the receipt."""
    route = _route(_delivery(escalate_at=later(60), receipt_by=later(600)), stopped=EndReason.REPLIED)
    [ended] = stop(route, "replied", NOW, "reply")
    after = advance(digest, route, ended).route.deliveries[0]
    assert (after.escalate_at, after.due_at) == (None, later(600))
    assert stop(_route(after), "replied", NOW, "reply") == []


def test_the_summary_is_the_last_step_unless_one_has_delivered() -> None:
    """A notification stands where its last opened step stands; one that delivered decides, wherever it is."""
    deferred = _delivery(1, State.DEFERRED, due_at=later(60), reason="hold")
    nothing = Transition("dlv_0", "checked", NOW)
    route = advance(digest, _route(_delivery(state=State.FAILED), deferred), nothing).route
    assert (route.state, route.reason, route.defer_until) == (State.DEFERRED, "hold", later(60))
    delivered = replace(deferred, state=State.ACCEPTED, due_at=None)
    route = advance(digest, _route(_delivery(state=State.DELIVERED), delivered), nothing).route
    assert (route.state, route.defer_until) == (State.DELIVERED, None)


def _claimed(delivery: Delivery) -> ClaimedDelivery:
    return ClaimedDelivery(delivery, NOTIFICATION, BorrowerFacts(3, Facts()), delivery.state, True)


PAUSE = Switch("swi_1", Kind.PAUSE, Scope.CHANNEL, "sms", "", "test", "key:x", NOW, later(300))


@given(
    state=st.sampled_from(State), fence=st.integers(0, 1), version=st.sampled_from([None, 2, 3]), paused=st.booleans()
)
def test_an_attempt_starts_only_on_the_claim_the_facts_and_the_switches_of_now(
    state: State, fence: int, version: int | None, paused: bool
) -> None:
    """A lost claim starts nothing, a changed borrower is decided anew at once, a pause holds the message up."""
    claimed = outgoing(_claimed(_delivery(state=State.ACCEPTED)))
    row = _delivery(state=state, fence=fence)
    found = start(claimed, row, version, [PAUSE] if paused else [], NOW, later(60))
    if fence != 0 or state not in PENDING_STATES or state in END_STATES:
        assert found is None
        return
    assert found is not None
    if version != 3:
        assert (found.kind, found.to, found.due_at) == ("", None, NOW)
    elif paused:
        assert (found.kind, found.to, found.due_at, found.changes) == ("paused", None, later(300), {"paused": "swi_1"})
    else:
        assert (found.kind, found.to, found.changes["attempt"]) == ("attempt_started", State.SENDING, 1)
        assert found.changes["lease_until"] == later(60)
        assert found.due_at is not None  # or nobody would look for it when the lease has expired
        assert found.due_at <= later(60)
