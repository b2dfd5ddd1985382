"""The tables of the path from request to receipt: notifications, deliveries, attempts, events."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Column,
    Index,
    Integer,
    LargeBinary,
    PrimaryKeyConstraint,
    String,
    Table,
    Text,
    UniqueConstraint,
    text,
)

from gateway.storage.packing.event_details import EventActor, EventDetail
from gateway.storage.packing.request_bodies import RequestBody
from gateway.storage.tables.columns import HexDigest, Instant, metadata

notifications = Table(
    "notifications",
    metadata,
    Column("id", String(48), primary_key=True),
    Column("tenant", String(64), nullable=False),
    Column("idempotency_key", String(255), nullable=False),
    Column("fingerprint", HexDigest(64), nullable=False),
    Column("dedup_key", String(255), nullable=False),
    Column("borrower_id", String(128), nullable=False),
    Column("case_id", String(128), nullable=False),
    Column("stage", String(64), nullable=False),
    Column("category", String(16), nullable=False),
    Column("template", String(64), nullable=False),
    Column("template_version", String(64), nullable=False),
    Column("state", String(16), nullable=False),
    Column("reason", String(40), nullable=False, server_default=""),
    Column("defer_until", Instant),
    Column("duplicate_of", String(48)),
    Column("step", Integer, nullable=False),  # the last route step that was opened; -1: none
    Column("stopped", String(40), nullable=False, server_default=""),  # why no further step is opened; "": it may be
    Column("accepted_at", Instant, nullable=False),
    Column("expires_at", Instant),
    Column("updated_at", Instant, nullable=False),
    Column("event_hash", String(64), nullable=False, server_default=""),  # head of this notification's chain
    Column("body", Text, nullable=False),  # the request as accepted; "": it is in request_bodies
    Column("client", String(80), nullable=False, server_default=""),  # the key it came by
    # The state, where it is one that is looked for; else "". A trigger sets it.
    Column("attention", String(16), nullable=False, server_default=""),
    UniqueConstraint("tenant", "idempotency_key", name="one_per_idempotency_key"),
    Index("notifications_by_borrower", "tenant", "borrower_id", "id"),
    Index("notifications_by_case", "tenant", "case_id", "id"),
    Index(
        "notifications_attention",
        "tenant",
        "attention",
        "id",
        sqlite_where=text("attention != ''"),
        postgresql_where=text("attention != ''"),
    ),
    Index(
        "notifications_by_client",
        "tenant",
        "template",
        "client",
        "id",
        sqlite_where=text("client != ''"),
        postgresql_where=text("client != ''"),
    ),
)


# The requests as accepted, where earlier versions stored them.
request_bodies = Table(
    "request_bodies",
    metadata,
    Column("notification_id", String(48), primary_key=True),
    Column("body", RequestBody, nullable=False),
)


# Who owns a meaning (borrower + case + stage + due date): the first request that has not come to nothing.
dedup_claims = Table(
    "dedup_claims",
    metadata,
    Column("tenant", String(64), nullable=False),
    Column("dedup_key", String(255), nullable=False),
    Column("notification_id", String(48), nullable=False),
    PrimaryKeyConstraint("tenant", "dedup_key"),
)


deliveries = Table(
    "deliveries",
    metadata,
    Column("id", String(48), primary_key=True),
    Column("notification_id", String(48), nullable=False),
    Column("tenant", String(64), nullable=False),
    Column("borrower_id", String(128), nullable=False),
    Column("case_id", String(128), nullable=False),
    Column("step", Integer, nullable=False),
    Column("channel", String(32), nullable=False),
    Column("address_digest", String(64), nullable=False),
    Column("state", String(16), nullable=False),
    Column("reason", String(40), nullable=False, server_default=""),
    Column("attempt", Integer, nullable=False, server_default="0"),
    Column("provider", String(64), nullable=False, server_default=""),
    Column("provider_message_id", String(128), nullable=False, server_default=""),
    Column("due_at", Instant),  # when something is to be done next; NULL: nothing more; found by due_deliveries
    Column("lease_until", Instant),
    Column("fence", Integer, nullable=False, server_default="0"),
    Column("contacted_at", Instant),  # counts as a contact from then on; NULL: it did not reach anyone
    Column("sent_at", Instant),
    Column("escalate_at", Instant),  # go on to the next step if its goal is not reached by then
    Column("receipt_by", Instant),  # give up waiting for a receipt then
    Column("read_at", Instant),
    Column("approved", String(40), nullable=False, server_default=""),  # the review reason that a person approved
    Column("resent", Integer, nullable=False, server_default="0"),
    Column("paused", String(48), nullable=False, server_default=""),  # the switch that holds it up
    Column("tries", Integer, nullable=False, server_default="0"),  # failed attempts that count towards giving up
    Column("failures_only", Integer, nullable=False, server_default="0"),  # silence means that it arrived
    Column("created_at", Instant, nullable=False),
    Column("receipts", Text, nullable=False, server_default=""),  # marks of those that changed the row, space-separated
    Column("attention", String(16), nullable=False, server_default=""),  # as in notifications
    # PostgreSQL rewrites a row in place (HOT) only where no column of any index has changed, nor one of its condition:
    # so there is none on the state, and what does change with each step is in as few as can be.
    UniqueConstraint("notification_id", "step", name="one_delivery_per_step"),
    Index("deliveries_by_borrower", "tenant", "borrower_id"),
    Index("deliveries_by_address", "address_digest"),
    Index(
        "deliveries_attention",
        "attention",
        "tenant",
        "id",
        sqlite_where=text("attention != ''"),
        postgresql_where=text("attention != ''"),
    ),
    Index(
        "deliveries_paused",
        "paused",
        sqlite_where=text("paused != ''"),
        postgresql_where=text("paused != ''"),
    ),
)


# The deliveries for which something is to be done, by when: a trigger keeps it as ``deliveries.due_at`` says.
due_deliveries = Table(
    "due_deliveries",
    metadata,
    Column("due_at", Instant, nullable=False),
    Column("delivery_id", String(48), nullable=False),
    PrimaryKeyConstraint("due_at", "delivery_id"),
    sqlite_with_rowid=False,
)


attempts = Table(
    "attempts",
    metadata,
    Column("delivery_id", String(48), nullable=False),
    Column("number", Integer, nullable=False),
    Column("provider", String(64), nullable=False),
    Column("started_at", Instant, nullable=False),
    Column("finished_at", Instant),
    Column("outcome", String(16), nullable=False, server_default="started"),
    Column("reason", String(40), nullable=False, server_default=""),
    Column("code", String(40), nullable=False, server_default=""),
    Column("provider_message_id", String(128), nullable=False, server_default=""),
    Column("words", LargeBinary),  # that it handed over (gateway/storage/messages.py); NULL: erased, or in ``messages``
    PrimaryKeyConstraint("delivery_id", "number"),
    # A trigger gives the latest attempt its delivery's id where that was learned later, by a receipt or a lookup.
    Index(
        "attempts_by_message",
        "provider_message_id",
        sqlite_where=text("provider_message_id != ''"),
        postgresql_where=text("provider_message_id != ''"),
    ),
)


# The words that attempts handed over, where the version before wrote them.
messages = Table(
    "messages",
    metadata,
    Column("delivery_id", String(48), nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("content", LargeBinary, nullable=False),
    PrimaryKeyConstraint("delivery_id", "attempt"),
    sqlite_with_rowid=False,  # else SQLite stores the key a second time, as an index
)


# Append-only (triggers refuse UPDATE and DELETE), chained by hash per subject.
events = Table(
    "events",
    metadata,
    Column("seq", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=True),
    Column("tenant", String(64), nullable=False),
    Column("subject", String(255), nullable=False),  # see gateway/storage/events.py; the longest has 202 characters
    Column("borrower_id", String(128), nullable=False),
    Column("delivery_id", String(48)),
    Column("at", Instant, nullable=False),
    Column("local_at", String(40), nullable=False, server_default=""),  # offset of the borrower's first zone, as +08
    Column("kind", String(40), nullable=False),
    Column("state", String(16), nullable=False, server_default=""),
    Column("reason", String(40), nullable=False, server_default=""),
    Column("actor", EventActor(80), nullable=False),
    Column("detail", EventDetail, nullable=False, server_default="{}"),
    Column("previous_hash", String(64), nullable=False),  # "" but in events of earlier versions: see ``linked``
    Column("hash", String(64), nullable=False),
    # Without seq: a subject's entries are equal then, and PostgreSQL keeps them as one (deduplication of B-trees).
    Index("events_of_subject", "subject"),
    Index(
        "events_of_admins",
        "subject",
        "seq",
        sqlite_where=text("kind = 'admin_act'"),
        postgresql_where=text("kind = 'admin_act'"),
    ),
    Index("events_by_borrower", "tenant", "borrower_id", "seq"),
)


# Verdicts without the figures of the single event (gateway/storage/verdicts.py), under the hash of the text. Never
# removed: a few rows for each version of a policy pack.
verdicts = Table(
    "verdicts",
    metadata,
    Column("digest", String(43), primary_key=True),
    Column("text", Text, nullable=False),
)


# Provider callbacks that matched no delivery yet wait here. Those that match one at once leave an event of its chain,
# and a mark in its row where they change that.
receipts = Table(
    "receipts",
    metadata,
    Column("digest", String(64), primary_key=True),
    Column("provider", String(64), nullable=False),
    Column("provider_message_id", String(128), nullable=False, server_default=""),
    Column("delivery_id", String(48), nullable=False, server_default=""),  # "": parked, unmatched
    Column("status", String(16), nullable=False),
    Column("reason", String(40), nullable=False, server_default=""),
    Column("code", String(40), nullable=False, server_default=""),
    Column("received_at", Instant, nullable=False),
    Column("tag", String(32), nullable=False, server_default=""),  # ours, repeated by the provider
    Index("receipts_by_delivery", "delivery_id"),
    Index(
        "receipts_tagged",
        "tag",
        sqlite_where=text("delivery_id = '' AND tag != ''"),
        postgresql_where=text("delivery_id = '' AND tag != ''"),
    ),
    Index(
        "receipts_waiting",
        "provider_message_id",
        sqlite_where=text("delivery_id = ''"),
        postgresql_where=text("delivery_id = ''"),
    ),
)
