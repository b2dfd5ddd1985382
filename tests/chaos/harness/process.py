"""One of our processes as the chaos run starts it: with a clock that is off, or broken on purpose.

The breaks show that the run can fail; they are no part of the gateway.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from gateway.app import storage
from gateway.app.settings import Settings
from gateway.core.deliveries import Delivery, Transition
from gateway.core.states import State
from gateway.queue.due_scanner import DueScanner
from gateway.stages.settle import OutcomeRecorder
from tests.support.forked import run_gateway


def skew(seconds: float) -> None:
    """Have this process's own clock run ahead by so many seconds."""

    def skewed(settings: Settings) -> Any:
        return lambda: datetime.now(UTC) + timedelta(seconds=seconds)

    storage.system_clock = skewed


def _resend_on_timeout() -> None:
    def again(self: OutcomeRecorder, delivery: Delivery, *arguments: Any) -> Transition:
        now = arguments[-1]
        return Transition(delivery.id, "resent", now, to=State.UNKNOWN, changes={}, due_at=now)

    def resend(self: OutcomeRecorder, delivery: Delivery, notification: Any, answer: Any, now: datetime) -> Transition:
        return Transition(delivery.id, "resent", now, to=State.RETRYING, due_at=now)

    OutcomeRecorder._unknown = again  # type: ignore[method-assign, assignment]
    OutcomeRecorder.after_lookup = resend  # type: ignore[method-assign, assignment]


def _queue_as_truth() -> None:
    async def blind(self: DueScanner) -> bool:
        return False

    DueScanner.run_once = blind  # type: ignore[method-assign]


BREAKS = {"resend-on-timeout": _resend_on_timeout, "queue-as-truth": _queue_as_truth}


def run(ahead: str, broken: str, *arguments: str) -> None:
    """``gateway ARGUMENTS…`` with a clock that is so many seconds ahead, and with one of BREAKS if it is named."""
    if float(ahead):
        skew(float(ahead))
    if broken in BREAKS:
        BREAKS[broken]()
    run_gateway(*arguments)
