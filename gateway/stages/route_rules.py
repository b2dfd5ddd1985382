"""Route rules: what one transition of a delivery means for the delivery, its route and its notification.

Pure functions of a route as it stands in the ledger, under its row locks. The unit of work
(gateway/storage/unit_of_work.py) calls them inside its transaction and writes what they answer: storage decides
nothing, and imports nothing from here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from functools import partial

from gateway.core.codec import verdict_view
from gateway.core.controls import Switch
from gateway.core.deliveries import Delivery, Outgoing, Transition
from gateway.core.notifications import new_delivery_id
from gateway.core.reasons import EndReason
from gateway.core.routes import Route, RouteChange, RouteRules
from gateway.core.states import PENDING_STATES, TRANSITIONS, State
from gateway.stages.schedule import earliest

Digest = Callable[[str, str, str], str]  # (tenant, channel, address) → keyed digest

# States that a provider's word leads to and that mean the message was handed over, whatever was believed before.
_HANDED_OVER = frozenset({State.SENT, State.DELIVERED})


def route_rules(digest: Digest) -> RouteRules:
    """The rules, for the unit of work. ``digest`` keys the address of a step that is opened."""
    return RouteRules(advance=partial(advance, digest), stop=stop, start=start)


def goal_reached(until: str, state: State, *, read: bool) -> bool:
    """Whether a step's goal (``sent``, ``delivered`` or ``read``) is met."""
    if until == "read":
        return read
    if until == "sent":
        return state in (State.SENT, State.DELIVERED)
    return state is State.DELIVERED


def reached(route: Route, delivery: Delivery) -> bool:
    """Whether a delivery has met the goal of its step."""
    return goal_reached(
        route.notification.route[delivery.step].until, delivery.state, read=delivery.read_at is not None
    )


def advance(digest: Digest, route: Route, transition: Transition) -> RouteChange:
    """Make one transition, with what follows from it for the other steps.

    A transition that is not legal from the delivery's present state changes nothing and is recorded as ``ignored``.
    """
    before = route.delivery(transition.delivery_id)
    if transition.to is not None and transition.to not in TRANSITIONS[before.state]:
        detail = {**transition.detail, "to": transition.to, "was": transition.kind}
        return RouteChange(route, ((replace(transition, kind="ignored", detail=detail), before),), legal=False)
    after = _transitioned(before, transition, route.stopped)
    deliveries, step, events = {**route.deliveries, after.step: after}, route.step, [(transition, after)]
    if transition.next_step and (opened := _next_step(digest, route, after, transition.at)) is not None:
        deliveries[opened.step], step = opened, opened.step
        detail = {"channel": opened.channel, "step": opened.step}
        events.append((Transition(opened.id, "step_opened", transition.at, detail=detail), opened))
    for later in _not_needed(route, deliveries, after):
        reason = EndReason.GOAL_REACHED
        cancelled = Transition(later.id, "cancelled", transition.at, to=State.CANCELLED, reason=reason)
        deliveries[later.step] = _transitioned(later, cancelled, route.stopped)
        events.append((cancelled, deliveries[later.step]))
    return RouteChange(_standing(route, deliveries, step), tuple(events))


def _transitioned(delivery: Delivery, transition: Transition, stopped: str) -> Delivery:
    """The delivery after a legal transition. The claim under which it was decided ends with it."""
    changes = {"lease_until": None, **transition.changes}
    state = transition.to or delivery.state
    if transition.contact_disproved:
        changes["contacted_at"] = None
    elif state in _HANDED_OVER and changes.get("contacted_at", delivery.contacted_at) is None:
        changes["contacted_at"] = transition.at  # an attempt that was taken for absent turned up
    if stopped:
        changes["escalate_at"] = None
    reason = transition.reason or (delivery.reason if _keeps_reason(delivery.state, transition.to) else "")
    return replace(delivery, state=state, reason=reason, due_at=transition.due_at, **changes)


def _keeps_reason(state: State, to: State | None) -> bool:
    """Whether a transition without a reason keeps the earlier one: in the same state, or between two failed ends."""
    return to in (None, state) or {state, to} == {State.FAILED, State.UNDELIVERED}


