"""Deliveries, their transitions and their attempts: the values that pass between the stages and storage."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from channels.base import Accepted as ProviderAccepted
from channels.base import Content, Message, PermanentFailure, ProviderReason, Receipt, SendFailure, TransientFailure
from gateway.core.facts import BorrowerFacts
from gateway.core.notifications import Borrower, Notification
from gateway.core.reasons import EndReason, Intent
from gateway.core.states import State
from gateway.core.understanding import Urgency
from gateway.core.verdicts import Verdict


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
    receipts: str = ""  # marks of those that changed it (gateway/storage/receipts.py), so that each is taken once

    @property
    def repeats_unknown_outcome(self) -> bool:
        """Whether its next attempt repeats one that may have arrived, at the provider that recognises the repetition.

        Where that can't be done, a person decides: the route's next step would be a second copy.
        """
        return self.state is State.RETRYING and self.reason == EndReason.SENT_AGAIN


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


def unresolved(delivery: Delivery, now: datetime) -> Transition:
    """An attempt of unknown outcome can't be repeated: a person decides, for it may have arrived."""
    return Transition(delivery.id, "unresolved", now, to=State.REVIEW, reason=EndReason.UNRESOLVED)


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A rendered message with the claimed delivery that it belongs to, and the verdict once there is one."""

    work: ClaimedDelivery
    content: Content
    verdict: Verdict | None = None
    provider: str = ""
    window_until: datetime | None = None  # free text is permitted until then, by the person's own last message


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


@dataclass(frozen=True, slots=True)
class RecordedReply:
    """A borrower's reply, as it was taken. ``new`` is False for one that had come before.

    ``stopped``: by this reply the borrower is opted out where they were not before. ``urgency``: how soon a person
    has to read it.
    """

    tenant: str
    borrower: Borrower
    delivery_id: str
    intents: tuple[Intent, ...]
    new: bool = False
    stopped: bool = False
    urgency: Urgency = Urgency.NONE

    @property
    def intent(self) -> Intent:
        """The most serious of the intents."""
        return self.intents[0]
