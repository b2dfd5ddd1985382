"""Notifications: accept one or many, look at them, cancel one."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Annotated, Any, TypeVar

import msgspec
from fastapi import APIRouter, Query, Request
from pydantic import AwareDatetime, BeforeValidator
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.routing import Route

from gateway.api.http import bodies, cursors
from gateway.api.http.authentication import Reading, ReadingMessages, Sending, caller
from gateway.api.http.bodies import JsonLimits
from gateway.api.http.disconnects import cancel_on_disconnect
from gateway.api.http.openapi import answer_header, body, header
from gateway.api.http.parts import HttpSettings, Uses, part
from gateway.api.http.problems import ErrorBudget, Problem, refused, unavailable
from gateway.api.http.quotas import QuotaGuard
from gateway.api.requests.fields import rfc3339
from gateway.api.requests.notifications import LONGEST_KEY, MOST_IN_BATCH, BatchIn, BatchItemIn, NotificationIn
from gateway.api.requests.partial import further_errors
from gateway.api.responses.notifications import (
    AcceptedOut,
    BatchOut,
    CancelledOut,
    NotificationListOut,
    NotificationOut,
    SentMessagesOut,
)
from gateway.borrowers.store import BorrowerStore
from gateway.core.codec import instant
from gateway.core.errors import Unavailable
from gateway.core.requests import AcceptResult, FieldError, NotificationRequest, PauseInfo, RejectedRequest
from gateway.core.states import State
from gateway.dry_run import Forecaster
from gateway.identity.keys import Scope
from gateway.observability.metrics import AcceptOperation, Metrics, RefusedReason
from gateway.pipeline import Pipeline
from gateway.storage.reads import Filter, Reads

router = APIRouter(prefix="/v1/notifications", tags=["notifications"])

N = TypeVar("N", bound=NotificationIn)

_ID = r"ntf_[0-9a-f]{32}"
_YIELD_EVERY = 10  # items of a batch after which other requests get a turn, as in the pipeline; 1 ms at most
# A batch's header key is followed by ":" and up to three digits, and the whole has to fit the column.
_LONGEST_BATCH_KEY = LONGEST_KEY - len(f":{MOST_IN_BATCH - 1}")
_KEY_HEADER = header("Idempotency-Key", "At most 255 visible ASCII characters. The same key and body: same answer.")


# Of one notification, alone or in a batch. Our choice: a usual one has 0.8 kB and 25 values.
ITEM_LIMITS = JsonLimits(16_384, 500)


# These two take the bare request: FastAPI's own way to a body costs more than all the rest of accepting.
@router.post(
    "",
    response_model=AcceptedOut,
    status_code=202,
    responses={
        200: {
            "model": AcceptedOut,
            "description": "Stored before, under the same idempotency key.",
            **answer_header("Idempotent-Replayed", "true"),
        },
        202: answer_header("Location", "Where its state is."),
    },
    openapi_extra={**body(NotificationIn), **_KEY_HEADER},
)
async def create_notification(request: Request) -> Response:
    """Take a reminder: 202 when it is stored, 200 when this idempotency key was answered before."""
    with _Counted(request, AcceptOperation.SINGLE):
        who = await caller(request, Scope.SEND, notifications=1)
        key = _idempotency_key(request, LONGEST_KEY)
        raw = await bodies.read_json(request, ITEM_LIMITS)
        item = _validated(request, who.tenant, NotificationIn, raw)
        with cancel_on_disconnect(request):
            [result] = await part(request, Pipeline).accept(who.tenant, [item.incoming(key, raw)], who.actor)
    if isinstance(result, RejectedRequest):
        raise refused(result)  # counted by the pipeline
    if result.outcome == "conflict":
        raise _reused()
    here = _here(request)
    if result.outcome == "replayed":
        await part(request, QuotaGuard).give_back(who.tenant, who.key.id, 1)
        return bodies.answer(_view(result, here), 200, {"Idempotent-Replayed": "true"})
    return bodies.answer(_view(result, here), 202, {"Location": f"{router.prefix}/{result.id}"})


@router.post("/batch", response_model=BatchOut, status_code=202, openapi_extra={**body(BatchIn), **_KEY_HEADER})
async def create_notification_batch(request: Request) -> Response:
    """Take up to 1,000 reminders; one result for each, in order."""
    with _Counted(request, AcceptOperation.BATCH):
        who = await caller(request, Scope.SEND)
        key = _idempotency_key(request, _LONGEST_BATCH_KEY)
        items = _items(await bodies.read_batch(request, ITEM_LIMITS))
        await part(request, QuotaGuard).charge_batch(request, who.tenant, who.key.id, len(items))
        budget = ErrorBudget()
        checked = []
        for number, item in enumerate(items):
            checked.append(_checked(request, who.tenant, number, item, key, budget))
            if number % _YIELD_EVERY == 0:
                await asyncio.sleep(0)
        good = [each for each in checked if isinstance(each, NotificationRequest)]
        for kind, times in Counter(each.kind for each in checked if isinstance(each, Problem)).items():
            part(request, Metrics).refused(kind, times)
        with cancel_on_disconnect(request):
            accepted = iter(await part(request, Pipeline).accept(who.tenant, good, who.actor) if good else ())
    here = _here(request)
    results = []
    for number, each in enumerate(checked):
        results.append(_result(number, each if isinstance(each, Problem) else next(accepted), budget, here))
        if number % _YIELD_EVERY == 0:
            await asyncio.sleep(0)
    statuses = [each["status"] for each in results]
    await part(request, QuotaGuard).give_back(who.tenant, who.key.id, statuses.count(200))
    return bodies.answer(
        {
            "results": results,
            "accepted": statuses.count(202),
            "replayed": statuses.count(200),
            "rejected": len(statuses) - statuses.count(202) - statuses.count(200),
        },
        202,
    )


FAST = (
    Route(router.prefix, create_notification, methods=["POST"]),
    Route(f"{router.prefix}/batch", create_notification_batch, methods=["POST"]),
)


class _Counted:
    """Times the request, and counts what is refused at the door; what the accept stage refuses, the pipeline counts."""

    __slots__ = ("_began", "_metrics", "_operation")

    def __init__(self, request: Request, operation: AcceptOperation) -> None:
        self._metrics, self._operation = part(request, Metrics), operation

    def __enter__(self) -> None:
        self._began = time.monotonic()

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        self._metrics.answered(self._operation, time.monotonic() - self._began)
        if isinstance(error, Problem):
            self._metrics.refused(error.kind)
        elif isinstance(error, Unavailable):
            self._metrics.refused(unavailable().kind)
        elif isinstance(error, Exception) and not isinstance(error, ClientDisconnect):  # which is the client's doing
            self._metrics.refused(RefusedReason.INTERNAL)


def _idempotency_key(request: Request, longest: int) -> str:
    key = request.headers.get("idempotency-key", "")
    if len(key) > longest or not all("!" <= character <= "~" for character in key):
        detail = f"must be 1 to {longest} visible ASCII characters"
        raise Problem("invalid_request", errors=[FieldError("/header/idempotency-key", detail)])
    return key


def _items(body: bytes) -> Sequence[msgspec.Raw]:
    """The items of a batch, each still bytes. Raises Problem: 400, 422."""
    members = bodies.members(body)
    items = bodies.items(members["notifications"]) if "notifications" in members else None
    if items is None:
        error = FieldError("/notifications", "must be a list of notifications")
    elif len(members) > 1:
        error = FieldError("", "must have the one field notifications")
    elif not 1 <= len(items) <= MOST_IN_BATCH:
        error = FieldError("/notifications", f"must have 1 to {MOST_IN_BATCH} items; split it into several batches")
    else:
        return items
    raise Problem("invalid_request", errors=[error])


def _validated(
    request: Request, tenant: str, model: type[N], raw: Any, at: str = "", budget: ErrorBudget | None = None
) -> N:
    """The notification at the pointer ``at``. Raises Problem 422 with all that is wrong: its shape and its content."""
    budget = budget or ErrorBudget()
    try:
        return bodies.validated(model, raw, at, budget)
    except Problem as problem:
        if budget.left:
            inside = [FieldError(each.pointer.removeprefix(at), each.detail) for each in problem.errors]
            further = further_errors(raw, inside, lambda given: part(request, Forecaster).errors(tenant, given))
            problem.errors += tuple(FieldError(at + each.pointer, each.detail) for each in further[: budget.left])
            budget.left -= min(len(further), budget.left)
        raise


def _checked(
    request: Request, tenant: str, number: int, raw: msgspec.Raw, header_key: str, budget: ErrorBudget
) -> NotificationRequest | Problem:
    at = f"/notifications/{number}"
    try:
        value = bodies.decoded(raw, ITEM_LIMITS, at)
        item = _validated(request, tenant, BatchItemIn, value, at, budget)
    except Problem as problem:
        if problem.kind == "malformed_json":
            raise  # a text that is not UTF-8: then the body is no JSON
        return problem.with_traceback(None)  # which would keep the item and what was made of it
    key = item.idempotency_key or (f"{header_key}:{number}" if header_key else "")
    # The key is not part of the body: the same item sent alone, with its key in the header, is the same request.
    return item.incoming(key, {name: member for name, member in value.items() if name != "idempotency_key"})


def _result(
    number: int, result: AcceptResult | RejectedRequest | Problem, budget: ErrorBudget, here: str
) -> dict[str, Any]:
    if isinstance(result, RejectedRequest):
        prefix = f"/notifications/{number}"
        moved = tuple(FieldError(prefix + each.pointer, each.detail) for each in result.errors)
        result = budget.spend(refused(RejectedRequest(result.reason, moved)), len(moved))
    elif isinstance(result, AcceptResult) and result.outcome == "conflict":
        result = _reused()
    if isinstance(result, Problem):
        return {"index": number, **result.document()}
    return {"index": number, "status": 200 if result.outcome == "replayed" else 202, **_view(result, here)}


def _reused() -> Problem:
    return Problem("idempotency_key_reused")


def _here(request: Request) -> str:
    """The path of this collection, as clients see it."""
    return part(request, HttpSettings).path_prefix + router.prefix


def _view(accepted: AcceptResult, collection: str) -> dict[str, Any]:
    here = f"{collection}/{accepted.id}"
    return {
        "id": accepted.id,
        "state": accepted.state,
        "reason": accepted.reason,
        "defer_until": instant(accepted.defer_until),
        "duplicate_of": accepted.duplicate_of,
        "paused": _pause_view(accepted.paused),
        "links": {"self": here, "cancel": f"{here}/cancel"},
    }


def _pause_view(held: PauseInfo | None) -> dict[str, Any] | None:
    if held is None:
        return None
    pause = held.switch
    named = {"scope": pause.scope, "value": pause.value, "reason": pause.reason, "until": instant(pause.until)}
    return {**named, "channels": held.channels}


@router.get("", response_model=NotificationListOut)
async def list_notifications(
    request: Request,
    who: Reading,
    reads: Uses[Reads],
    borrower_id: Annotated[str | None, Query(max_length=128)] = None,
    case_id: Annotated[str | None, Query(max_length=128)] = None,
    state: State | None = None,
    template: Annotated[str | None, Query(max_length=64)] = None,
    id_prefix: Annotated[str | None, Query(pattern="^ntf_[0-9a-f]{1,32}$", description="How the id begins.")] = None,
    since: Annotated[
        AwareDatetime | None, BeforeValidator(rfc3339), Query(alias="from", description="Accepted at or after.")
    ] = None,
    until: Annotated[
        AwareDatetime | None, BeforeValidator(rfc3339), Query(alias="to", description="Accepted before.")
    ] = None,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
    cursor: Annotated[str | None, Query(max_length=100)] = None,
) -> Response:
    """Notifications, newest first."""
    which = Filter(borrower_id, case_id, state, template, _in_range(since, "from"), _in_range(until, "to"), id_prefix)
    if any("\x00" in value for value in (borrower_id, case_id, template) if value):
        return bodies.answer({"notifications": [], "next_cursor": None})  # PostgreSQL has no such text, so none match
    before = cursors.decode(cursor, _ID)
    found = await reads.notifications(who.tenant, which, limit + 1, before)
    following = cursors.encode(found[limit - 1]["id"]) if len(found) > limit else None
    return bodies.answer(
        {"notifications": found[:limit], "next_cursor": following}, headers=cursors.link(request, following)
    )


def _in_range(value: datetime | None, name: str) -> datetime | None:
    # The very first and last days of the calendar can't be moved between zones.
    if value is not None and not 1970 <= value.year <= 9000:
        error = FieldError(f"/query/{name}", "must be between the years 1970 and 9000")
        raise Problem("invalid_request", errors=[error])
    return value


@router.get("/{notification_id}", response_model=NotificationOut)
async def get_notification(who: Reading, notification_id: str, reads: Uses[Reads]) -> Response:
    """State, verdict with every rule behind it, deliveries, attempts and events of one notification."""
    found: Mapping[str, Any] | None = None
    if "\x00" not in notification_id:
        found = await reads.notification(who.tenant, notification_id)
    if found is None:
        raise Problem("not_found")
    return bodies.answer(found)


@router.get("/{notification_id}/messages", response_model=SentMessagesOut)
async def list_messages(who: ReadingMessages, notification_id: str, reads: Uses[Reads]) -> Response:
    """The words of each attempt, exactly as they were handed over. Each call is an entry of the administrators' log."""
    found = None if "\x00" in notification_id else await reads.messages(who.tenant, notification_id)
    if found is None:
        raise Problem("not_found")
    return bodies.answer({"notification_id": notification_id, "messages": found})


@router.post("/{notification_id}/cancel", response_model=CancelledOut, responses={409: {"description": ""}})
async def cancel_notification(who: Sending, notification_id: str, people: Uses[BorrowerStore]) -> Response:
    """Stop what has not been handed to a provider; 409 when there is nothing left to stop."""
    word = "not_found"
    if "\x00" not in notification_id:
        word = await people.cancel(who.tenant, notification_id, who.actor)
    if word != "cancelled":
        raise Problem(word)
    return bodies.answer({"id": notification_id, "state": State.CANCELLED})
