"""A reply's conversation: one for each borrower and case, opened or taken up again in the reply's own transaction."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import Connection

from gateway.core.conversations import ConversationState, Handler, Turn, after_reply
from gateway.core.understanding import Understanding, Urgency
from gateway.storage.bulk import inserting, updating
from gateway.storage.statements import Rows, Statement, StatementTemplate
from gateway.storage.tables.columns import instant_of
from gateway.storage.tables.conversations import conversations

ConversationKey = tuple[str, str, str]  # tenant, borrower, case


class _ConversationRow(NamedTuple):
    """The columns that a reply changes or keeps, as they are stored."""

    tenant: str
    borrower_id: str
    case_id: str
    id: str
    revision: int
    state: str
    handler: str
    urgency: int
    review_by: int | None
    due_at: int | None
    answers: int
    asked: str
    closed_at: int | None
    outcome: str


_LOCKED = StatementTemplate(
    lambda sql: (
        f"SELECT {', '.join(_ConversationRow._fields)} FROM conversations"
        f" WHERE {sql.matching(_ConversationRow._fields[:3], 'keys')} ORDER BY id {sql.lock()}"
    )
)


class TakenUpConversations:
    """The conversations of some replies, each of another borrower, whose row is locked, as for every change."""

    @staticmethod
    def statement(connection: Connection, keys: Iterable[ConversationKey]) -> Statement:
        """The statement that locks those that there are."""
        return _LOCKED.of(connection, keys=sorted(set(keys)))

    def __init__(self, rows: Rows) -> None:
        """``rows`` are the answer to ``statement``."""
        self._known = {(row[0], row[1], row[2]): _ConversationRow._make(row) for row in rows}
        self._opened: list[dict[str, Any]] = []
        self._changed: list[dict[str, Any]] = []

    def take_up(self, key: ConversationKey, reply: dict[str, Any], said: Understanding, now: datetime) -> str:
        """Have the conversation wait for what its newest reply needs; its id.

        It is opened where there is none, with the ``conversation_id`` of the reply.
        """
        row = self._known.get(key)
        latest = {"channel": reply["channel"], "reply_id": reply["id"], "replied_at": now, "intent": reply["intent"]}
        if row is None:
            tenant, borrower_id, case_id = key
            new = {"id": reply["conversation_id"], "tenant": tenant, "borrower_id": borrower_id, "case_id": case_id}
            self._opened.append(
                {**new, **_values_of(after_reply(Turn(), said, now)), **latest, "opened_at": now, "revision": 1}
            )
            return str(reply["conversation_id"])
        before = _turn_of(row)
        after = after_reply(before, said, now)
        again = before.state is ConversationState.CLOSED and after.state is not ConversationState.CLOSED
        closed_at = None if again or row.closed_at is None else instant_of(row.closed_at)
        standing = {"revision": row.revision + 1, "closed_at": closed_at, "outcome": "" if again else row.outcome}
        self._changed.append({"id": row.id, **_values_of(after), **latest, **standing})
        return row.id

    def writes(self, connection: Connection) -> Sequence[Statement]:
        """The statements that write what was opened and taken up."""
        return [
            *inserting(connection, conversations, self._opened),
            *updating(connection, conversations, ("id",), self._changed),
        ]


def _turn_of(row: _ConversationRow) -> Turn:
    """The part of a row that a reply changes."""
    return Turn(
        ConversationState(row.state),
        Handler(row.handler),
        Urgency(row.urgency),
        None if row.review_by is None else instant_of(row.review_by),
        None if row.due_at is None else instant_of(row.due_at),
        row.answers,
        row.asked,
    )


def _values_of(turn: Turn) -> dict[str, Any]:
    """The columns of a turn."""
    return {
        "state": turn.state,
        "handler": turn.handler,
        "urgency": int(turn.urgency),
        "review_by": turn.review_by,
        "due_at": turn.due_at,
        "answers": turn.answers,
        "asked": turn.asked,
    }
