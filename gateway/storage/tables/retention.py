"""The tables of the audit's progress and findings, of legal holds, and of what left the ledger."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Column,
    Index,
    Integer,
    PrimaryKeyConstraint,
    String,
    Table,
    Text,
    text,
)

from gateway.storage.tables.columns import Instant, metadata

# Up to which event what went out has been judged a second time (gateway/evidence/audit). One row.
audit_progress = Table(
    "audit_progress",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("seq", BigInteger, nullable=False),
    Column("at", Instant),
)


# What that found: contacts that broke a rule, each with the event that shows it.
audit_findings = Table(
    "audit_findings",
    metadata,
    Column("event", BigInteger, nullable=False),
    Column("kind", String(24), nullable=False),
    Column("tenant", String(64), nullable=False),
    Column("borrower_id", String(128), nullable=False),
    Column("notification_id", String(48), nullable=False),
    Column("delivery_id", String(48), nullable=False),
    Column("at", Instant, nullable=False),
    Column("detail", Text, nullable=False),
    Column("found_at", Instant, nullable=False),
    PrimaryKeyConstraint("event", "kind"),
    Index("audit_findings_found", "found_at"),
)


# Borrowers and cases of which nothing may be removed; "" for every one. Released ones stay, as evidence.
legal_holds = Table(
    "legal_holds",
    metadata,
    Column("id", String(48), primary_key=True),
    Column("tenant", String(64), nullable=False),
    Column("borrower_id", String(128), nullable=False, server_default=""),
    Column("case_id", String(128), nullable=False, server_default=""),
    Column("reason", String(500), nullable=False),
    Column("actor", String(80), nullable=False),
    Column("since", Instant, nullable=False),
    Column("released_at", Instant),
    Column("released_by", String(80), nullable=False, server_default=""),
    Index(
        "legal_holds_open",
        "tenant",
        "id",
        sqlite_where=text("released_at IS NULL"),
        postgresql_where=text("released_at IS NULL"),
    ),
)


# What left the ledger, batch by batch, each chained by hash to the one before: where it is and how to know it again.
archives = Table(
    "archives",
    metadata,
    # From 1 without a gap. Two prunes at once would write the same number: the second fails, and removes nothing.
    Column("number", BigInteger, primary_key=True, autoincrement=False),
    Column("at", Instant, nullable=False),
    Column("file", String(200), nullable=False),  # "": removed without a copy
    Column("start", BigInteger, nullable=False),  # where its gzip member begins in the file
    Column("size", BigInteger, nullable=False),
    Column("sha256", String(64), nullable=False),
    Column("first", String(255), nullable=False),
    Column("last", String(255), nullable=False),
    Column("subjects", Integer, nullable=False),
    Column("events", Integer, nullable=False),
    Column("previous_hash", String(64), nullable=False),
    Column("hash", String(64), nullable=False),
)


# The subjects whose events are being removed by this transaction; the events' trigger asks. Empty at its end.
leaving = Table("leaving", metadata, Column("subject", String(255), primary_key=True))


# Up to which notification a class of data has been removed, so that each run begins where the last one ended.
retention_progress = Table(
    "retention_progress",
    metadata,
    Column("name", String(40), primary_key=True),
    Column("through", String(255), nullable=False),
)
