"""The administrators' log over HTTP."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request
from starlette.responses import Response

from gateway.api.http import bodies, cursors
from gateway.api.http.authentication import Caller, needs
from gateway.api.http.parts import Uses
from gateway.api.responses.operations import AdminLogOut
from gateway.identity.admin_log import AdminLog
from gateway.identity.keys import Scope

router = APIRouter(prefix="/v1/admin-log", tags=["administration"])


@router.get("", response_model=AdminLogOut)
async def list_admin_log(
    request: Request,
    who: Annotated[Caller, Depends(needs(Scope.ADMIN, Scope.PLATFORM))],
    log: Uses[AdminLog],
    limit: Annotated[int, Query(ge=1, le=500)] = 100,
    cursor: Annotated[str | None, Query(max_length=100)] = None,
) -> Response:
    """Each use of an administrative right, the latest first. The scope platform lists those of all tenants."""
    before = cursors.decode(cursor, r"[0-9]{1,18}")
    tenant = None if who.key.may(Scope.PLATFORM) else who.tenant
    found = await log.listed(tenant, limit + 1, int(before) if before else None)
    following = cursors.encode(str(found[limit - 1]["seq"])) if len(found) > limit else None
    answer = {"entries": found[:limit], "next_cursor": following}
    return bodies.answer(answer, headers=cursors.link(request, following))
