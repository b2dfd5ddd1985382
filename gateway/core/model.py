"""The words of the gateway: states, reasons and the values that move between its stages.

Owns every closed list that is an API field, a metric label and a runbook heading at once.
Knows no technology: no SQL, no Redis, no HTTP.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from enum import StrEnum
from typing import Any


class State(StrEnum):
    """Where a notification, or its delivery on one channel, stands. DESIGN section 3."""

    ACCEPTED = "accepted"
    DEFERRED = "deferred"
    SENDING = "sending"
    SENT = "sent"
    RETRYING = "retrying"
    UNKNOWN = "unknown"
    REVIEW = "review"
    DELIVERED = "delivered"
    UNDELIVERED = "undelivered"
    SUPPRESSED = "suppressed"
    FAILED = "failed"
    EXPIRED = "expired"
    CANCELLED = "cancelled"


END_STATES = frozenset(
    {
        State.DELIVERED,
        State.UNDELIVERED,
        State.SUPPRESSED,
        State.FAILED,
        State.EXPIRED,
        State.CANCELLED,
    }
)

# States in which nothing has been handed to a provider for this attempt, so that stopping is still possible.
PENDING_STATES = frozenset({State.ACCEPTED, State.DEFERRED, State.RETRYING, State.REVIEW})

_STOPPABLE = {State.SUPPRESSED, State.EXPIRED, State.CANCELLED, State.FAILED}
# An attempt that was given up for lost may still turn out to be with the provider, or to have arrived.
_TURNS_UP = {State.SENT, State.DELIVERED}

# The one table of legal moves: the SQL guard, the diagram and the property tests come from it.
TRANSITIONS: Mapping[State, frozenset[State]] = {
    State.ACCEPTED: frozenset({State.DEFERRED, State.SENDING, State.REVIEW, *_TURNS_UP, *_STOPPABLE}),
    State.DEFERRED: frozenset({State.DEFERRED, State.SENDING, State.REVIEW, *_TURNS_UP, *_STOPPABLE}),
    State.RETRYING: frozenset({State.DEFERRED, State.SENDING, State.REVIEW, *_TURNS_UP, *_STOPPABLE}),
    State.REVIEW: frozenset({State.ACCEPTED, State.RETRYING, State.UNDELIVERED, *_TURNS_UP, *_STOPPABLE}),
    State.SENDING: frozenset(
        {State.SENT, State.RETRYING, State.UNKNOWN, State.DELIVERED, State.UNDELIVERED, State.FAILED}
    ),
    State.UNKNOWN: frozenset(
        {State.SENT, State.RETRYING, State.REVIEW, State.DELIVERED, State.UNDELIVERED, State.FAILED}
    ),
    State.SENT: frozenset({State.DELIVERED, State.UNDELIVERED, State.UNKNOWN}),
    # A handset that comes back after the provider gave up: late, and true.
    State.UNDELIVERED: frozenset({State.DELIVERED}),
    State.DELIVERED: frozenset(),
    State.SUPPRESSED: frozenset(),
    # A person may have it tried again: a dead letter is one that surely did not arrive.
    State.FAILED: frozenset({State.DELIVERED, State.UNDELIVERED, State.ACCEPTED}),
    State.EXPIRED: frozenset(),
    State.CANCELLED: frozenset(),
}


class TemplateState(StrEnum):
    """Where a tenant's own version of a template stands, from an editor's draft to its end."""

    DRAFT = "draft"
    SUBMITTED = "submitted"
    APPROVED = "approved"
    SCHEDULED = "scheduled"  # approved, and live from a given time on
    PUBLISHED = "published"  # new requests get it
    SUPERSEDED = "superseded"  # another one was published after it
    ROLLED_BACK = "rolled_back"  # an earlier one is live again in its place
    REJECTED = "rejected"
    DISCARDED = "discarded"


# The one table of a template version's legal moves; the SQL guard is tested against it. A text that was submitted never
# changes again: who wants another one writes another version.
TEMPLATE_TRANSITIONS: Mapping[TemplateState, frozenset[TemplateState]] = {
    TemplateState.DRAFT: frozenset({TemplateState.SUBMITTED, TemplateState.DISCARDED}),
    TemplateState.SUBMITTED: frozenset({TemplateState.APPROVED, TemplateState.REJECTED}),
    TemplateState.APPROVED: frozenset({TemplateState.SCHEDULED, TemplateState.PUBLISHED, TemplateState.REJECTED}),
    TemplateState.SCHEDULED: frozenset({TemplateState.PUBLISHED, TemplateState.APPROVED}),
    TemplateState.PUBLISHED: frozenset({TemplateState.SUPERSEDED, TemplateState.ROLLED_BACK}),
    # Both were approved once: rolling back may make either live again.
    TemplateState.SUPERSEDED: frozenset({TemplateState.PUBLISHED}),
    TemplateState.ROLLED_BACK: frozenset({TemplateState.PUBLISHED}),
    TemplateState.REJECTED: frozenset(),
    TemplateState.DISCARDED: frozenset(),
}


class Category(StrEnum):
    """What a message is for; decides which rules and exemptions hold. contact-rules.md section 5.1."""

    COLLECTIONS = "collections"
    SERVICE = "service"
    PROMOTIONAL = "promotional"


class PolicyReason(StrEnum):
    """Why a contact was permitted, deferred, suppressed or sent to review."""

    PERMITTED = "permitted"
    SCHEDULED = "scheduled"
    OUTSIDE_WINDOW = "outside_window"
    HOLIDAY = "holiday"
    BORROWER_WISH = "borrower_wish"
    UNKNOWN_ZONE = "unknown_zone"
    NO_COMMON_WINDOW = "no_common_window"
    CAP_BORROWER = "cap_borrower"
    CAP_CASE = "cap_case"
    CAP_CHANNEL = "cap_channel"
    CAP_ADDRESS = "cap_address"
    MIN_GAP = "min_gap"
    HOLD = "hold"
    OPTED_OUT = "opted_out"
    ADDRESS_SUPPRESSED = "address_suppressed"
    ADDRESS_STALE = "address_stale"
    NO_CONSENT = "no_consent"
    THIRD_PARTY = "third_party"
    OPT_OUT_TEXT_MISSING = "opt_out_text_missing"
    OPT_OUT_TEXT_FORBIDDEN = "opt_out_text_forbidden"
    PROVIDER_INCAPABLE = "provider_incapable"
    CASE_CLOSED = "case_closed"
    DUPLICATE = "duplicate"
    EXPIRES_FIRST = "expires_first"


class EndReason(StrEnum):
    """Why a delivery moved, where neither the policy nor the provider said so."""

    CANCELLED_BY_CLIENT = "cancelled_by_client"
    RECEIPT_TIMEOUT = "receipt_timeout"
    NO_FAILURE_REPORTED = "no_failure_reported"
    RETRIES_EXHAUSTED = "retries_exhausted"
    EXPIRED = "expired"
    WORKER_LOST = "worker_lost"
    UNRESOLVED = "unresolved"
    NOT_AT_PROVIDER = "not_at_provider"
    NO_PROVIDER = "no_provider"
    RENDER_FAILED = "render_failed"
    GOAL_REACHED = "goal_reached"
    REFUSED_IN_REVIEW = "refused_in_review"
    REPLIED = "replied"
    RESTORED = "restored"  # the ledger was restored from a backup, and it may have been sent since


class Intent(StrEnum):
    """What a borrower's reply was taken for. contact-rules.md section 5.3."""

    STOP = "stop"
    MAYBE_STOP = "maybe_stop"  # some wording of stop: no contact until a person has read it
    START = "start"
    HELP = "help"
    WRONG_PARTY = "wrong_party"
    OTHER = "other"


