"""Settle: what follows from a provider's answer, receipt or silence. Pure decisions on one delivery.

Each function looks at the delivery as it stands in the ledger now (not as it stood when the provider was
called) and answers one Transition. Nothing here resends: a retry is only ever a later ``due_at``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any

from channels.base import (
    Accepted,
    Capability,
    LookupAnswer,
    LookupResult,
    PermanentFailure,
    Receipt,
    ReceiptStatus,
    SendFailure,
    Silence,
    TransientFailure,
)
from gateway.core.deliveries import Attempt, Delivery, Transition
from gateway.core.notifications import Notification
from gateway.core.reasons import EndReason
from gateway.core.states import END_STATES, PENDING_STATES, State
from gateway.stages.route_rules import goal_reached
from gateway.stages.schedule import RetrySchedule, earliest

_RECEIPT_STATES: Mapping[ReceiptStatus, State] = {
    ReceiptStatus.SENT: State.SENT,
    ReceiptStatus.RELAYED: State.SENT,
    ReceiptStatus.DELIVERED: State.DELIVERED,
    ReceiptStatus.UNDELIVERED: State.UNDELIVERED,
    ReceiptStatus.FAILED: State.UNDELIVERED,
    ReceiptStatus.READ: State.DELIVERED,
    ReceiptStatus.OPTED_OUT: State.UNDELIVERED,
}
# Not known to be with the provider: under way, unknown, or taken for lost and about to be retried.
_OPEN = frozenset({State.SENDING, State.UNKNOWN, *PENDING_STATES})
_BAD_ENDS = frozenset({State.UNDELIVERED, State.FAILED, State.SUPPRESSED, State.EXPIRED})


_NO_CAPABILITY = Capability()  # of a provider that is not configured any more


class OutcomeRecorder:
    """Decides the transitions that end or continue a delivery, by one schedule and the providers' capabilities."""

    def __init__(self, schedule: RetrySchedule, capabilities: Mapping[str, Capability]) -> None:
        self._schedule = schedule
        self._capabilities = capabilities

    def after_attempt(self, delivery: Delivery, notification: Notification, attempt: Attempt) -> Transition:
        """The provider answered, refused, or left us without an answer."""
        now, result = attempt.finished_at, attempt.result
        if attempt.message.attempt != delivery.attempt:
            # This worker was taken for lost, and another attempt has begun since: recorded, without a change of state.
            outcome, reason, code = attempt.outcome()
            detail = {"attempt": attempt.message.attempt, "outcome": outcome, "reason": reason, "code": code}
            return Transition(delivery.id, "late_attempt", now, due_at=delivery.due_at, detail=detail)
        if isinstance(result, Accepted):
            return self._accepted(delivery, notification, result, now)
        if isinstance(result, PermanentFailure):
            return _ended(delivery, State.FAILED, "attempt_failed", result.reason, now, _failure_detail(result))
        if isinstance(result, TransientFailure):
            return self._retry(delivery, notification, result, now)
        return self._unknown(delivery, result, now)

    def _accepted(self, delivery: Delivery, notification: Notification, result: Accepted, now: datetime) -> Transition:
        changes: dict[str, Any] = {"provider_message_id": result.provider_message_id, "sent_at": now}
        step = notification.route[delivery.step]
        last = delivery.step + 1 >= len(notification.route)
        escalate_at = self._schedule.escalate_at(now, step, last=last)
        if delivery.state not in _OPEN:
            # A receipt was faster than our own record: it has already moved the delivery further.
            due_at = delivery.due_at
            if delivery.state is State.DELIVERED and step.until == "read" and delivery.read_at is None:
                changes["escalate_at"] = due_at = escalate_at
            return Transition(delivery.id, "attempt_accepted", now, changes=changes, due_at=due_at)
        if result.delivered:
            wait = escalate_at if not goal_reached(step.until, State.DELIVERED, read=False) else None
            changes["escalate_at"] = wait
            return Transition(delivery.id, "delivered", now, to=State.DELIVERED, changes=changes, due_at=wait)
        receipt_by = self._schedule.receipt_by(now, self._capability(delivery).receipt_within)
        if goal_reached(step.until, State.SENT, read=False):
            escalate_at = None
        changes |= {
            "escalate_at": escalate_at,
            "receipt_by": receipt_by,
            "no_delivery_receipts": int(not result.receipt_expected),
        }
        return Transition(
            delivery.id, "sent", now, to=State.SENT, changes=changes, due_at=earliest(escalate_at, receipt_by)
        )

    def _retry(self, delivery: Delivery, notification: Notification, failure: SendFailure, now: datetime) -> Transition:
        again, tries = self._again(delivery, notification, failure.reason, failure.retry_after, now)
        detail = _failure_detail(failure)
        if again is None:
            return _ended(delivery, State.FAILED, "attempt_failed", EndReason.RETRIES_EXHAUSTED, now, detail)
        return Transition(
            delivery.id,
            "attempt_failed",
            now,
            to=State.RETRYING,
            reason=failure.reason,
            due_at=again,
            changes={"tries": tries},
            detail=detail,
            contact_disproved=_disproved(delivery),
        )

    def _again(
        self,
        delivery: Delivery,
        notification: Notification,
        reason: str,
        retry_after: float | None,
        failed_at: datetime,
    ) -> tuple[datetime | None, int]:
        """When to try again after an attempt that surely failed (None: never), and how many have counted."""
        last = delivery.step + 1 >= len(notification.route)
        counts = self._schedule.counts(failed_at, reason, notification.accepted_at if last else None)
        tries = delivery.tries + counts
        again = self._schedule.retry_at(failed_at, delivery.attempt, reason, retry_after, tries if counts else None)
        return again and earliest(again, notification.expires_at), tries

    def _unknown(self, delivery: Delivery, failure: SendFailure, now: datetime) -> Transition:
        if delivery.state is not State.SENDING:
            return Transition(
                delivery.id, "attempt_unknown", now, due_at=delivery.due_at, detail=_failure_detail(failure)
            )
        return Transition(
            delivery.id,
            "attempt_unknown",
            now,
            to=State.UNKNOWN,
            reason=failure.reason,
            due_at=now if self._repeatable(delivery, now) else self._schedule.ask_at(now),
            detail=_failure_detail(failure),
        )

    def _repeatable(self, delivery: Delivery, now: datetime) -> bool:
        first = first_request(delivery)
        return first is not None and self._capability(delivery).repeatable(first, now)

    def _capability(self, delivery: Delivery) -> Capability:
        return self._capabilities.get(delivery.provider) or _NO_CAPABILITY

    def lost_worker(self, delivery: Delivery, now: datetime) -> Transition:
        """The lease ran out between "attempt started" and its end: the provider may have the message."""
        return Transition(
            delivery.id,
            "attempt_unknown",
            now,
            to=State.UNKNOWN,
            reason=EndReason.WORKER_LOST,
            due_at=now if self._repeatable(delivery, now) else self._schedule.ask_at(now),
        )

    def ask_again(self, now: datetime) -> datetime:
        """When to repeat a look-up that could not be made now."""
        return self._schedule.ask_at(now)

    def after_lookup(
        self, delivery: Delivery, notification: Notification, answer: LookupAnswer, now: datetime
    ) -> Transition:
        """The provider was asked about an unknown outcome, or about a message without a receipt."""
        if answer.result is LookupResult.FOUND and answer.receipt is not None:
            found = self.after_receipt(delivery, notification, answer.receipt, delivery.attempt, now)
            if found.to is not None or delivery.state is not State.SENT:
                return found
        if delivery.state is State.SENT:
            # Nothing shows that it did not arrive, so it stays a contact.
            kind, reason = "receipt_timeout", EndReason.RECEIPT_TIMEOUT
            return _ended(delivery, State.UNDELIVERED, kind, reason, now, {}, said=False)
        if answer.result is LookupResult.SEND_AGAIN:
            return self._send_again(delivery, notification, now)
        if answer.result is LookupResult.ABSENT:
            return self._absent(delivery, notification, now)
        # It can't be known whether it arrived.
        if notification.must_arrive and not delivery.deliberate_resends:
            changes = {"deliberate_resends": 1}
            return Transition(
                delivery.id, "resent", now, to=State.RETRYING, reason=EndReason.UNRESOLVED, due_at=now, changes=changes
            )
        # A second copy is worse than a late one, so a person decides, or a receipt that still comes under our tag.
        # A provider message id that is there is an earlier attempt's: this attempt's own was never received.
        tagged = {"provider_message_id": answer.tag} if answer.tag else {}
        return Transition(delivery.id, "unresolved", now, to=State.REVIEW, reason=EndReason.UNRESOLVED, changes=tagged)

    def _absent(self, delivery: Delivery, notification: Notification, now: datetime) -> Transition:
        """The provider does not have it: the attempt has failed, at the time when it was made."""
        again, tries = self._again(delivery, notification, delivery.reason, None, delivery.contacted_at or now)
        if again is None:
            return _ended(delivery, State.FAILED, "resolved", EndReason.RETRIES_EXHAUSTED, now, {})
        reason, changes = EndReason.NOT_AT_PROVIDER, {"tries": tries}
        return Transition(
            delivery.id,
            "resolved",
            now,
            to=State.RETRYING,
            reason=reason,
            due_at=max(again, now),
            changes=changes,
            contact_disproved=_disproved(delivery),
        )

    def _send_again(self, delivery: Delivery, notification: Notification, now: datetime) -> Transition:
        """The same request again, to the same provider. It stays a contact: the first one may have arrived."""
        again, tries = self._again(delivery, notification, delivery.reason, None, delivery.contacted_at or now)
        if again is None:
            return Transition(delivery.id, "unresolved", now, to=State.REVIEW, reason=EndReason.UNRESOLVED)
        return Transition(
            delivery.id,
            "resolved",
            now,
            to=State.RETRYING,
            reason=EndReason.SENT_AGAIN,
            due_at=max(again, now),
            changes={"tries": tries},
        )

    def after_receipt(
        self, delivery: Delivery, notification: Notification, receipt: Receipt, attempt: int, now: datetime
    ) -> Transition:
        """The provider's receipt, in any order and however often."""
        detail = {"status": receipt.status, "code": receipt.code, "attempt": attempt}
        reason = receipt.reason or ""
        to = _RECEIPT_STATES.get(receipt.status)
        stale = attempt < delivery.attempt and to is not State.DELIVERED
        if to is None or to is delivery.state or stale:
            seen: dict[str, Any] = {}
            due_at = delivery.due_at
            if receipt.status is ReceiptStatus.READ and delivery.read_at is None:
                # Delivered already, and read is the last goal that a step can have: nothing is waited for any more.
                seen, due_at = {"read_at": now, "escalate_at": None}, None
            elif receipt.status is ReceiptStatus.RELAYED and not stale:
                seen = {"no_delivery_receipts": 1}
            said_no = to is State.UNDELIVERED and not stale and _disproved(delivery)
            return Transition(
                delivery.id, "receipt", now, changes=seen, due_at=due_at, detail=detail, contact_disproved=said_no
            )
        if to is State.SENT:
            return self._sent_by_receipt(delivery, notification, receipt, detail, now)
        if to is State.UNDELIVERED:
            return _ended(delivery, to, "receipt", reason, now, detail, receipt.provider_message_id)
        changes: dict[str, Any] = {}
        if receipt.status is ReceiptStatus.READ:
            changes["read_at"] = now
        if receipt.provider_message_id and not delivery.provider_message_id:
            changes["provider_message_id"] = receipt.provider_message_id
        return _delivered(delivery, notification, "receipt", reason, now, changes, detail)

    def _sent_by_receipt(
        self, delivery: Delivery, notification: Notification, receipt: Receipt, detail: dict[str, Any], now: datetime
    ) -> Transition:
        """A receipt "sent" settles only an attempt that is not known yet to have arrived at the provider."""
        if delivery.state not in _OPEN:
            return Transition(delivery.id, "receipt", now, due_at=delivery.due_at, detail=detail)
        expected = receipt.status is not ReceiptStatus.RELAYED
        answer = Accepted(receipt.provider_message_id, receipt_expected=expected)
        return replace(self._accepted(delivery, notification, answer, now), kind="receipt", detail=detail)

    def overdue(self, delivery: Delivery, notification: Notification, now: datetime) -> Transition | None:
        """A deadline of a message that was handed over has passed. None: its receipt is, look it up."""
        step = notification.route[delivery.step]
        if delivery.escalate_at is not None and delivery.escalate_at <= now:
            reached = goal_reached(step.until, delivery.state, read=delivery.read_at is not None)
            return Transition(
                delivery.id,
                "goal_reached" if reached else "escalated",
                now,
                changes={"escalate_at": None},
                due_at=delivery.receipt_by,
                next_step=not reached,
            )
        if delivery.state is State.SENT and delivery.receipt_by is not None and delivery.receipt_by <= now:
            if delivery.no_delivery_receipts:
                return _delivered(delivery, notification, "presumed", EndReason.NO_FAILURE_REPORTED, now, {}, {})
            return self._silent(delivery, now)
        return Transition(delivery.id, "checked", now, due_at=earliest(delivery.escalate_at, delivery.receipt_by))

    def _silent(self, delivery: Delivery, now: datetime) -> Transition | None:
        """Nothing came until the receipt was due. None: receipts get lost, so it is looked up."""
        silence = self._capability(delivery).silence
        if silence is Silence.FAILED:
            return _ended(delivery, State.UNDELIVERED, "silence", EndReason.SILENCE, now, {})
        if silence is Silence.UNPROVEN:
            return _ended(delivery, State.UNDELIVERED, "silence", EndReason.UNPROVEN, now, {}, said=False)
        return None


