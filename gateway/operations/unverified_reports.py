"""Complaints and bounces that name no message by a reference that was signed here: kept for a person.

Anybody could write one, so none changes anything by itself, and how many are kept is bounded. A person who finds out
whom one is about refuses it with that borrower; then it counts as if it had named their latest message by that channel.
"""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, and_, func, or_, select, update

from channels.base import ProviderReason, Receipt, ReceiptStatus
from gateway.borrowers.changes import ChangeRecord, change_borrower
from gateway.borrowers.store import BorrowerStore
from gateway.core.clock import Clock
from gateway.core.codec import instant
from gateway.core.errors import ReviewQueueFull, WrongBorrower
from gateway.core.notifications import new_id
from gateway.core.reasons import UnverifiedReason
from gateway.core.understanding import Urgency
from gateway.stages.route_rules import Digest, route_rules
from gateway.storage.accept import insert_new
from gateway.storage.database import Database
from gateway.storage.tables.borrowers import unverified_reports
from gateway.storage.tables.identity import api_keys
from gateway.storage.tables.path import deliveries

PREFIX = "unv"
# Of one tenant and reason. Our choice: Gmail blocks a sender of whose mails 0.3 % are complained about, which is 100 an
# hour at 33,000 mails, and most complaints have a reference. What is waiting takes 250 MB at most.
MOST_IN_AN_HOUR, MOST_WAITING = 100, 1_000
_MOST_KEPT = 256_000  # octets of a mail, the rest is cut off; our choice: several times one of our own mails
_REASONS = {
    ReceiptStatus.COMPLAINED: (UnverifiedReason.COMPLAINT, Urgency.TODAY),
    ReceiptStatus.UNDELIVERED: (UnverifiedReason.BOUNCE, Urgency.ROUTINE),
}
_WAITING = unverified_reports.c.resolved_at.is_(None)
_REMEDY = "Find out whom it is about, and refuse it with that borrower; approve it where it is about nobody."


class UnverifiedReports:
    """Keeps unverified reports and records what a person says of them. Safe in any number of processes."""

    def __init__(self, database: Database, digest: Digest, clock: Clock) -> None:
        self._database = database
        self._people = BorrowerStore(database, digest, clock)
        self._rules = route_rules(digest)
        self._clock = clock

    async def keep(self, receipt: Receipt, channel: str, tenant: str) -> bool:
        """Keep the original of an unverified receipt for the people of ``tenant``; "": of the only tenant.

        False: nothing of it needs a person, it was kept before, or no tenant is named where there are several. Raises
        ReviewQueueFull, Unavailable.
        """
        found, original = _REASONS.get(receipt.status), receipt.original
        if found is None or original is None:
            return False
        now, (reason, urgency) = self._clock(), found
        row: dict[str, Any] = {
            "id": new_id(PREFIX, now),
            "digest": hashlib.sha256(receipt.provider.encode() + b"\0" + original.raw).hexdigest(),
            "channel": channel,
            "provider": receipt.provider,
            "reason": reason,
            "urgency": urgency,
            # PostgreSQL's texts have no NUL, UTF-8 has no surrogates (RFC 3629, section 3).
            "text": original.text.replace("\0", " ").encode(errors="replace").decode(),
            "original": zlib.compress(original.raw[:_MOST_KEPT]),
            "received_at": now,
        }
        return await self._database.write(lambda connection: _keep(connection, row, tenant, now))

    async def original(self, tenant: str, item: str) -> bytes | None:
        """The mail as it came, up to 256,000 octets; None where there is none by this id, or no more."""
        mine = and_(unverified_reports.c.id == item, unverified_reports.c.tenant == tenant)
        query = select(unverified_reports.c.original).where(mine)
        found = await self._database.read(lambda connection: connection.execute(query).scalar())
        return zlib.decompress(found) if found is not None else None

    async def dismiss(self, tenant: str, item: str) -> bool:
        """It is about nobody who may be named: nothing follows. False where no such report waits."""
        now = self._clock()
        return await self._database.write(lambda connection: _resolve(connection, tenant, item, now, "") is not None)

    async def assign(self, tenant: str, item: str, borrower_id: str, why: str, actor: str) -> bool:
        """It is about this borrower: a complaint opts the address of their latest message out, a bounce suppresses it.

        False where no such report waits. Raises WrongBorrower.
        """
        if not borrower_id:
            raise WrongBorrower("Name the borrower whom the report is about (borrower_id).")
        row, delivery_id = await self._database.read(
            lambda connection: _latest_message(connection, tenant, item, borrower_id)
        )
        if row is None:
            return False
        if delivery_id is None:
            raise WrongBorrower(f"The ledger has no message to this borrower by {row.channel}.")
        # Before it is resolved: if this process dies in between, the report still waits.
        if row.reason == UnverifiedReason.COMPLAINT:
            await self._people.opt_out_delivery(delivery_id, f"provider:{row.provider}", wait=True)
        else:
            await self._people.suppress_address(delivery_id, ProviderReason.INVALID_ADDRESS)
        now = self._clock()
        detail = {"report_id": item, "why": why, "report": row.reason, "delivery_id": delivery_id}

        def resolve(connection: Connection) -> bool:
            if _resolve(connection, tenant, item, now, borrower_id) is None:
                return False
            what = ChangeRecord("report_assigned", actor, row.reason, detail)
            return change_borrower(connection, self._rules, (tenant, borrower_id), what, lambda _row: {}, now)

        return await self._database.write(resolve)


