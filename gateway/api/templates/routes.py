"""Templates: looked at, drafted, checked, approved, published and rolled back. One verb of the catalogue for each."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import asdict
from typing import Annotated

from fastapi import APIRouter, Depends, Path, Query, Request
from starlette.responses import Response

from gateway.api.http import bodies
from gateway.api.http.authentication import Caller, caller, needs
from gateway.api.http.context import gateway_of
from gateway.api.http.openapi import body, header
from gateway.api.http.problems import Problem
from gateway.api.templates import answers
from gateway.api.templates.schemas import (
    BeginIn,
    CommentIn,
    ImportIn,
    PreviewIn,
    PublishIn,
    RollBackIn,
    SampleIn,
    SaveIn,
    TestSendIn,
    TextIn,
    WhyIn,
)
from gateway.core.model import TemplateState
from gateway.core.ports import FieldError
from gateway.identity.keys import Scope
from gateway.templates.workflow.preview import Sample

router = APIRouter(prefix="/v1/templates", tags=["templates"])

_IF_MATCH = header("If-Match", "The ETag of the text that yours is based on; required.")
Reading = Annotated[Caller, Depends(needs(Scope.TEMPLATES_READ))]
Editing = Annotated[Caller, Depends(needs(Scope.TEMPLATES_EDIT))]
Approving = Annotated[Caller, Depends(needs(Scope.TEMPLATES_APPROVE))]
Template = Annotated[str, Path(pattern=r"^[a-z][a-z0-9-]{0,63}$")]
Number = Annotated[int, Path(ge=0, le=1_000_000)]


# ── looking ─────────────────────────────────────────────────────────────────────────────────────────────────


@router.get("")
async def listed(
    request: Request,
    who: Reading,
    search: Annotated[str, Query(max_length=80)] = "",
    state: Annotated[TemplateState | None, Query(description="Only with a version under way in this state.")] = None,
) -> Response:
    """All templates, by id: what is live, and what is under way."""
    summaries = await gateway_of(request).editing.summaries(who.tenant, search)
    wanted = [each for each in summaries if state is None or any(one.state is state for one in each.under_way)]
    return bodies.answer({"templates": [answers.card(each) for each in wanted]})


@router.get("/export")
async def export(request: Request, who: Reading) -> Response:
    """The files of every template as they are live, byte for byte."""
    return bodies.answer({"templates": await gateway_of(request).transfer.export(who.tenant)})


@router.post("/import", openapi_extra=body(ImportIn))
async def import_template(request: Request, who: Editing) -> Response:
    """Begin drafts from files; with ``publish``, have them live. One result for each template."""
    given = await bodies.read_model(request, ImportIn)
    if given.publish:
        await caller(request, Scope.ADMIN)  # the second person was somewhere else, and nobody here has seen them
    transfer = gateway_of(request).transfer
    results = [
        await transfer.import_template(
            who.tenant, template, files, who.actor, given.comment, publish=given.publish, confirmed=given.confirm
        )
        for template, files in given.templates.items()
    ]
    return bodies.answer({"results": [asdict(each) for each in results]})


@router.get("/{template}/versions")
async def versions(request: Request, who: Reading, template: Template) -> Response:
    """All versions of a template, the newest first."""
    with answers.refusals():
        found = await gateway_of(request).editing.versions(who.tenant, template)
        live = await gateway_of(request).editing.live(who.tenant, template)
    return bodies.answer(
        {"live": live and answers.head(live), "versions": [answers.stored_version(each) for each in found]}
    )


@router.get("/{template}/live")
async def live(request: Request, who: Reading, template: Template) -> Response:
    """The text that new requests get."""
    found = await gateway_of(request).editing.live(who.tenant, template)
    if found is None:
        raise Problem("not_found", "No version of this template is live.")
    return answers.text(found)


@router.get("/{template}/versions/{number}")
async def version(request: Request, who: Reading, template: Template, number: Number) -> Response:
    """One version with its files; 0 is that of the files. Its ETag goes into If-Match."""
    with answers.refusals():
        return answers.text(await gateway_of(request).editing.text(who.tenant, template, number))


@router.get("/{template}/history")
async def history(
    request: Request, who: Reading, template: Template, number: Annotated[int | None, Query(ge=0)] = None
) -> Response:
    """All that was done to a template, or to one version of it: by whom, when and why."""
    found = await gateway_of(request).editing.history(who.tenant, template, number)
    return bodies.answer({"changes": [answers.change(each) for each in found]})


@router.get("/{template}/versions/{number}/diff")
async def diff(
    request: Request,
    who: Reading,
    template: Template,
    number: Number,
    against: Annotated[int | None, Query(ge=0, description="A number; default: what is live.")] = None,
) -> Response:
    """What a version changes: in words, in its files, and in what borrowers read."""
    with answers.refusals():
        found = await gateway_of(request).editing.difference(who.tenant, template, number, against)
    return bodies.answer(asdict(found))


@router.post("/{template}/lint", openapi_extra=body(TextIn))
async def lint(request: Request, who: Reading, template: Template) -> Response:
    """Everything that is to be said of a text, the worst first. An error blocks submitting and publishing."""
    given = await bodies.read_model(request, TextIn)
    with answers.refusals():
        files = await _files(request, who, template, given)
    # Off the event loop, as the preview: a text that somebody writes may take its time.
    found = await asyncio.to_thread(gateway_of(request).editing.lint, template, files)
    return bodies.answer({"findings": [asdict(each) for each in found]})


@router.post("/{template}/preview", openapi_extra=body(PreviewIn))
async def preview(request: Request, who: Reading, template: Template) -> Response:
    """What a borrower would get on every channel, byte for byte; of an SMS, its segments and what they cost."""
    given = await bodies.read_model(request, PreviewIn)
    editing = gateway_of(request).editing
    with answers.refusals():
        files = await _files(request, who, template, given)
        sample = _sample(request, template, files, given.sample)
        shown = await asyncio.to_thread(editing.preview, template, files, sample)
    return bodies.answer({"previews": [answers.shown(each) for each in shown]})


# ── writing ─────────────────────────────────────────────────────────────────────────────────────────────────


@router.post("/{template}/versions", status_code=201, openapi_extra=body(BeginIn))
async def begin(request: Request, who: Editing, template: Template) -> Response:
    """Begin a draft. There is one at a time: 409 comes with the one that is open."""
    given = await bodies.read_model(request, BeginIn)
    with answers.refusals():
        begun = await gateway_of(request).editing.begin(who.tenant, template, who.actor, given.comment, given.files)
    return answers.text(begun, 201)


@router.put("/{template}/versions/{number}", openapi_extra={**body(SaveIn), **_IF_MATCH})
async def save(request: Request, who: Editing, template: Template, number: Number) -> Response:
    """Keep a draft's text, finished or not. 412 comes with the present text where somebody saved it since."""
    revision = _revision(request)
    given = await bodies.read_model(request, SaveIn)
    with answers.refusals():
        saved = await gateway_of(request).editing.save(
            who.tenant, template, number, revision, given.files, who.actor, given.comment
        )
    return answers.text(saved)


