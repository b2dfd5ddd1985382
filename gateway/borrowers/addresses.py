"""Facts about an address, independent of the borrower: one row for each, by its digest.

Channels of one identity (``ChannelProfile.identity``) have the same digest of the same address, so a row is found by
tenant and digest; its channel is the one on which the address was first known. Two processes that come to know it on
two channels at once may make two rows: both are written, and the stricter one counts.

An opt-out of an address is one of them. It is written before the rows of borrowers are locked, and the borrowers who
are about to be written to there are changed after it is committed (``change_borrowers_at``): a hand-over that was
decided before, and had not read it, has then either begun, and is waited for, or finds its borrower changed.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import Any, NamedTuple

from sqlalchemy import Connection, and_, select

from gateway.borrowers.changes import ChangeRecord, change_borrower, wait_for_in_flight
from gateway.core.clock import Clock
from gateway.core.routes import RouteRules
from gateway.core.security.digests import DigestVersions, digests_of
from gateway.core.states import PENDING_STATES
from gateway.storage.bulk import updating
from gateway.storage.database import Database
from gateway.storage.facts import AddressKey, Key
from gateway.storage.statements import Dialect, Rows, Statement, StatementTemplate, execute_pipelined
from gateway.storage.tables.borrowers import addresses
from gateway.storage.tables.columns import instant_of
from gateway.storage.tables.path import deliveries


class _AddressRow(NamedTuple):
    """The row of an address."""

    tenant: str
    channel: str
    digest: str
    suppressed: str
    suppressed_at: datetime | None
    confirmed_at: datetime | None
    opted_out_at: datetime | None
    opted_in_at: datetime | None
    opt_out_source: str


def _make_missing(sql: Dialect) -> str:
    """Rows for those addresses that have none, by any version of the digest and on any channel of the identity."""
    if sql.sqlite:
        given, part = "json_each(:keys) AS given", "json_extract(given.value, '$[{}]')"
        versions = "SELECT version.value FROM json_each(given.value, '$[3]') AS version"
    else:
        given, part = "json_array_elements(%(keys)s::json) AS given", "given.value->>{}"
        versions = "SELECT json_array_elements_text(given.value->3)"
    known = f"SELECT 1 FROM addresses WHERE tenant = {part.format(0)} AND {sql.one_of('digest', versions)}"
    return (
        f"INSERT INTO addresses (tenant, channel, digest) SELECT {', '.join(map(part.format, range(3)))} FROM {given}"
        f" WHERE NOT EXISTS ({known}) ON CONFLICT DO NOTHING"
    )


_MAKE_MISSING = StatementTemplate(_make_missing, returns_rows=False)
_LOCKED = StatementTemplate(
    lambda sql: (
        f"SELECT {', '.join(_AddressRow._fields)} FROM addresses WHERE {sql.matching(('tenant', 'digest'), 'keys')}"
        # In one order, so that no two changes deadlock.
        f" ORDER BY tenant, digest, channel {sql.lock()}"
    )
)


class AddressChanges:
    """The rows of some addresses (tenant, channel, digest), locked together, changed, and written together.

    A row under another version of the digest, or of another channel of the identity, is the address's too.
    """

    @staticmethod
    def statements(connection: Connection, keys: Iterable[AddressKey]) -> list[Statement]:
        """The statements that lock the rows, which are made where they are missing."""
        digests, ordered = digests_of(connection), sorted(set(keys))
        made = [
            [tenant, channel, digests.current(digest), list(digests.versions(digest))]
            for tenant, channel, digest in ordered
        ]
        named = [list(each) for each in digests.named(ordered)]
        return [_MAKE_MISSING.of(connection, keys=made), _LOCKED.of(connection, keys=named)]

    def __init__(self, connection: Connection, rows: Sequence[Rows]) -> None:
        """``rows`` are the answers to ``statements``."""
        self._connection = connection
        self._digests = digests_of(connection)
        self._rows: dict[tuple[str, str], list[_AddressRow]] = {}
        for row in map(_row, rows[1]):
            self._rows.setdefault((row.tenant, self._digests.current(row.digest)), []).append(row)
        self._changed: set[tuple[str, str]] = set()

    def know(self, key: AddressKey, **values: Any) -> None:
        """Set columns of the address."""
        name = self._name(key)
        self._rows[name] = [row._replace(**values) for row in self._rows.get(name, ())]
        self._changed.add(name)

    def opt_out(self, key: AddressKey, source: str, now: datetime) -> bool:
        """The address opted out; False where that stands already, and keeps its instant and source."""
        if any(map(_opted_out, self._rows.get(self._name(key), ()))):
            return False
        self.know(key, opted_out_at=now, opted_in_at=None, opt_out_source=source)
        return True

    def opt_in(self, key: AddressKey, now: datetime) -> None:
        """Lift the opt-out of the address, where there is one. Since when it stood remains, for the audit."""
        name = self._name(key)
        known = self._rows.get(name, ())
        if any(map(_opted_out, known)):
            self._rows[name] = [row._replace(opted_in_at=now) if _opted_out(row) else row for row in known]
            self._changed.add(name)

    def writes(self) -> list[Statement]:
        """The statement that writes what was changed."""
        rows = [row._asdict() for name in sorted(self._changed) for row in self._rows[name]]
        return updating(self._connection, addresses, ("tenant", "channel", "digest"), rows)

    def _name(self, key: AddressKey) -> tuple[str, str]:
        return (key[0], self._digests.current(key[2]))


def _row(values: Sequence[Any]) -> _AddressRow:
    instants = (None if each is None else instant_of(each) for each in values[4:8])
    return _AddressRow._make((*values[:4], *instants, values[8]))


def _opted_out(row: _AddressRow) -> bool:
    return row.opted_out_at is not None and row.opted_in_at is None


def changed_addresses(connection: Connection, keys: Sequence[AddressKey]) -> AddressChanges:
    """The locked rows of these addresses, for changes of them alone."""
    return AddressChanges(connection, execute_pipelined(connection, AddressChanges.statements(connection, keys)))


def know_address(connection: Connection, key: AddressKey, **values: Any) -> None:
    """Set columns of the address ``key``, which is made where it is missing."""
    changes = changed_addresses(connection, [key])
    changes.know(key, **values)
    execute_pipelined(connection, changes.writes())


def opt_out_address(connection: Connection, key: AddressKey, source: str, now: datetime) -> bool:
    """Record that the address opted out; False where that stands already, and keeps its instant and source."""
    changes = changed_addresses(connection, [key])
    new = changes.opt_out(key, source, now)
    execute_pipelined(connection, changes.writes())
    return new


def opt_in_address(connection: Connection, key: AddressKey, now: datetime) -> None:
    """Lift the opt-out of the address, where there is one. Since when it stood remains, for the audit."""
    changes = changed_addresses(connection, [key])
    changes.opt_in(key, now)
    execute_pipelined(connection, changes.writes())


async def change_borrowers_at(
    database: Database,
    rules: RouteRules,
    keys: Iterable[AddressKey],
    source: str,
    clock: Clock,
    *,
    changed: Collection[Key] = (),
    wait: bool = True,
) -> None:
    """After an opt-out of these addresses was committed: when this returns, nothing starts there any more.

    Every borrower with a message that may still start there gets a new version, with an event that says why, but for
    those who were ``changed`` with the opt-out. ``wait``: wait for what is in flight.
    """
    for key in sorted(set(keys)):
        tenant, channel, digest = key
        here, now = _deliveries_at(key, database.digests), clock()
        people = await database.read(partial(_waiting_at, here=here))
        what = ChangeRecord("address_opted_out", source, detail={"channel": channel, "address_digest": digest})
        # A transaction for each borrower: two borrowers' rows in one would be locked out of order.
        for person in [(tenant, borrower_id) for borrower_id in people if (tenant, borrower_id) not in changed]:
            change = partial(change_borrower, rules=rules, key=person, what=what, change=_new_version, now=now)
            await database.write(change)
        if wait:
            await wait_for_in_flight(database, here, clock)


def _waiting_at(connection: Connection, here: Any) -> list[str]:
    """The borrowers who have a message there that may start."""
    pending = deliveries.c.state.in_(sorted(PENDING_STATES))
    return sorted(connection.execute(select(deliveries.c.borrower_id).where(here, pending).distinct()).scalars())


def _new_version(_row: Any) -> Mapping[str, Any]:
    return {}


def _deliveries_at(key: AddressKey, digests: DigestVersions) -> Any:
    tenant, _, digest = key
    return and_(deliveries.c.tenant == tenant, deliveries.c.address_digest.in_(digests.versions(digest)))
