"""Suppressions: addresses that are not used for anybody. In the body, not in the address line, which is logged."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from gateway.api.http import bodies, cursors
from gateway.api.http.authentication import Managing, Reading
from gateway.api.http.openapi import body
from gateway.api.http.parts import ConfiguredChannels, Uses
from gateway.api.requests.borrowers import SuppressionIn
from gateway.api.responses.borrowers import SuppressionListOut, SuppressionSetOut
from gateway.borrowers.store import BorrowerStore
from gateway.storage.reads import Reads

router = APIRouter(prefix="/v1/suppressions", tags=["suppressions"])


@router.get("", response_model=SuppressionListOut)
async def list_suppressions(
    request: Request,
    who: Reading,
    reads: Uses[Reads],
    limit: Annotated[int, Query(ge=1, le=500)] = 200,
    cursor: Annotated[str | None, Query(max_length=200)] = None,
) -> Response:
    """Addresses that are used for nobody: suppressed, or opted out by a reply or at the provider. By their digests."""
    channel, _, digest = (cursors.decode(cursor, r"[a-z0-9_-]{1,32} [0-9a-f]{1,64}") or "").partition(" ")
    found = await reads.suppressions(who.tenant, limit + 1, (channel, digest))
    last = found[limit - 1] if len(found) > limit else None
    following = cursors.encode(f"{last['channel']} {last['address_digest']}") if last else None
    answer = {"suppressions": found[:limit], "next_cursor": following}
    return bodies.answer(answer, headers=cursors.link(request, following))


@router.post("", response_model=SuppressionSetOut, openapi_extra=body(SuppressionIn))
async def set_suppression(
    request: Request, who: Managing, people: Uses[BorrowerStore], configured: Uses[ConfiguredChannels]
) -> Response:
    """Suppress an address with ``reason``, or without one say that it may be used again."""
    given = await bodies.read_model(request, SuppressionIn)
    address = bodies.normal_address(configured, given.channel, given.address)
    await people.set_suppression(who.tenant, given.channel, address, given.reason)
    return bodies.answer({"channel": given.channel, "suppressed": bool(given.reason), "reason": given.reason})
