"""Suppressions: addresses that are not used for anybody. In the body, not in the address line, which is logged."""

from __future__ import annotations

from fastapi import APIRouter, Request
from starlette.responses import Response

from gateway.api.http import bodies
from gateway.api.http.authentication import Managing
from gateway.api.http.openapi import body
from gateway.api.http.parts import ConfiguredChannels, Uses
from gateway.api.schemas import SuppressionIn
from gateway.borrowers.store import BorrowerStore

router = APIRouter(prefix="/v1/suppressions", tags=["suppressions"])


@router.post("", openapi_extra=body(SuppressionIn))
async def suppress(
    request: Request, who: Managing, people: Uses[BorrowerStore], configured: Uses[ConfiguredChannels]
) -> Response:
    """Suppress an address with ``reason``, or without one say that it may be used again."""
    given = await bodies.read_model(request, SuppressionIn)
    address = bodies.normal_address(configured, given.channel, given.address)
    await people.set_suppression(who.tenant, given.channel, address, given.reason)
    return bodies.answer({"channel": given.channel, "suppressed": bool(given.reason), "reason": given.reason})
