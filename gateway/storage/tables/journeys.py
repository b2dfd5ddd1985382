"""The ledger's tables of cases and journeys; gateway/journeys has what they mean."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
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

# Journeys that wait for a person's decision.
FOR_PERSONS = text("state IN ('gate', 'review')")
_OPEN, _DUE, _CHECKED = text("state != 'exited'"), text("due_at IS NOT NULL"), text("check_at IS NOT NULL")

# What a case system has fed of each case, merged; see gateway/journeys/cases/record.py. ``body`` has personal data.
case_records = Table(
    "case_records",
    metadata,
    Column("tenant", String(64), nullable=False),
    Column("id", String(128), nullable=False),
    Column("borrower_id", String(128), nullable=False, server_default=""),  # "": no snapshot came yet
    Column("body", Text, nullable=False),
    Column("check_at", Instant),  # when to look whether it enters a journey; NULL: not by time alone
    Column("updated_at", Instant, nullable=False),
    Column("event_hash", String(64), nullable=False, server_default=""),
    PrimaryKeyConstraint("tenant", "id"),
    Index("case_records_due", "check_at", sqlite_where=_CHECKED, postgresql_where=_CHECKED),
    Index("case_records_by_borrower", "tenant", "borrower_id"),
)

# Journeys, under way and ended. ``body`` is gateway/journeys/journey.py's Journey; other columns repeat parts of it.
journeys = Table(
    "journeys",
    metadata,
    Column("id", String(48), primary_key=True),
    Column("tenant", String(64), nullable=False),
    Column("case_id", String(128), nullable=False),
    Column("borrower_id", String(128), nullable=False),
    Column("definition", String(64), nullable=False),
    Column("version", String(64), nullable=False),  # sha256 of the definition's text, pinned at entry
    Column("arm", String(64), nullable=False, server_default=""),
    Column("state", String(16), nullable=False),
    Column("reason", String(40), nullable=False, server_default=""),
    Column("step", String(40), nullable=False, server_default=""),  # the last that was done
    Column("period", String(40), nullable=False, server_default=""),  # the due date that it entered by
    Column("entered_at", Instant, nullable=False),
    Column("exited_at", Instant),
    Column("due_at", Instant),
    Column("lease_until", Instant),
    Column("revision", Integer, nullable=False, server_default="0"),  # moves on with every change and wake-up
    Column("body", Text, nullable=False),
    Column("event_hash", String(64), nullable=False, server_default=""),
    Index("journeys_due", "due_at", sqlite_where=_DUE, postgresql_where=_DUE),
    Index(
        "one_open_journey",
        "tenant",
        "case_id",
        "definition",
        unique=True,
        sqlite_where=_OPEN,
        postgresql_where=_OPEN,
    ),
    Index("journeys_open_by_borrower", "tenant", "borrower_id", sqlite_where=_OPEN, postgresql_where=_OPEN),
    Index("journeys_by_case", "tenant", "case_id", "id"),
    Index("journeys_by_definition", "tenant", "definition", "state", "id"),
    Index("journeys_for_persons", "tenant", "state", "id", sqlite_where=FOR_PERSONS, postgresql_where=FOR_PERSONS),
)

# A definition's name within a tenant, and the head of its chain of events.
journey_names = Table(
    "journey_names",
    metadata,
    Column("tenant", String(64), nullable=False),
    Column("name", String(64), nullable=False),
    Column("numbers", Integer, nullable=False, server_default="0"),  # how many versions there have been
    Column("event_hash", String(64), nullable=False, server_default=""),
    PrimaryKeyConstraint("tenant", "name"),
)

# Versions of definitions, with the life of a template's version. A text that was submitted never changes.
journey_versions = Table(
    "journey_versions",
    metadata,
    Column("tenant", String(64), nullable=False),
    Column("name", String(64), nullable=False),
    Column("number", Integer, nullable=False),
    Column("state", String(16), nullable=False),
    Column("version", String(64), nullable=False),  # sha256 of the source
    Column("source", Text, nullable=False),
    Column("editors", Text, nullable=False, server_default="[]"),  # JSON: everyone who wrote in it
    Column("replaced", Integer, nullable=False, server_default="0"),  # the number that was live before it; 0: none
    Column("created_at", Instant, nullable=False),
    Column("updated_at", Instant, nullable=False),
    Column("submitted_by", String(80), nullable=False, server_default=""),
    Column("approved_by", String(80), nullable=False, server_default=""),
    Column("stopped_at", Instant),  # its journeys end
    PrimaryKeyConstraint("tenant", "name", "number"),
    CheckConstraint("approved_by = '' OR approved_by != submitted_by", name="a_second_person_approves"),
    *(
        Index(
            f"one_{state}_journey_version",
            "tenant",
            "name",
            unique=True,
            sqlite_where=text(f"state = '{state}'"),
            postgresql_where=text(f"state = '{state}'"),
        )
        for state in ("draft", "published")
    ),
    Index("journey_versions_by_version", "tenant", "name", "version"),
)

# Up to which event journeys were woken. One row.
journey_progress = Table(
    "journey_progress",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("seq", BigInteger, nullable=False),
)
