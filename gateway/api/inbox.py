"""The borrower's in-app feed: a list, an unread count, and a stream that resumes where it broke off.

The borrower's app authenticates with a signed token in the Authorization header, never in the address: addresses
end up in logs.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Header, Path, Query, Request
from fastapi.sse import EventSourceResponse, ServerSentEvent
from starlette.responses import Response

from gateway.api.http import bodies, cursors
from gateway.api.http.authentication import Reader, reader
from gateway.api.http.parts import Uses
from gateway.api.http.problems import Problem
from gateway.borrowers.inbox import Inbox, InboxItem
from gateway.core.codec import instant
from gateway.core.ports import FieldError, Unavailable
from gateway.pipeline import Pipeline
from gateway.queue.subscriptions import FeedNotifier

router = APIRouter(prefix="/v1/inbox", tags=["inbox"])

Borrower = Annotated[Reader, Depends(reader)]
MessageId = Annotated[int, Path(ge=1, lt=2**53)]  # what a browser's numbers can hold

_POLL_SECONDS = 15.0  # a wake-up may be lost with Redis; then a message is late by this much
_RETRY_MS = 2000  # how soon a browser comes back; our choice
_READ_ALL_AT_ONCE = 200


@router.get("")
async def list_feed(
    request: Request,
    who: Borrower,
    inbox: Uses[Inbox],
    archived: bool = False,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
    cursor: Annotated[str | None, Query(max_length=100)] = None,
) -> Response:
    """Messages, newest first, and the number of unread ones."""
    position = cursors.decode(cursor, r"[0-9]{1,18}")
    before = None if position is None else int(position)
    items, unread = await inbox.page(who.tenant, who.borrower_id, archived=archived, before=before, limit=limit + 1)
    following = cursors.encode(items[limit - 1].id) if len(items) > limit else None
    return bodies.answer(
        {"items": [_view(item) for item in items[:limit]], "unread_count": unread, "next_cursor": following},
        headers={**cursors.link(request, following), "Cache-Control": "no-store"},
    )


# Before "/{message_id}/…", which would take it for a message.
@router.post("/read-all")
async def read_all(
    who: Borrower, inbox: Uses[Inbox], pipeline: Uses[Pipeline], notifier: Uses[FeedNotifier]
) -> Response:
    """Mark every message read."""
    count = 0
    while unread := await inbox.unread(who.tenant, who.borrower_id, _READ_ALL_AT_ONCE):
        await asyncio.gather(*(pipeline.mark_read(who.tenant, who.borrower_id, message) for message in unread))
        count += len(unread)
    await notifier.publish(who.tenant, who.borrower_id)
    return bodies.answer({"read": count, "unread_count": 0})


@router.post("/{message_id}/read")
async def read(
    who: Borrower,
    message_id: MessageId,
    inbox: Uses[Inbox],
    pipeline: Uses[Pipeline],
    notifier: Uses[FeedNotifier],
) -> Response:
    """Mark a message read; the case system's route goes by it."""
    if not await pipeline.mark_read(who.tenant, who.borrower_id, message_id):
        raise Problem("not_found")
    return await _changed(who, inbox, notifier)


@router.post("/{message_id}/archive")
async def archive(who: Borrower, message_id: MessageId, inbox: Uses[Inbox], notifier: Uses[FeedNotifier]) -> Response:
    """Put a message away."""
    if not await inbox.archive(who.tenant, who.borrower_id, message_id):
        raise Problem("not_found")
    return await _changed(who, inbox, notifier)


async def _changed(who: Reader, inbox: Inbox, notifier: FeedNotifier) -> Response:
    await notifier.publish(who.tenant, who.borrower_id)  # the borrower's other tabs and devices
    return bodies.answer({"unread_count": await inbox.unread_count(who.tenant, who.borrower_id)})


async def _resume_from(who: Borrower, inbox: Uses[Inbox], last_event_id: Annotated[str | None, Header()] = None) -> int:
    """Where the stream goes on: after the last event that the caller saw, or, for a new caller, from now."""
    if last_event_id is None or last_event_id == "":
        return await inbox.last(who.tenant, who.borrower_id)
    if not (last_event_id.isascii() and last_event_id.isdigit() and len(last_event_id) <= 18):
        error = FieldError("/header/last-event-id", "must be the id of an event of this stream")
        raise Problem("invalid_request", errors=[error])
    return int(last_event_id)


@router.get("/stream", response_class=EventSourceResponse)
async def stream(
    who: Borrower, position: Annotated[int, Depends(_resume_from)], inbox: Uses[Inbox], notifier: Uses[FeedNotifier]
) -> AsyncIterator[ServerSentEvent]:
    """Server-sent events: ``message`` for each new message, ``unread`` when only the count has changed."""
    told: int | None = None
    with notifier.listen(who.tenant, who.borrower_id) as bell:
        while True:
            try:
                items, unread = await inbox.after(who.tenant, who.borrower_id, position)
            except Unavailable:
                return  # the caller comes back by itself, and finds another process or a healthy ledger
            for item in items:
                position = item.id
                yield _event("message", {"message": _view(item), "unread_count": unread}, position)
            if not items and unread != told:
                yield _event("unread", {"unread_count": unread}, position)
            told = unread
            if not items:
                await bell.heard(_POLL_SECONDS)


def _event(name: str, data: dict[str, Any], position: int) -> ServerSentEvent:
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"))
    return ServerSentEvent(raw_data=text, event=name, id=str(position), retry=_RETRY_MS)


def _view(item: InboxItem) -> dict[str, Any]:
    return {
        "id": item.id,
        "title": item.title,
        "text": item.text,
        "at": instant(item.at),
        "read_at": instant(item.read_at),
        "archived_at": instant(item.archived_at),
    }
