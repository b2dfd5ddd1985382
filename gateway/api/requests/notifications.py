"""What callers send of a notification: shapes and bounds. Sense (addresses, zones, templates) is the accept stage's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, ConfigDict, Field, StringConstraints

from gateway.api.requests.fields import (
    Address,
    Channel,
    Clock,
    Day,
    Identifier,
    Instant,
    Label,
    RequestModel,
    Text,
    Values,
    Wait,
    Word,
)
from gateway.core.notifications import Borrower, Case, Category, Step
from gateway.core.requests import NotificationRequest

MOST_IN_BATCH = 1000  # DESIGN section 4
LONGEST_KEY = 255  # the ledger's column

Key = Annotated[str, StringConstraints(min_length=1, max_length=LONGEST_KEY, pattern=r"^[!-~]+$")]


class BorrowerIn(RequestModel):
    id: Identifier
    name: Annotated[Text, Field(max_length=200)]
    locale: Annotated[str, StringConstraints(max_length=35, pattern=r"^[A-Za-z]{2,8}([-_][A-Za-z0-9]{1,8})*$")]
    jurisdiction: Annotated[str, StringConstraints(max_length=16, pattern=r"^[a-z]{2}[a-z_-]*$")]
    time_zones: Annotated[list[Annotated[Text, Field(max_length=64)]], Field(max_length=10)]
    addresses: Annotated[dict[Channel, Address], Field(max_length=16)]
    windows: Annotated[list[tuple[Clock, Clock]], Field(max_length=14, default_factory=list)]
    audience: Literal["borrower", "guarantor", "related_third_party", "third_party"] = "borrower"
    # When each address was last confirmed.
    confirmed: Annotated[dict[Channel, Instant], Field(max_length=16, default_factory=dict)]

    def value(self) -> Borrower:
        return Borrower(
            id=self.id,
            name=self.name,
            locale=self.locale,
            jurisdiction=self.jurisdiction,
            time_zones=tuple(self.time_zones),
            addresses=self.addresses,
            windows=tuple(self.windows),
            audience=self.audience,
            confirmed=self.confirmed,
        )


class CaseIn(RequestModel):
    id: Identifier
    product: Label
    due_date: Day
    stage: Label

    def value(self) -> Case:
        return Case(self.id, self.product, self.due_date, self.stage)


class StepIn(RequestModel):
    """One channel of a route; a plain name stands for an object with that channel."""

    channel: Channel
    wait: Wait | None = None
    until: Literal["sent", "delivered", "read"] = "delivered"


def _named(value: Any) -> Any:
    return {"channel": value} if isinstance(value, str) else value


# In the API's documentation. It is accepted as it stands by the demo.
EXAMPLE: Mapping[str, Any] = {
    "borrower": {
        "id": "B-1001",
        "name": "Chen Mei",
        "locale": "zh-TW",
        "jurisdiction": "tw",
        "time_zones": ["Asia/Taipei"],
        "addresses": {"sms": "+12025550123", "email": "b1001@example.com", "inapp": "B-1001"},
    },
    "case": {"id": "C-77", "product": "card", "due_date": "2026-11-01", "stage": "first_reminder"},
    "template": "overdue-first",
    "variables": {"amount": "3913.00", "currency": "TWD", "due_date": "2026-11-01"},
    "route": [{"channel": "sms", "wait": "PT30M", "until": "delivered"}, "email"],
    "category": "collections",
}


class NotificationIn(RequestModel):
    """A reminder to one borrower about one case."""

    model_config = ConfigDict(json_schema_extra={"example": dict(EXAMPLE)})

    borrower: BorrowerIn
    case: CaseIn
    template: Word
    template_version: Word | None = None
    variables: Annotated[Values, Field(default_factory=dict)]
    route: Annotated[
        list[Annotated[StepIn, BeforeValidator(_named, json_schema_input_type=StepIn | Channel)]],
        Field(min_length=1, max_length=10),
    ]
    category: Category | None = None
    send_at: Instant | None = None
    expires_at: Instant | None = None
    dedup_key: Annotated[str, StringConstraints(min_length=1, max_length=200, pattern=r"^\P{C}+$")] | None = None
    metadata: Annotated[Values, Field(default_factory=dict)]

    def incoming(self, idempotency_key: str, raw: Mapping[str, Any]) -> NotificationRequest:
        """As the stages take it. ``raw`` is the body as it came."""
        return NotificationRequest(
            idempotency_key=idempotency_key,
            borrower=self.borrower.value(),
            case=self.case.value(),
            template=self.template,
            template_version=self.template_version,
            variables=self.variables,
            route=tuple(Step(step.channel, step.wait, step.until) for step in self.route),
            category=self.category,
            send_at=self.send_at,
            expires_at=self.expires_at,
            dedup_key=self.dedup_key,
            metadata=self.metadata,
            raw=raw,
        )


class BatchItemIn(NotificationIn):
    """A notification in a batch, which may carry its own idempotency key."""

    idempotency_key: Key | None = None


class BatchIn(RequestModel):
    """Up to 1,000 notifications. A bad one is answered in its place and does not stop the others."""

    notifications: Annotated[list[BatchItemIn], Field(min_length=1, max_length=MOST_IN_BATCH)]
