"""The facts for decisions: contacts, holds, opt-outs and consents of a batch of borrowers, in one statement."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy import Connection, and_, false, or_

from gateway.core.codec import channel_consents_from, chosen_from, holds_from, opt_outs_from, stated_from
from gateway.core.facts import AddressFacts, BorrowerFacts, Contact, Facts
from gateway.core.notifications import Category
from gateway.core.security.digests import DigestVersions, digests_of
from gateway.storage.among import among
from gateway.storage.statements import Dialect, Rows, Statement, StatementTemplate
from gateway.storage.tables.columns import instant_of

Key = tuple[str, str]  # (tenant, borrower id), or (tenant, case id)
# (tenant, channel, address digest). Rows are found by tenant and digest, which channels of one identity share.
AddressKey = tuple[str, str, str]


def _grouped(keys: Iterable[Key]) -> dict[str, list[str]]:
    groups: dict[str, list[str]] = {}
    for tenant, identifier in sorted(set(keys)):
        groups.setdefault(tenant, []).append(identifier)
    return groups


def matching(tenant_column: Any, id_column: Any, keys: Iterable[Key]) -> Any:
    """A condition for (tenant, id) pairs that uses the index of both on SQLite and PostgreSQL."""
    # Of no keys none match: an empty or_() would be no condition at all.
    return or_(
        false(), *(and_(tenant_column == tenant, among(id_column, ids)) for tenant, ids in _grouped(keys).items())
    )


def _facts(sql: Dialect) -> str:
    """All facts in one statement, and so of one snapshot: the version is that of all the others."""
    people = sql.document(
        "tenant, id, version, holds, opt_outs, consents, channel_consents, stated, chosen",
        f"FROM borrowers WHERE {sql.matching(('tenant', 'id'), 'keys')}",
    )
    columns = "tenant, borrower_id, contacted_at, channel, case_id, address_digest, notification_id"
    since = f"contacted_at > {sql.value('since')}"
    contacts = sql.document(columns, sql.of_each(columns, "deliveries", ("tenant", "borrower_id"), "keys", since))
    closed = sql.document(
        "tenant, id",
        f"FROM cases WHERE {sql.matching(('tenant', 'id'), 'case_keys')} AND closed_at IS NOT NULL",
    )
    used = sql.document(
        "digest, suppressed, confirmed_at, CASE WHEN opted_in_at IS NULL THEN opted_out_at END",
        f"FROM addresses WHERE {sql.matching(('tenant', 'digest'), 'address_keys')}",
    )
    return f"SELECT {people}, {contacts}, {closed}, {used}"


_FACTS = StatementTemplate(_facts)
_decode_people = msgspec.json.Decoder(list[tuple[str, str, int, str, str, str, str, str, str]]).decode
_decode_contacts = msgspec.json.Decoder(list[tuple[str, str, int, str, str, str, str]]).decode
_decode_closed = msgspec.json.Decoder(list[tuple[str, str]]).decode
_decode_used = msgspec.json.Decoder(list[tuple[str, str, int | None, int | None]]).decode


def ask_facts(
    connection: Connection,
    keys: Iterable[Key],
    case_keys: Iterable[Key],
    address_keys: Iterable[AddressKey],
    since: datetime,
) -> Statement:
    """The statement whose rows ``facts_from`` reads; contacts are those after ``since``.

    Addresses are asked for by every version of their digest.
    """
    return _FACTS.of(
        connection,
        keys=sorted(set(keys)),
        case_keys=sorted(set(case_keys)),
        address_keys=digests_of(connection).named(address_keys),
        since=since,
    )


def facts_from(answer: Rows, keys: Sequence[Key], digests: DigestVersions) -> Mapping[Key, BorrowerFacts]:
    """Facts for each borrower of ``keys``; all digests of addresses are in the version that is written."""
    [(people, found_contacts, found_closed, found_used)] = answer
    contacts: dict[Key, list[Contact]] = {}
    for tenant, borrower_id, at, *rest in _decode_contacts(found_contacts or "[]"):
        contact = Contact(instant_of(at), *rest)
        if not digests.single:
            contact = replace(contact, address=digests.current(contact.address))
        contacts.setdefault((tenant, borrower_id), []).append(contact)
    closed: dict[str, set[str]] = {}
    for tenant, case_id in _decode_closed(found_closed or "[]"):
        closed.setdefault(tenant, set()).add(case_id)
    used: dict[str, AddressFacts] = {}
    for digest, suppressed, confirmed, opted_out in _decode_used(found_used or "[]"):
        facts_there = AddressFacts(suppressed, _instant_or_none(confirmed), _instant_or_none(opted_out))
        name = digests.current(digest)
        used[name] = facts_there.merged(used[name]) if name in used else facts_there
    found: dict[Key, BorrowerFacts] = {}
    people_found = _decode_people(people or "[]")
    for tenant, borrower_id, version, holds, opt_outs, consents, by_channel, stated, chosen in people_found:
        key = (tenant, borrower_id)
        facts = Facts(
            contacts=tuple(sorted(contacts.get(key, ()), key=_by_time)),
            holds=tuple(holds_from(holds)),
            opt_outs=tuple(digests.opt_out(stored.opt_out) for stored in opt_outs_from(opt_outs)),
            consents=frozenset(Category(each) for each in consents.split()),
            channel_consents=channel_consents_from(by_channel),
            addresses=used,
            stated=stated_from(stated),
            chosen=chosen_from(chosen),
        )
        found[key] = BorrowerFacts(version, facts, frozenset(closed.get(tenant, ())))
    return {
        key: found.get(key) or BorrowerFacts(0, Facts(addresses=used), frozenset(closed.get(key[0], ())))
        for key in keys
    }


def _instant_or_none(stored: int | None) -> datetime | None:
    return None if stored is None else instant_of(stored)


def _by_time(contact: Contact) -> datetime:
    return contact.at


def _versions(*, lock: bool) -> StatementTemplate:
    return StatementTemplate(
        lambda sql: (
            f"SELECT tenant, id, version, {sql.version('borrowers')} FROM borrowers"
            f" WHERE {sql.matching(('tenant', 'id'), 'keys')} ORDER BY tenant, id {sql.lock() if lock else ''}"
        )
    )


_LOCKED, _READ = _versions(lock=True), _versions(lock=False)


def ask_borrowers(connection: Connection, keys: Iterable[Key], *, lock: bool) -> Statement:
    """The statement that gives tenant, id, version and row version of each, after its row lock where ``lock``."""
    return (_LOCKED if lock else _READ).of(connection, keys=sorted(set(keys)))


_OPTED_OUT = StatementTemplate(
    lambda sql: (
        f"SELECT tenant, digest FROM addresses WHERE {sql.matching(('tenant', 'digest'), 'keys')}"
        " AND opted_out_at IS NOT NULL AND opted_in_at IS NULL"
    )
)


def ask_opted_out(connection: Connection, keys: Iterable[AddressKey]) -> Statement:
    """The statement for those of these addresses that are opted out, as tenant and digest."""
    return _OPTED_OUT.of(connection, keys=digests_of(connection).named(keys))
