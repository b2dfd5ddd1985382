"""Recording replies: one transaction for several, each of another borrower and another address.

Row locks are taken in one order: addresses, borrowers, notifications, deliveries; a reply's conversation is under its
borrower's lock. What a reply says is in force with the commit.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from sqlalchemy import Connection

from channels.base import Reply
from gateway.borrowers.addresses import AddressChanges
from gateway.borrowers.changes import BorrowerChanges, ChangeRecord, FollowUp
from gateway.core.codec import REPLY, encode, holds_from, opt_outs_from
from gateway.core.codec import StoredOptOut as Stored
from gateway.core.deliveries import RecordedReply, Transition
from gateway.core.facts import Hold, OptOut
from gateway.core.notifications import new_id
from gateway.core.reasons import EndReason, Intent
from gateway.core.routes import RouteRules
from gateway.core.security.digests import DigestVersions, digests_of
from gateway.core.states import PENDING_STATES, State
from gateway.core.understanding import Understanding
from gateway.replies.conversations import TakenUpConversations
from gateway.replies.senders import ReplySender
from gateway.storage.bulk import inserting, updating
from gateway.storage.statements import Statement, StatementTemplate, execute_pipelined
from gateway.storage.tables.borrowers import replies
from gateway.storage.unit_of_work import UnitOfWork


@dataclass(frozen=True, slots=True)
class UnderstoodReply:
    """A reply of one borrower, and what it says under that borrower's packs."""

    reply: Reply
    channel: str
    sender: ReplySender
    said: Understanding

    @property
    def key(self) -> tuple[str, str, str]:
        """The address that it came from."""
        return self.sender.key(self.channel)

    @property
    def of_case(self) -> tuple[str, str, str]:
        """Whose and about which case it is."""
        return (*self.sender.person, self.sender.case_id)


@dataclass(frozen=True, slots=True, order=True)
class OpenedWindow:
    """Whoever has this address wrote to a provider's sender, for a tenant that shares it: its service window opens."""

    tenant: str
    provider: str
    digest: str


# The latest time counts, whichever process wrote it last.
_OPENED = StatementTemplate(
    lambda sql: (
        "INSERT INTO inbound_messages (tenant, provider, digest, last_at)"
        f" SELECT given.*, {sql.value('now')} FROM ({sql.tuples('windows', 3)}) AS given WHERE true"
        " ON CONFLICT (tenant, provider, digest) DO UPDATE SET last_at = excluded.last_at"
        " WHERE inbound_messages.last_at < excluded.last_at"
    ),
    returns_rows=False,
)


@dataclass(frozen=True, slots=True)
class RecordedEffect:
    """A reply as it was recorded. ``waits``: a message that it forbids had started before, and may still be sent."""

    recorded: RecordedReply
    waits: bool = False


def one_at_a_time(arrived: Sequence[UnderstoodReply]) -> list[list[UnderstoodReply]]:
    """The replies in groups in which no borrower and no address occurs twice, each as early as those before it allow.

    Each group is a transaction: a borrower's replies take effect one after the other, and the rows of two borrowers
    with one address are never locked out of order.
    """
    groups: list[list[UnderstoodReply]] = []
    turns: dict[tuple[str, ...], int] = {}  # of a borrower or an address: how many groups are before its next one
    for each in arrived:
        names = (each.sender.person, (each.sender.tenant, "", each.sender.digest))
        turn = max(turns.get(name, 0) for name in names)
        turns.update(dict.fromkeys(names, turn + 1))
        if turn == len(groups):
            groups.append([])
        groups[turn].append(each)
    return groups


