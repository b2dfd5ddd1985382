"""``/ops/sessions``: who is signed in, for those who run the gateway; each session can be ended there."""

from __future__ import annotations

from fastapi import APIRouter, Depends, Request
from starlette.responses import RedirectResponse, Response

from gateway.api.http.parts import GatewayClock, Uses
from gateway.identity.sessions import Session, Sessions
from gateway.identity.users import Role
from gateway.web.access import PageRoute, authenticated_form, message, require_role
from gateway.web.ops.page import ops_page
from gateway.web.page import headers

router = APIRouter(prefix="/ops/sessions", route_class=PageRoute, include_in_schema=False)


@router.get("")
async def show(
    request: Request,
    sessions: Uses[Sessions],
    clock: Uses[GatewayClock],
    session: Session = Depends(require_role(Role.PLATFORM)),
) -> Response:
    return ops_page(request, session, "sessions.html", {"live": await sessions.list(clock())})


@router.post("/{name}/end")
async def end(request: Request, name: str, sessions: Uses[Sessions]) -> Response:
    await authenticated_form(request, Role.PLATFORM)
    if not await sessions.end(name):
        return await message(request, 404, "nothing_here")
    return RedirectResponse("/ops/sessions", 303, headers())
