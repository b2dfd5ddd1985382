"""Cases: what a case system feeds of them. Whatever is over for a case stops all that is pending for it."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec
from fastapi import APIRouter, Request
from starlette.responses import Response

from gateway.api.http import bodies
from gateway.api.http.authentication import Managing, Reading, Sending
from gateway.api.http.openapi import body
from gateway.api.http.parts import ConfiguredChannels, GatewayClock, Uses, part
from gateway.api.http.problems import ErrorBudget, Problem
from gateway.api.requests.cases import (
    MOST_CASES,
    CaseBatchIn,
    CaseClosingIn,
    CaseItemIn,
    CasePutIn,
    PaymentIn,
    PlanIn,
    PromiseIn,
)
from gateway.api.requests.fields import Identifier
from gateway.api.responses.borrowers import ClosedCaseOut
from gateway.api.responses.journeys import CaseBatchOut, CaseStateOut, FedCaseOut
from gateway.core.codec import instant
from gateway.core.requests import FieldError
from gateway.journeys.cases.record import CaseRecord, Snapshot, ended_by, facts_of, open_promise, standing_plan
from gateway.journeys.cases.store import CaseStore, FeedResult

router = APIRouter(prefix="/v1/cases", tags=["cases"])

# Of one case in a batch; our choice: a hundred payments, promises and plans each have 1,600 values in 40 kB.
_ITEM_LIMITS = bodies.JsonLimits(64_000, 3_000)


@router.post("/batch", response_model=CaseBatchOut, openapi_extra=body(CaseBatchIn))
async def save_case_batch(
    request: Request, who: Sending, store: Uses[CaseStore], clock: Uses[GatewayClock]
) -> Response:
    """Up to 1,000 cases with any of their parts; one result for each, in order. Safe to repeat."""
    raw = await bodies.read_batch(request, _ITEM_LIMITS)
    now, budget = clock(), ErrorBudget()
    checked = [_checked(part(request, ConfiguredChannels), number, each, now, budget) for number, each in _items(raw)]
    fed = iter(await store.feed(who.tenant, [each for each in checked if isinstance(each, CaseRecord)], who.actor))
    results = [
        {"status": each.status, **each.document()}
        if isinstance(each, Problem)
        else {"status": 200, **_view(next(fed), now)}
        for each in checked
    ]
    return bodies.answer({"results": results})


@router.put("/{case_id}", response_model=FedCaseOut, openapi_extra=body(CasePutIn))
async def save_case(
    request: Request, who: Sending, case_id: Identifier, store: Uses[CaseStore], clock: Uses[GatewayClock]
) -> Response:
    """What the case system says of a case at ``as_of``. An older snapshot than the one known changes nothing."""
    snapshot = (await bodies.read_model(request, CasePutIn)).snapshot()
    if errors := _wrong_addresses(part(request, ConfiguredChannels), snapshot):
        raise Problem("invalid_request", errors=errors)
    [fed] = await store.feed(who.tenant, [CaseRecord(case_id, snapshot)], who.actor)
    return bodies.answer(_view(fed, clock()))


@router.post("/{case_id}/payments", response_model=FedCaseOut, openapi_extra=body(PaymentIn))
async def add_payment(
    request: Request, who: Sending, case_id: Identifier, store: Uses[CaseStore], clock: Uses[GatewayClock]
) -> Response:
    """A payment. Where nothing is due after it, nothing more is sent from the answer on."""
    payment = (await bodies.read_model(request, PaymentIn)).value()
    [fed] = await store.feed(who.tenant, [CaseRecord(case_id, payments={payment.id: payment})], who.actor)
    return bodies.answer(_view(fed, clock()))


@router.post("/{case_id}/promises", response_model=FedCaseOut, openapi_extra=body(PromiseIn))
async def add_promise(
    request: Request, who: Sending, case_id: Identifier, store: Uses[CaseStore], clock: Uses[GatewayClock]
) -> Response:
    """A promise to pay: collections wait until its day is over."""
    promised = (await bodies.read_model(request, PromiseIn)).value()
    [fed] = await store.feed(who.tenant, [CaseRecord(case_id, promises={promised.id: promised})], who.actor)
    return bodies.answer(_view(fed, clock()))


@router.post("/{case_id}/plans", response_model=FedCaseOut, openapi_extra=body(PlanIn))
async def add_plan(
    request: Request, who: Sending, case_id: Identifier, store: Uses[CaseStore], clock: Uses[GatewayClock]
) -> Response:
    """A repayment plan that was agreed, or that has ended: collections wait while it is in place."""
    agreed = (await bodies.read_model(request, PlanIn)).value()
    [fed] = await store.feed(who.tenant, [CaseRecord(case_id, plans={agreed.id: agreed})], who.actor)
    return bodies.answer(_view(fed, clock()))


@router.post("/{case_id}/close", response_model=ClosedCaseOut, openapi_extra=body(CaseClosingIn))
async def close_case(
    request: Request, who: Managing, case_id: Identifier, store: Uses[CaseStore], clock: Uses[GatewayClock]
) -> Response:
    """Cancel all that is pending for the case, and suppress what comes later; ``{"reason": "paid"}``."""
    closing = (await bodies.read_model(request, CaseClosingIn)).value(clock())
    [fed] = await store.feed(who.tenant, [CaseRecord(case_id, closing=closing)], who.actor)
    return bodies.answer({"id": case_id, "reason": closing.reason, "cancelled": fed.cancelled})


@router.get("/{case_id}", response_model=CaseStateOut)
async def get_case(who: Reading, case_id: Identifier, store: Uses[CaseStore], clock: Uses[GatewayClock]) -> Response:
    """What was fed of a case, without the borrower's name and addresses, and what follows from it."""
    found = await store.find(who.tenant, case_id)
    if found is None:
        raise Problem("not_found")
    return bodies.answer(_state(found, clock()))


