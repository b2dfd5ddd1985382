"""The reviewers' pages: what waits for whom, and what a version changes, with comments at places in its messages."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fastapi import APIRouter, Depends, Request
from starlette.responses import Response

from gateway.api.http.parts import Uses, part
from gateway.core.states import TemplateState
from gateway.identity.sessions import Session
from gateway.identity.users import Role
from gateway.templates.workflow.reviews import COMMENTABLE, PlacedComment, Waits, open_findings
from gateway.templates.workflow.template_results import TemplateResults
from gateway.templates.workflow.translations import TranslationState
from gateway.templates.workflow.workflow import TemplateWorkflow
from gateway.web.access import PageRoute, require_role
from gateway.web.editor.routes import page, places
from gateway.web.editor.words import counts

router = APIRouter(prefix="/editor", route_class=PageRoute, include_in_schema=False)


@router.get("/waiting")
async def show_waiting(
    request: Request, workflow: Uses[TemplateWorkflow], session: Session = Depends(require_role(Role.EDITOR))
) -> Response:
    """What waits for this person; the steps of approvers are shown to approvers alone."""
    found = await workflow.reviews.waiting(session.user.tenant, session.user.actor)
    approver = session.user.role.may(Role.APPROVER)
    steps = [each for each in Waits if approver or each not in (Waits.APPROVE, Waits.PUBLISH)]
    groups = {step.value: [each for each in found if each.waits is step] for step in steps}
    return await page(request, session, "waiting.html", {"groups": groups})


@router.get("/templates/{template}/{number:int}/changes")
async def show_changes(
    request: Request, template: str, number: int, session: Session = Depends(require_role())
) -> Response:
    return await show_review(request, session, template, number)


@router.get("/templates/{template}/{number:int}/results")
async def show_results(
    request: Request,
    template: str,
    number: int,
    workflow: Uses[TemplateWorkflow],
    results: Uses[TemplateResults],
    session: Session = Depends(require_role()),
) -> Response:
    """What became of a version's messages."""
    text = await workflow.text(session.user.tenant, template, number)
    found = await results.read(session.user.tenant, template, number)
    return await page(request, session, "results.html", {"text": text, "results": found, **places(text)})


async def show_review(
    request: Request,
    session: Session,
    template: str,
    number: int,
    *,
    form: Mapping[str, str] | None = None,
    status: int = 200,
    notice: str = "",
) -> Response:
    """What a version changes, its open findings and the comments on it. ``form``: a comment that was refused."""
    workflow, tenant = part(request, TemplateWorkflow), session.user.tenant
    text = await workflow.text(tenant, template, number)
    history = await workflow.history(tenant, template, number)
    comments = await workflow.reviews.comments(text.stored) if text.stored else []
    values = {
        "text": text,
        "live": await workflow.live(tenant, template),
        "difference": await workflow.difference(tenant, template, number),
        "history": history[::-1],
        "reviewed": open_findings(await workflow.reviews.findings(text)) if text.stored else [],
        "comments": _by_message(comments),
        "commentable": text.stored is not None and text.stored.state in COMMENTABLE and may_comment(session),
        "sent_back": await sent_back(workflow, text.stored),
        "untranslated": {
            locale: counted
            for locale, parts in (await workflow.translations(tenant, text)).items()
            if (counted := counts(parts))[TranslationState.MISSING] or counted[TranslationState.OLDER]
        },
        "form": form or {},
        "notice": notice,
    }
    return await page(request, session, "changes.html", {**values, **places(text)}, status)


def may_comment(session: Session) -> bool:
    return session.user.role.may(Role.APPROVER)


async def sent_back(workflow: TemplateWorkflow, stored: Any) -> Any:
    """The decision that sent this version back; None where it was not."""
    rejected = stored is not None and stored.state is TemplateState.REJECTED
    return await workflow.reviews.sent_back(stored) if rejected else None


def _by_message(comments: list[PlacedComment]) -> dict[tuple[str, str], list[PlacedComment]]:
    found: dict[tuple[str, str], list[PlacedComment]] = {}
    for each in comments:
        found.setdefault((each.channel, each.locale), []).append(each)
    return found
