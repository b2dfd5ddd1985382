"""What case systems are told: which events, under which names, with which fields.

Owns the closed list of types. A body has ids, states and reasons, and nothing else of a borrower.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any

from gateway.core.codec import encode, instant
from gateway.core.states import State

_STATES = (
    *(State.DEFERRED, State.REVIEW, State.SENT, State.UNKNOWN, State.RETRYING, State.DELIVERED, State.UNDELIVERED),
    *(State.SUPPRESSED, State.FAILED, State.EXPIRED, State.CANCELLED),
)
_CHANGES = (
    *("opted_out", "opt_out_lifted", "replied", "stop_confirmed", "stop_dismissed", "hold_set", "hold_lifted"),
    *("consent_given", "consent_withdrawn"),
)
_READ = "delivery.read"
_DUPLICATE = "notification.suppressed"

TYPES = (*(f"delivery.{state}" for state in _STATES), _READ, _DUPLICATE, *(f"borrower.{kind}" for kind in _CHANGES))


def type_of(event: Any) -> str | None:
    """The type under which an event is told; None for one that is not.

    ``event`` is a row of ``events`` with ``previous_state``, that of the delivery's event before it ("" for none).
    """
    if event.subject.startswith("borrower:"):
        return f"borrower.{event.kind}" if event.kind in _CHANGES else None
    if event.kind == "ignored":
        return None
    if event.delivery_id is None:
        return _DUPLICATE if event.state == State.SUPPRESSED else None
    if event.kind == "receipt" and json.loads(event.detail).get("status") == "read":
        return _READ
    if event.state == event.previous_state or event.state not in _STATES:
        return None
    return f"delivery.{event.state}"


def body_of(event: Any, kind: str, sequence: int) -> str:
    """The message, as Standard Webhooks has it. ``event`` has the delivery's ``channel`` and ``case_id`` as well."""
    data = {
        "borrower_id": event.borrower_id,
        "channel": event.channel or json.loads(event.detail).get("channel"),
        "reason": event.reason or None,
        "sequence": sequence,
    }
    if not event.subject.startswith("borrower:"):
        data |= {
            "notification_id": event.subject,
            "case_id": event.case_id,
            "delivery_id": event.delivery_id,
            "state": event.state,
        }
    return encode({"type": kind, "timestamp": instant(event.at), "data": data})


def message_id(endpoint_id: str, event_hash: str) -> str:
    """The same for the same event, whoever finds it and however often."""
    return f"msg_{hashlib.sha256(f'{endpoint_id}.{event_hash}'.encode()).hexdigest()[:32]}"