def _items(raw: bytes) -> list[tuple[int, msgspec.Raw]]:
    members = bodies.members(raw)
    items = bodies.items(members["cases"]) if set(members) == {"cases"} else None
    if items is None or not 0 < len(items) <= MOST_CASES:
        detail = f"must be a list of 1 to {MOST_CASES} cases, and the only member"
        raise Problem("invalid_request", errors=[FieldError("/cases", detail)])
    return list(enumerate(items))


def _checked(
    configured: ConfiguredChannels, number: int, raw: msgspec.Raw, now: datetime, budget: ErrorBudget
) -> CaseRecord | Problem:
    at = f"/cases/{number}"
    try:
        item = bodies.validated(CaseItemIn, bodies.decoded(raw, _ITEM_LIMITS, at), at, budget)
    except Problem as problem:
        return problem.with_traceback(None)  # which would keep the item and what was made of it
    record = item.record(now)
    errors = _wrong_addresses(configured, record.snapshot, f"{at}/case") if record.snapshot else []
    return Problem("invalid_request", errors=errors) if errors else record


def _wrong_addresses(configured: ConfiguredChannels, snapshot: Snapshot, at: str = "") -> list[FieldError]:
    """Addresses that no message could be sent to: found out now, and not on the day of a step."""
    found = []
    for channel, address in snapshot.borrower.addresses.items():
        place = f"{at}/borrower/addresses/{channel}"
        if channel not in configured.channels:
            found.append(FieldError(place, "there is no such channel"))
            continue
        try:
            configured.channels[channel].normalise(address)
        except ValueError as error:
            found.append(FieldError(place, str(error)))
    return found


def _view(fed: FeedResult, now: datetime) -> dict[str, Any]:
    return {**_state(fed.record, now), "changed": fed.changed, "cancelled": fed.cancelled}


def _state(record: CaseRecord, now: datetime) -> dict[str, Any]:
    """A record as it is answered: amounts and days, and nothing that says who the borrower is."""
    snapshot, ended = record.snapshot, ended_by(record)
    promised, agreed = open_promise(record, now), standing_plan(record)
    found: dict[str, Any] = {"id": record.id, "ended": ended, "closed": None, "borrower_id": None, "facts": {}}
    if record.closing is not None:
        found["closed"] = {"reason": record.closing.reason, "at": instant(record.closing.at)}
    if snapshot is not None:
        found |= {
            "borrower_id": snapshot.borrower.id,
            "as_of": instant(snapshot.as_of),
            "currency": snapshot.currency,
            "due_date": snapshot.due_date.isoformat(),
            "facts": facts_of(record, now),
        }
    found["payments"] = len(record.payments)
    found["promise"] = None if promised is None else {"id": promised.id, "date": promised.day.isoformat()}
    found["plan"] = None if agreed is None else {"id": agreed.id, "first_date": agreed.first_date.isoformat()}
    return found
