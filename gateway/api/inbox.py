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
from gateway.api.http.context import gateway_of
from gateway.api.http.problems import Problem
from gateway.borrowers.inbox import InboxItem
from gateway.core.codec import instant
from gateway.core.errors import Unavailable
from gateway.core.requests import FieldError

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
    archived: bool = False,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
    cursor: Annotated[str | None, Query(max_length=100)] = None,
) -> Response:
    """Messages, newest first, and the number of unread ones."""
    position = cursors.decode(cursor, r"[0-9]{1,18}")
    before = None if position is None else int(position)
    inbox = gateway_of(request).inbox
    items, unread = await inbox.page(who.tenant, who.borrower_id, archived=archived, before=before, limit=limit + 1)
    following = cursors.encode(items[limit - 1].id) if len(items) > limit else None
    return bodies.answer(
        {"items": [_view(item) for item in items[:limit]], "unread_count": unread, "next_cursor": following},
        headers={**cursors.link(request, following), "Cache-Control": "no-store"},
    )


# Before "/{message_id}/…", which would take it for a message.
@router.post("/read-all")
async def read_all(request: Request, who: Borrower) -> Response:
    """Mark every message read."""
    gateway = gateway_of(request)
    count = 0
    while unread := await gateway.inbox.unread(who.tenant, who.borrower_id, _READ_ALL_AT_ONCE):
        await asyncio.gather(*(gateway.pipeline.mark_read(who.tenant, who.borrower_id, message) for message in unread))
        count += len(unread)
    await gateway.wakeups.publish(who.tenant, who.borrower_id)
    return bodies.answer({"read": count, "unread_count": 0})


@router.post("/{message_id}/read")
async def read(request: Request, who: Borrower, message_id: MessageId) -> Response:
    """Mark a message read; the case system's route goes by it."""
    gateway = gateway_of(request)
    if not await gateway.pipeline.mark_read(who.tenant, who.borrower_id, message_id):
        raise Problem("not_found")
    return await _changed(request, who)


@router.post("/{message_id}/archive")
async def archive(request: Request, who: Borrower, message_id: MessageId) -> Response:
    """Put a message away."""
    if not await gateway_of(request).inbox.archive(who.tenant, who.borrower_id, message_id):
        raise Problem("not_found")
    return await _changed(request, who)


async def _changed(request: Request, who: Reader) -> Response:
    gateway = gateway_of(request)
    await gateway.wakeups.publish(who.tenant, who.borrower_id)  # the borrower's other tabs and devices
    return bodies.answer({"unread_count": await gateway.inbox.unread_count(who.tenant, who.borrower_id)})


async def _resume_from(request: Request, who: Borrower, last_event_id: Annotated[str | None, Header()] = None) -> int:
    """Where the stream goes on: after the last event that the caller saw, or, for a new caller, from now."""
    if last_event_id is None or last_event_id == "":
        return await gateway_of(request).inbox.last(who.tenant, who.borrower_id)
    if not (last_event_id.isascii() and last_event_id.isdigit() and len(last_event_id) <= 18):
        error = FieldError("/header/last-event-id", "must be the id of an event of this stream")
        raise Problem("invalid_request", errors=[error])
    return int(last_event_id)


@router.get("/stream", response_class=EventSourceResponse)
async def stream(
    request: Request, who: Borrower, position: Annotated[int, Depends(_resume_from)]
) -> AsyncIterator[ServerSentEvent]:
    """Server-sent events: ``message`` for each new message, ``unread`` when only the count has changed."""
    gateway = gateway_of(request)
    told: int | None = None
    with gateway.wakeups.listen(who.tenant, who.borrower_id) as bell:
        while True:
            try:
                items, unread = await gateway.inbox.after(who.tenant, who.borrower_id, position)
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
