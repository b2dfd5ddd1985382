"""Cases: close one, and all that is pending for it stops."""

from __future__ import annotations

from fastapi import APIRouter, Request
from starlette.responses import Response

from gateway.api.http import bodies
from gateway.api.http.authentication import Managing
from gateway.api.http.openapi import body
from gateway.api.http.parts import Uses
from gateway.api.responses import ClosedCaseOut
from gateway.api.schemas import CloseIn, Identifier
from gateway.borrowers.store import BorrowerStore

router = APIRouter(prefix="/v1/cases", tags=["cases"])


@router.post("/{case_id}/close", response_model=ClosedCaseOut, openapi_extra=body(CloseIn))
async def close_case(request: Request, who: Managing, case_id: Identifier, people: Uses[BorrowerStore]) -> Response:
    """Cancel all that is pending for the case, and suppress what comes later; ``{"reason": "paid"}``."""
    closing = await bodies.read_model(request, CloseIn)
    count = await people.close_case(who.tenant, case_id, closing.reason, who.actor)
    return bodies.answer({"id": case_id, "reason": closing.reason, "cancelled": count})
