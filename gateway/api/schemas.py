"""What callers may send: types, shapes and bounds. Sense (addresses, zones, templates) is the accept stage's.

Unknown fields are refused, so that a misspelt ``expires_at`` is not silently without effect.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, AwareDatetime, BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints
from pydantic_core import PydanticCustomError

from gateway.core.controls import SwitchKind, SwitchScope
from gateway.core.notifications import Borrower, Case, Category, Step
from gateway.core.reasons import HoldKind
from gateway.core.requests import NotificationRequest

MOST_IN_BATCH = 1000  # DESIGN section 4
LONGEST_KEY = 255  # the ledger's column
_LONGEST_WAIT = timedelta(days=7)  # our choice: a reminder that waits longer for its next channel is another reminder
_LONGEST_SWITCH = timedelta(days=366)  # our choice
_EARLIEST, _LATEST = datetime(2000, 1, 1, tzinfo=UTC), datetime(2100, 1, 1, tzinfo=UTC)
_DEEPEST, _MOST_NODES, _LONGEST_TEXT = 6, 500, 4000  # our choice; a message is at most a few hundred words
_INT64 = 2**63
_DATE_TIME = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d", re.ASCII)


def _only_text(value: Any) -> Any:
    # Otherwise a number would do as a date or a duration, in a unit that the caller has to guess.
    if value is not None and not isinstance(value, str):
        raise PydanticCustomError("text", "must be a string")
    return value


def rfc3339(value: Any) -> Any:
    """A before-validator: otherwise a text of digits would do as an instant, in a unit that the caller has to guess."""
    if value is not None and not (isinstance(value, str) and _DATE_TIME.match(value)):
        raise PydanticCustomError("instant", "must be an RFC 3339 instant like 2026-11-24T09:00:00Z")
    return value


def _iso_duration(value: Any) -> Any:
    if value is not None and not (isinstance(value, str) and value.startswith("P")):
        raise PydanticCustomError("duration", "must be an ISO 8601 duration like PT30M")
    return value


def _short(value: timedelta) -> timedelta:
    if not timedelta(0) < value <= _LONGEST_WAIT:
        raise PydanticCustomError("duration", "must be longer than nothing and at most P7D")
    return value


def _plausible(value: datetime) -> datetime:
    if not _EARLIEST <= value <= _LATEST:
        raise PydanticCustomError("instant", "must be between the years 2000 and 2100")
    return value.astimezone(UTC)


def _printable(value: str) -> str:
    if "\x00" in value:
        raise PydanticCustomError("text", "must not contain NUL characters")
    return value


def _plain(value: dict[str, Any]) -> dict[str, Any]:
    """Values that every database and JSON library can carry: no NUL, no infinity, no integer beyond 64 bits."""
    left = _MOST_NODES

    def check(node: Any, depth: int) -> None:
        nonlocal left
        left -= 1
        if left < 0 or depth > _DEEPEST:
            raise PydanticCustomError("size", "is nested too deeply or holds too many values")
        if isinstance(node, str):
            if len(node) > _LONGEST_TEXT or "\x00" in node:
                raise PydanticCustomError("text", "holds a text that is too long or has a NUL character")
        elif isinstance(node, dict):
            for name, member in node.items():
                check(name, depth + 1)
                check(member, depth + 1)
        elif isinstance(node, list):
            for member in node:
                check(member, depth + 1)
        elif isinstance(node, int | float) and not -_INT64 <= node < _INT64:
            raise PydanticCustomError("number", "holds a number that is too large; send it as a string")

    check(value, 0)
    return value


# Ids are path segments of addresses (/v1/borrowers/{id}), so a slash can't be part of them.
Identifier = Annotated[
    str,
    StringConstraints(min_length=1, max_length=128, pattern=r"^[^\s\p{C}/]([^\p{C}/]*[^\s\p{C}/])?$"),
]
Word = Annotated[str, StringConstraints(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
Label = Annotated[str, StringConstraints(min_length=1, max_length=64, pattern=r"^\P{C}+$")]
Channel = Annotated[str, StringConstraints(min_length=1, max_length=32, pattern=r"^[a-z][a-z0-9_]*$")]
Address = Annotated[str, StringConstraints(min_length=1, max_length=320), AfterValidator(_printable)]  # RFC 5321
Text = Annotated[str, AfterValidator(_printable)]
Instant = Annotated[AwareDatetime, BeforeValidator(rfc3339), AfterValidator(_plausible)]
Day = Annotated[date, BeforeValidator(_only_text)]
Wait = Annotated[timedelta, BeforeValidator(_iso_duration), AfterValidator(_short)]
Clock = Annotated[str, StringConstraints(pattern=r"^([01][0-9]|2[0-3]):[0-5][0-9]$")]
Values = Annotated[dict[str, Any], AfterValidator(_plain)]
Flag = Annotated[bool, Field(strict=True)]  # not 0, "no" or "off"
Key = Annotated[str, StringConstraints(min_length=1, max_length=LONGEST_KEY, pattern=r"^[!-~]+$")]


class RequestModel(BaseModel):
    """The base of everything that comes from outside.

    Empty lists and objects are made by a factory where many requests come: pydantic deep-copies a mutable default,
    which costs more than the whole validation.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)


