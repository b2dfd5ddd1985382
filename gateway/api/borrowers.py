"""Borrowers: what has been said of them, and all that happened with them."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from gateway.api.http import bodies, cursors
from gateway.api.http.authentication import Managing, Reading, ReadingWords
from gateway.api.http.openapi import body
from gateway.api.http.parts import ConfiguredChannels, GatewayClock, Uses
from gateway.api.http.problems import Problem
from gateway.api.requests.borrowers import ConsentIn, HoldIn, OptOutIn
from gateway.api.requests.fields import Identifier
from gateway.api.responses.borrowers import BorrowerHoldOut, BorrowerOut, ConsentOut, OptOutRecordedOut, TimelineOut
from gateway.borrowers.four_eyes import FourEyes
from gateway.borrowers.store import BorrowerStore
from gateway.core.codec import instant
from gateway.core.facts import Hold
from gateway.core.notifications import Category, Notification
from gateway.core.reasons import HoldKind
from gateway.core.requests import FieldError
from gateway.core.verdicts import Verdict, VerdictKind
from gateway.dry_run import Forecaster
from gateway.observability.metrics import Metrics, OptOutSource
from gateway.policy import SharedAct
from gateway.storage.reads import Reads

router = APIRouter(prefix="/v1/borrowers/{borrower_id}", tags=["borrowers"])


@router.get("", response_model=BorrowerOut)
async def get_borrower(
    who: ReadingWords,
    borrower_id: Identifier,
    reads: Uses[Reads],
    forecaster: Uses[Forecaster],
    clock: Uses[GatewayClock],
) -> Response:
    """Holds, opt-outs, consents, replies, the latest contacts, and when each channel may next be used."""
    found = await reads.borrower(who.tenant, borrower_id)
    if found is None:
        raise Problem("not_found")
    latest = await reads.latest(who.tenant, borrower_id)
    outlook = {} if latest is None else await forecaster.outlook(latest)
    channels = {channel: _outlook(verdict, clock()) for channel, verdict in outlook.items()}
    return bodies.answer(
        {**found, "preferences": None if latest is None else _preferences(latest), "channels": channels}
    )


def _preferences(latest: Notification) -> dict[str, object]:
    """What the latest request said of the borrower; addresses stay in the request."""
    borrower = latest.borrower
    return {
        "locale": borrower.locale,
        "jurisdiction": borrower.jurisdiction,
        "time_zones": list(borrower.time_zones),
        "windows": [list(each) for each in borrower.windows],
        "category": latest.category,
        "notification_id": latest.id,
    }


def _outlook(verdict: Verdict, now: datetime) -> dict[str, object]:
    """``next_permitted`` is null where waiting alone does not help."""
    permitted = {VerdictKind.SEND: now, VerdictKind.DEFER: verdict.until}.get(verdict.kind)
    return {
        "verdict": verdict.kind,
        "reason": verdict.reason,
        "next_permitted": instant(permitted),
        "caps": [
            {
                "rule": rule.rule,
                "pack": rule.pack,
                "usage": rule.detail,
                "reached": rule.verdict is not VerdictKind.SEND,
            }
            for rule in verdict.rules
            if rule.rule.startswith("cap_")
        ],
    }


@router.get("/timeline", response_model=TimelineOut)
async def get_timeline(
    request: Request,
    who: Reading,
    borrower_id: Identifier,
    reads: Uses[Reads],
    limit: Annotated[int, Query(ge=1, le=500)] = 200,
    cursor: Annotated[str | None, Query(max_length=100)] = None,
) -> Response:
    """Every request, verdict, message, receipt, hold and opt-out, in order."""
    after = int(cursors.decode(cursor, r"[0-9]{1,18}") or 0)
    found = await reads.timeline(who.tenant, borrower_id, limit + 1, after)
    following = cursors.encode(found[limit - 1]["seq"]) if len(found) > limit else None
    return bodies.answer(
        {"borrower_id": borrower_id, "events": found[:limit], "next_cursor": following},
        headers=cursors.link(request, following),
    )


@router.put("/holds/{kind}", response_model=BorrowerHoldOut, openapi_extra=body(HoldIn))
async def set_hold(
    request: Request,
    who: Managing,
    borrower_id: Identifier,
    kind: HoldKind,
    people: Uses[BorrowerStore],
    clock: Uses[GatewayClock],
) -> Response:
    """Set or replace a hold: no contact while it stands. In force when this answers."""
    given = await bodies.read_model(request, HoldIn)
    hold = Hold(kind, given.start or clock(), given.end, given.case_id)
    if hold.end is not None and hold.end <= hold.start:
        raise Problem("invalid_request", errors=[FieldError("/end", "must be after start, or after now without one")])
    await people.put_hold(who.tenant, borrower_id, hold, given.reason or "", who.actor)
    return bodies.answer(
        {
            "borrower_id": borrower_id,
            "kind": kind,
            "start": instant(hold.start),
            "end": instant(hold.end),
            "case_id": hold.case_id,
        }
    )


@router.delete("/holds/{kind}", status_code=204, responses={409: {"description": ""}})
async def lift_hold(
    who: Managing, borrower_id: Identifier, kind: HoldKind, people: Uses[BorrowerStore], four_eyes: Uses[FourEyes]
) -> Response:
    """Lift the holds of this kind; what they deferred is looked at again at once.

    409 where a policy pack wants two persons for it.
    """
    if await four_eyes.needed(who.tenant, borrower_id, SharedAct.LIFT_HOLD, kind):
        raise Problem("second_person_needed")
    if not await people.lift_hold(who.tenant, borrower_id, kind, who.actor):
        raise Problem("not_found")
    return Response(status_code=204)


@router.post("/opt-outs", response_model=OptOutRecordedOut, status_code=201, openapi_extra=body(OptOutIn))
async def add_opt_out(
    request: Request,
    who: Managing,
    borrower_id: Identifier,
    people: Uses[BorrowerStore],
    configured: Uses[ConfiguredChannels],
    metrics: Uses[Metrics],
) -> Response:
    """Record that the borrower said no. When this answers, nothing goes there any more."""
    given = await bodies.read_model(request, OptOutIn)
    if given.channel is None and given.address is not None:
        error = FieldError("/channel", "is required with an address: the same text may be an address on two channels")
        raise Problem("invalid_request", errors=[error])
    if given.channel is not None and given.channel not in configured.channels:
        raise Problem("invalid_request", errors=[FieldError("/channel", "there is no such channel")])
    address = None
    if given.channel is not None and given.address is not None:
        address = bodies.normal_address(configured, given.channel, given.address)
    with metrics.opting_out(OptOutSource.LENDER):
        identifier = await people.add_opt_out(
            who.tenant, borrower_id, given.channel, address, given.source, who.actor, given.evidence
        )
    return bodies.answer(
        {"id": identifier, "borrower_id": borrower_id, "channel": given.channel, "source": given.source}, 201
    )


@router.delete("/opt-outs/{opt_out_id}", status_code=204)
async def lift_opt_out(
    who: Managing, borrower_id: Identifier, opt_out_id: Identifier, people: Uses[BorrowerStore]
) -> Response:
    """Take an opt-out back; the record that it stood remains."""
    if not await people.lift_opt_out(who.tenant, borrower_id, opt_out_id, who.actor):
        raise Problem("not_found")
    return Response(status_code=204)


@router.post("/consents", response_model=ConsentOut, status_code=201, openapi_extra=body(ConsentIn))
async def give_consent(
    request: Request,
    who: Managing,
    borrower_id: Identifier,
    people: Uses[BorrowerStore],
    configured: Uses[ConfiguredChannels],
) -> Response:
    """Record that the borrower agreed to a category of messages, or to it by one channel, and where the proof is."""
    given = await bodies.read_model(request, ConsentIn)
    if given.channel is not None and given.channel not in configured.channels:
        raise Problem("invalid_request", errors=[FieldError("/channel", "there is no such channel")])
    await people.give_consent(
        who.tenant, borrower_id, given.category, given.source, given.evidence, who.actor, given.channel
    )
    view = {"category": given.category, "channel": given.channel, "source": given.source}
    return bodies.answer({"borrower_id": borrower_id, **view}, 201)


@router.delete("/consents/{category}", status_code=204)
async def withdraw_consent(
    who: Managing,
    borrower_id: Identifier,
    category: Category,
    people: Uses[BorrowerStore],
    channel: Annotated[str | None, Query(max_length=32, description="A consent to this channel.")] = None,
) -> Response:
    """Take a consent back; the record that it was given remains."""
    if not await people.withdraw_consent(who.tenant, borrower_id, category, who.actor, channel):
        raise Problem("not_found")
    return Response(status_code=204)
