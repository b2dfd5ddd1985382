"""The ledger's table of conversations; gateway/conversations has what they mean."""

from __future__ import annotations

from sqlalchemy import Column, Index, Integer, String, Table, UniqueConstraint, text

from gateway.storage.tables.columns import Instant, metadata

_WAITING, _DUE = text("state = 'waiting'"), text("due_at IS NOT NULL")

# One for each borrower and case that a borrower has replied about. Words are in ``replies`` and in the bodies of the
# notifications that answered, where retention and erasure find them; nothing here or in the events repeats them.
# The events are the borrower's, in the borrower's chain.
conversations = Table(
    "conversations",
    metadata,
    Column("id", String(48), primary_key=True),
    Column("tenant", String(64), nullable=False),
    Column("borrower_id", String(128), nullable=False),
    Column("case_id", String(128), nullable=False),
    Column("state", String(16), nullable=False),
    Column("handler", String(16), nullable=False),  # who answers next: assistant or person
    Column("channel", String(32), nullable=False),  # of the latest reply
    Column("reply_id", String(48), nullable=False),  # the latest
    Column("replied_at", Instant, nullable=False),
    Column("intent", String(16), nullable=False),
    Column("urgency", Integer, nullable=False, server_default="0"),  # the most urgent of what waits
    Column("review_by", Instant),
    Column("due_at", Instant),  # the assistant may answer; NULL: it has nothing to answer
    Column("holder", String(128), nullable=False, server_default=""),  # who has claimed it, as an actor
    Column("held_until", Instant),
    Column("answers", Integer, nullable=False, server_default="0"),  # of the assistant, since a person last wrote
    Column("asked", String(16), nullable=False, server_default=""),  # the intent that the borrower is to confirm
    Column("asked_reply", String(48), nullable=False, server_default=""),  # where its date and amount stand
    Column("verified_until", Instant),
    Column("arm", String(16), nullable=False, server_default=""),  # assistant or holdout, where it was decided
    Column("revision", Integer, nullable=False, server_default="0"),  # moves on with every change
    Column("opened_at", Instant, nullable=False),
    Column("closed_at", Instant),
    Column("outcome", String(40), nullable=False, server_default=""),
    UniqueConstraint("tenant", "borrower_id", "case_id", name="one_per_borrower_and_case"),
    Index("conversations_waiting", "tenant", "urgency", "id", sqlite_where=_WAITING, postgresql_where=_WAITING),
    Index("conversations_due", "due_at", sqlite_where=_DUE, postgresql_where=_DUE),
)

# One-time links, and codes beside them, by which borrowers show that it is them; known by their digests alone.
verifications = Table(
    "verifications",
    metadata,
    Column("digest", String(64), primary_key=True),
    Column("tenant", String(64), nullable=False),
    Column("conversation_id", String(48), nullable=False),
    Column("created_at", Instant, nullable=False),
    Column("expires_at", Instant, nullable=False),
    Column("used_at", Instant),
    Column("code_digest", String(64), nullable=False, server_default=""),  # keyed; "": a link alone
    Column("reply_id", String(48), nullable=False, server_default=""),  # which is answered once they are known
    Index("verifications_by_conversation", "conversation_id", "created_at"),
)
