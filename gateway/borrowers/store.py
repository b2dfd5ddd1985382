"""Changes to borrowers: holds, opt-outs, consents, cancellations.

Each change increments the borrower's version, so that a hand-over decided on older facts does not start, and appends an
event to the borrower's chain.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from sqlalchemy import Connection, and_, select, update

from gateway.borrowers.addresses import change_borrowers_at, know_address, opt_in_address, opt_out_address
from gateway.borrowers.changes import (
    Change,
    ChangeRecord,
    cancel_pending,
    change_borrower,
    of_borrower,
    wait_for_in_flight,
)
from gateway.core.clock import Clock
from gateway.core.codec import StoredOptOut, channel_consent, encode, holds_from, instant, opt_outs_from
from gateway.core.facts import Hold, OptOut
from gateway.core.notifications import Category, new_id
from gateway.core.reasons import EndReason, HoldKind
from gateway.core.states import State
from gateway.stages.route_rules import Digest, route_rules
from gateway.storage.database import Database
from gateway.storage.tables.borrowers import inbox
from gateway.storage.tables.path import deliveries
from gateway.storage.unit_of_work import UnitOfWork


class BorrowerStore:
    """Changes to what may be done with borrowers."""

    def __init__(self, database: Database, digest: Digest, clock: Clock) -> None:
        self._database = database
        self._digest = digest
        self._rules = route_rules(digest)
        self._clock = clock

    async def cancel(self, tenant: str, notification_id: str, actor: str, reason: str = "") -> str:
        """Cancel what has not been handed over: ``cancelled``, ``not_found`` or ``too_late``.

        Too late or not, the route goes no further. ``reason`` is a person's own word, for the event.
        """
        now = self._clock()

        def write(connection: Connection) -> str:
            page = UnitOfWork.of_notifications(connection, [notification_id], self._rules)
            owner = page.notifications.get(notification_id)
            if owner is None or owner.route.notification.tenant != tenant:
                return "not_found"
            what = ChangeRecord("cancelled", actor, EndReason.CANCELLED_BY_CLIENT, _why(reason))
            page.stop_route(owner, what.reason, "route_stopped", now, actor)
            ids = [each.id for each in owner.route.deliveries.values()]
            pending = cancel_pending(page, ids, what, now)
            page.write()
            return "cancelled" if pending or owner.route.state is State.CANCELLED else "too_late"

        return await self._database.write(write)

    async def put_hold(self, tenant: str, borrower_id: str, hold: Hold, reason: str, actor: str) -> None:
        """Set or replace the hold of that kind (and case); ``reason`` is the lender's own word for the record."""

        def change(row: Any) -> dict[str, Any]:
            kept = [each for each in holds_from(row.holds) if (each.kind, each.case_id) != (hold.kind, hold.case_id)]
            return {"holds": encode([*kept, hold])}

        detail = {
            "hold": hold.kind,
            "why": reason,
            "case_id": hold.case_id,
            "start": instant(hold.start),
            "end": instant(hold.end),
        }
        await self._change((tenant, borrower_id), ChangeRecord("hold_set", actor, hold.kind, detail), change)

    async def lift_hold(self, tenant: str, borrower_id: str, kind: HoldKind, actor: str, reason: str = "") -> bool:
        """Remove the holds of that kind; False where there was none. Deferred messages are evaluated again at once."""

        def change(row: Any) -> dict[str, Any] | None:
            before = holds_from(row.holds)
            kept = [each for each in before if each.kind is not kind]
            return None if len(kept) == len(before) else {"holds": encode(kept)}

        what = ChangeRecord("hold_lifted", actor, kind, {"hold": kind, **_why(reason)})
        return await self._change((tenant, borrower_id), what, change)

    async def add_opt_out(
        self,
        tenant: str,
        borrower_id: str,
        channel: str | None,
        address: str | None,
        source: str,
        actor: str,
        evidence: str = "",
    ) -> str:
        """Record an opt-out; when this returns, nothing is sent to the borrower there.

        ``evidence`` names where the proof is kept, and does not quote it.
        """
        now = self._clock()
        digest = self._digest(tenant, channel or "", address) if address else None
        identifier = new_id("oo", now)
        stored = StoredOptOut(identifier, OptOut(now, channel, digest), source, evidence)

        def change(row: Any) -> dict[str, Any]:
            return {"opt_outs": encode([*opt_outs_from(row.opt_outs), stored])}

        what = ChangeRecord("opted_out", actor, detail=_opt_out_detail(stored))
        await self._change((tenant, borrower_id), what, change)
        return identifier

    async def opt_out_delivery(self, delivery_id: str, source: str, *, wait: bool = False) -> None:
        """Whoever uses this delivery's address opted out, says ``source``: for its borrower, and for the address.

        ``wait``: wait for messages in flight. Not while one of that address is settled: it would wait for itself.
        """
        query = select(
            deliveries.c.tenant, deliveries.c.borrower_id, deliveries.c.channel, deliveries.c.address_digest
        ).where(deliveries.c.id == delivery_id)
        row = await self._database.read(lambda connection: connection.execute(query).first())
        if row is None:
            return
        now, digests = self._clock(), self._database.digests
        digest = digests.current(row.address_digest)
        stored = StoredOptOut(new_id("oo", now), OptOut(now, row.channel, digest), source, delivery_id)

        def change(borrower: Any) -> dict[str, Any] | None:
            known = digests.opt_outs(opt_outs_from(borrower.opt_outs))
            standing = [each for each in known if each.of(row.channel, digest)]
            if any(not each.opt_out.provisional and each.opt_out.category is None for each in standing):
                return None
            return {"opt_outs": encode([*known, stored])}

        what = ChangeRecord("opted_out", source, detail=_opt_out_detail(stored))
        address = (row.tenant, row.channel, digest)

        def write(connection: Connection) -> bool:
            key = (row.tenant, row.borrower_id)
            new = opt_out_address(connection, address, source, now)
            return change_borrower(connection, self._rules, key, what, change, now) or new

        if await self._database.write(write):
            changed = [(row.tenant, row.borrower_id)]
            await change_borrowers_at(
                self._database, self._rules, [address], source, self._clock, changed=changed, wait=wait
            )

    async def mark_read(self, tenant: str, borrower_id: str, inbox_id: int) -> tuple[str, str] | None:
        """Remember that a feed message was read; its delivery and provider, or None where it is not this borrower's."""
        now = self._clock()

        def write(connection: Connection) -> tuple[str, str] | None:
            mine = and_(inbox.c.seq == inbox_id, inbox.c.tenant == tenant, inbox.c.borrower_id == borrower_id)
            sent = inbox.outerjoin(deliveries, deliveries.c.id == inbox.c.delivery_id)
            query = select(inbox.c.delivery_id, deliveries.c.provider).select_from(sent).where(mine)
            row = connection.execute(query).first()
            if row is None:
                return None
            connection.execute(update(inbox).where(mine, inbox.c.read_at.is_(None)).values(read_at=now))
            return str(row.delivery_id), str(row.provider or "")

        return await self._database.write(write)

    async def lift_opt_out(self, tenant: str, borrower_id: str, opt_out_id: str, actor: str, reason: str = "") -> bool:
        """Remove an opt-out by its id; False where there is none. The record that it stood remains.

        The opt-out of its address is lifted with one that the borrower wrote or clicked; those of others stay.
        """
        lifted: list[StoredOptOut] = []

        def change(row: Any) -> dict[str, Any] | None:
            before = opt_outs_from(row.opt_outs)
            lifted[:] = [each for each in before if each.id == opt_out_id]
            return {"opt_outs": encode([each for each in before if each not in lifted])} if lifted else None

        what = ChangeRecord("opt_out_lifted", actor, detail={"opt_out_id": opt_out_id, **_why(reason)})
        found = await self._change((tenant, borrower_id), what, change)
        now = self._clock()
        # In a transaction of its own: the row of an address is locked before that of a borrower.
        for each in lifted:
            channel, digest = each.opt_out.channel, each.opt_out.address
            if channel and digest and each.own_words:
                key = (tenant, channel, digest)
                await self._database.write(partial(opt_in_address, key=key, now=now))
        return found

    async def give_consent(
        self,
        tenant: str,
        borrower_id: str,
        category: Category,
        source: str,
        evidence: str,
        actor: str,
        channel: str | None = None,
    ) -> None:
        """Record that the borrower agreed to messages of a category; ``evidence`` says where the proof is kept.

        ``channel``: they agreed to it by this channel, which says nothing of the others; None: to the category.
        """
        column, word = _consent(category, channel)

        def change(row: Any) -> dict[str, Any]:
            return {column: " ".join(sorted({*getattr(row, column).split(), word}))}

        detail = {"category": category, "channel": channel, "source": source, "evidence": evidence}
        await self._change(
            (tenant, borrower_id), ChangeRecord("consent_given", actor, detail=detail), change, wait=False
        )

    async def withdraw_consent(
        self,
        tenant: str,
        borrower_id: str,
        category: Category,
        actor: str,
        channel: str | None = None,
        *,
        reason: str = "",
    ) -> bool:
        """Take a consent back; False where there was none. The record that it was given remains."""
        column, word = _consent(category, channel)

        def change(row: Any) -> dict[str, Any] | None:
            given = set(getattr(row, column).split())
            return {column: " ".join(sorted(given - {word}))} if word in given else None

        detail = {"category": category, "channel": channel, **_why(reason)}
        what = ChangeRecord("consent_withdrawn", actor, detail=detail)
        return await self._change((tenant, borrower_id), what, change)

    async def suppress_address(self, delivery_id: str, reason: str) -> None:
        """Suppress this delivery's address for every borrower: the provider reports that it is invalid."""
        query = select(deliveries.c.tenant, deliveries.c.channel, deliveries.c.address_digest).where(
            deliveries.c.id == delivery_id
        )
        now = self._clock()

        def write(connection: Connection) -> None:
            row = connection.execute(query).first()
            if row is not None:
                key = (row.tenant, row.channel, row.address_digest)
                know_address(connection, key, suppressed=reason, suppressed_at=now)

        await self._database.write(write)

    async def set_suppression(self, tenant: str, channel: str, address: str, reason: str) -> None:
        """Suppress an address for every borrower, or with ``reason`` "" let it be used again.

        The latter also lifts what its user wrote (a new user has the number, say); borrowers' own opt-outs stay.
        """
        key = (tenant, channel, self._digest(tenant, channel, address))
        now = self._clock()

        def write(connection: Connection) -> None:
            know_address(connection, key, suppressed=reason, suppressed_at=now if reason else None)
            if not reason:
                opt_in_address(connection, key, now)

        await self._database.write(write)

    async def _change(self, key: tuple[str, str], what: ChangeRecord, change: Change, *, wait: bool = True) -> bool:
        """Change a borrower's row, and wait until nothing decided before the change is in flight."""
        now = self._clock()
        changed = await self._database.write(
            lambda connection: change_borrower(connection, self._rules, key, what, change, now)
        )
        if changed and wait:
            await wait_for_in_flight(self._database, of_borrower(*key), self._clock)
        return changed


def _why(reason: str) -> dict[str, str]:
    return {"why": reason} if reason else {}


def _opt_out_detail(stored: StoredOptOut) -> dict[str, Any]:
    """An opt-out as the detail of its event."""
    return {
        "opt_out_id": stored.id,
        "channel": stored.opt_out.channel,
        "address_digest": stored.opt_out.address,
        "source": stored.source,
        "evidence": stored.evidence,
    }


def _consent(category: Category, channel: str | None) -> tuple[str, str]:
    """The column that a consent is a word of, and the word."""
    return ("consents", category) if channel is None else ("channel_consents", channel_consent(channel, category))