@router.delete("/{template}/versions/{number}", openapi_extra=_IF_MATCH)
async def discard(request: Request, who: Editing, template: Template, number: Number) -> Response:
    """Give a draft up."""
    with answers.refusals():
        found = await gateway_of(request).editing.discard(who.tenant, template, number, _revision(request), who.actor)
    return bodies.answer(answers.stored_version(found))


# ── from draft to publication ───────────────────────────────────────────────────────────────────────────────


@router.post("/{template}/versions/{number}/submit", openapi_extra={**body(WhyIn), **_IF_MATCH})
async def submit(request: Request, who: Editing, template: Template, number: Number) -> Response:
    """Hand a draft to a second person; its text can't change any more. 422 where the lint has errors."""
    revision = _revision(request)
    given = await bodies.read_model(request, WhyIn)
    with answers.refusals():
        found = await gateway_of(request).editing.submit(
            who.tenant, template, number, revision, who.actor, given.comment
        )
    return bodies.answer(answers.stored_version(found))


@router.post("/{template}/versions/{number}/approve", openapi_extra=body(CommentIn))
async def approve(request: Request, who: Approving, template: Template, number: Number) -> Response:
    """Say yes to what somebody else wrote and submitted."""
    given = await bodies.read_model(request, CommentIn)
    with answers.refusals():
        found = await gateway_of(request).editing.approve(who.tenant, template, number, who.actor, given.comment)
    return bodies.answer(answers.stored_version(found))


