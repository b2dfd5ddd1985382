"""The rules and weights in use, and understandings made up for tests of what follows from them."""

from __future__ import annotations

from datetime import timedelta
from functools import cache
from pathlib import Path

from gateway.core.reasons import HoldKind, Intent
from gateway.core.understanding import Understanding, Urgency
from gateway.replies.understanding import ReplyInterpreter, load_interpreter

POLICIES = Path(__file__).parents[3] / "templates" / "policies"


@cache
def shipped_interpreter() -> ReplyInterpreter:
    """As it ships. Loaded when it is first used: collecting the tests needs none."""
    return load_interpreter(POLICIES)


_HOLDS = {Intent.WRONG_PARTY: (HoldKind.WRONG_PARTY,), Intent.DANGER: (HoldKind.VULNERABLE,)}
_URGENCIES = {Intent.MAYBE_STOP: Urgency.ROUTINE, Intent.DANGER: Urgency.NOW}


def understood(intent: Intent) -> Understanding:
    """A reply that says this alone, with the hold and the urgency that follow from it."""
    return Understanding((intent,), _HOLDS.get(intent, ()), _URGENCIES.get(intent, Urgency.NONE), timedelta(hours=1))
