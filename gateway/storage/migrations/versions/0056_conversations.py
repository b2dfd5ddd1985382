"""Conversations, their one-time links, and the conversation of each reply. Online: new tables, a column with a default.

Replies that a version before has recorded belong to none; they stay in the review queue.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0056"
down_revision = "0055"


def _text(name: str, length: int) -> sa.Column[str]:
    return sa.Column(name, sa.String(length=length), nullable=False)


def _or_empty(name: str, length: int) -> sa.Column[str]:
    return sa.Column(name, sa.String(length=length), server_default="", nullable=False)


def _or_zero(name: str) -> sa.Column[int]:
    return sa.Column(name, sa.Integer(), server_default="0", nullable=False)


def _instant(name: str, *, nullable: bool = True) -> sa.Column[int]:
    return sa.Column(name, sa.BigInteger(), nullable=nullable)


def upgrade() -> None:
    op.create_table(
        "conversations",
        sa.Column("id", sa.String(length=48), primary_key=True),
        _text("tenant", 64),
        _text("borrower_id", 128),
        _text("case_id", 128),
        _text("state", 16),
        _text("handler", 16),
        _text("channel", 32),
        _text("reply_id", 48),
        _instant("replied_at", nullable=False),
        _text("intent", 16),
        _or_zero("urgency"),
        _instant("review_by"),
        _instant("due_at"),
        _or_empty("holder", 128),
        _instant("held_until"),
        _or_zero("answers"),
        _or_empty("asked", 16),
        _or_empty("asked_reply", 48),
        _instant("verified_until"),
        _or_empty("arm", 16),
        _or_zero("revision"),
        _instant("opened_at", nullable=False),
        _instant("closed_at"),
        _or_empty("outcome", 40),
        sa.UniqueConstraint("tenant", "borrower_id", "case_id", name="one_per_borrower_and_case"),
    )
    for name, columns, condition in (
        ("conversations_waiting", ["tenant", "urgency", "id"], "state = 'waiting'"),
        ("conversations_due", ["due_at"], "due_at IS NOT NULL"),
    ):
        where = sa.text(condition)
        op.create_index(name, "conversations", columns, sqlite_where=where, postgresql_where=where)
    op.create_table(
        "verifications",
        sa.Column("digest", sa.String(length=64), primary_key=True),
        _text("tenant", 64),
        _text("conversation_id", 48),
        _instant("created_at", nullable=False),
        _instant("expires_at", nullable=False),
        _instant("used_at"),
    )
    op.create_index("verifications_by_conversation", "verifications", ["conversation_id", "created_at"])
    op.add_column("replies", _or_empty("conversation_id", 48))