def example(**values: Any) -> ConfigDict:
    """A body for the API's documentation that the demo takes as it stands."""
    return ConfigDict(json_schema_extra={"example": values})


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


class HoldIn(RequestModel):
    """No contact from ``start`` (now, where it is missing) to ``end`` (until lifted, where it is missing)."""

    model_config = example(reason="The borrower disputes the amount.")

    start: Instant | None = None
    end: Instant | None = None
    case_id: Identifier | None = None
    reason: Annotated[Text, Field(max_length=200)] = ""


class OptOutIn(RequestModel):
    """The borrower said no to an address, to a channel (no address), or to everything (no channel either).

    ``evidence`` says where the proof is kept, not what it says.
    """

    model_config = example(channel="sms", source="telephone", evidence="call 2026-11-24, file 77")

    channel: Channel | None = None
    address: Address | None = None
    source: Annotated[str, StringConstraints(min_length=1, max_length=80, pattern=r"^\P{C}+$")]
    evidence: Annotated[str, StringConstraints(max_length=200, pattern=r"^\P{C}*$")] = ""


class ConsentIn(RequestModel):
    """The borrower agreed to a category of messages. ``evidence`` says where the proof is kept, not what it says.

    ``channel``: they agreed to it by this channel, as channels such as WhatsApp want it; null: to the category.
    """

    model_config = example(category="collections", source="letter", evidence="archive, scan 77")

    category: Category
    channel: Channel | None = None
    source: Annotated[str, StringConstraints(min_length=1, max_length=80, pattern=r"^\P{C}+$")]
    evidence: Annotated[str, StringConstraints(min_length=1, max_length=200, pattern=r"^\P{C}+$")]


class SuppressionIn(RequestModel):
    """An address that must not be used for anybody (``reason``), or that may be used again (no reason)."""

    model_config = example(channel="email", address="b1001@example.com", reason="complaint")

    channel: Channel
    address: Address
    reason: Annotated[str, StringConstraints(max_length=40, pattern=r"^([a-z][a-z0-9_]*)?$")] = ""


class ReviewIn(RequestModel):
    """Why a reviewer decided so; kept as evidence."""

    model_config = example(reason="The debt adviser agreed by telephone.")

    reason: Annotated[Text, Field(min_length=3, max_length=500)]


class RefusalIn(ReviewIn):
    """``borrower_id``: whom an unverified report is about; other reviews have a borrower, and take none."""

    model_config = example(reason="They asked on the telephone not to be contacted.")

    borrower_id: Identifier | None = None


