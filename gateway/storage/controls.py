"""The switches in force (pauses and pins), as statements that a transaction of the path runs.

Hand-overs hold an advisory lock in shared mode; setting or ending a switch takes it in exclusive mode
(gateway/operations/controls.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection

from gateway.core.controls import Switch, SwitchKind, SwitchScope
from gateway.storage.statements import Rows, Statement, StatementTemplate
from gateway.storage.tables.columns import instant_of

SWITCH_LOCK = 0x5317C4E5  # any number that nothing else in this database uses for an advisory lock
SWITCH_COLUMNS = ("id", "kind", "scope", "value", "tenant", "reason", "actor", "since", "until")
_HOLD = StatementTemplate(lambda sql: f"SELECT pg_advisory_xact_lock_shared({SWITCH_LOCK})")
IN_FORCE = StatementTemplate(
    lambda sql: (
        f"SELECT {', '.join(SWITCH_COLUMNS)} FROM switches WHERE ended_at IS NULL"
        f" AND (until IS NULL OR until > {sql.value('now')}) ORDER BY id"
    )
)


def ask_in_force(connection: Connection, now: datetime) -> list[Statement]:
    """The statements that read the switches of now, and keep them from changing until the transaction ends."""
    held = [_HOLD.of(connection)] if connection.dialect.name == "postgresql" else []
    return [*held, IN_FORCE.of(connection, now=now)]


def switches_from(answers: Sequence[Rows]) -> list[Switch]:
    """The switches, from the rows of ``ask_in_force``."""
    return [
        switch_of(*plain, instant_of(since), None if until is None else instant_of(until))
        for *plain, since, until in answers[-1]
    ]


def switch_of(key: str, kind: str, scope: str, *rest: Any) -> Switch:
    return Switch(key, SwitchKind(kind), SwitchScope(scope), *rest)
