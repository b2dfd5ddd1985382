"""Webhook event types and message bodies.

Owns the closed list of types. A body has ids, states and reasons, and no other data of a borrower. One of a template
has what its reviewers said as well.
"""

from __future__ import annotations

import hashlib
import json
from datetime import datetime
from typing import Any

from gateway.core.codec import encode, instant
from gateway.core.journey_events import CASE_TYPES, JOURNEY_TYPES
from gateway.core.states import State

_STATES = (
    *(State.DEFERRED, State.REVIEW, State.SENT, State.UNKNOWN, State.RETRYING, State.DELIVERED, State.UNDELIVERED),
    *(State.SUPPRESSED, State.FAILED, State.EXPIRED, State.CANCELLED),
)
_CHANGES = (
    *("opted_out", "opt_out_lifted", "replied", "stop_confirmed", "stop_dismissed", "hold_set", "hold_lifted"),
    *("consent_given", "consent_withdrawn", "address_opted_out", "preferences_chosen"),
    *("conversation_payment_reported", "conversation_plan_asked", "conversation_address_reported"),
)
_OF_TEMPLATES = {
    "template_submitted": "template.submitted",
    "template_commented": "template.commented",
    "template_approved": "template.approved",
    "template_rejected": "template.rejected",
    "template_published": "template.published",
}
_TOLD_OF_TEMPLATES = ("number", "comment", "authors", "channel", "locale", "words")
_TEMPLATE = "template:"  # the subject's beginning
_READ = "delivery.read"
_DUPLICATE = "notification.suppressed"

TYPES = (
    *(f"delivery.{state}" for state in _STATES),
    *(_READ, _DUPLICATE),
    *(f"borrower.{kind}" for kind in _CHANGES),
    *CASE_TYPES,
    *JOURNEY_TYPES,
    *_OF_TEMPLATES.values(),
)
_OF_CASES = ("case:", "jny_")  # subjects whose events' kinds are webhook types, where they have a dot
_TOLD_OF_CASES = ("case_id", "journey_id", "definition", "step", "id", "date", "arm", "notification_id")

TEST = "webhook_endpoint.test"  # of a message that somebody asked for; not one of TYPES, since none subscribes to it


def type_of(event: Any) -> str | None:
    """The webhook type of an event; None if the event gives no message.

    ``event`` is a row of ``events`` with ``previous_state``, the state in the delivery's previous event ("" if none).
    """
    if event.subject.startswith("borrower:"):
        return f"borrower.{event.kind}" if event.kind in _CHANGES else None
    if event.subject.startswith(_OF_CASES):
        return str(event.kind) if "." in event.kind else None
    if event.subject.startswith(_TEMPLATE):
        return _OF_TEMPLATES.get(event.kind)
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
    """The message body (Standard Webhooks). ``event`` also has the delivery's ``channel`` and ``case_id``."""
    if event.subject.startswith(_TEMPLATE):
        return encode({"type": kind, "timestamp": instant(event.at), "data": _of_template(event, sequence)})
    data = {
        "borrower_id": event.borrower_id,
        "channel": event.channel or json.loads(event.detail).get("channel"),
        "reason": event.reason or None,
        "sequence": sequence,
    }
    if event.subject.startswith(_OF_CASES):
        detail = json.loads(event.detail)
        data |= {name: detail[name] for name in _TOLD_OF_CASES if name in detail}
    elif not event.subject.startswith("borrower:"):
        data |= {
            "notification_id": event.subject,
            "case_id": event.case_id,
            "delivery_id": event.delivery_id,
            "state": event.state,
        }
    return encode({"type": kind, "timestamp": instant(event.at), "data": data})


def _of_template(event: Any, sequence: int) -> dict[str, Any]:
    """What is told of a template: who did what to which version, and the words that were said to its authors."""
    detail = json.loads(event.detail)
    template = event.subject.partition("/")[2]
    told = {name: detail[name] for name in _TOLD_OF_TEMPLATES if name in detail}
    return {"template": template, "state": event.state or None, "actor": event.actor, **told, "sequence": sequence}


def test_body(endpoint_id: str, sequence: int, now: datetime) -> str:
    """The body of a test message, which is about no event."""
    data = {"webhook_endpoint_id": endpoint_id, "sequence": sequence}
    return encode({"type": TEST, "timestamp": instant(now), "data": data})


def message_id(endpoint_id: str, event_hash: str) -> str:
    """The ``webhook-id``: derived from the event, so that every attempt and replay has the same one."""
    return f"msg_{hashlib.sha256(f'{endpoint_id}.{event_hash}'.encode()).hexdigest()[:32]}"
