"""Cases: close one, and all that is pending for it stops."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Request
from starlette.responses import Response

from gateway.api.http import bodies
from gateway.api.http.authentication import Caller, needs
from gateway.api.http.context import gateway_of
from gateway.api.http.openapi import body
from gateway.api.schemas import CloseIn, Identifier
from gateway.identity.keys import Scope

router = APIRouter(prefix="/v1/cases", tags=["cases"])


@router.post("/{case_id}/close", openapi_extra=body(CloseIn))
async def close(
    request: Request, who: Annotated[Caller, Depends(needs(Scope.MANAGE))], case_id: Identifier
) -> Response:
    """Cancel all that is pending for the case, and suppress what comes later; ``{"reason": "paid"}``."""
    closing = await bodies.read_model(request, CloseIn)
    count = await gateway_of(request).people.close_case(who.tenant, case_id, closing.reason, who.actor)
    return bodies.answer({"id": case_id, "reason": closing.reason, "cancelled": count})
