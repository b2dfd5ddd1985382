"""What case systems may feed of a case: types, shapes and bounds, and the parts of a record that they make.

Each part has its own time, which is required: what comes late or twice is then known for what it is.
"""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Annotated, Any

from pydantic import AfterValidator, Field, StringConstraints, model_validator
from pydantic_core import PydanticCustomError

from gateway.api.requests.fields import Day, Identifier, Instant, Label, RequestModel, Text, example
from gateway.api.requests.notifications import BorrowerIn
from gateway.journeys.cases.record import SEGMENT_FACTS, CaseRecord, Closing, Payment, Promise, RepaymentPlan, Snapshot

MOST_CASES = 1000  # of one batch, as of notifications
_MOST_PARTS = 100  # payments, promises or plans in one item; our choice
_AMOUNT = r"^-?[0-9]{1,13}(\.[0-9]{1,4})?$"  # as a string: a float can't hold cents

Amount = Annotated[str, StringConstraints(pattern=_AMOUNT), AfterValidator(Decimal)]
Currency = Annotated[str, StringConstraints(pattern="^[A-Z]{3}$")]  # ISO 4217


def _allowed(given: dict[str, Any]) -> dict[str, Any]:
    """Facts of the closed list only, each of its type."""
    for name, value in given.items():
        kind = SEGMENT_FACTS.get(name)
        if kind is None:
            listed = ", ".join(SEGMENT_FACTS)
            raise PydanticCustomError("fact", "has a fact that is not on the list: {listed}", {"listed": listed})
        if isinstance(value, bool) != (kind is bool) or not isinstance(value, (int, float) if kind is float else kind):
            raise PydanticCustomError(
                "fact", "{name} must be of the type {kind}", {"name": name, "kind": kind.__name__}
            )
        if isinstance(value, str) and not 0 < len(value) <= 64:
            raise PydanticCustomError("fact", "{name} must have 1 to 64 characters", {"name": name})
    return given


Facts = Annotated[dict[str, Any], AfterValidator(_allowed), Field(max_length=20, default_factory=dict)]
Words = Annotated[dict[Label, Annotated[Text, Field(max_length=500)]], Field(max_length=30, default_factory=dict)]


class CasePutIn(RequestModel):
    """A case as the case system has it at ``as_of``: the balance has all payments until then.

    ``facts`` are for conditions of journeys, ``variables`` for templates (such as ``pay_url``).
    """

    as_of: Instant
    borrower: BorrowerIn
    product: Label
    currency: Currency
    balance: Amount
    minimum_due: Amount
    due_date: Day
    facts: Facts
    variables: Words

    def snapshot(self) -> Snapshot:
        return Snapshot(
            as_of=self.as_of,
            borrower=self.borrower.value(),
            product=self.product,
            currency=self.currency,
            balance=Decimal(self.balance),
            minimum_due=Decimal(self.minimum_due),
            due_date=self.due_date,
            facts=self.facts,
            variables=self.variables,
        )


class PaymentIn(RequestModel):
    """Money that came in. The same id again is the same payment."""

    model_config = example(id="P-1", amount="500.00", at="2026-11-24T08:00:00Z")

    id: Identifier
    amount: Amount
    at: Instant

    def value(self) -> Payment:
        return Payment(self.id, Decimal(self.amount), self.at)


class PromiseIn(RequestModel):
    """The borrower promised to pay ``amount`` by ``date``. Collections wait until then."""

    id: Identifier
    amount: Amount
    date: Day
    made_at: Instant

    def value(self) -> Promise:
        return Promise(self.id, Decimal(self.amount), self.date, self.made_at)


class PlanIn(RequestModel):
    """Instalments that were agreed; with ``ended_at`` they no longer are in place."""

    id: Identifier
    instalment: Amount
    instalments: Annotated[int, Field(ge=1, le=600)]
    first_date: Day
    agreed_at: Instant
    ended_at: Instant | None = None

    def value(self) -> RepaymentPlan:
        return RepaymentPlan(
            self.id, Decimal(self.instalment), self.instalments, self.first_date, self.agreed_at, self.ended_at
        )


class CaseClosingIn(RequestModel):
    """Why a case is closed for good: a word of the caller's, such as ``paid``; and when, where not now."""

    model_config = example(reason="paid")

    reason: Annotated[str, StringConstraints(min_length=1, max_length=40, pattern=r"^[a-z][a-z0-9_]*$")]
    at: Instant | None = None

    def value(self, now: datetime) -> Closing:
        return Closing(self.reason, self.at or now)


class CaseItemIn(RequestModel):
    """One case of a batch, with any of its parts."""

    id: Identifier
    case: CasePutIn | None = None
    payments: Annotated[list[PaymentIn], Field(max_length=_MOST_PARTS, default_factory=list)]
    promises: Annotated[list[PromiseIn], Field(max_length=_MOST_PARTS, default_factory=list)]
    plans: Annotated[list[PlanIn], Field(max_length=_MOST_PARTS, default_factory=list)]
    closed: CaseClosingIn | None = None

    @model_validator(mode="after")
    def _not_empty(self) -> CaseItemIn:
        if not (self.case or self.payments or self.promises or self.plans or self.closed):
            raise PydanticCustomError("empty", "has no part: give case, payments, promises, plans or closed")
        return self

    def record(self, now: datetime) -> CaseRecord:
        return CaseRecord(
            self.id,
            self.case.snapshot() if self.case else None,
            {each.id: each.value() for each in self.payments},
            {each.id: each.value() for each in self.promises},
            {each.id: each.value() for each in self.plans},
            self.closed.value(now) if self.closed else None,
        )


class CaseBatchIn(RequestModel):
    """Up to 1,000 cases. A bad one is answered in its place and does not stop the others."""

    cases: Annotated[list[CaseItemIn], Field(min_length=1, max_length=MOST_CASES)]
