"""The tables of borrowers, their addresses, cases, replies and feed."""

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

from gateway.storage.tables.columns import Instant, metadata

# One row per borrower: what has been said of them, and a version that every such change and contact moves on.
borrowers = Table(
    "borrowers",
    metadata,
    Column("tenant", String(64), nullable=False),
    Column("id", String(128), nullable=False),
    Column("version", Integer, nullable=False, server_default="0"),
    Column("holds", Text, nullable=False, server_default="[]"),
    Column("opt_outs", Text, nullable=False, server_default="[]"),
    Column("consents", String(80), nullable=False, server_default=""),
    Column("channel_consents", Text, nullable=False, server_default=""),  # words: channel:category
    Column("stated", Text, nullable=False, server_default="{}"),  # zones and hours, as the latest request said them
    Column("chosen", Text, nullable=False, server_default="{}"),  # hours and language, as the borrower chose them
    Column("proposals", Text, nullable=False, server_default="[]"),  # acts that a second person is to decide
    Column("event_hash", String(64), nullable=False, server_default=""),
    PrimaryKeyConstraint("tenant", "id"),
)


# What is known of an address by itself, whoever it is written for. ``suppressed`` is why it must not be used.
addresses = Table(
    "addresses",
    metadata,
    Column("tenant", String(64), nullable=False),
    Column("channel", String(32), nullable=False),
    Column("digest", String(64), nullable=False),
    Column("suppressed", String(40), nullable=False, server_default=""),
    Column("suppressed_at", Instant),
    Column("confirmed_at", Instant),  # the borrower wrote from it
    # Opted out by whoever uses the address, from the one instant until the other, or still where that is NULL.
    Column("opted_out_at", Instant),
    Column("opted_in_at", Instant),
    Column("opt_out_source", String(80), nullable=False, server_default=""),
    PrimaryKeyConstraint("tenant", "channel", "digest"),
    Index("addresses_by_digest", "tenant", "digest"),
)


# Borrowers' own words, each once. The text is personal data and stays here; events carry what it was taken for.
replies = Table(
    "replies",
    metadata,
    Column("id", String(48), primary_key=True),
    Column("digest", String(64), nullable=False),  # of provider, message and borrower: the same message comes again
    Column("tenant", String(64), nullable=False),
    Column("borrower_id", String(128), nullable=False),
    Column("delivery_id", String(48), nullable=False),  # the latest message at that address, taken as answered
    Column("channel", String(32), nullable=False),
    Column("provider", String(64), nullable=False),
    Column("provider_message_id", String(128), nullable=False, server_default=""),
    Column("intent", String(16), nullable=False),
    Column("text", Text, nullable=False),
    Column("received_at", Instant, nullable=False),
    Column("intents", String(255), nullable=False, server_default=""),  # all that it says, the most serious first
    Column("urgency", Integer, nullable=False, server_default="0"),  # of the review; 0: it needs none
    Column("review_by", Instant),
    Column("understood_by", String(64), nullable=False, server_default=""),  # version of the rules and weights
    Column("resolved_at", Instant),  # a person has decided what follows
    Column("conversation_id", String(48), nullable=False, server_default=""),  # "": a version before recorded it
    UniqueConstraint("digest", name="one_per_message"),
    Index(
        "replies_unresolved",
        "tenant",
        "id",
        sqlite_where=text("(urgency > 0 OR intent = 'maybe_stop') AND resolved_at IS NULL"),
        postgresql_where=text("(urgency > 0 OR intent = 'maybe_stop') AND resolved_at IS NULL"),
    ),
    Index("replies_by_borrower", "tenant", "borrower_id", "id"),
)


# Reports that name no message by a reference that was signed here; a person decides whom each is about. ``original`` is
# the mail as it came (zlib, RFC 1950), ``text`` what the person reads of it; both are personal data, and are erased.
unverified_reports = Table(
    "unverified_reports",
    metadata,
    Column("id", String(48), primary_key=True),
    Column("digest", String(64), nullable=False),  # of provider and mail: the same mail comes again
    Column("tenant", String(64), nullable=False),
    Column("channel", String(32), nullable=False),
    Column("provider", String(64), nullable=False),
    Column("reason", String(40), nullable=False),
    Column("urgency", Integer, nullable=False),
    Column("text", Text, nullable=False),
    Column("original", LargeBinary, nullable=False),
    Column("received_at", Instant, nullable=False),
    Column("resolved_at", Instant),  # a person has decided
    Column("borrower_id", String(128), nullable=False, server_default=""),  # whom it is about, as the person decided
    UniqueConstraint("digest", name="one_per_report"),
    Index("unverified_reports_by_tenant", "tenant", "reason", "received_at"),
    Index(
        "unverified_reports_unresolved",
        "tenant",
        "reason",
        "id",
        sqlite_where=text("resolved_at IS NULL"),
        postgresql_where=text("resolved_at IS NULL"),
    ),
)


cases = Table(
    "cases",
    metadata,
    Column("tenant", String(64), nullable=False),
    Column("id", String(128), nullable=False),
    Column("closed_at", Instant),
    Column("closed_reason", String(40), nullable=False, server_default=""),
    PrimaryKeyConstraint("tenant", "id"),
)


inbox = Table(
    "inbox",
    metadata,
    Column("seq", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=True),
    Column("tenant", String(64), nullable=False),
    Column("borrower_id", String(128), nullable=False),
    Column("delivery_id", String(48), nullable=False, unique=True),
    Column("title", Text, nullable=False),
    Column("text", Text, nullable=False),
    Column("at", Instant, nullable=False),
    Column("read_at", Instant),
    Column("archived_at", Instant),
    Index("inbox_by_borrower", "tenant", "borrower_id", "seq"),
)


# When the user of an address last wrote to a provider's sender: it opens the provider's service window.
inbound_messages = Table(
    "inbound_messages",
    metadata,
    Column("tenant", String(64), nullable=False),
    Column("provider", String(64), nullable=False),
    Column("digest", String(64), nullable=False),
    Column("last_at", Instant, nullable=False),
    PrimaryKeyConstraint("tenant", "provider", "digest"),
)
