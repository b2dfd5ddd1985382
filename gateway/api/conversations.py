"""Conversations with borrowers: the queue, and what a person does in it."""

from __future__ import annotations

from collections.abc import Awaitable
from datetime import UTC, datetime
from typing import Annotated, Any, TypeVar

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from gateway.api.http import bodies, cursors
from gateway.api.http.authentication import Managing, Reading, ReadingWords
from gateway.api.http.openapi import body
from gateway.api.http.parts import GatewayClock, Uses
from gateway.api.http.problems import Problem
from gateway.api.requests.conversations import (
    AssistantReportOut,
    ConversationAnswerIn,
    ConversationAnswerOut,
    ConversationCloseIn,
    ConversationListOut,
    ConversationOut,
    ConversationWithEntriesOut,
)
from gateway.api.requests.fields import Identifier
from gateway.conversations.conversation import ConversationConflict, NoSuchConversation, conversation_view
from gateway.conversations.people import AnswerRefused, ConversationDesk, NoOrigin, PersonAnswer
from gateway.conversations.reads import ConversationReads
from gateway.conversations.report import AssistantReports
from gateway.conversations.store import ConversationStore, Position, position
from gateway.core.codec import instant
from gateway.core.conversations import ConversationState
from gateway.core.requests import FieldError

router = APIRouter(prefix="/v1/conversations", tags=["conversations"])
_CONFLICT: dict[int | str, Any] = {409: {"description": ""}}
_CURSOR = r"-?[0-3]\|[0-9]{1,13}\|cnv_[0-9a-f]{32}"
T = TypeVar("T")


@router.get("", response_model=ConversationListOut)
async def list_conversations(
    request: Request,
    who: ReadingWords,
    store: Uses[ConversationStore],
    clock: Uses[GatewayClock],
    state: ConversationState = ConversationState.WAITING,
    borrower_id: Identifier | None = None,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
    cursor: Annotated[str | None, Query(max_length=120)] = None,
) -> Response:
    """What waits for a person, the most urgent first, then by the end of its clock; or those of another state."""
    after = _position(cursors.decode(cursor, _CURSOR))
    found = await store.queue(who.tenant, state, limit + 1, after, borrower_id or "")
    following = cursors.encode(_written(position(found[limit - 1]))) if len(found) > limit else None
    shown = [conversation_view(each, clock()) for each in found[:limit]]
    return bodies.answer({"conversations": shown, "next_cursor": following}, headers=cursors.link(request, following))


@router.get("/report", response_model=AssistantReportOut)
async def compare_assistant(who: Reading, reports: Uses[AssistantReports]) -> Response:
    """The cases that the assistant answers against those that are left to persons, with 95 % intervals."""
    return bodies.answer({"lines": await reports.of(who.tenant)})


@router.get("/{item}", response_model=ConversationWithEntriesOut)
async def get_conversation(
    who: ReadingWords,
    item: Identifier,
    store: Uses[ConversationStore],
    reads: Uses[ConversationReads],
    clock: Uses[GatewayClock],
) -> Response:
    """A conversation with everything that was said in it."""
    found = await _refusable(store.find(who.tenant, item))
    return bodies.answer({**conversation_view(found, clock()), "entries": await reads.entries(found)})


@router.post("/{item}/claim", response_model=ConversationOut, responses=_CONFLICT)
async def claim_conversation(
    who: Managing, item: Identifier, desk: Uses[ConversationDesk], clock: Uses[GatewayClock]
) -> Response:
    """Keep others, and the assistant, from answering for a quarter of an hour."""
    found = await _refusable(desk.claim(who.tenant, item, who.actor))
    return bodies.answer(conversation_view(found, clock()))


@router.post("/{item}/release", response_model=ConversationOut, responses=_CONFLICT)
async def release_conversation(
    who: Managing, item: Identifier, desk: Uses[ConversationDesk], clock: Uses[GatewayClock]
) -> Response:
    """Let others answer."""
    found = await _refusable(desk.release(who.tenant, item, who.actor))
    return bodies.answer(conversation_view(found, clock()))


@router.post("/{item}/hand-back", response_model=ConversationOut, responses=_CONFLICT)
async def hand_back_conversation(
    who: Managing, item: Identifier, desk: Uses[ConversationDesk], clock: Uses[GatewayClock]
) -> Response:
    """Nothing waits for a person any more, and the assistant may answer the next reply."""
    found = await _refusable(desk.hand_back(who.tenant, item, who.actor))
    return bodies.answer(conversation_view(found, clock()))


@router.post(
    "/{item}/close", response_model=ConversationOut, responses=_CONFLICT, openapi_extra=body(ConversationCloseIn)
)
async def close_conversation(
    request: Request, who: Managing, item: Identifier, desk: Uses[ConversationDesk], clock: Uses[GatewayClock]
) -> Response:
    """End it with an outcome. Another reply begins it anew."""
    given = await bodies.read_model(request, ConversationCloseIn)
    found = await _refusable(desk.close(who.tenant, item, who.actor, given.outcome, given.reason))
    return bodies.answer(conversation_view(found, clock()))


@router.post(
    "/{item}/answer",
    response_model=ConversationAnswerOut,
    responses=_CONFLICT,
    openapi_extra=body(ConversationAnswerIn),
)
async def answer_conversation(
    request: Request, who: Managing, item: Identifier, desk: Uses[ConversationDesk], clock: Uses[GatewayClock]
) -> Response:
    """Send a person's answer where the borrower wrote from; the policy and its caps hold as for every contact."""
    given = await bodies.read_model(request, ConversationAnswerIn)
    answer = PersonAnswer(given.revision, given.text.strip(), given.template or "")
    conversation, result = await _refusable(desk.answer(who.tenant, item, who.actor, answer))
    return bodies.answer(
        {
            "conversation": conversation_view(conversation, clock()),
            "notification_id": result.id,
            "state": result.state,
            "reason": result.reason,
            "defer_until": instant(result.defer_until),
        }
    )


async def _refusable(act: Awaitable[T]) -> T:
    try:
        return await act
    except NoSuchConversation:
        raise Problem("not_found") from None
    except ConversationConflict as conflict:
        raise Problem(conflict.refusal) from None
    except NoOrigin:
        raise Problem("nobody_to_answer") from None
    except AnswerRefused as refused:
        raise _refused(refused) from None


def _refused(refused: AnswerRefused) -> Problem:
    if refused.verdict is not None:
        return Problem("not_permitted", f"The reason is {refused.verdict.reason}.")
    if refused.rejected is not None:
        return Problem(refused.rejected.reason, errors=refused.rejected.errors)
    errors = [FieldError("/text", f"{each.why} {each.remedy}") for each in refused.findings if each.level == "error"]
    return Problem("lint_errors", errors=errors)


def _written(place: Position) -> str:
    urgency, since, identifier = place
    return f"{urgency}|{int(since.timestamp() * 1000)}|{identifier}"


def _position(text: str | None) -> Position | None:
    if text is None:
        return None
    urgency, since, identifier = text.split("|")
    return (int(urgency), datetime.fromtimestamp(int(since) / 1000, UTC), identifier)