def _next_step(digest: Digest, route: Route, ended: Delivery, now: datetime) -> Delivery | None:
    """The delivery of the step after ``ended``. None: it is open already, there is none, or it is not needed.

    Only the last opened step can be followed, so each step is opened once however many transitions ask for it.
    """
    notification, number = route.notification, ended.step + 1
    if route.step != ended.step or number >= len(notification.route) or route.stopped:
        return None
    if reached(route, ended):
        return None  # by a receipt that came after this transition was decided
    channel = notification.route[number].channel
    return Delivery(
        id=new_delivery_id(now),
        notification_id=notification.id,
        step=number,
        channel=channel,
        address_digest=digest(notification.tenant, channel, notification.address(channel) or ""),
        state=State.ACCEPTED,
        due_at=now,
        created_at=now,
    )


def _not_needed(route: Route, deliveries: Mapping[int, Delivery], delivery: Delivery) -> list[Delivery]:
    """Later steps that have not been handed over, when the goal of this one's step is met late."""
    later = [each for each in deliveries.values() if each.step > delivery.step and each.state in PENDING_STATES]
    return later if later and reached(route, delivery) else []


def _standing(route: Route, deliveries: Mapping[int, Delivery], step: int) -> Route:
    """The route with these deliveries. The notification has the state of its last opened step, unless one delivered."""
    delivered = next((each for each in deliveries.values() if each.state is State.DELIVERED), None)
    current = delivered or deliveries.get(step)
    if current is None:
        return replace(route, deliveries=deliveries, step=step)
    defer_until = current.due_at if current.state is State.DEFERRED else None
    # The constructor, because replace() takes three times as long, and this runs for each transition.
    return Route(route.notification, deliveries, step, route.stopped, current.state, current.reason, defer_until)


def stop(route: Route, kind: str, at: datetime, actor: str) -> list[Transition]:
    """The transitions that end the waits for a next step, once a route is stopped: none will be opened."""
    return [
        Transition(each.id, kind, at, actor=actor, changes={"escalate_at": None}, due_at=each.receipt_by)
        for each in route.deliveries.values()
        if each.escalate_at is not None
    ]


def start(
    outgoing: Outgoing,
    delivery: Delivery,
    borrower_version: int | None,
    switches: Sequence[Switch],
    now: datetime,
    lease_until: datetime,
) -> Transition | None:
    """Whether an attempt may begin, judged on the locked rows: ``to`` SENDING where it may.

    ``borrower_version`` is None where the borrower's address was opted out since the decision.

    None: the claim was lost (fencing token), or the delivery was stopped meanwhile. A borrower who changed since the
    decision (compare-and-set on the version) is due at once, to be decided anew with the facts of now.
    """
    claimed = outgoing.work
    if delivery.fence != claimed.delivery.fence or delivery.state not in PENDING_STATES:
        return None
    if borrower_version != claimed.borrower.version:
        return Transition(delivery.id, "", now, due_at=now)
    for switch in switches:
        if switch.stops(claimed.notification, claimed.delivery.channel, outgoing.provider):
            return _paused(outgoing, switch, now)
    return _attempt_started(outgoing, delivery, now, lease_until)


def _paused(outgoing: Outgoing, switch: Switch, now: datetime) -> Transition:
    """It waits for the end of the pause, or for its own."""
    due_at = earliest(switch.until, outgoing.work.notification.expires_at)
    detail = {"switch": switch.id, "scope": switch.scope, "value": switch.value}
    changes = {"paused": switch.id}
    return Transition(outgoing.work.delivery.id, "paused", now, due_at=due_at, changes=changes, detail=detail)


def _attempt_started(outgoing: Outgoing, delivery: Delivery, now: datetime, lease_until: datetime) -> Transition:
    assert outgoing.verdict is not None
    number = delivery.attempt + 1
    changes = {
        "attempt": number,
        "provider": outgoing.provider,
        "contacted_at": now,
        "paused": "",
        "lease_until": lease_until,
    }
    detail = {
        "when": "handoff",
        "provider": outgoing.provider,
        "attempt": number,
        "verdict": verdict_view(outgoing.verdict),
    }
    # Due as before: the lease keeps others from it, and the index on when it is due has one change less.
    due_at = earliest(delivery.due_at, lease_until)
    return Transition(
        delivery.id, "attempt_started", now, to=State.SENDING, due_at=due_at, changes=changes, detail=detail
    )
