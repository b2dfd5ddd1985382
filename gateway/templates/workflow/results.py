"""What became of a template's versions: counts from the ledger, and shares compared with those of the version before.

Only counts leave the ledger, none of a borrower. The interval of a share is Wilson's; that of a difference is made of
both Wilson intervals (Newcombe 1998, Statistics in Medicine 17:873, method 10).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from math import sqrt
from typing import Any

from sqlalchemy import BigInteger, ColumnElement, Connection, Select, Subquery, and_, case, func, select, type_coerce

from channels.base import ReceiptStatus
from gateway.core.shares import TOO_FEW, wilson
from gateway.core.states import State
from gateway.storage.database import Database
from gateway.storage.tables.borrowers import cases, replies
from gateway.storage.tables.path import deliveries, events, notifications

PERIOD = timedelta(days=90)  # our choice: a quarter; older requests may have been pruned
_AFTER = timedelta(days=14)  # what happens so long after a message is counted as after it; our choice
_SCANNED = 200_000  # of the newest requests of all tenants; our choice: some tenths of a second
# What a share is of: messages that were sent, or requests of which at least one message was.
MEASURES = ("delivered", "read", "replied", "opted_out", "complained", "paid")


@dataclass(frozen=True, slots=True)
class VersionCounts:
    """Counts of one version. ``by_channel``: messages sent. ``paid`` is of ``requests``, the others of ``sent``."""

    requests: int = 0
    sent: int = 0
    delivered: int = 0
    read: int = 0
    replied: int = 0
    opted_out: int = 0
    complained: int = 0
    paid: int = 0
    by_channel: Mapping[str, int] | None = None

    def of(self, measure: str) -> tuple[int, int]:
        """How many of how many."""
        return getattr(self, measure), self.requests if measure == "paid" else self.sent


@dataclass(frozen=True, slots=True)
class MeasuredShare:
    """A share with its 95 % interval, and the difference from that of the version before, with its own.

    ``share`` None: there is nothing to count. ``difference`` None: there is no version before, or either has too few to
    tell. ``clear``: the interval of the difference does not contain 0.
    """

    measure: str
    number: int
    of: int
    share: float | None
    interval: tuple[float, float]
    before: float | None
    difference: float | None
    difference_interval: tuple[float, float] | None
    too_few: bool
    clear: bool


@dataclass(frozen=True, slots=True)
class VersionResults:
    """``segments`` and ``cost`` are estimates: those of the usual sample, for each message of a segmented channel."""

    number: int
    version: str
    before: str
    since: datetime
    complete: bool
    counts: VersionCounts
    shares: tuple[MeasuredShare, ...]
    segments: int
    cost: Decimal | None
    currency: str


def compared(now: VersionCounts, before: VersionCounts | None) -> tuple[MeasuredShare, ...]:
    """The shares of a version, against those of the version before."""
    return tuple(_share(each, now.of(each), before.of(each) if before else None) for each in MEASURES)


def _share(measure: str, now: tuple[int, int], before: tuple[int, int] | None) -> MeasuredShare:
    hits, number = now
    share = hits / number if number else None
    interval = wilson(hits, number)
    old = before[0] / before[1] if before and before[1] else None
    too_few = number < TOO_FEW or (before is not None and before[1] < TOO_FEW)
    if before is None or share is None or old is None or too_few:
        return MeasuredShare(measure, hits, number, share, interval, old, None, None, too_few, False)
    low, high = difference_interval(now, before)
    clear = low > 0 or high < 0
    return MeasuredShare(measure, hits, number, share, interval, old, share - old, (low, high), False, clear)


def difference_interval(one: tuple[int, int], other: tuple[int, int]) -> tuple[float, float]:
    """The 95 % interval of the difference of two shares, each as (hits, number > 0)."""
    p, q = one[0] / one[1], other[0] / other[1]
    (p_low, p_high), (q_low, q_high) = wilson(*one), wilson(*other)
    return p - q - sqrt((p - p_low) ** 2 + (q_high - q) ** 2), p - q + sqrt((p_high - p) ** 2 + (q - q_low) ** 2)


class ResultCounts:
    """Queries for the counts. Raises Unavailable."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def read(
        self, tenant: str, template: str, versions: Sequence[str], since: datetime
    ) -> tuple[dict[str, VersionCounts], bool]:
        """The counts by version, of requests since then; False: there were more than are looked at."""

        def work(connection: Connection) -> tuple[dict[str, VersionCounts], bool]:
            scanned = _scanned(since)
            seen = connection.execute(select(func.count()).select_from(scanned)).scalar_one()
            return _counts(connection, _mine(scanned, tenant, template, versions)), seen < _SCANNED

        return await self._database.read(work)


