"""Room in the pages of the rows that change with each step, as much as their later versions take.

A row grows while it changes: an attempt by its end, a delivery by its provider's id. Where the room of 0021 ran out, a
quarter of the attempts and one in twenty changes of notifications went to another page, with an entry in every index.
Online: only pages that are new from now on keep the room.
"""

from __future__ import annotations

from gateway.storage.upgrade.online_migration import keep_room

revision = "0071"
down_revision = "0070"


def upgrade() -> None:
    keep_room({"notifications": 50, "deliveries": 46, "attempts": 39, "borrowers": 50})
