"""The result of a demo's run: unsettled notifications, and the messages that the simulators received.

Owns the demo's queries of the ledger and of the simulators. Must not know terminals.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import aiohttp
from sqlalchemy import Connection, and_, func, or_, select

from gateway.app.embedded.simulated_providers import SimulatedProviders
from gateway.core.states import END_STATES, State
from gateway.storage.database import Database
from gateway.storage.tables.borrowers import inbox
from gateway.storage.tables.path import deliveries, events, notifications

# Not waited for: review needs a person, and a longer wait than this is a contact window or a cap, not a retry.
_SOON = timedelta(minutes=1)
# A delivery of a settled notification may still be in progress, and its message is counted later.
_UNDER_WAY = (State.ACCEPTED, State.SENDING, State.RETRYING, State.UNKNOWN)


@dataclass(frozen=True, slots=True)
class Before:
    """The state of the ledger before a run: the newest feed message and the latest instant."""

    feed: int
    last: datetime | None


async def before(database: Database) -> Before:
    """Read the state before a run."""

    def read(connection: Connection) -> Before:
        feed = connection.execute(select(func.coalesce(func.max(inbox.c.seq), 0))).scalar_one()
        return Before(int(feed), connection.execute(select(func.max(events.c.at))).scalar_one())

    return await database.read(read)


async def unsettled(database: Database, tenant: str, now: datetime) -> int:
    """The number of notifications that will change soon without a person, or have a delivery that will."""
    horizon = now + _SOON
    moving = and_(
        notifications.c.state.not_in([*END_STATES, State.REVIEW]),
        or_(notifications.c.state != State.DEFERRED, notifications.c.defer_until <= horizon),
    )
    under_way = select(deliveries.c.notification_id).where(
        deliveries.c.tenant == tenant, deliveries.c.state.in_(_UNDER_WAY), deliveries.c.due_at <= horizon
    )
    query = (
        select(func.count())
        .select_from(notifications)
        .where(notifications.c.tenant == tenant, or_(moving, notifications.c.id.in_(under_way)))
    )
    return await database.read(lambda connection: int(connection.execute(query).scalar_one()))


async def first_sent(database: Database, tenant: str) -> tuple[str, str] | None:
    """The notification whose message was handed over first, and its borrower; None where there is none."""
    query = (
        select(deliveries.c.notification_id, deliveries.c.borrower_id)
        .where(deliveries.c.tenant == tenant, deliveries.c.sent_at.is_not(None))
        .order_by(deliveries.c.sent_at, deliveries.c.id)
        .limit(1)
    )
    row = await database.read(lambda connection: connection.execute(query).first())
    return None if row is None else (row[0], row[1])


async def received(
    simulators: SimulatedProviders | None, database: Database, since: Before
) -> tuple[dict[str, int], int]:
    """Messages by channel, and duplicates, counted by the simulators since the start of this process.

    In the feed a duplicate is a second message of one delivery. Raises aiohttp.ClientError, TimeoutError.
    """
    outside: Mapping[str, Any] = await simulators.summary() if simulators is not None else {}
    query = select(func.count(), func.count(inbox.c.delivery_id.distinct())).where(inbox.c.seq > since.feed)
    in_feeds, different = await database.read(lambda connection: connection.execute(query).one())
    messages = {channel: int(counted["messages"]) for channel, counted in outside.items()}
    duplicates = sum(int(each.get("duplicates", 0)) for each in outside.values())
    return {**messages, "inapp": in_feeds}, duplicates + in_feeds - different


UNREACHABLE = (aiohttp.ClientError, TimeoutError)
