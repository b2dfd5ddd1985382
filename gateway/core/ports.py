"""The values that pass between the doors, the stages and storage: requests, deliveries, transitions and results."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from channels.base import Accepted as ProviderAccepted
from channels.base import (
    Content,
    Message,
    PermanentFailure,
    ProviderReason,
    Receipt,
    SendFailure,
    TransientFailure,
)
from gateway.core.model import Borrower, Case, Category, Facts, Intent, Notification, State, Step, Switch, Verdict

Clock = Callable[[], datetime]


@dataclass(frozen=True, slots=True)
class NotificationRequest:
    """One reminder request, well-formed (the API has checked types and shapes), not yet validated.

    ``idempotency_key`` "" means that the client gave none. ``raw`` is the body as it came, for the fingerprint.
    """

    idempotency_key: str
    borrower: Borrower
    case: Case
    template: str
    template_version: str | None
    variables: Mapping[str, Any]
    route: tuple[Step, ...]
    category: Category | None
    send_at: datetime | None
    expires_at: datetime | None
    dedup_key: str | None
    metadata: Mapping[str, Any]
    raw: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class FieldError:
    """What is wrong with one field: an RFC 6901 pointer, and a sentence with the remedy."""

    pointer: str
    detail: str


@dataclass(frozen=True, slots=True)
class RejectedRequest:
    """A request that is refused: ``reason`` is the last part of the problem type, e.g. ``unknown_template``."""

    reason: str
    errors: tuple[FieldError, ...]


@dataclass(frozen=True, slots=True)
class ValidatedRequest:
    """A request that can be accepted: the notification, and its rendered text on each channel of its route."""

    notification: Notification
    fingerprint: str
    texts: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class DecidedRequest:
    """A validated request on its way into the ledger, with the decision made for it.

    ``fingerprint`` shows whether the same idempotency key came with another body. ``steps`` are the route
    steps decided so far, in order: all but the last are suppressed, the last one is what happens next.
    """

    notification: Notification
    fingerprint: str
    steps: tuple[StepDecision, ...]


@dataclass(frozen=True, slots=True)
class StepDecision:
    """What the policy said about one step of the route. ``address_digest`` is "" where there is no address."""

    step: int
    channel: str
    address_digest: str
    verdict: Verdict


@dataclass(frozen=True, slots=True)
class PauseInfo:
    """The part of a route that is paused now: the pause of its earliest such step, and the channels of all of them."""

    switch: Switch
    channels: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class AcceptResult:
    """The answer to one request. ``outcome``: created, replayed or conflict (same key, other body)."""

    outcome: str
    id: str
    state: State
    reason: str
    defer_until: datetime | None = None
    duplicate_of: str | None = None
    first_delivery: str | None = None
    due: bool = False
    paused: PauseInfo | None = None


@dataclass(frozen=True, slots=True)
class BorrowerFacts:
    """What the ledger knows of one borrower, with the version that a hand-over compares and sets."""

    version: int
    facts: Facts
    closed_cases: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Delivery:
    """A delivery as the ledger has it: what a transition is decided on. Times are UTC."""

    id: str
    notification_id: str
    step: int
    channel: str
    address_digest: str
    state: State
    reason: str = ""
    attempt: int = 0
    provider: str = ""
    provider_message_id: str = ""
    due_at: datetime | None = None
    lease_until: datetime | None = None
    fence: int = 0
    contacted_at: datetime | None = None
    sent_at: datetime | None = None
    escalate_at: datetime | None = None
    receipt_by: datetime | None = None
    created_at: datetime | None = None
    read_at: datetime | None = None
    approved: str = ""
    paused: str = ""
    deliberate_resends: int = 0  # copies sent on purpose though an earlier one may have arrived
    tries: int = 0  # failed attempts that count towards giving up: neither our doing, nor an outage waited out
    no_delivery_receipts: int = 0  # 1: the provider reports failures at most, so silence means that it arrived


@dataclass(frozen=True, slots=True)
class ClaimedDelivery:
    """A delivery claimed by this worker, with all that deciding and sending it needs."""

    delivery: Delivery
    notification: Notification
    borrower: BorrowerFacts
    notification_state: State
    is_last_opened: bool  # no later step of the route has been opened


@dataclass(frozen=True, slots=True)
class Transition:
    """One change of one delivery, decided by a stage and written by the ledger in its transaction.

    ``to`` None keeps the state (a receipt that only adds an event). ``next_step`` asks the ledger to open the
    route's next step, which happens at most once however many ask. ``changes`` are columns of ``Delivery``.
    ``fence`` is the fencing token of the claim under which it was decided: after a later claim the transition is void,
    because that claim's holder decides anew. None: it was decided on the locked row. ``contact_disproved``: it is
    shown, or a person says, that the borrower did not get the message; nothing else ends its counting as a contact.
    """

    delivery_id: str
    kind: str  # the event's name; "" records none
    at: datetime
    to: State | None = None
    reason: str = ""
    actor: str = "gateway"
    due_at: datetime | None = None
    changes: Mapping[str, Any] = field(default_factory=dict)
    detail: Mapping[str, Any] = field(default_factory=dict)
    next_step: bool = False
    contact_disproved: bool = False
    fence: int | None = None


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


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A rendered message with the claimed delivery that it belongs to, and the verdict once there is one."""

    work: ClaimedDelivery
    content: Content
    verdict: Verdict | None = None
    provider: str = ""


@dataclass(frozen=True, slots=True)
class ReceiptFor:
    """A receipt with the delivery and attempt that its signed reference names; "" where it carries none."""

    receipt: Receipt
    delivery_id: str = ""
    attempt: int = 0


@dataclass(frozen=True, slots=True)
class Attempt:
    """One provider call and its result: an ``Accepted`` of channels.base or a ``SendFailure``."""

    work: ClaimedDelivery
    provider: str
    message: Message
    started_at: datetime
    finished_at: datetime
    result: ProviderAccepted | SendFailure

    def outcome(self) -> tuple[str, str, str]:
        """The result for ledger and metrics: (accepted, transient, permanent or unknown; reason; code)."""
        if isinstance(self.result, ProviderAccepted):
            reason = ProviderReason.DELIVERED if self.result.delivered else ProviderReason.ACCEPTED
            return "accepted", reason, ""
        if isinstance(self.result, TransientFailure):
            kind = "transient"
        else:
            kind = "permanent" if isinstance(self.result, PermanentFailure) else "unknown"
        return kind, self.result.reason, self.result.code


class UnknownTemplate(Exception):
    """There is no such template, or not that version of it."""


class RenderFailed(Exception):
    """A template could not be rendered: names template, part, line and column, never a variable's value."""


@dataclass(frozen=True, slots=True)
class TemplateInfo:
    """What the validation of a request has to know of one version of a template."""

    version: str
    category: str
    must_arrive: bool
    channels: Sequence[str]


@dataclass(frozen=True, slots=True)
class RecordedReply:
    """A borrower's reply, as it was taken. ``new`` is False for one that had come before.

    ``stopped``: by this reply the borrower is opted out where they were not before.
    """

    tenant: str
    borrower: Borrower
    delivery_id: str
    intent: Intent
    new: bool = False
    stopped: bool = False


class NotApprovable(Exception):
    """What waits for review can't be approved as it is; the message is the remedy."""


class Unavailable(Exception):
    """The ledger can't be written now: nothing was acknowledged, try again."""
