"""The borrower's in-app feed: a list, an unread count, and a stream that resumes where it broke off.

The borrower's app authenticates with a signed token in the Authorization header, never in the address: addresses
end up in logs.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Header, Path, Query, Request
from fastapi.sse import EventSourceResponse, ServerSentEvent
from starlette.responses import Response

from gateway.api.http import bodies, cursors
from gateway.api.http.authentication import Reader, reader
from gateway.api.http.openapi import body
from gateway.api.http.parts import GatewayClock, Uses
from gateway.api.http.problems import Problem
from gateway.api.requests.conversations import InboxReplyIn
from gateway.api.responses.inbox import InboxOut, InboxReplyOut, ReadAllOut, UnreadOut
from gateway.borrowers.inbox import Inbox, InboxItem
from gateway.borrowers.linked_messages import LinkedMessages
from gateway.core.codec import instant
from gateway.core.errors import Unavailable
from gateway.core.requests import FieldError
from gateway.core.security.signing import Signer
from gateway.observability.metrics import Metrics
from gateway.queue.subscriptions import FeedNotifier
from gateway.receiving import CallbackReceiver

router = APIRouter(prefix="/v1/inbox", tags=["inbox"])

Borrower = Annotated[Reader, Depends(reader)]
MessageId = Annotated[int, Path(ge=1, lt=2**53)]  # what a browser's numbers can hold

_POLL_SECONDS = 15.0  # a wake-up may be lost with Redis; then a message is late by this much
_RETRY_MS = 2000  # how soon a browser comes back; our choice
_READ_ALL_AT_ONCE = 200
_STREAMS_OF_ONE = 3  # our choice: a telephone, a tablet and a browser
_STREAMS = 400  # of one process; our choice: half of the connections that it accepts by default
_RETRY_SECONDS = "30"  # our choice: twice what a stream takes at most to notice that its client has gone


class OpenStreams:
    """The streams that this process serves, so that no borrower and no crowd takes all its connections."""

    def __init__(self) -> None:
        self._open: Counter[tuple[str, str]] = Counter()

    @contextmanager
    def place(self, who: Reader, metrics: Metrics) -> Iterator[None]:
        """Take a stream's place while the block runs. Raises Problem 429 where there is none."""
        key = (who.tenant, who.borrower_id)
        if self._open[key] >= _STREAMS_OF_ONE:
            detail = f"A borrower may have {_STREAMS_OF_ONE} streams open; close one."
            raise Problem("too_many_streams", detail, headers={"Retry-After": _RETRY_SECONDS})
        if self._open.total() >= _STREAMS:
            raise Problem("too_many_streams", headers={"Retry-After": _RETRY_SECONDS})
        self._open[key] += 1
        metrics.inbox_streams(self._open.total())
        try:
            yield
        finally:
            self._open[key] -= 1
            if not self._open[key]:
                del self._open[key]
            metrics.inbox_streams(self._open.total())


@router.get("", response_model=InboxOut)
async def list_inbox(
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
@router.post("/read-all", response_model=ReadAllOut)
async def read_inbox(
    who: Borrower, inbox: Uses[Inbox], receiver: Uses[CallbackReceiver], notifier: Uses[FeedNotifier]
) -> Response:
    """Mark every message read."""
    count = 0
    while unread := await inbox.unread(who.tenant, who.borrower_id, _READ_ALL_AT_ONCE):
        await asyncio.gather(*(receiver.mark_read(who.tenant, who.borrower_id, message) for message in unread))
        count += len(unread)
    await notifier.publish(who.tenant, who.borrower_id)
    return bodies.answer({"read": count, "unread_count": 0})


@router.post("/{message_id}/read", response_model=UnreadOut)
async def read_message(
    who: Borrower,
    message_id: MessageId,
    inbox: Uses[Inbox],
    receiver: Uses[CallbackReceiver],
    notifier: Uses[FeedNotifier],
) -> Response:
    """Mark a message read; the case system's route goes by it."""
    if not await receiver.mark_read(who.tenant, who.borrower_id, message_id):
        raise Problem("not_found")
    return await _changed(who, inbox, notifier)


@router.post("/{message_id}/reply", response_model=InboxReplyOut, openapi_extra=body(InboxReplyIn))
async def answer_message(
    request: Request,
    who: Borrower,
    message_id: MessageId,
    inbox: Uses[Inbox],
    messages: Uses[LinkedMessages],
    receiver: Uses[CallbackReceiver],
) -> Response:
    """Write back to the lender: a reply to this message, understood and recorded as every channel's are.

    It is in force when this answers. ``answer`` is to be shown to the borrower at once, where it isn't empty.
    """
    given = await bodies.read_model(request, InboxReplyIn)
    found = await inbox.message(who.tenant, who.borrower_id, message_id)
    if found is None:
        raise Problem("not_found")
    if not await messages.may_reply(who.tenant, who.borrower_id):
        raise Problem("too_many_replies", headers={"Retry-After": "3600"})
    delivery_id, channel = found
    # Of this message alone: another one's reply with the same id is another reply.
    reply_id = hashlib.sha256("\x1f".join((delivery_id, given.id)).encode()).hexdigest()
    answer = await receiver.reply_of_reader(delivery_id, channel, given.text, reply_id)
    if answer is None:
        raise Problem("not_found")
    return bodies.answer({"answer": answer}, headers={"Cache-Control": "no-store"})


@router.post("/{message_id}/archive", response_model=UnreadOut)
async def archive_message(
    who: Borrower, message_id: MessageId, inbox: Uses[Inbox], notifier: Uses[FeedNotifier]
) -> Response:
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


async def _stream_place(who: Borrower, streams: Uses[OpenStreams], metrics: Uses[Metrics]) -> AsyncIterator[None]:
    with streams.place(who, metrics):
        yield


@router.get("/stream", response_class=EventSourceResponse)
async def stream_inbox(
    request: Request,
    who: Borrower,
    position: Annotated[int, Depends(_resume_from)],
    _place: Annotated[None, Depends(_stream_place)],
    inbox: Uses[Inbox],
    notifier: Uses[FeedNotifier],
    signer: Uses[Signer],
    clock: Uses[GatewayClock],
) -> AsyncIterator[ServerSentEvent]:
    """Server-sent events: ``message`` for each new message, ``unread`` when only the count has changed.

    The stream ends when its token expires, and a borrower has at most three at a time.
    """
    told: int | None = None
    with notifier.listen(who.tenant, who.borrower_id) as bell:
        while True:
            try:
                items, unread = await inbox.after(who.tenant, who.borrower_id, position)
                await reader(request, signer, clock)  # after the read: what came later is not shown
            except (Unavailable, Problem):
                return  # with a valid token the app comes back, and finds another process or a healthy ledger
            for item in items:
                position = item.id
                yield _event("message", {"message": _view(item), "unread_count": unread}, position)
            if not items and unread != told:
                yield _event("unread", {"unread_count": unread}, position)
            told = unread
            if not items:
                await bell.wait(_POLL_SECONDS)


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
