"""Subjects that fit what the API allows: 9 characters, a tenant of 64, a slash and a borrower's id of 128.

Online: PostgreSQL makes a varchar longer in its catalogue alone. SQLite bounds no text.
"""

from __future__ import annotations

from gateway.storage.upgrade.online_migration import widen_text

revision = "0016"
down_revision = "0015"


def upgrade() -> None:
    for table, column in (
        ("events", "subject"),
        ("archives", "first"),
        ("archives", "last"),
        ("leaving", "subject"),
        ("retention_progress", "through"),
        ("webhook_messages", "subject"),
    ):
        widen_text(table, column, 255)
