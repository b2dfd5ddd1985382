"""Records borrowers' replies: once each, with their sender, and in effect before they are answered.

A reply names no tenant and no borrower: both are found by the address's digest. A number that several borrowers
share speaks for all of them, and a stop for whoever is written to there later
(ops/decisions/0020-opt-outs-of-addresses.md).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from typing import Any

from sqlalchemy import Connection, select, update

from channels.base import Reply
from gateway.borrowers.addresses import change_borrowers_at, know_address, opt_in_address, opt_out_address
from gateway.borrowers.changes import ChangeRecord, FollowUp, change_borrower, of_borrower, wait_for_in_flight
from gateway.core.clock import Clock
from gateway.core.codec import REPLY, encode, holds_from, notification_from, opt_outs_from
from gateway.core.codec import StoredOptOut as Stored
from gateway.core.deliveries import RecordedReply, Transition
from gateway.core.facts import Hold, OptOut
from gateway.core.notifications import Borrower, new_id
from gateway.core.reasons import EndReason, Intent
from gateway.core.security.digests import DigestVersions, digests_of
from gateway.core.states import PENDING_STATES, State
from gateway.core.understanding import Understanding
from gateway.replies.conversations import conversation_of, open_conversation, take_up
from gateway.stages.route_rules import Digest, route_rules
from gateway.storage.accept import insert_new
from gateway.storage.database import Database
from gateway.storage.facts import AddressKey
from gateway.storage.rows import WHOLE_NOTIFICATION
from gateway.storage.tables.borrowers import replies
from gateway.storage.tables.identity import api_keys
from gateway.storage.tables.path import deliveries, notifications
from gateway.storage.unit_of_work import UnitOfWork

_LONGEST_ID = 128  # the column's

# Whose reply it is before anybody is known at its address: what it says is judged without a country's own words.
_NOBODY = Borrower("", "", "", "", (), {})

Classify = Callable[[str, Borrower], Understanding]


@dataclass(frozen=True, slots=True)
class _Sender:
    """One borrower whom the reply may come from: the latest message at that address."""

    tenant: str
    borrower: Borrower
    delivery_id: str
    digest: str
    case_id: str

    def key(self, channel: str) -> AddressKey:
        return (self.tenant, channel, self.digest)


class ReplyStore:
    """Stores replies and their consequences in the ledger."""

    def __init__(self, database: Database, digest: Digest, clock: Clock) -> None:
        self._database = database
        self._digest = digest
        self._rules = route_rules(digest)
        self._clock = clock

    async def record(
        self, reply: Reply, channel: str, address: str, classify: Classify, delivery_id: str = ""
    ) -> list[RecordedReply]:
        """Record a reply and what follows from it, for every borrower at that address; [] where there is none.

        ``delivery_id`` names the message that is answered, where that is known: its address counts, for its tenant.

        A reply that was recorded before is answered as not ``new`` and changes nothing. When this returns, no message
        that a stop forbids starts any more.
        """
        now, reply = self._clock(), _storable(reply)

        def read(connection: Connection) -> tuple[set[AddressKey], list[_Sender]]:
            keys = _address_of(connection, delivery_id) if delivery_id else self._keys(connection, channel, address)
            return keys, _senders(connection, keys, delivery_id)

        keys, senders = await self._database.read(read)
        # A transaction for each borrower: two borrowers' rows in one would be locked out of order. One that fails is
        # made up for when the provider brings the reply again.
        taken, forbidding = [], set()
        for sender in senders:
            said = classify(reply.text, sender.borrower)
            work = partial(self._record, sender=sender, reply=reply, channel=channel, said=said, now=now)
            taken.append(await self._database.write(work))
            if said.stops:
                forbidding.add((sender.tenant, sender.borrower.id))
        stops = [each.new and Intent.STOP in each.intents for each in taken]
        stopped = {sender.key(channel) for sender, stop in zip(senders, stops, strict=True) if stop}
        # Of tenants to whom nobody is known there yet: the same sender may write to that address for them.
        others = keys - {sender.key(channel) for sender in senders}
        intents = classify(reply.text, _NOBODY).intents if others else ()
        if not {Intent.STOP, Intent.START}.isdisjoint(intents):
            await self._database.write(lambda connection: _tell_addresses(connection, sorted(others), intents, now))
            stopped |= others if Intent.STOP in intents else set()
        people = [(each.tenant, each.borrower.id) for each in taken]
        await change_borrowers_at(self._database, self._rules, stopped, REPLY, self._clock, changed=people)
        for each in taken:
            if each.new and (each.tenant, each.borrower.id) in forbidding:
                await wait_for_in_flight(self._database, of_borrower(each.tenant, each.borrower.id), self._clock)
        return taken

    def _keys(self, connection: Connection, channel: str, address: str) -> set[AddressKey]:
        """The address as every tenant knows it: they share the providers, and so the senders that are answered."""
        tenants = connection.execute(select(api_keys.c.tenant).distinct()).scalars()
        return {(tenant, channel, self._digest(tenant, channel, address)) for tenant in tenants}

    def _record(
        self,
        connection: Connection,
        sender: _Sender,
        reply: Reply,
        channel: str,
        said: Understanding,
        now: datetime,
    ) -> RecordedReply:
        taken = RecordedReply(sender.tenant, sender.borrower, sender.delivery_id, said.intents, urgency=said.urgency)
        key = (sender.tenant, sender.borrower.id)
        of_case = (*key, sender.case_id)
        known_as = conversation_of(connection, of_case)
        row = {**_row(sender, reply, channel, said, now), "conversation_id": known_as or new_id("cnv", now)}
        if connection.execute(insert_new(connection, replies).returning(replies.c.id), [row]).first() is None:
            return taken
        if not known_as and not open_conversation(connection, of_case, row, said, now):
            row["conversation_id"] = known_as = conversation_of(connection, of_case)
            connection.execute(update(replies).where(replies.c.id == row["id"]).values(conversation_id=known_as))
        wrong = Intent.WRONG_PARTY in said.intents
        known: dict[str, Any] = {"suppressed": "wrong_party", "suppressed_at": now} if wrong else {"confirmed_at": now}
        know_address(connection, sender.key(channel), **known)
        _tell_addresses(connection, [sender.key(channel)], said.intents, now)
        what = ChangeRecord("replied", REPLY, said.intent, _detail(row, sender, said))
        change = _Change(said, (channel, sender.digest), str(row["id"]), now, digests_of(connection))
        stop = FollowUp(sender.delivery_id, lambda page: _stop_route(page, sender.delivery_id, now))
        change_borrower(connection, self._rules, key, what, change, now, stop)
        if known_as:
            take_up(connection, known_as, row, said, now)
        return replace(taken, new=True, stopped=change.stopped)


def _row(sender: _Sender, reply: Reply, channel: str, said: Understanding, now: datetime) -> dict[str, Any]:
    identity = (reply.provider, reply.provider_message_id, sender.tenant, sender.borrower.id)
    return {
        "id": new_id("rep", now),
        "digest": hashlib.sha256("\x1f".join(identity).encode()).hexdigest(),
        "tenant": sender.tenant,
        "borrower_id": sender.borrower.id,
        "delivery_id": sender.delivery_id,
        "channel": channel,
        "provider": reply.provider,
        "provider_message_id": reply.provider_message_id,
        "intent": said.intent,
        "intents": ",".join(said.intents),
        "urgency": said.urgency,
        "review_by": now + said.review_within if said.urgency else None,
        "understood_by": said.version,
        "text": reply.text,
        "received_at": now,
    }


def _detail(row: dict[str, Any], sender: _Sender, said: Understanding) -> dict[str, Any]:
    return {
        "reply_id": row["id"],
        "conversation_id": row["conversation_id"],
        "channel": row["channel"],
        "address_digest": sender.digest,
        "intent": said.intent,
        "intents": list(said.intents),
        "holds": list(said.holds),
        "urgency": said.urgency.name.lower(),
        "rules": list(said.rules),
        "understood_by": said.version,
    }


def _tell_addresses(
    connection: Connection, keys: Sequence[AddressKey], intents: Collection[Intent], now: datetime
) -> None:
    """What a certain stop or start says of these addresses, which come in order: their rows are locked."""
    for key in keys:
        if Intent.STOP in intents:
            opt_out_address(connection, key, REPLY, now)
        elif Intent.START in intents:
            opt_in_address(connection, key, now)


def _address_of(connection: Connection, delivery_id: str) -> set[AddressKey]:
    query = select(deliveries.c.tenant, deliveries.c.channel, deliveries.c.address_digest)
    rows = connection.execute(query.where(deliveries.c.id == delivery_id))
    current = digests_of(connection).current
    return {(row.tenant, row.channel, current(row.address_digest)) for row in rows}


def _storable(reply: Reply) -> Reply:
    """The reply without what a column can't hold: a stop counts, whatever else is in its text.

    PostgreSQL's texts have no NUL, UTF-8 has no surrogates (RFC 3629, section 3), and the provider's id has a longest
    length; a digest in its place still recognises a reply that comes again.
    """
    text, key = _plain(reply.text), _plain(reply.provider_message_id)
    if key != reply.provider_message_id or len(key) > _LONGEST_ID:
        key = hashlib.sha256(reply.provider_message_id.encode(errors="surrogatepass")).hexdigest()
    return replace(reply, text=text, provider_message_id=key)


def _plain(text: str) -> str:
    return text.replace("\0", " ").encode(errors="replace").decode()


def _senders(connection: Connection, keys: Iterable[AddressKey], answered: str) -> list[_Sender]:
    """The borrowers who were written to at this address, by any tenant and channel; each with the latest message.

    ``answered`` is the delivery that the reply names, "" for none: its own borrower answers about its case.
    """
    digests = digests_of(connection)
    names = [digest for _, digest in digests.named(keys)]
    rows = connection.execute(
        select(deliveries.c.id.label("delivery_id"), deliveries.c.address_digest, *WHOLE_NOTIFICATION)
        .join(notifications, notifications.c.id == deliveries.c.notification_id)
        .where(deliveries.c.address_digest.in_(names))
        .order_by(deliveries.c.id)
    )
    latest: dict[tuple[str, str], Any] = {}
    for row in rows:
        key = (row.tenant, row.borrower_id)
        if key not in latest or latest[key].delivery_id != answered:
            latest[key] = row
    found = [(row, notification_from(row)) for row in latest.values()]
    return [
        _Sender(row.tenant, one.borrower, row.delivery_id, digests.current(row.address_digest), one.case.id)
        for row, one in found
    ]


class _Change:
    """The change of the borrower's row. Without another change the version increments: the address was confirmed."""

    def __init__(
        self, said: Understanding, at: tuple[str, str], reply_id: str, now: datetime, digests: DigestVersions
    ) -> None:
        """``at`` is the channel and the digest of the address."""
        self._said = said
        self._at = at
        self._digests = digests
        self._reply_id = reply_id
        self._now = now
        self.stopped = False  # whether it added an opt-out

    def __call__(self, row: Any) -> dict[str, Any]:
        known = self._digests.opt_outs(opt_outs_from(row.opt_outs))
        changes: dict[str, Any] = {}
        if not {Intent.STOP, Intent.MAYBE_STOP}.isdisjoint(self._said.intents):
            added = self._opt_out(known)
            self.stopped = bool(added)
            changes["opt_outs"] = encode([*known, *added])
        elif Intent.START in self._said.intents:
            changes["opt_outs"] = encode([each for each in known if not (each.of(*self._at) and each.own_words)])
        held = holds_from(row.holds)
        standing = {each.kind for each in held if each.case_id is None and each.end is None}
        if new := [Hold(kind, self._now) for kind in self._said.holds if kind not in standing]:
            changes["holds"] = encode([*held, *new])
        return changes

    def _opt_out(self, known: Sequence[Stored]) -> list[Stored]:
        """The opt-out to be added: none where one stands already that says as much."""
        provisional = Intent.STOP not in self._said.intents
        standing = [each for each in known if each.of(*self._at)]
        if any(provisional or not each.opt_out.provisional for each in standing):
            return []
        opt_out = OptOut(self._now, *self._at, provisional=provisional)
        return [Stored(new_id("oo", self._now), opt_out, REPLY, self._reply_id)]


def _stop_route(page: UnitOfWork, delivery_id: str, now: datetime) -> None:
    """A borrower who answers has been reached: no further channel of the same reminder."""
    if delivery_id not in page.deliveries:
        return  # retention removed it meanwhile
    owner = page.owner(delivery_id)
    page.stop_route(owner, EndReason.REPLIED, "replied", now, REPLY)
    for delivery in sorted(owner.route.deliveries.values(), key=lambda each: each.step):
        if delivery.state in PENDING_STATES and delivery.step > 0:
            page.apply(
                Transition(delivery.id, "cancelled", now, to=State.CANCELLED, reason=EndReason.REPLIED, actor=REPLY)
            )
