"""What the stages need from the outside, as protocols, and the values that pass through these doors.

The stages import this and never SQL, Redis, HTTP or a provider. The composition root (wiring/) gives
them the real thing: gateway/ledger, gateway/catalog, gateway/policy, channels.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol

from channels.base import Accepted as ProviderAccepted
from channels.base import (
    Content,
    Message,
    PermanentFailure,
    ProviderReason,
    Receipt,
    Reply,
    SendFailure,
    TransientFailure,
)
from gateway.core.model import Borrower, Case, Category, Facts, Intent, Notification, State, Step, Switch, Verdict

Clock = Callable[[], datetime]


@dataclass(frozen=True, slots=True)
class NotificationRequest:
    """One reminder request, well-formed (types and shapes were checked at the door), not yet checked for sense.

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
    """A request that is not taken: ``reason`` is the problem type's last word, e.g. ``unknown_template``."""

    reason: str
    errors: tuple[FieldError, ...]


@dataclass(frozen=True, slots=True)
class ValidatedRequest:
    """A request that can be kept: the notification, and its words on each channel of its route."""

    notification: Notification
    fingerprint: str
    texts: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class DecidedRequest:
    """A validated request on its way into the ledger, with the decision made for it.

    ``fingerprint`` tells whether the same idempotency key came with another body. ``steps`` are the route
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
    """What of a route pauses hold up now: the pause of its earliest such step, and the channels of all such steps."""

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
    """What the ledger knows of one borrower, with the version that a hand-off has to find unchanged."""

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
    resent: int = 0  # how often, on purpose, though an earlier copy may have arrived
    tries: int = 0  # failed attempts that count towards giving up: neither our doing, nor an outage waited out
    failures_only: int = 0  # 1: the provider reports failures at most, so silence means that it arrived


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
    ``fence`` is that of the claim under which it was decided: with a later claim the move is void, for whoever made
    that one decides anew. None: it was decided on the locked row. ``not_reached`` is for what shows, or for a person
    who says, that the borrower has not got it: nothing else ends a hand-over's counting as a contact.
    """

    delivery_id: str
    kind: str  # the event's name
    at: datetime
    to: State | None = None
    reason: str = ""
    actor: str = "gateway"
    due_at: datetime | None = None
    changes: Mapping[str, Any] = field(default_factory=dict)
    detail: Mapping[str, Any] = field(default_factory=dict)
    next_step: bool = False
    not_reached: bool = False
    fence: int | None = None


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A rendered message with the work it belongs to, and the verdict once there is one."""

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
    """What one provider call came to: an ``AcceptResult`` of channels.base or a ``SendFailure``."""

    work: ClaimedDelivery
    provider: str
    message: Message
    started_at: datetime
    finished_at: datetime
    result: ProviderAccepted | SendFailure

    def outcome(self) -> tuple[str, str, str]:
        """The end in the words of ledger and metrics: (accepted, transient, permanent or unknown; reason; code)."""
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


class TemplateInfo(Protocol):
    """What accepting has to know of one version of a template."""

    @property
    def version(self) -> str: ...
    @property
    def category(self) -> str: ...
    @property
    def must_arrive(self) -> bool: ...
    @property
    def channels(self) -> Sequence[str]: ...


class Templates(Protocol):
    """The template catalogue, as the stages see it: from memory, and each tenant its own."""

    async def ensure(self, keys: Iterable[tuple[str, str, str]]) -> None:
        """Have these (tenant, template id, version) at hand: another process may know newer or older ones."""
        ...

    def resolve(self, tenant: str, template_id: str, version: str | None, now: datetime) -> TemplateInfo:
        """For a new request: the version that is live now, or the pinned one. Raises UnknownTemplate."""
        ...

    def wrong_variables(self, tenant: str, incoming: NotificationRequest, version: str) -> Sequence[FieldError]:
        """What is wrong with the request's variables, by the template's declaration of them."""
        ...

    def render(self, notification: Notification, channel: str) -> Content:
        """The one render function. Raises RenderFailed."""
        ...


class Addresses(Protocol):
    """The channels, as accepting sees them."""

    def normalise(self, channel: str, address: str) -> str:
        """The one spelling of an address. Raises KeyError for an unknown channel, ValueError with the remedy."""
        ...


class Decide(Protocol):
    """The contact policy with its packs already chosen: pure."""

    def __call__(
        self,
        notification: Notification,
        channel: str,
        facts: Facts,
        now: datetime,
        *,
        address_digest: str,
        text: str | None = None,
        approved: str = "",
        pack_names: Sequence[str] = (),
    ) -> Verdict: ...


class Ledger(Protocol):
    """The doors of the ledger that the stages use. Each method is one transaction over a batch."""

    async def facts(
        self,
        keys: Sequence[tuple[str, str]],
        case_keys: Sequence[tuple[str, str]],
        address_keys: Sequence[tuple[str, str, str]],
        now: datetime,
    ) -> Mapping[tuple[str, str], BorrowerFacts]:
        """What is known of the borrowers named by (tenant, borrower id); unknown ones get empty facts.

        With it, which of the (tenant, case id) pairs are closed, and what is known of the addresses, each named by
        (tenant, channel, keyed digest).
        """
        ...

    async def accept(self, drafts: Sequence[DecidedRequest], now: datetime) -> list[AcceptResult]:
        """Store what is new; durable when it returns. Raises Unavailable."""
        ...

    async def replays(self, tenant: str, asked: Sequence[tuple[str, str]]) -> list[AcceptResult | None]:
        """The answers to requests (idempotency key, fingerprint) that were taken before; None for the others."""
        ...

    async def claim(self, ids: Sequence[str], now: datetime, lease_seconds: float) -> list[ClaimedDelivery]:
        """Lease the deliveries that are due and free; the others are simply not in the answer."""
        ...

    async def start(self, outgoing: Sequence[Outgoing], now: datetime, lease_seconds: float) -> set[str]:
        """Record that attempts begin. Only ids in the answer may be handed to a provider.

        Left out: a lost lease, a cancelled delivery, what a switch stops (it waits for the switch's end), and a
        borrower who changed since the facts were read (another contact, an opt-out, a hold, a payment): these are
        due again at once, to be decided anew.
        """
        ...

    async def owner(self, provider: str, provider_message_id: str) -> str | None:
        """The delivery that the provider's message is known to belong to; None where it is not known to us."""
        ...

    async def parked(self, provider: str, tag: str, since: datetime) -> Receipt | None:
        """The latest receipt that came under this tag and was about no message that is known by its id."""
        ...

    async def postpone(self, works: Sequence[ClaimedDelivery], until: datetime) -> None:
        """Give claimed deliveries back, due at ``until``: a pause of ours that is no event of theirs."""
        ...

    async def apply(self, moves: Sequence[Transition]) -> list[str]:
        """Write moves; one that is not legal from the delivery's present state is recorded as ignored.

        Answers the deliveries that became due by them, as the next two do.
        """
        ...

    async def settle(
        self, ended: Sequence[Attempt], decide: Callable[..., Transition], decide_receipt: Callable[..., Transition]
    ) -> list[str]:
        """Record attempts' ends: ``decide(delivery, notification, attempt)`` runs on the locked rows."""
        ...

    async def match_parked(self, now: datetime, decide: Callable[..., Transition]) -> list[str]:
        """Move what parked receipts speak of, where their message is known by now."""
        ...

    async def receive(
        self, arrived: Sequence[ReceiptFor], now: datetime, decide: Callable[..., Transition]
    ) -> tuple[list[str], list[str]]:
        """Record receipts and move what they speak of. First answer: moved, recorded, duplicate or orphan, each."""
        ...


class Pace(Protocol):
    """The providers' rates, shared by all workers."""

    async def grant(self, provider: str, wanted: int) -> tuple[int, float]:
        """How many of ``wanted`` messages may go now, and in how many seconds the next ones may."""
        ...


class People(Protocol):
    """What providers and borrowers say of borrowers. Each change is durable, and in force, when its method returns."""

    async def opt_out_delivery(self, delivery_id: str, source: str, *, wait: bool = False) -> None:
        """The provider says that the borrower of this delivery opted out at its address; once per address."""
        ...

    async def suppress_address(self, delivery_id: str, reason: str) -> None:
        """The provider says that nothing arrives at this delivery's address: nobody is written to there again."""
        ...

    async def mark_read(self, tenant: str, borrower_id: str, inbox_id: int) -> str | None:
        """Remember that a feed message was read; its delivery, or None where it is not this borrower's."""
        ...


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


class Switches(Protocol):
    """What operators have stopped or pinned."""

    async def in_force(self, now: datetime) -> Sequence[Switch]:
        """The switches of now, at most a second old. Raises Unavailable."""
        ...


class Replies(Protocol):
    """Borrowers' own words in the ledger."""

    async def record(
        self, reply: Reply, channel: str, address: str, classify: Callable[[str, Borrower], Intent]
    ) -> list[RecordedReply]:
        """Record a reply and what follows from it, for every borrower at that address."""
        ...


class NotApprovable(Exception):
    """What waits for review can't be approved as it is; the message is the remedy."""


class InvalidData(Exception):
    """The ledger can't store a value (too long, or characters that a text can't hold): trying again does not help."""


class Unavailable(Exception):
    """The ledger can't be written now: nothing was acknowledged, try again."""