class ControlIn(RequestModel):
    """What an operator stops or pins. ``value`` names the tenant, template, channel or provider; none for ``all``.

    It ends at ``until``, or when ``duration`` has passed, or when somebody ends it. It holds for the caller's
    tenant, or with ``everywhere`` for every tenant. That, and to name another tenant,
    takes the scope platform; to name the caller's own tenant takes the scope admin.
    """

    model_config = example(
        kind="pause", scope="channel", value="sms", reason="The provider has an incident.", duration="PT1H"
    )

    kind: SwitchKind = SwitchKind.PAUSE
    scope: SwitchScope
    value: Annotated[str, StringConstraints(max_length=64, pattern=r"^\P{C}*$")] = ""
    everywhere: Flag = False
    reason: Annotated[Text, Field(min_length=3, max_length=500)]
    until: Instant | None = None
    # The bounds are those of the duration: pydantic can't compare None with them.
    duration: Annotated[
        Annotated[timedelta, Field(gt=timedelta(0), le=_LONGEST_SWITCH)] | None, BeforeValidator(_iso_duration)
    ] = None


class RedriveIn(RequestModel):
    """Which failed notifications are to be tried again: these ids, or all that the filters find."""

    model_config = example(channel="sms", reason="The provider is back.", dry_run=True)

    ids: Annotated[list[Identifier], Field(max_length=1000)] = []
    filter_reason: Annotated[str, StringConstraints(max_length=40, pattern="^[a-z_]*$")] = ""
    channel: Channel | None = None
    template: Annotated[str, StringConstraints(max_length=64)] = ""
    reason: Annotated[Text, Field(min_length=3, max_length=500)]
    dry_run: Flag = False


class GiveUpIn(RequestModel):
    """Which failed notifications are not to be tried again."""

    model_config = example(ids=["ntf_01999f4c3e3a7f0bb6d8a2c15e9b7d10"], reason="The borrower has moved abroad.")

    ids: Annotated[list[Identifier], Field(min_length=1, max_length=1000)]
    reason: Annotated[Text, Field(min_length=3, max_length=500)]


class WebhookEndpointIn(RequestModel):
    """An endpoint, and the types of the events that it gets from now on; no types: all of them."""

    model_config = example(
        url="https://case-system.example.com/hooks", types=["delivery.delivered", "borrower.opted_out"]
    )

    url: Annotated[str, StringConstraints(min_length=1, max_length=500, pattern=r"^[!-~]+$")]
    types: Annotated[
        list[Annotated[str, StringConstraints(max_length=40, pattern=r"^[a-z_.]+$")]], Field(max_length=50)
    ] = []


class ReplayIn(RequestModel):
    """Which messages to send again: these, or those since an instant; without ``all``, only those never delivered."""

    model_config = example(since="2026-11-24T00:00:00Z")

    ids: Annotated[list[Identifier], Field(max_length=1000)] = []
    since: Instant | None = None
    all: Flag = False


class ContactIn(RequestModel):
    at: Instant
    channel: Channel
    case_id: Identifier
    address: Address


class KnownHoldIn(RequestModel):
    kind: HoldKind
    start: Instant
    end: Instant | None = None
    case_id: Identifier | None = None


class KnownOptOutIn(RequestModel):
    channel: Channel | None = None
    address: Address | None = None
    category: Category | None = None
    at: Instant | None = None


class DecisionIn(NotificationIn):
    """A notification that is not to be sent, with facts to use in place of the ledger's."""

    at: Instant | None = None
    contacts: Annotated[list[ContactIn], Field(max_length=1000)] | None = None
    holds: Annotated[list[KnownHoldIn], Field(max_length=100)] | None = None
    opt_outs: Annotated[list[KnownOptOutIn], Field(max_length=100)] | None = None
    packs: Annotated[list[Label], Field(max_length=20)] = []  # by name, in place of the jurisdiction's
