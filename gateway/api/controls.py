"""Operators' controls: pauses and pins that take effect while the gateway runs."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request
from starlette.responses import Response

from gateway.api.http import bodies
from gateway.api.http.authentication import Caller, needs
from gateway.api.http.openapi import body
from gateway.api.http.parts import ConfiguredChannels, GatewayClock, Uses
from gateway.api.http.problems import Problem
from gateway.api.requests.fields import Identifier
from gateway.api.requests.operations import ControlIn
from gateway.api.responses.operations import ControlEndedOut, ControlListOut, ControlOut
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
    if error := fault_of(given, configured, clock()):
        raise Problem("invalid_request", errors=[error])
    whole_tenant = given.scope is SwitchScope.TENANT
    of_platform = is_of_platform(given, who.tenant, may_stop_tenant=who.key.may(Scope.ADMIN))
    who.require(Scope.PLATFORM if of_platform else Scope.ADMIN if whole_tenant else Scope.MANAGE)
    found = await put_control(controls, given, "" if of_platform else who.tenant, who.actor, clock())
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


async def put_control(controls: Controls, given: ControlIn, tenant: str, actor: str, now: datetime) -> dict[str, Any]:
    """Set what was asked for; ``tenant`` "" for the platform's. The API and ``/ops`` set controls by it."""
    until = given.until if given.duration is None else now + given.duration
    return await controls.set(given.kind, given.scope, given.value, tenant, given.reason, actor, until)


def is_of_platform(given: ControlIn, tenant: str, *, may_stop_tenant: bool) -> bool:
    """Whether it belongs to the platform: a control of every tenant, or of another tenant as a whole.

    So that the administrators of the tenant that it stops can't end it.
    """
    whole_tenant = given.scope is SwitchScope.TENANT
    return given.everywhere or (whole_tenant and (given.value != tenant or not may_stop_tenant))


def fault_of(given: ControlIn, configured: ConfiguredChannels, now: datetime) -> FieldError | None:
    """What is wrong with a control that is asked for."""
    known = {SwitchScope.CHANNEL: configured.channels, SwitchScope.PROVIDER: configured.providers}
    if (given.scope is SwitchScope.ALL) != (given.value == ""):
        return FieldError("/value", "is required, unless the scope is all, which has none")
    if given.scope in known and given.value not in known[given.scope]:
        return FieldError("/value", f"there is no such {given.scope}; there are {', '.join(known[given.scope])}")
    if given.everywhere and given.scope is SwitchScope.TENANT:
        return FieldError("/everywhere", "can't be given together with one tenant; leave one of them out")
    if given.kind is SwitchKind.PIN and given.scope is not SwitchScope.PROVIDER:
        return FieldError("/scope", "must be provider: a pin names the one that its channel's messages go to")
    if given.until is not None and given.until <= now:
        return FieldError("/until", "is in the past; give a later instant or leave it out")
    if given.until is not None and given.duration is not None:
        return FieldError("/duration", "can't be given together with until; leave one of them out")
    return None
