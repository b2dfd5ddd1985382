"""``/ops/controls``: pauses and pinned providers, set and ended with a reason.

Everybody who signs in sees what is in force for the tenant. An operator sets and ends the tenant's own; those of every
tenant, or of one tenant as a whole, are the platform's.
"""

from __future__ import annotations

from fastapi import APIRouter, Depends, Request
from pydantic import ValidationError
from starlette.responses import RedirectResponse, Response

from gateway.api.controls import fault_of, is_of_platform, put_control
from gateway.api.http.parts import ConfiguredChannels, GatewayClock, Uses, part
from gateway.api.requests.operations import ControlIn
from gateway.core.controls import SwitchKind, SwitchScope
from gateway.identity.keys import Keys
from gateway.identity.sessions import Session
from gateway.identity.users import Role
from gateway.operations.controls import Controls
from gateway.templates.workflow.workflow import TemplateWorkflow
from gateway.web.access import PageRoute, authenticated_form, display_names, message, pages_of, require_role
from gateway.web.ops.message_views import instants
from gateway.web.ops.page import ops_page, reason_of
from gateway.web.page import headers

# How long a pause may be asked to last, in ISO 8601; "": until somebody ends it. Our choice of steps.
DURATIONS = ("PT15M", "PT1H", "PT4H", "PT12H", "P1D", "P3D", "")
_MOST_ENDED = 20  # past ones on the page; the API has them all

router = APIRouter(prefix="/ops/controls", route_class=PageRoute, include_in_schema=False)


@router.get("")
async def show_controls(
    request: Request,
    controls: Uses[Controls],
    done: str = "",
    kind: str = SwitchKind.PAUSE,
    target: str = "",
    session: Session = Depends(require_role()),
) -> Response:
    """What is in force and what was; ``kind`` and ``target`` fill in the form, for links from other pages."""
    tenant, role = session.user.tenant, session.user.role
    listed = await controls.listed(tenant, platform=role.may(Role.PLATFORM), ended=True)
    found = instants(pages_of(request).texts(request), listed, "since", "until", "ended_at")
    in_force = {each["id"] for each in await controls.listed(tenant, platform=role.may(Role.PLATFORM), ended=False)}
    values = {
        "controls": [each for each in found if each["id"] in in_force],
        "ended": [each for each in found if each["id"] not in in_force][:_MOST_ENDED],
        "may_end": lambda each: role.may(Role.PLATFORM if _is_platforms(each) else Role.OPERATOR),
        "targets": await _targets(request, session) if role.may(Role.OPERATOR) else {},
        "providers": sorted(part(request, ConfiguredChannels).providers),
        "durations": DURATIONS,
        "chosen": (kind, target),
        "done": done,
        "who": await display_names(request, session),
    }
    return ops_page(request, session, "ops_controls.html", values)


def _is_platforms(control: dict[str, object]) -> bool:
    return bool(control["everywhere"]) or control["scope"] == SwitchScope.TENANT


async def _targets(request: Request, session: Session) -> dict[str, list[str]]:
    """What this user may pause: the scopes with their values."""
    configured = part(request, ConfiguredChannels)
    templates = await part(request, TemplateWorkflow).summaries(session.user.tenant)
    found = {
        SwitchScope.CHANNEL.value: sorted(configured.channels),
        SwitchScope.PROVIDER.value: sorted(configured.providers),
        SwitchScope.TEMPLATE.value: [each.template for each in templates],
    }
    if session.user.role.may(Role.PLATFORM):
        keys = await part(request, Keys).list()
        found[SwitchScope.TENANT.value] = sorted({each.tenant for each in keys if each.revoked_at is None})
    return found


@router.post("")
async def set_control(
    request: Request, controls: Uses[Controls], configured: Uses[ConfiguredChannels], clock: Uses[GatewayClock]
) -> Response:
    """Pause, or pin a provider, from now on. When the page answers, it is in force."""
    session, form = await authenticated_form(request, Role.OPERATOR)
    reason = reason_of(form)
    if reason is None:
        return await message(request, 422, "desk_needs_reason")
    scope, _, value = form.get("target", "").partition(":")
    asked = {"kind": form.get("kind", ""), "scope": scope, "value": value, "reason": reason}
    more = {"everywhere": True} if form.get("everywhere") else {}
    try:
        given = ControlIn.model_validate({**asked, **more, "duration": form.get("duration") or None})
    except ValidationError:
        return await message(request, 422, "form_unreadable")
    if fault_of(given, configured, clock()):
        return await message(request, 422, "form_unreadable")
    of_platform = is_of_platform(given, session.user.tenant, may_stop_tenant=False)
    if of_platform and not session.user.role.may(Role.PLATFORM):
        return await message(request, 403, "role_missing")
    await put_control(controls, given, "" if of_platform else session.user.tenant, session.user.actor, clock())
    return RedirectResponse(f"/ops/controls?done={given.kind}", 303, headers())


@router.post("/{control_id}/end")
async def end_control(request: Request, control_id: str, controls: Uses[Controls]) -> Response:
    """Resume: what was held up is due at once, and decided anew."""
    session, _ = await authenticated_form(request, Role.OPERATOR)
    found = await controls.found(control_id) if "\x00" not in control_id else None
    if found is None or found.tenant not in ("", session.user.tenant):
        return await message(request, 409, "ops_ended_meanwhile")
    of_platform = not found.tenant or found.scope is SwitchScope.TENANT
    if of_platform and not session.user.role.may(Role.PLATFORM):
        return await message(request, 403, "role_missing")
    await controls.end(control_id, session.user.actor)
    return RedirectResponse("/ops/controls?done=end", 303, headers())
