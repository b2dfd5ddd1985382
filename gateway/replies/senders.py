"""Who wrote: the borrowers whom replies may come from, found by the digests of the addresses, for several at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection

from channels.base import Reply
from gateway.core.notifications import Borrower
from gateway.core.security.digests import digests_of
from gateway.stages.route_rules import Digest
from gateway.storage.facts import AddressKey
from gateway.storage.rows import NOTIFICATION, notification_of
from gateway.storage.statements import Dialect, StatementTemplate, execute_pipelined


@dataclass(frozen=True, slots=True)
class ReplySource:
    """A reply and where it came from. ``delivery_id`` names the message that it answers, "" where that is not known.

    ``window`` is the provider whose service window it opens, "" for none.
    """

    reply: Reply
    channel: str
    address: str
    delivery_id: str
    window: str = ""


@dataclass(frozen=True, slots=True)
class ReplySender:
    """One borrower whom a reply may come from, by the latest message at that address; "" for no conversation yet."""

    tenant: str
    borrower: Borrower
    delivery_id: str
    digest: str
    case_id: str
    conversation_id: str

    @property
    def person(self) -> tuple[str, str]:
        """Tenant and borrower."""
        return (self.tenant, self.borrower.id)

    def key(self, channel: str) -> AddressKey:
        return (self.tenant, channel, self.digest)


@dataclass(frozen=True, slots=True)
class FoundSenders:
    """The addresses that a reply speaks for, and the borrowers who were written to there."""

    keys: frozenset[AddressKey]
    senders: Sequence[ReplySender]


_TENANTS = StatementTemplate(lambda _: "SELECT DISTINCT tenant FROM api_keys")
_NAMED = StatementTemplate(
    lambda sql: f"SELECT id, tenant, channel, address_digest FROM deliveries WHERE {sql.among('id', 'ids')}"
)
_OWN = ("deliveries.id", "deliveries.address_digest", "COALESCE(conversations.id, '')")


def _latest(sql: Dialect) -> str:
    """Of each borrower at each address the latest message, and those that were answered by name."""
    at_each = f"SELECT max(id) FROM deliveries WHERE {sql.among('address_digest', 'digests')}"
    by_name = f"SELECT id FROM deliveries WHERE {sql.among('id', 'ids')}"
    chosen = f"{at_each} GROUP BY tenant, borrower_id, address_digest UNION {by_name}"
    talked = " AND ".join(
        f"conversations.{name} = notifications.{name}" for name in ("tenant", "borrower_id", "case_id")
    )
    return (
        f"SELECT {', '.join((*_OWN, *NOTIFICATION))} FROM deliveries"
        " JOIN notifications ON notifications.id = deliveries.notification_id"
        f" LEFT JOIN conversations ON {talked}"
        f" WHERE {sql.one_of('deliveries.id', chosen)} ORDER BY deliveries.id"
    )


_LATEST = StatementTemplate(_latest)


def find_senders(connection: Connection, sources: Sequence[ReplySource], digest: Digest) -> list[FoundSenders]:
    """For each reply the addresses that it speaks for, as every tenant knows them, and its senders.

    The tenants share the providers, and so the senders that are answered. Where a message is named, its address counts,
    for its tenant.
    """
    keys = _keys(connection, sources, digest)
    digests = digests_of(connection)
    names = [{name for _, name in digests.named(each)} for each in keys]
    every = sorted(set().union(*names))
    if not every:
        return [FoundSenders(each, ()) for each in keys]
    ids = sorted({each.delivery_id for each in sources if each.delivery_id})
    [rows] = execute_pipelined(connection, [_LATEST.of(connection, digests=every, ids=ids)])
    found = [(row[1], _sender(row, digests.current(row[1]))) for row in rows]
    return [
        FoundSenders(here, _of_one([sender for name, sender in found if name in mine], source.delivery_id))
        for here, mine, source in zip(keys, names, sources, strict=True)
    ]


def _keys(connection: Connection, sources: Sequence[ReplySource], digest: Digest) -> list[frozenset[AddressKey]]:
    named: dict[str, frozenset[AddressKey]] = {}
    tenants: list[str] = []
    if ids := sorted({each.delivery_id for each in sources if each.delivery_id}):
        [rows] = execute_pipelined(connection, [_NAMED.of(connection, ids=ids)])
        current = digests_of(connection).current
        named = {key: frozenset({(tenant, channel, current(name))}) for key, tenant, channel, name in rows}
    if not all(each.delivery_id for each in sources):
        [rows] = execute_pipelined(connection, [_TENANTS.of(connection)])
        tenants = [tenant for (tenant,) in rows]
    return [
        named.get(each.delivery_id, frozenset())
        if each.delivery_id
        else frozenset((tenant, each.channel, digest(tenant, each.channel, each.address)) for tenant in tenants)
        for each in sources
    ]


def _sender(row: Sequence[str], digest: str) -> ReplySender:
    delivery_id, _, conversation_id = row[: len(_OWN)]
    written = notification_of(row[len(_OWN) :])
    return ReplySender(written.tenant, written.borrower, delivery_id, digest, written.case.id, conversation_id)


def _of_one(found: Sequence[ReplySender], answered: str) -> list[ReplySender]:
    """The senders of one reply, each once: by the message that was answered, or else by the latest one."""
    latest: dict[tuple[str, str], ReplySender] = {}
    for each in found:  # in the order of the messages
        if each.person not in latest or latest[each.person].delivery_id != answered:
            latest[each.person] = each
    return list(latest.values())
