"""Addresses are found by tenant and digest, on whatever channel. Online: an index."""

from __future__ import annotations

from gateway.storage.upgrade.online_migration import add_index

revision = "0025"
down_revision = "0024"


def upgrade() -> None:
    add_index("addresses_by_digest", "addresses", ["tenant", "digest"])
