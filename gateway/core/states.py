"""States of deliveries, template versions and webhook messages, and the tables of their legal transitions."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum


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

# An attempt that was taken for lost may turn out to be with the provider, or to have arrived.
_TURNS_UP = {State.SENT, State.DELIVERED}

# The one table of legal transitions: the route rules, the diagram and the property tests come from it.
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
    # A handset that comes back after the provider gave up.
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


# The one table of a template version's legal transitions; the SQL guard is tested against it. A text that was submitted
# never changes again: a correction is another version.
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


class WebhookOutcome(StrEnum):
    """How one attempt to deliver a webhook message ended."""

    DELIVERED = "delivered"
    REFUSED = "refused"  # an answer that was neither yes nor about the endpoint itself
    UNAVAILABLE = "unavailable"  # it is overloaded or broken
    UNREACHABLE = "unreachable"  # no answer
    FORBIDDEN = "forbidden"  # its address is blocked
    GONE = "gone"  # the endpoint was removed (410)
