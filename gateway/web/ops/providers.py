"""``/ops/providers``: each provider's health, its last errors in words, and the way to pause or pin it."""

from __future__ import annotations

from fastapi import APIRouter, Depends, Request
from starlette.responses import Response

from gateway.api.http.parts import ConfiguredChannels, GatewayClock, Uses
from gateway.identity.sessions import Session
from gateway.operations.controls import Controls
from gateway.operations.processes import read_processes
from gateway.storage.database import Database
from gateway.web.access import PageRoute, require_role
from gateway.web.ops.page import ops_page
from gateway.web.ops.status import provider_rows

router = APIRouter(prefix="/ops/providers", route_class=PageRoute, include_in_schema=False)


@router.get("")
async def show_providers(
    request: Request,
    database: Uses[Database],
    configured: Uses[ConfiguredChannels],
    controls: Uses[Controls],
    clock: Uses[GatewayClock],
    session: Session = Depends(require_role()),
) -> Response:
    """As the living workers saw them at their last heartbeat, five seconds ago at most."""
    now = clock()
    channels = {name: provider.channel for name, provider in configured.providers.items()}
    alive = [each for each in await read_processes(database) if each.alive(now)]
    in_force = [each for each in await controls.in_force(now) if each.concerns(session.user.tenant)]
    values = {
        "rows": provider_rows(alive, channels),
        "controls": {name: [each for each in in_force if each.value in (name, channels[name])] for name in channels},
    }
    return ops_page(request, session, "ops_providers.html", values)
