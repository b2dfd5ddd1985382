"""``/editor/new``: creates a template for a purpose, whose first text is an ordinary draft."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fastapi import APIRouter, Depends, Request
from starlette.responses import Response

from gateway.api.http.parts import ConfiguredChannels, Uses
from gateway.core.notifications import Category
from gateway.identity.sessions import Session
from gateway.identity.users import Role
from gateway.templates.versions.refusals import BadPlan, TemplateExists
from gateway.templates.workflow.new_templates import NewTemplateRequest, NewTemplates
from gateway.templates.workflow.workflow import TemplateWorkflow
from gateway.web.access import PageRoute, authenticated_form, require_role
from gateway.web.editor.forms import to_version
from gateway.web.editor.routes import page

router = APIRouter(prefix="/editor/new", route_class=PageRoute, include_in_schema=False)

_OTHER = "other"  # the choice of a purpose that is none of ours


@router.get("")
async def show_form(
    request: Request,
    workflow: Uses[TemplateWorkflow],
    new: Uses[NewTemplates],
    configured: Uses[ConfiguredChannels],
    session: Session = Depends(require_role(Role.EDITOR)),
) -> Response:
    used = {each.channel for each in configured.providers.values()}
    return await _form(request, workflow, new, session, {f"channel.{each}": "yes" for each in used})


@router.post("")
async def begin(request: Request, workflow: Uses[TemplateWorkflow], new: Uses[NewTemplates]) -> Response:
    """Store the first draft of the new template, and redirect to it."""
    session, form = await authenticated_form(request, Role.EDITOR)
    purpose = form.get("purpose", "")
    other = purpose == _OTHER
    asked = NewTemplateRequest(
        form.get("title", ""),
        "" if other else purpose,
        form.get("template", "").strip(),
        tuple(each for each in workflow.locales() if form.get(f"locale.{each}")),
        tuple(each for each in workflow.profiles if form.get(f"channel.{each}")),
        form.get("category", "") if other else "",
        form.get("start", "") if other else "",
    )
    try:
        made = await new.create(session.user.tenant, session.user.actor, asked)
    except BadPlan as refusal:
        return await _form(request, workflow, new, session, form, f"new_bad_{refusal.field}")
    except TemplateExists:
        return await _form(request, workflow, new, session, form, "new_taken")
    return to_version(made.template, made.number, "create", asked.locales[0])


async def _form(
    request: Request,
    workflow: TemplateWorkflow,
    new: NewTemplates,
    session: Session,
    form: Mapping[str, str],
    wrong: str = "",
) -> Response:
    values: dict[str, Any] = {
        "form": form,
        "wrong": wrong,
        "other": _OTHER,
        "purposes": list(new.purposes.values()),
        "summaries": [each for each in await workflow.summaries(session.user.tenant) if each.live],
        "categories": [each.value for each in Category],
        "locales": workflow.locales(),
        "channels": list(workflow.profiles),
    }
    return await page(request, session, "new.html", values, 422 if wrong else 200)