# After these nothing more goes to that address.
STOPS = frozenset({Intent.STOP, Intent.MAYBE_STOP, Intent.WRONG_PARTY})


class HoldKind(StrEnum):
    """Reasons for which a borrower or case must not be contacted for now. contact-rules.md section 5.2."""

    DISPUTE = "dispute"
    ATTORNEY = "attorney_represented"
    CEASE = "cease"
    BANKRUPTCY = "bankruptcy"
    BREATHING_SPACE = "breathing_space"
    DECEASED = "deceased"
    PLAN_IN_PLACE = "plan_in_place"
    VULNERABLE = "vulnerable"
    MENTAL_CAPACITY = "mental_capacity"
    COMPLAINT_OPEN = "complaint_open"
    DEBT_ADVISER = "debt_adviser"
    DISASTER = "disaster"
    BEREAVEMENT = "bereavement"
    WRONG_PARTY = "wrong_party"
    PROMISE_TO_PAY = "promise_to_pay"


class Violation(StrEnum):
    """What a contact that went out can have broken, as the audit of the ledger finds it."""

    OUTSIDE_WINDOW = "outside_window"
    OVER_CAP = "over_cap"
    TOO_SOON = "too_soon"
    AFTER_OPT_OUT = "after_opt_out"
    DURING_HOLD = "during_hold"
    AFTER_CLOSE = "after_close"
    NO_CONSENT = "no_consent"
    REPEAT = "repeat"


