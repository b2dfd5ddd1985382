"""The tables of webhook endpoints and of what they are told."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Column,
    Index,
    Integer,
    String,
    Table,
    Text,
    UniqueConstraint,
    text,
)

from gateway.storage.tables.columns import Instant, metadata

# Where a tenant's case system wants to be told of what happens. The secret is derived from its id and version.
webhook_endpoints = Table(
    "webhook_endpoints",
    metadata,
    Column("id", String(48), primary_key=True),
    Column("tenant", String(64), nullable=False),
    Column("url", String(500), nullable=False),
    Column("types", Text, nullable=False, server_default=""),  # space-separated; "": all
    Column("secret_version", Integer, nullable=False, server_default="1"),
    Column("previous_until", Instant),  # until then messages are signed with the version before as well
    # Which digest keys the secret and the one before it are derived from.
    Column("key_version", Integer, nullable=False, server_default="1"),
    Column("previous_key_version", Integer, nullable=False, server_default="1"),
    Column("created_at", Instant, nullable=False),
    Column("disabled_at", Instant),
    Column("disabled_reason", String(40), nullable=False, server_default=""),
    Column("cursor", BigInteger, nullable=False),  # the last event that was looked at for it
    Column("sequence", BigInteger, nullable=False, server_default="0"),  # of its last message
    Column("failures", Integer, nullable=False, server_default="0"),  # in a row
    Column("rests_until", Instant),
    Index("webhook_endpoints_by_tenant", "tenant", "id"),
)


# What an endpoint is to be told, each once, and how that went: outbox and delivery log at once.
webhook_messages = Table(
    "webhook_messages",
    metadata,
    Column("id", String(48), primary_key=True),
    Column("endpoint_id", String(48), nullable=False),
    Column("sequence", BigInteger, nullable=False),
    Column("subject", String(255), nullable=False),  # as the event's: what is told of one is told in order
    Column("type", String(40), nullable=False),
    Column("body", Text, nullable=False),
    Column("state", String(16), nullable=False, server_default="pending"),  # pending, delivered or failed
    Column("attempts", Integer, nullable=False, server_default="0"),
    Column("due_at", Instant),
    Column("created_at", Instant, nullable=False),
    Column("attempted_at", Instant),
    Column("status", Integer),  # of the last answer
    Column("outcome", String(16), nullable=False, server_default=""),
    UniqueConstraint("endpoint_id", "sequence", name="one_per_sequence"),
    Index(
        "webhook_messages_due",
        "due_at",
        sqlite_where=text("state = 'pending'"),
        postgresql_where=text("state = 'pending'"),
    ),
    Index(
        "webhook_messages_in_order",
        "endpoint_id",
        "subject",
        "sequence",
        sqlite_where=text("state = 'pending'"),
        postgresql_where=text("state = 'pending'"),
    ),
    Index("webhook_messages_old", "created_at"),
)