def waiting_reports(
    connection: Connection, tenant: str, reason: str | None, limit: int, after: tuple[Urgency, str] | None
) -> list[dict[str, Any]]:
    """Reports that wait, as items of the review queue; ``after`` is the position of the last that was listed."""
    columns = unverified_reports.c
    query = select(unverified_reports).where(columns.tenant == tenant, _WAITING)
    if after is not None:
        urgency, position = after
        later = and_(columns.urgency == int(urgency), columns.id > f"{PREFIX}_{position}")
        query = query.where(or_(columns.urgency < int(urgency), later))
    if reason is not None:
        query = query.where(columns.reason == reason)
    return [
        {
            "id": row.id,
            "kind": "report",
            "reason": row.reason,
            "urgency": Urgency(row.urgency).name.lower(),
            "review_by": None,
            "since": instant(row.received_at),
            "notification_id": "",
            "borrower_id": "",
            "case_id": "",
            "channel": row.channel,
            "remedy": _REMEDY,
            "text": row.text,
        }
        for row in connection.execute(query.order_by(columns.urgency.desc(), columns.id).limit(limit))
    ]


def _keep(connection: Connection, row: Mapping[str, Any], tenant: str, now: datetime) -> bool:
    columns = unverified_reports.c
    if connection.execute(select(columns.id).where(columns.digest == row["digest"])).first() is not None:
        return False
    owner = tenant or _only_tenant(connection)
    if not owner:
        return False
    mine = and_(columns.tenant == owner, columns.reason == row["reason"])
    lately = and_(mine, columns.received_at > now - timedelta(hours=1))
    for of_which, most in ((lately, MOST_IN_AN_HOUR), (and_(mine, _WAITING), MOST_WAITING)):
        if connection.execute(select(func.count()).where(of_which)).scalar_one() >= most:
            raise ReviewQueueFull
    made = insert_new(connection, unverified_reports).returning(columns.id)
    return connection.execute(made, [{**row, "tenant": owner}]).first() is not None


def _only_tenant(connection: Connection) -> str:
    tenants = list(connection.execute(select(api_keys.c.tenant).distinct().limit(2)).scalars())
    return str(tenants[0]) if len(tenants) == 1 else ""


def _latest_message(connection: Connection, tenant: str, item: str, borrower_id: str) -> tuple[Any, str | None]:
    """The report, and the borrower's latest delivery by its channel."""
    mine = and_(unverified_reports.c.id == item, unverified_reports.c.tenant == tenant, _WAITING)
    row = connection.execute(select(unverified_reports).where(mine)).first()
    if row is None:
        return None, None
    sent = and_(
        deliveries.c.tenant == tenant,
        deliveries.c.borrower_id == borrower_id,
        deliveries.c.channel == row.channel,
        deliveries.c.attempt > 0,
    )
    latest = select(deliveries.c.id).where(sent).order_by(deliveries.c.id.desc()).limit(1)
    return row, connection.execute(latest).scalar()


def _resolve(connection: Connection, tenant: str, item: str, now: datetime, borrower_id: str) -> Any:
    mine = and_(unverified_reports.c.id == item, unverified_reports.c.tenant == tenant, _WAITING)
    resolved = update(unverified_reports).where(mine).values(resolved_at=now, borrower_id=borrower_id)
    return connection.execute(resolved.returning(unverified_reports.c.id)).scalar()