class VerdictKind(StrEnum):
    """The four things the policy can say. The order is strictness, weakest first."""

    SEND = "send"
    DEFER = "defer"
    REVIEW = "review"
    SUPPRESS = "suppress"


@dataclass(frozen=True, slots=True)
class RuleResult:
    """What one rule of one pack said, with the authority of its figure."""

    rule: str
    verdict: VerdictKind
    reason: PolicyReason
    until: datetime | None = None
    pack: str = ""
    version: str = ""
    authority: str = ""
    detail: str = ""
    open_ended: bool = False  # a deferral whose end is unknown: ``until`` is only when it is evaluated again


@dataclass(frozen=True, slots=True)
class Verdict:
    """The decision, with all that led to it. ``until`` is set for DEFER only; UTC.

    ``valid_until`` is when the permitted window ends: the provider must not deliver later. For REVIEW it is when
    what a person is asked about ends by itself (a hold with an end), so that it is decided anew.
    """

    kind: VerdictKind
    reason: PolicyReason
    until: datetime | None = None
    valid_until: datetime | None = None
    rules: tuple[RuleResult, ...] = ()
    time_zones: tuple[str, ...] = ()
    tzdata: str = ""
    packs: tuple[tuple[str, str, str], ...] = ()  # (name, version, sha256)


@dataclass(frozen=True, slots=True)
class Contact:
    """One contact that counts: the provider accepted the message, or may have."""

    at: datetime
    channel: str
    case_id: str
    address: str  # keyed digest, never the address itself
    notification_id: str = ""


@dataclass(frozen=True, slots=True)
class Hold:
    """No contact from ``start`` until ``end`` (None: until lifted), for one case or the whole borrower."""

    kind: HoldKind
    start: datetime
    end: datetime | None = None
    case_id: str | None = None


@dataclass(frozen=True, slots=True)
class OptOut:
    """The borrower said no: to one address, one channel (``address`` None) or all (``channel`` None too)."""

    at: datetime
    channel: str | None = None
    address: str | None = None  # keyed digest
    category: Category | None = None  # None: every category
    provisional: bool = False


@dataclass(frozen=True, slots=True)
class AddressFacts:
    """What is known of one address by itself; ``suppressed`` is why it must not be used, "" where it may."""

    suppressed: str = ""
    confirmed_at: datetime | None = None  # the borrower wrote from it


@dataclass(frozen=True, slots=True)
class Step:
    """One channel of a route. Goes on to the next when ``until`` is not reached ``wait`` after hand-off."""

    channel: str
    wait: timedelta | None = None
    until: str = "delivered"  # sent | delivered | read


@dataclass(frozen=True, slots=True)
class Borrower:
    id: str
    name: str
    locale: str
    jurisdiction: str
    time_zones: tuple[str, ...]
    addresses: Mapping[str, str]
    windows: tuple[tuple[str, str], ...] = ()  # the borrower's own permitted local times ("18:00", "20:00")
    audience: str = "borrower"  # borrower | guarantor | related_third_party | third_party
    confirmed: Mapping[str, datetime] = field(default_factory=dict)  # channel: when its address was last confirmed


