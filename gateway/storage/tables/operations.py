"""The tables of operators' switches and of processes that run."""

from __future__ import annotations

from sqlalchemy import (
    Column,
    Index,
    String,
    Table,
    Text,
    text,
)

from gateway.storage.tables.columns import Instant, metadata

# What an operator has stopped or pinned, and who, why and until when. Ended ones stay, as evidence.
switches = Table(
    "switches",
    metadata,
    Column("id", String(48), primary_key=True),
    Column("kind", String(16), nullable=False),
    Column("scope", String(16), nullable=False),
    Column("value", String(64), nullable=False, server_default=""),
    Column("tenant", String(64), nullable=False, server_default=""),  # "": every tenant
    Column("reason", String(500), nullable=False),
    Column("actor", String(80), nullable=False),
    Column("since", Instant, nullable=False),
    Column("until", Instant),
    Column("ended_at", Instant),
    Column("ended_by", String(80), nullable=False, server_default=""),
    Index(
        "switches_in_force",
        "id",
        sqlite_where=text("ended_at IS NULL"),
        postgresql_where=text("ended_at IS NULL"),
    ),
)


# Which processes have run on this ledger lately. For the status page.
processes = Table(
    "processes",
    metadata,
    Column("id", String(48), primary_key=True),
    Column("kind", String(16), nullable=False),
    Column("version", String(80), nullable=False),
    Column("started_at", Instant, nullable=False),
    Column("seen_at", Instant, nullable=False),
    Column("providers", Text, nullable=False, server_default="{}"),
)
