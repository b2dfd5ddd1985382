"""Facts about a borrower that the contact policy decides on: contacts, holds, opt-outs, consents."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from gateway.core.notifications import Category
from gateway.core.reasons import HoldKind


@dataclass(frozen=True, slots=True)
class Contact:
    """One contact that counts: the provider accepted the message, or may have."""

    at: datetime
    channel: str
    case_id: str
    address: str  # keyed digest, never the address itself
    notification_id: str = ""


@dataclass(frozen=True, slots=True)
class Hold:
    """No contact from ``start`` until ``end`` (None: until lifted), for one case or the whole borrower."""

    kind: HoldKind
    start: datetime
    end: datetime | None = None
    case_id: str | None = None


@dataclass(frozen=True, slots=True)
class OptOut:
    """The borrower opted out: of one address, one channel (``address`` None) or all (``channel`` None too)."""

    at: datetime
    channel: str | None = None
    address: str | None = None  # keyed digest
    category: Category | None = None  # None: every category
    provisional: bool = False


@dataclass(frozen=True, slots=True)
class AddressFacts:
    """What is known of one address; ``suppressed`` is why it must not be used, "" where it may."""

    suppressed: str = ""
    confirmed_at: datetime | None = None  # the borrower wrote from it
    opted_out_at: datetime | None = None  # whoever uses it said no, and has not taken that back

    def merged(self, other: AddressFacts) -> AddressFacts:
        """What two rows of one address say together, of two channels or two versions of its digest."""
        confirmed = max((each for each in (self.confirmed_at, other.confirmed_at) if each), default=None)
        opted_out = min((each for each in (self.opted_out_at, other.opted_out_at) if each), default=None)
        return AddressFacts(self.suppressed or other.suppressed, confirmed, opted_out)


@dataclass(frozen=True, slots=True)
class DeclaredPreferences:
    """The time zones and contact windows that the latest request declared for a borrower."""

    time_zones: tuple[str, ...] = ()
    windows: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class ChosenPreferences:
    """What a borrower chose on the pages behind a message's link.

    ``windows``: local times in which to be contacted (("18:00", "20:00"),), in whatever zone they may be; they narrow
    the law's hours. ``language``: a language tag (RFC 5646) such as ``zh-Hant``; "": that of the request.
    """

    windows: tuple[tuple[str, str], ...] = ()
    language: str = ""


@dataclass(frozen=True, slots=True)
class Facts:
    """All that a decision may look at besides the notification, the packs and the instant.

    ``stated`` applies beside what the notification itself declares: the notification may be older, and the borrower
    may have moved since.
    """

    contacts: tuple[Contact, ...] = ()
    holds: tuple[Hold, ...] = ()
    opt_outs: tuple[OptOut, ...] = ()
    consents: frozenset[Category] = frozenset()
    channel_consents: frozenset[tuple[str, Category]] = frozenset()  # to a category by one channel
    case_closed: bool = False
    addresses: Mapping[str, AddressFacts] = field(default_factory=dict)  # by keyed digest
    stated: DeclaredPreferences = DeclaredPreferences()
    chosen: ChosenPreferences = ChosenPreferences()


@dataclass(frozen=True, slots=True)
class BorrowerFacts:
    """What the ledger knows of one borrower, with the version that a hand-over compares and sets."""

    version: int
    facts: Facts
    closed_cases: frozenset[str] = frozenset()
