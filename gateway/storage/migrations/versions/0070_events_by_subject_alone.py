"""Events are found by their subject alone: equal entries of an index share one, which keeps a fifth of the bytes.

A subject's few events are sorted when they are read. Administrators' logs are long, and have an index in their order.
Online: indexes are made and dropped while the table is written to.
"""

from __future__ import annotations

from gateway.storage.upgrade.online_migration import add_index, drop_index

revision = "0070"
down_revision = "0060"


def upgrade() -> None:
    add_index("events_of_subject", "events", ["subject"])
    add_index("events_of_admins", "events", ["subject", "seq"], where="kind = 'admin_act'")
    drop_index("events_by_subject", "events")
