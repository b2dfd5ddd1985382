"""Requests on their way into the ledger: received, validated, decided, answered."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from gateway.core.controls import Switch
from gateway.core.notifications import Borrower, Case, Category, Notification, Step
from gateway.core.states import State
from gateway.core.verdicts import Verdict


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
class TemplateInfo:
    """What the validation of a request has to know of one version of a template."""

    version: str
    category: str
    must_arrive: bool
    channels: Sequence[str]
