"""``/editor/templates/T/N/provider-templates``: the providers' templates of a version, beside our texts.

Its forms are in editor_forms.py, as those of all commands. Must not know the states' transitions.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from fastapi import APIRouter, Depends, Request
from starlette.responses import Response

from gateway.api.http.parts import Uses, part
from gateway.core.provider_templates import Slot
from gateway.identity.sessions import Session
from gateway.templates.workflow.workflow import TemplateWorkflow
from gateway.web.access import PageRoute, require_role
from gateway.web.editor.routes import page
from gateway.web.editor.views import title_of

router = APIRouter(prefix="/editor/templates/{template}", route_class=PageRoute, include_in_schema=False)

_LINE = re.compile(r"(\w{1,64})\s*(?:\((\d{1,5})\))?\s*:\s*(\S.*)")
_MOST_SLOTS, _LONGEST_EXPRESSION = 50, 1000  # our choice, as in the API


@router.get("/{number:int}/provider-templates")
async def show(
    request: Request,
    template: str,
    number: int,
    workflow: Uses[TemplateWorkflow],
    session: Session = Depends(require_role()),
) -> Response:
    return await show_provider_templates(request, session, template, number)


async def show_provider_templates(
    request: Request,
    session: Session,
    template: str,
    number: int,
    form: Mapping[str, str] | None = None,
    status: int = 200,
    notice: str = "",
) -> Response:
    """The page; ``form`` has what was refused."""
    workflow = part(request, TemplateWorkflow)
    text = await workflow.text(session.user.tenant, template, number)
    values: dict[str, Any] = {
        "views": await workflow.provider_templates.listed(session.user.tenant, template, number),
        "template": template,
        "title": title_of(text.files) or template,
        "number": number,
        "stored": text.stored,
        "frozen": bool(text.version),
        "base": f"/editor/templates/{template}/{number}/provider-templates",
        "form": form or {},
        "notice": notice,
        "slot_lines": slot_lines,
    }
    return await page(request, session, "provider_templates.html", values, status)


def slot_lines(slots: Sequence[Slot]) -> str:
    """Slots as the form has them: a line for each, ``name: expression`` or ``name (longest): expression``."""
    return "\n".join(f"{each.name}{f' ({each.longest})' if each.longest else ''}: {each.expression}" for each in slots)


def slots_from(lines: str) -> list[Slot]:
    """The slots of a form. Raises ValueError for a line that is none."""
    found: list[Slot] = []
    for line in filter(None, map(str.strip, lines.splitlines())):
        read = _LINE.fullmatch(line)
        if read is None or len(found) == _MOST_SLOTS or len(read[3]) > _LONGEST_EXPRESSION:
            raise ValueError("not a slot")
        found.append(Slot(read[1], read[3], int(read[2] or 0)))
    return found
