"""Building blocks for tests of journeys: the shipped definitions, cases, and what the path knows of their messages."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

from gateway.core.facts import Hold
from gateway.core.notifications import Borrower
from gateway.core.reasons import HoldKind
from gateway.core.states import State
from gateway.journeys.cases.record import CaseRecord, Snapshot
from gateway.journeys.definitions.model import JourneyDefinition, parse
from gateway.journeys.journey import JourneyFacts, SentStep

FOLDER = Path(__file__).parents[3] / "templates" / "journeys"
START = datetime(2026, 11, 24, 2, 0, tzinfo=UTC)  # ten in the morning in Taipei
DAY = timedelta(days=1)
# Two messages and a gate, at exact instants.
SHORT = """
name = "short"
enter = { when = { days_overdue = { at_least = 1 } } }
exit = { on = ["plan_agreed", "dispute"] }
pace = { at = "10:00", spread = "PT0S", least = "PT0S" }
[[step]]
id = "remind"
day = 1
template = "overdue-first"
route = ["sms"]
wait = { until = ["read"], longest = "P2D" }
[[step]]
id = "offer"
day = 4
template = "plan-offer"
route = ["email"]
offer = { instalments = 3 }
asks = "hardship"
[[step]]
id = "legal"
day = 10
gate = { approvals = 2, expires = "P5D", needs = ["plan_offered", "no_hold"] }
emits = "case.legal_step_approved"
"""


def shipped(name: str = "card-overdue") -> JourneyDefinition:
    return parse((FOLDER / f"{name}.toml").read_text("utf-8"))


def snapshot(**changes: Any) -> Snapshot:
    made = Snapshot(
        as_of=START - DAY,
        borrower=Borrower(
            "B-1", "Chen Mei", "zh-TW", "tw", ("Asia/Taipei",), {"sms": "+12025550123", "email": "b@example.com"}
        ),
        product="card",
        currency="TWD",
        balance=Decimal("3913.00"),
        minimum_due=Decimal("3913.00"),
        due_date=date(2026, 11, 20),
        facts={"months_overdue": 1},
    )
    return replace(made, **changes)


def case(**changes: Any) -> CaseRecord:
    """A case of which the snapshot is known; ``changes`` are parts of the record."""
    return replace(CaseRecord("C-1", snapshot()), **changes)


def facts(record: CaseRecord | None = None, **changes: Any) -> JourneyFacts:
    return JourneyFacts(record or case(), **changes)


def hold(kind: HoldKind, start: datetime = START, end: datetime | None = None) -> Hold:
    return Hold(kind, start, end)


def sent(at: datetime = START, state: State = State.SENT, **changes: bool) -> SentStep:
    return SentStep("ntf_1", at, state, **changes)
