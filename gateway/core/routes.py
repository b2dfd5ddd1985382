"""A notification's route under lock, and the rules that storage applies to it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from gateway.core.controls import Switch
from gateway.core.deliveries import Delivery, Outgoing, Transition
from gateway.core.notifications import Notification
from gateway.core.states import State


@dataclass(frozen=True, slots=True)
class Route:
    """A notification with its deliveries by step, as the ledger has them under lock.

    ``step`` is the last one that was opened. ``stopped`` is why none is opened any more, "" where one may be.
    ``state``, ``reason`` and ``defer_until`` are the notification's own: a summary of its deliveries.
    """

    notification: Notification
    deliveries: Mapping[int, Delivery]
    step: int
    stopped: str
    state: State
    reason: str
    defer_until: datetime | None

    def delivery(self, delivery_id: str) -> Delivery:
        """The delivery with this id. Raises StopIteration where it is of another route."""
        return next(each for each in self.deliveries.values() if each.id == delivery_id)

    def with_delivery(self, delivery: Delivery) -> Route:
        """The route with a delivery added, or put in the place of its earlier version."""
        return replace(self, deliveries={**self.deliveries, delivery.step: delivery})


@dataclass(frozen=True, slots=True)
class RouteChange:
    """What one transition made of a route: how the route stands now, and the events to record, in order.

    Each event is a transition with the delivery as that left it.
    """

    route: Route
    events: tuple[tuple[Transition, Delivery], ...]
    legal: bool = True


@dataclass(frozen=True, slots=True)
class RouteRules:
    """The decisions that a unit of work needs on locked rows; gateway/stages/route_rules.py has them."""

    advance: Callable[[Route, Transition], RouteChange]
    stop: Callable[[Route, str, datetime, str], list[Transition]]
    start: Callable[[Outgoing, Delivery, int | None, Sequence[Switch], datetime, datetime], Transition | None]