def _scanned(since: datetime) -> Subquery:
    """The newest requests of all tenants: there is no index by version, which each request would have to pay for."""
    columns = notifications.c
    first = f"ntf_{int(since.timestamp() * 1000):012x}"  # ids are in order of time
    wanted = (columns.id, columns.tenant, columns.template, columns.template_version, columns.case_id)
    query = select(*wanted, columns.accepted_at).where(columns.id >= first)
    return query.order_by(columns.id.desc()).limit(_SCANNED).subquery("scanned")


def _mine(scanned: Subquery, tenant: str, template: str, versions: Sequence[str]) -> Subquery:
    columns = scanned.c
    here = and_(columns.tenant == tenant, columns.template == template, columns.template_version.in_(versions))
    return (
        select(columns.id, columns.tenant, columns.template_version, columns.case_id, columns.accepted_at)
        .where(here)
        .subquery("mine")
    )


def _counts(connection: Connection, mine: Subquery) -> dict[str, VersionCounts]:
    found: dict[str, dict[str, int]] = {}
    channels: dict[str, dict[str, int]] = {}
    for row in connection.execute(_by_channel(mine)):
        counted = found.setdefault(row.template_version, {})
        channels.setdefault(row.template_version, {})[row.channel] = row.sent
        for name in ("sent", *MEASURES[:-1]):
            counted[name] = counted.get(name, 0) + int(getattr(row, name))
    for row in connection.execute(_by_request(mine)):
        found.setdefault(row.template_version, {}).update(requests=int(row.requests), paid=int(row.paid))
    return {name: VersionCounts(**counted, by_channel=channels.get(name, {})) for name, counted in found.items()}


def _by_channel(mine: Subquery) -> Select[Any]:
    d = deliveries.c
    theirs = and_(events.c.tenant == d.tenant, events.c.borrower_id == d.borrower_id)
    replied = and_(replies.c.tenant == d.tenant, replies.c.borrower_id == d.borrower_id, replies.c.delivery_id == d.id)
    stopped = and_(theirs, events.c.kind == "opted_out", _soon_after(events.c.at, d.sent_at))
    complained = and_(
        theirs,
        events.c.kind == "receipt",
        events.c.delivery_id == d.id,
        events.c.detail.contains(f'"{ReceiptStatus.COMPLAINED}"'),
    )
    query = select(
        mine.c.template_version,
        d.channel,
        func.count().label("sent"),
        _number(d.state == State.DELIVERED, "delivered"),
        _number(d.read_at.is_not(None), "read"),
        _number(select(replies.c.id).where(replied).exists(), "replied"),
        _number(select(events.c.seq).where(stopped).exists(), "opted_out"),
        _number(select(events.c.seq).where(complained).exists(), "complained"),
    )
    query = query.join(deliveries, d.notification_id == mine.c.id).where(d.sent_at.is_not(None))
    return query.group_by(mine.c.template_version, d.channel)


def _by_request(mine: Subquery) -> Select[Any]:
    d = deliveries.c
    sent = select(d.id).where(d.notification_id == mine.c.id, d.sent_at.is_not(None)).exists()
    closed = and_(cases.c.tenant == mine.c.tenant, cases.c.id == mine.c.case_id, cases.c.closed_reason == "paid")
    paid = select(cases.c.id).where(closed, _soon_after(cases.c.closed_at, mine.c.accepted_at)).exists()
    query = select(mine.c.template_version, func.count().label("requests"), _number(paid, "paid"))
    return query.where(sent).group_by(mine.c.template_version)


def _soon_after(at: ColumnElement[datetime], before: ColumnElement[datetime]) -> ColumnElement[bool]:
    then, first = type_coerce(at, BigInteger), type_coerce(before, BigInteger)
    return and_(then >= first, then <= first + int(_AFTER.total_seconds() * 1_000_000))


def _number(holds: ColumnElement[bool], name: str) -> ColumnElement[int]:
    return func.coalesce(func.sum(case((holds, 1), else_=0)), 0).label(name)
