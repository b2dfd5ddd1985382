"""Suppressions: addresses that are not used for anybody. In the body, not in the address line, which is logged."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Request
from starlette.responses import Response

from gateway.api.http import bodies
from gateway.api.http.authentication import Caller, needs
from gateway.api.http.context import gateway_of
from gateway.api.http.openapi import body
from gateway.api.http.problems import Problem
from gateway.api.schemas import SuppressionIn
from gateway.core.requests import FieldError
from gateway.identity.keys import Scope

router = APIRouter(prefix="/v1/suppressions", tags=["suppressions"])


@router.post("", openapi_extra=body(SuppressionIn))
async def suppress(request: Request, who: Annotated[Caller, Depends(needs(Scope.MANAGE))]) -> Response:
    """Suppress an address with ``reason``, or without one say that it may be used again."""
    gateway = gateway_of(request)
    given = await bodies.read_model(request, SuppressionIn)
    if given.channel not in gateway.channels:
        raise Problem("invalid_request", errors=[FieldError("/channel", "there is no such channel")])
    try:
        address = gateway.channels[given.channel].normalise(given.address)
    except ValueError as error:
        raise Problem("invalid_request", errors=[FieldError("/address", str(error))]) from None
    await gateway.people.set_suppression(who.tenant, given.channel, address, given.reason)
    return bodies.answer({"channel": given.channel, "suppressed": bool(given.reason), "reason": given.reason})
