"""Cases as they are fed, journeys and the versions of their definitions. Online: new tables."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0035"
down_revision = "0031"


def upgrade() -> None:
    _case_records()
    _journeys()
    _definitions()


def _text(name: str, length: int) -> sa.Column[str]:
    return sa.Column(name, sa.String(length=length), nullable=False)


def _or_empty(name: str, length: int) -> sa.Column[str]:
    return sa.Column(name, sa.String(length=length), server_default="", nullable=False)


def _instant(name: str, *, nullable: bool = True) -> sa.Column[int]:
    return sa.Column(name, sa.BigInteger(), nullable=nullable)


def _case_records() -> None:
    op.create_table(
        "case_records",
        _text("tenant", 64),
        _text("id", 128),
        _or_empty("borrower_id", 128),
        sa.Column("body", sa.Text(), nullable=False),
        _instant("check_at"),
        _instant("updated_at", nullable=False),
        _or_empty("event_hash", 64),
        sa.PrimaryKeyConstraint("tenant", "id"),
    )
    op.create_index(
        "case_records_due",
        "case_records",
        ["check_at"],
        sqlite_where=sa.text("check_at IS NOT NULL"),
        postgresql_where=sa.text("check_at IS NOT NULL"),
    )
    op.create_index(
        "case_records_by_borrower",
        "case_records",
        ["tenant", "borrower_id"],
    )


def _journeys() -> None:
    op.create_table(
        "journeys",
        _text("id", 48),
        _text("tenant", 64),
        _text("case_id", 128),
        _text("borrower_id", 128),
        _text("definition", 64),
        _text("version", 64),
        _or_empty("arm", 64),
        _text("state", 16),
        _or_empty("reason", 40),
        _or_empty("step", 40),
        _or_empty("period", 40),
        _instant("entered_at", nullable=False),
        _instant("exited_at"),
        _instant("due_at"),
        _instant("lease_until"),
        sa.Column("revision", sa.Integer(), server_default="0", nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        _or_empty("event_hash", 64),
        sa.PrimaryKeyConstraint("id"),
    )
    is_open = "state != 'exited'"
    op.create_index(
        "journeys_due",
        "journeys",
        ["due_at"],
        sqlite_where=sa.text("due_at IS NOT NULL"),
        postgresql_where=sa.text("due_at IS NOT NULL"),
    )
    op.create_index(
        "one_open_journey",
        "journeys",
        ["tenant", "case_id", "definition"],
        unique=True,
        sqlite_where=sa.text(is_open),
        postgresql_where=sa.text(is_open),
    )
    op.create_index(
        "journeys_open_by_borrower",
        "journeys",
        ["tenant", "borrower_id"],
        sqlite_where=sa.text(is_open),
        postgresql_where=sa.text(is_open),
    )
    op.create_index(
        "journeys_by_case",
        "journeys",
        ["tenant", "case_id", "id"],
    )
    op.create_index(
        "journeys_by_definition",
        "journeys",
        ["tenant", "definition", "state", "id"],
    )
    op.create_table(
        "journey_progress",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )


def _definitions() -> None:
    op.create_table(
        "journey_names",
        _text("tenant", 64),
        _text("name", 64),
        sa.Column("numbers", sa.Integer(), server_default="0", nullable=False),
        _or_empty("event_hash", 64),
        sa.PrimaryKeyConstraint("tenant", "name"),
    )
    op.create_table(
        "journey_versions",
        _text("tenant", 64),
        _text("name", 64),
        sa.Column("number", sa.Integer(), nullable=False),
        _text("state", 16),
        _text("version", 64),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("editors", sa.Text(), server_default="[]", nullable=False),
        sa.Column("replaced", sa.Integer(), server_default="0", nullable=False),
        _instant("created_at", nullable=False),
        _instant("updated_at", nullable=False),
        _or_empty("submitted_by", 80),
        _or_empty("approved_by", 80),
        _instant("stopped_at"),
        sa.PrimaryKeyConstraint("tenant", "name", "number"),
        sa.CheckConstraint("approved_by = '' OR approved_by != submitted_by", name="a_second_person_approves"),
    )
    op.create_index(
        "one_draft_journey_version",
        "journey_versions",
        ["tenant", "name"],
        unique=True,
        sqlite_where=sa.text("state = 'draft'"),
        postgresql_where=sa.text("state = 'draft'"),
    )
    op.create_index(
        "one_published_journey_version",
        "journey_versions",
        ["tenant", "name"],
        unique=True,
        sqlite_where=sa.text("state = 'published'"),
        postgresql_where=sa.text("state = 'published'"),
    )
    op.create_index(
        "journey_versions_by_version",
        "journey_versions",
        ["tenant", "name", "version"],
    )
