"""Operators' controls: pauses and pins that take effect while the gateway runs."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request
from starlette.responses import Response

from gateway.api.http import bodies
from gateway.api.http.authentication import Caller, needs
from gateway.api.http.openapi import body
from gateway.api.http.parts import ConfiguredChannels, GatewayClock, Uses
from gateway.api.http.problems import Problem
from gateway.api.responses import ControlEndedOut, ControlListOut, ControlOut
from gateway.api.schemas import ControlIn, Identifier
from gateway.core.controls import SwitchKind, SwitchScope
from gateway.core.requests import FieldError
from gateway.identity.keys import Scope
from gateway.operations.controls import Controls

router = APIRouter(prefix="/v1/controls", tags=["controls"])

# A platform's key may have no right in any tenant: it sets, ends and lists the platform's controls only.
Looking = Annotated[Caller, Depends(needs(Scope.READ, Scope.PLATFORM))]
Controlling = Annotated[Caller, Depends(needs(Scope.MANAGE, Scope.PLATFORM))]


@router.get("", response_model=ControlListOut)
async def list_controls(
    who: Looking,
    controls: Uses[Controls],
    ended: Annotated[bool, Query(description="Those of the past as well.")] = False,
) -> Response:
    """What is stopped or pinned now: by whom, why and until when. The scope platform lists all that it may end."""
    tenant = who.tenant if who.key.may(Scope.READ) else ""
    found = await controls.listed(tenant, platform=who.key.may(Scope.PLATFORM), ended=ended)
    return bodies.answer({"controls": found})


@router.post("", response_model=ControlOut, status_code=201, openapi_extra=body(ControlIn))
async def set_control(
    request: Request,
    who: Controlling,
    controls: Uses[Controls],
    configured: Uses[ConfiguredChannels],
    clock: Uses[GatewayClock],
) -> Response:
    """Stop or pin. When this answers, it holds for every message that is not being handed over already."""
    given = await bodies.read_model(request, ControlIn)
    _check(given, configured, clock())
    whole_tenant = given.scope is SwitchScope.TENANT
    # Another tenant's control belongs to the platform, so that this tenant's administrators can't end it.
    of_platform = given.everywhere or (whole_tenant and (given.value != who.tenant or not who.key.may(Scope.ADMIN)))
    who.require(Scope.PLATFORM if of_platform else Scope.ADMIN if whole_tenant else Scope.MANAGE)
    tenant = "" if of_platform else who.tenant
    until = given.until if given.duration is None else clock() + given.duration
    found = await controls.set(given.kind, given.scope, given.value, tenant, given.reason, who.actor, until)
    return bodies.answer(found, 201)


@router.delete("/{control_id}", response_model=ControlEndedOut)
async def end_control(who: Controlling, control_id: Identifier, controls: Uses[Controls]) -> Response:
    """Resume: what was held up is due at once, and decided anew.

    A control of the platform takes the scope platform, one of the whole tenant the scope admin.
    """
    found = await controls.found(control_id)
    if found is None or found.tenant not in ("", who.tenant):
        raise Problem("not_found", "No pause or pin with this id is in force.")
    who.require(
        Scope.PLATFORM if not found.tenant else Scope.ADMIN if found.scope is SwitchScope.TENANT else Scope.MANAGE
    )
    released = await controls.end(control_id, who.actor)
    return bodies.answer({"id": control_id, "released": released or 0})


def _check(given: ControlIn, configured: ConfiguredChannels, now: datetime) -> None:
    known = {SwitchScope.CHANNEL: configured.channels, SwitchScope.PROVIDER: configured.providers}
    if (given.scope is SwitchScope.ALL) != (given.value == ""):
        error = FieldError("/value", "is required, unless the scope is all, which has none")
    elif given.scope in known and given.value not in known[given.scope]:
        error = FieldError("/value", f"there is no such {given.scope}; there are {', '.join(known[given.scope])}")
    elif given.everywhere and given.scope is SwitchScope.TENANT:
        error = FieldError("/everywhere", "can't be given together with one tenant; leave one of them out")
    elif given.kind is SwitchKind.PIN and given.scope is not SwitchScope.PROVIDER:
        error = FieldError("/scope", "must be provider: a pin names the one that its channel's messages go to")
    elif given.until is not None and given.until <= now:
        error = FieldError("/until", "is in the past; give a later instant or leave it out")
    elif given.until is not None and given.duration is not None:
        error = FieldError("/duration", "can't be given together with until; leave one of them out")
    else:
        return
    raise Problem("invalid_request", errors=[error])