@router.post("/{template}/versions/{number}/reject", openapi_extra=body(WhyIn))
async def reject(request: Request, who: Approving, template: Template, number: Number) -> Response:
    """Say no; its editor begins another draft."""
    given = await bodies.read_model(request, WhyIn)
    with answers.refusals():
        found = await gateway_of(request).editing.reject(who.tenant, template, number, who.actor, given.comment)
    return bodies.answer(answers.stored_version(found))


@router.get("/{template}/versions/{number}/consequences")
async def consequences(request: Request, who: Reading, template: Template, number: Number) -> Response:
    """What publishing it now would do: which callers of the last 30 days it would break, and whose work undo."""
    with answers.refusals():
        found = await gateway_of(request).editing.consequences(who.tenant, template, number)
    return bodies.answer({"consequences": [asdict(each) for each in found]})


@router.post("/{template}/versions/{number}/publish", openapi_extra=body(PublishIn))
async def publish(request: Request, who: Approving, template: Template, number: Number) -> Response:
    """Have it live, at once or from a time on. 409 names the consequences that have to be confirmed."""
    given = await bodies.read_model(request, PublishIn)
    with answers.refusals():
        found = await gateway_of(request).editing.publish(
            who.tenant, template, number, who.actor, given.comment, given.at, confirmed=given.confirm
        )
    return bodies.answer(answers.stored_version(found))


@router.post("/{template}/versions/{number}/unschedule", openapi_extra=body(WhyIn))
async def unschedule(request: Request, who: Approving, template: Template, number: Number) -> Response:
    """Take back a planned publication."""
    given = await bodies.read_model(request, WhyIn)
    with answers.refusals():
        found = await gateway_of(request).editing.unschedule(who.tenant, template, number, who.actor, given.comment)
    return bodies.answer(answers.stored_version(found))


@router.post("/{template}/roll-back", openapi_extra=body(RollBackIn))
async def roll_back(request: Request, who: Approving, template: Template) -> Response:
    """Have an earlier version live again, at once. What was accepted keeps the words that it was accepted with.

    ``planned`` is a version that will still take its place, unless it is unscheduled.
    """
    given = await bodies.read_model(request, RollBackIn)
    editing = gateway_of(request).editing
    with answers.refusals():
        await editing.roll_back(who.tenant, template, who.actor, given.comment, given.to)
        found = await editing.live(who.tenant, template)
        versions = await editing.versions(who.tenant, template)
    planned = next((answers.stored_version(each) for each in versions if each.state is TemplateState.SCHEDULED), None)
    return bodies.answer({"live": found and answers.head(found), "planned": planned})


@router.post("/{template}/versions/{number}/test", openapi_extra=body(TestSendIn))
async def test_send(request: Request, who: Editing, template: Template, number: Number) -> Response:
    """Send one marked message to an address of the tenant's own list, by the real provider; no contact is counted."""
    given = await bodies.read_model(request, TestSendIn)
    gateway = gateway_of(request)
    own = gateway.settings.test_addresses.get(who.tenant, {}).get(given.channel, [])
    with answers.refusals():
        text = await gateway.editing.text(who.tenant, template, number)
        sample = _sample(request, template, text.files, given.sample)
        found = await gateway.editing.test_send(
            who.tenant, template, number, given.channel, given.address, own, who.actor, sample
        )
    return bodies.answer(asdict(found))


# ── in and out ──────────────────────────────────────────────────────────────────────────────────────────────


async def _files(request: Request, who: Caller, template: str, given: TextIn) -> Mapping[str, str]:
    if given.files is not None:
        return given.files
    editing = gateway_of(request).editing
    if given.number is not None:
        return (await editing.text(who.tenant, template, given.number)).files
    found = await editing.live(who.tenant, template)
    if found is None:
        raise Problem("not_found", "No version of this template is live; give its files, or a number.")
    return found.files


def _sample(request: Request, template: str, files: Mapping[str, str], given: SampleIn) -> Sample:
    return given.value(*gateway_of(request).editing.defaults(template, files))


def _revision(request: Request) -> int:
    given = request.headers.get("if-match", "").strip().strip('"')
    if not given:
        raise Problem("revision_required")
    if not given.isdecimal() or len(given) > 9:
        raise Problem("invalid_request", errors=[FieldError("/header/If-Match", 'must be an ETag of ours, like "3"')])
    return int(given)