def record(
    connection: Connection,
    rules: RouteRules,
    arrived: Sequence[UnderstoodReply],
    windows: Collection[OpenedWindow],
    now: datetime,
) -> list[RecordedEffect]:
    """Record replies, each of another borrower and another address, and what follows from them; a result for each.

    One that was recorded before changes nothing. The windows that they open are recorded with them.
    """
    people = [each.sender.person for each in arrived]
    rows = [_row(each, now) for each in arrived]
    addressed = AddressChanges.statements(connection, [each.key for each in arrived])
    opened = opening(connection, windows, now)
    locked = [
        *opened,
        *_new(connection, rows),
        *addressed,
        *BorrowerChanges.statements(connection, people, now),
        TakenUpConversations.statement(connection, [each.of_case for each in arrived]),
    ]
    inserted, *answers, talked = execute_pipelined(connection, locked)[len(opened) :]
    addresses = AddressChanges(connection, answers[: len(addressed)])
    changes = BorrowerChanges(connection, rules, answers[len(addressed) :], now)
    conversations = TakenUpConversations(talked)
    fresh, moved, taken = {digest for (digest,) in inserted}, [], []
    for each, row in zip(arrived, rows, strict=True):
        found = RecordedReply(
            each.sender.tenant,
            each.sender.borrower,
            each.sender.delivery_id,
            each.said.intents,
            urgency=each.said.urgency,
        )
        if row["digest"] in fresh:
            known_as = conversations.take_up(each.of_case, row, each.said, now)
            moved += _moved(row, known_as)
            _tell_address(addresses, each, now)
            found = replace(found, new=True, stopped=_change(connection, changes, each, row, now))
        taken.append(RecordedEffect(found, found.new and each.said.stops and each.sender.person in changes.in_flight))
    changes.write(
        *addresses.writes(), *conversations.writes(connection), *updating(connection, replies, ("id",), moved)
    )
    return taken


def opening(connection: Connection, windows: Collection[OpenedWindow], now: datetime) -> list[Statement]:
    """The statement that opens windows, in the order of their keys, in which their rows are locked; [] for none."""
    if not windows:
        return []
    rows = [[each.tenant, each.provider, each.digest] for each in sorted(windows)]
    return [_OPENED.of(connection, windows=rows, now=now)]


def _new(connection: Connection, rows: Sequence[dict[str, Any]]) -> list[Statement]:
    """The statement that inserts those that are new, and gives their digests."""
    copies = [dict(row) for row in sorted(rows, key=lambda each: str(each["digest"]))]
    return inserting(connection, replies, copies, new_only=True, returning="digest")


def _moved(row: dict[str, Any], conversation_id: str) -> list[dict[str, Any]]:
    """The change of the reply's row where another reply has opened the conversation meanwhile."""
    if row["conversation_id"] == conversation_id:
        return []
    row["conversation_id"] = conversation_id
    return [{"id": row["id"], "conversation_id": conversation_id}]


def _tell_address(addresses: AddressChanges, each: UnderstoodReply, now: datetime) -> None:
    if Intent.WRONG_PARTY in each.said.intents:
        addresses.know(each.key, suppressed="wrong_party", suppressed_at=now)
    else:
        addresses.know(each.key, confirmed_at=now)
    if Intent.STOP in each.said.intents:
        addresses.opt_out(each.key, REPLY, now)
    elif Intent.START in each.said.intents:
        addresses.opt_in(each.key, now)


def _change(
    connection: Connection, changes: BorrowerChanges, each: UnderstoodReply, row: dict[str, Any], now: datetime
) -> bool:
    """Change the borrower's row; whether that adds an opt-out."""
    sender, said = each.sender, each.said
    what = ChangeRecord("replied", REPLY, said.intent, _detail(row, sender, said))
    change = _Change(said, (each.channel, sender.digest), str(row["id"]), now, digests_of(connection))
    stop = FollowUp(sender.delivery_id, lambda page: _stop_route(page, sender.delivery_id, now))
    changes.change(sender.person, what, change, stop)
    return change.stopped


def _row(each: UnderstoodReply, now: datetime) -> dict[str, Any]:
    sender, reply, said = each.sender, each.reply, each.said
    identity = (reply.provider, reply.provider_message_id, sender.tenant, sender.borrower.id)
    return {
        "id": new_id("rep", now),
        "digest": hashlib.sha256("\x1f".join(identity).encode()).hexdigest(),
        "tenant": sender.tenant,
        "borrower_id": sender.borrower.id,
        "delivery_id": sender.delivery_id,
        "channel": each.channel,
        "provider": reply.provider,
        "provider_message_id": reply.provider_message_id,
        "intent": said.intent,
        "intents": ",".join(said.intents),
        "urgency": int(said.urgency),
        "review_by": now + said.review_within if said.urgency else None,
        "understood_by": said.version,
        "text": reply.text,
        "received_at": now,
        "conversation_id": sender.conversation_id or new_id("cnv", now),
    }


def _detail(row: dict[str, Any], sender: ReplySender, said: Understanding) -> dict[str, Any]:
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
