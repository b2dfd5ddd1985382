"""What the log says of the path: a line for each thing that happened, made of ids and words of closed lists.

Owns which ids and words those are. gateway/observability/logs.py decides what may be said at all.
"""

from __future__ import annotations

from collections.abc import Mapping

from channels.base import SendFailure
from gateway.core.ports import AcceptResult, Attempt, ReceiptFor, RecordedReply, RejectedRequest, Transition
from gateway.observability import logs

Line = Mapping[str, object]


def accepted(tenant: str, result: AcceptResult | RejectedRequest) -> Line:
    head = {"tenant": tenant, "request_id": logs.request_id.get()}
    if isinstance(result, RejectedRequest):
        return {**head, "outcome": "refused", "reason": result.reason}
    kept = {"outcome": result.outcome, "state": result.state, "reason": result.reason}
    return {**head, "notification_id": result.id, "delivery_id": result.first_delivery, **kept}


def not_sent(move: Transition) -> Line:
    return {"delivery_id": move.delivery_id, "kind": move.kind, "state": move.to, "reason": move.reason}


def attempted(attempt: Attempt) -> Line:
    outcome, reason, code = attempt.outcome()
    delivery = attempt.work.delivery
    return {
        "notification_id": delivery.notification_id,
        "delivery_id": delivery.id,
        "attempt": attempt.message.attempt,
        "channel": delivery.channel,
        "provider": attempt.provider,
        "outcome": outcome,
        "reason": reason,
        "code": code,
        "milliseconds": round((attempt.finished_at - attempt.started_at).total_seconds() * 1000),
    }


def received(arrived: ReceiptFor, result: str) -> Line:
    receipt = arrived.receipt
    said = {"provider": receipt.provider, "status": receipt.status, "reason": receipt.reason, "code": receipt.code}
    return {"delivery_id": arrived.delivery_id, "attempt": arrived.attempt, "result": result, **said}


def replied(taken: RecordedReply) -> Line:
    return {"tenant": taken.tenant, "delivery_id": taken.delivery_id, "kind": taken.intent}


def not_answered(provider: str, failure: SendFailure) -> Line:
    return {"provider": provider, "reason": failure.reason, "code": failure.code}