def first_request(delivery: Delivery) -> datetime | None:
    """The earliest instant at which the first request for this delivery may have been made; None: none was.

    The ledger keeps the latest attempt's instant. Before several attempts, the delivery's creation is the safe bound.
    """
    return delivery.contacted_at if delivery.attempt <= 1 else delivery.created_at


def _disproved(delivery: Delivery) -> bool:
    """Whether a failure of this attempt shows that the borrower got nothing: an earlier copy may have arrived."""
    return not delivery.deliberate_resends


def _failure_detail(failure: SendFailure) -> dict[str, Any]:
    return {"code": failure.code, "provider_reason": failure.reason}


def _delivered(
    delivery: Delivery,
    notification: Notification,
    kind: str,
    reason: str,
    now: datetime,
    changes: dict[str, Any],
    detail: dict[str, Any],
) -> Transition:
    """It arrived; a step that wants it read goes on waiting for that."""
    read = "read_at" in changes or delivery.read_at is not None
    reached = goal_reached(notification.route[delivery.step].until, State.DELIVERED, read=read)
    waiting = None if reached else delivery.escalate_at
    changes = {**changes, "escalate_at": waiting, "receipt_by": None}
    return Transition(
        delivery.id, kind, now, to=State.DELIVERED, reason=reason, changes=changes, due_at=waiting, detail=detail
    )


def _ended(
    delivery: Delivery,
    to: State,
    kind: str,
    reason: str,
    now: datetime,
    detail: dict[str, Any],
    provider_message_id: str = "",
    *,
    said: bool = True,
) -> Transition:
    """The step has failed: the route goes on. ``said``: the provider reported it; False: it was silent."""
    changes: dict[str, Any] = {"escalate_at": None, "receipt_by": None}
    if provider_message_id and not delivery.provider_message_id:
        changes["provider_message_id"] = provider_message_id
    return Transition(
        delivery.id,
        kind,
        now,
        to=to,
        reason=reason,
        changes=changes,
        detail=detail,
        next_step=to in _BAD_ENDS and to in END_STATES,
        contact_disproved=said and _disproved(delivery),
    )
