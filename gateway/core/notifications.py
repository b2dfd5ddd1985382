"""A notification as it was accepted: borrower, case, route and category. Immutable."""

from __future__ import annotations

import re
import secrets
from base64 import b32encode
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from enum import StrEnum
from typing import Any

_LONGEST_RUN = re.compile(r"\d{8}")  # digits in a row that a reference may not have


class Category(StrEnum):
    """What a message is for; decides which rules and exemptions hold. contact-rules.md section 5.1."""

    COLLECTIONS = "collections"
    SERVICE = "service"
    PROMOTIONAL = "promotional"


@dataclass(frozen=True, slots=True)
class Step:
    """One channel of a route. Goes on to the next when ``until`` is not reached ``wait`` after hand-off."""

    channel: str
    wait: timedelta | None = None
    until: str = "delivered"  # sent | delivered | read


@dataclass(frozen=True, slots=True)
class Borrower:
    id: str
    name: str
    locale: str
    jurisdiction: str
    time_zones: tuple[str, ...]
    addresses: Mapping[str, str]
    windows: tuple[tuple[str, str], ...] = ()  # the borrower's own permitted local times ("18:00", "20:00")
    audience: str = "borrower"  # borrower | guarantor | related_third_party | third_party
    confirmed: Mapping[str, datetime] = field(default_factory=dict)  # channel: when its address was last confirmed


@dataclass(frozen=True, slots=True)
class Case:
    id: str
    product: str
    due_date: date
    stage: str

    @property
    def reference(self) -> str:
        """What messages name the case by: its id, or the last four characters of one that may be an account number.

        Card numbers have 8 to 19 digits (ISO/IEC 7812-1), and account numbers hardly fewer. Four is what may be shown
        of a card number by everybody's habit (PCI DSS 3.4.1 permits more).
        """
        digits = _LONGEST_RUN.search(re.sub(r"[\s.-]", "", self.id))
        return f"**{self.id[-4:]}" if digits else self.id


@dataclass(frozen=True, slots=True)
class Notification:
    """One reminder to one borrower about one case, as accepted. Immutable: its state is in the ledger's rows."""

    id: str
    tenant: str
    idempotency_key: str
    dedup_key: str
    borrower: Borrower
    case: Case
    template: str
    template_version: str
    variables: Mapping[str, Any]
    route: tuple[Step, ...]
    category: Category
    accepted_at: datetime
    send_at: datetime | None = None
    expires_at: datetime | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)
    must_arrive: bool = False  # the law requires receipt: one second copy is better than none
    client: str = ""  # the API key it came by, as an actor

    def address(self, channel: str) -> str | None:
        return self.borrower.addresses.get(channel)


def new_id(prefix: str, now: datetime) -> str:
    """A time-ordered identifier: ``prefix_`` + 12 hex digits of milliseconds + 20 random hex digits.

    The 80 random bits are as many as UUIDv7 (RFC 9562) leaves after its version bits, nearly; order by
    creation keeps index inserts at the right-hand edge.
    """
    return f"{prefix}_{int(now.timestamp() * 1000):012x}{secrets.token_hex(10)}"


def id_at(prefix: str, instant: datetime) -> str:
    """The least id that could have been made at ``instant``: ids begin with their time (``new_id``)."""
    return f"{prefix}_{int(instant.timestamp() * 1000):012x}"


def new_delivery_id(now: datetime) -> str:
    """As ``new_id``, eight characters shorter: 60 random bits as twelve of base32 (RFC 4648, section 6) in lower case.

    A delivery's id is in a dozen rows and index entries of each reminder, and names no trace. Two of one millisecond
    are the same once in 10^18 times, which the primary key refuses.
    """
    return f"dlv_{int(now.timestamp() * 1000):012x}{b32encode(secrets.token_bytes(8))[:12].decode().lower()}"