@dataclass(frozen=True, slots=True)
class Case:
    id: str
    product: str
    due_date: date
    stage: str


@dataclass(frozen=True, slots=True)
class Notification:
    """One reminder to one borrower about one case, as accepted. Immutable; what changes is in the ledger's rows."""

    id: str
    tenant: str
    idempotency_key: str
    dedup_key: str
    borrower: Borrower
    case: Case
    template: str
    template_version: str
    variables: Mapping[str, Any]
    route: tuple[Step, ...]
    category: Category
    accepted_at: datetime
    send_at: datetime | None = None
    expires_at: datetime | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)
    must_arrive: bool = False  # the law wants it received: once, a second copy is better than none
    client: str = ""  # the API key it came by, as an actor

    def address(self, channel: str) -> str | None:
        return self.borrower.addresses.get(channel)


class WebhookOutcome(StrEnum):
    """How one attempt to tell a case system ended."""

    DELIVERED = "delivered"
    REFUSED = "refused"  # an answer that was neither yes nor about the endpoint itself
    UNAVAILABLE = "unavailable"  # it is overloaded or broken
    UNREACHABLE = "unreachable"  # no answer
    FORBIDDEN = "forbidden"  # its address is one that we may not call
    GONE = "gone"  # it wants to hear nothing any more


class SwitchKind(StrEnum):
    """What an operator can do to the path while it runs."""

    PAUSE = "pause"  # nothing of it is handed over
    PIN = "pin"  # a channel's messages go to this provider, whatever its weight and health


class SwitchScope(StrEnum):
    """What a switch is about."""

    ALL = "all"
    TENANT = "tenant"
    TEMPLATE = "template"
    CHANNEL = "channel"
    PROVIDER = "provider"


@dataclass(frozen=True, slots=True)
class Switch:
    """A kill switch, or a pin. ``tenant`` "" means every tenant; ``until`` None: until somebody ends it."""

    id: str
    kind: SwitchKind
    scope: SwitchScope
    value: str
    tenant: str
    reason: str
    actor: str
    since: datetime
    until: datetime | None = None

    def pins(self, notification: Notification) -> bool:
        """Whether this message is to go by the provider that ``value`` names."""
        return self.kind is SwitchKind.PIN and self.tenant in ("", notification.tenant)

    def stops(self, notification: Notification, channel: str, provider: str) -> bool:
        """Whether this message must not be handed to this provider now."""
        if self.kind is not SwitchKind.PAUSE or self.tenant not in ("", notification.tenant):
            return False
        named = {
            SwitchScope.ALL: self.value,
            SwitchScope.TENANT: notification.tenant,
            SwitchScope.TEMPLATE: notification.template,
            SwitchScope.CHANNEL: channel,
            SwitchScope.PROVIDER: provider,
        }
        return named[self.scope] == self.value


@dataclass(frozen=True, slots=True)
class DeclaredPreferences:
    """What the latest request said of where a borrower is and when they want to be written to."""

    time_zones: tuple[str, ...] = ()
    windows: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Facts:
    """All that a decision may look at besides the notification, the packs and the instant.

    ``stated`` holds beside what the notification itself says: it may be older, and wait since before a move.
    """

    contacts: tuple[Contact, ...] = ()
    holds: tuple[Hold, ...] = ()
    opt_outs: tuple[OptOut, ...] = ()
    consents: frozenset[Category] = frozenset()
    case_closed: bool = False
    addresses: Mapping[str, AddressFacts] = field(default_factory=dict)  # by keyed digest
    stated: DeclaredPreferences = DeclaredPreferences()


def new_id(prefix: str, now: datetime) -> str:
    """A time-ordered identifier: ``prefix_`` + 12 hex digits of milliseconds + 20 random hex digits.

    The 80 random bits are as many as UUIDv7 (RFC 9562) leaves after its version bits, nearly; order by
    creation keeps index inserts at the right-hand edge.
    """
    return f"{prefix}_{int(now.timestamp() * 1000):012x}{secrets.token_hex(10)}"
