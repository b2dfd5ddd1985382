"""Templates: read, checked, previewed, imported and exported; and one route for each command of the workflow."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path, Query, Request
from starlette.responses import Response

from gateway.api.http import bodies
from gateway.api.http.authentication import Caller, needs
from gateway.api.http.bodies import JsonLimits
from gateway.api.http.openapi import answer_header, body, header
from gateway.api.http.parts import HttpSettings, Uses
from gateway.api.http.problems import Problem
from gateway.api.requests.fields import RequestModel
from gateway.api.templates import answers
from gateway.api.templates.responses import (
    CommentListOut,
    ConsequenceListOut,
    LintOut,
    PreviewListOut,
    ProviderTemplateListOut,
    ProviderTemplateOut,
    PurposeListOut,
    ReviewedFindingListOut,
    RolledBackOut,
    TemplateExportOut,
    TemplateHistoryOut,
    TemplateImportOut,
    TemplateListOut,
    TemplateTextOut,
    TemplateVersionListOut,
    TranslationListOut,
    VersionResultsOut,
    WaitingListOut,
)
from gateway.api.templates.schemas import (
    BeginIn,
    CommentAtIn,
    CommentIn,
    EnterProviderTemplateIn,
    ExplainIn,
    GlossaryIn,
    ImportIn,
    NewTemplateIn,
    PreviewIn,
    PublishIn,
    ReasonIn,
    ReportProviderTemplateIn,
    RollBackIn,
    SampleIn,
    SaveIn,
    TestSendIn,
    TextIn,
)
from gateway.core.provider_templates import Slot
from gateway.core.requests import FieldError
from gateway.core.states import TemplateState
from gateway.identity.keys import Scope
from gateway.templates.previews.differences import Difference
from gateway.templates.versions.stored_version import StoredVersion
from gateway.templates.workflow import commands
from gateway.templates.workflow.commands import Command, Permission, Subject, Target
from gateway.templates.workflow.glossaries import Glossary
from gateway.templates.workflow.new_templates import NewTemplateRequest, NewTemplates
from gateway.templates.workflow.template_results import TemplateResults
from gateway.templates.workflow.test_send import TestSend
from gateway.templates.workflow.transfer import Transfer
from gateway.templates.workflow.translations import default_locale_of
from gateway.templates.workflow.workflow import TemplateWorkflow

router = APIRouter(prefix="/v1/templates", tags=["templates"])

# Our choice: 200 templates of 100 files each, of 25 kB on average in all.
_LIMITS = JsonLimits(5_000_000, 20_000)
_IF_MATCH = header("If-Match", "The ETag of the text that yours is based on; required.")
_ETAG: dict[int | str, Any] = {200: answer_header("ETag", "The revision of a tenant's own version, for If-Match.")}
Reading = Annotated[Caller, Depends(needs(Scope.TEMPLATES_READ))]
Editing = Annotated[Caller, Depends(needs(Scope.TEMPLATES_EDIT))]
Template = Annotated[str, Path(pattern=r"^[a-z][a-z0-9-]{0,63}$")]
Number = Annotated[int, Path(ge=0, le=1_000_000)]
ProviderName = Annotated[str, Path(min_length=1, max_length=64)]
Locale = Annotated[str, Path(pattern=r"^[A-Za-z]{2,8}(-[A-Za-z0-9]{1,8})*$", max_length=16)]


# ── reading ─────────────────────────────────────────────────────────────────────────────────────────────────


@router.get("", response_model=TemplateListOut)
async def list_templates(
    workflow: Uses[TemplateWorkflow],
    who: Reading,
    search: Annotated[str, Query(max_length=80)] = "",
    state: Annotated[TemplateState | None, Query(description="Only templates with a version in this state.")] = None,
) -> Response:
    """All templates by id, with the live version and the versions in progress."""
    summaries = await workflow.summaries(who.tenant, search)
    wanted = [each for each in summaries if state is None or any(one.state is state for one in each.under_way)]
    return bodies.answer({"templates": [answers.summary(each) for each in wanted]})


@router.get("/purposes", response_model=PurposeListOut)
async def list_template_purposes(new: Uses[NewTemplates], who: Reading) -> Response:
    """What a new template can be for, each with the variables of its text."""
    return bodies.answer({"purposes": [answers.purpose(each) for each in new.purposes.values()]})


@router.get("/waiting", response_model=WaitingListOut)
async def list_waiting_versions(workflow: Uses[TemplateWorkflow], who: Reading) -> Response:
    """What waits for the caller: versions to approve, to publish and to revise, and its own that wait for others."""
    found = await workflow.reviews.waiting(who.tenant, who.actor)
    return bodies.answer({"waiting": [answers.waiting(each) for each in found]})


@router.get("/glossary", response_model=Glossary)
async def get_glossary(workflow: Uses[TemplateWorkflow], who: Reading) -> Response:
    """The lender's words for its terms, and those that it avoids. The checks of texts ask for them."""
    return bodies.answer(asdict(await workflow.glossaries.read(who.tenant)))


@router.put("/glossary", response_model=Glossary, responses={409: {"description": ""}}, openapi_extra=body(GlossaryIn))
async def save_glossary(request: Request, workflow: Uses[TemplateWorkflow], who: Editing) -> Response:
    """Replace the glossary. 409 where somebody has saved it since."""
    given = await bodies.read_model(request, GlossaryIn, _LIMITS)
    with answers.refusals():
        found = await workflow.glossaries.save(who.tenant, given.revision, given.entries(), who.actor)
    return bodies.answer(asdict(found))


@router.get("/export", response_model=TemplateExportOut)
async def export_templates(transfer: Uses[Transfer], who: Reading) -> Response:
    """The files of every template as they are live, byte for byte."""
    return bodies.answer({"templates": await transfer.export(who.tenant)})


@router.post("/import", response_model=TemplateImportOut, openapi_extra=body(ImportIn))
async def import_templates(request: Request, transfer: Uses[Transfer], who: Editing) -> Response:
    """Begin drafts from files; with `publish`, publish them at once. One result for each template."""
    given = await bodies.read_model(request, ImportIn, _LIMITS)
    if given.publish:
        who.require(Scope.ADMIN)  # nobody here has seen the second person who approved them
    results = [
        await transfer.import_template(
            who.tenant, template, files, who.actor, given.comment, publish=given.publish, confirmed=given.confirm
        )
        for template, files in given.templates.items()
    ]
    return bodies.answer({"results": [asdict(each) for each in results]})


@router.post(
    "/{template}",
    response_model=TemplateTextOut,
    status_code=201,
    responses={409: {"description": ""}},
    openapi_extra=body(NewTemplateIn),
)
async def create_template(request: Request, new: Uses[NewTemplates], who: Editing, template: Template) -> Response:
    """Create a template for a purpose: a draft with the purpose's text in the wanted languages and channels."""
    given = await bodies.read_model(request, NewTemplateIn, _LIMITS)
    asked = NewTemplateRequest(
        given.title,
        given.purpose,
        template,
        tuple(given.locales),
        tuple(given.channels),
        comment=given.comment,
    )
    with answers.refusals():
        return answers.text(await new.create(who.tenant, who.actor, asked), 201)


@router.get("/{template}/versions", response_model=TemplateVersionListOut)
async def list_template_versions(workflow: Uses[TemplateWorkflow], who: Reading, template: Template) -> Response:
    """All versions of a template, the newest first."""
    with answers.refusals():
        found = await workflow.versions(who.tenant, template)
        live = await workflow.live(who.tenant, template)
    return bodies.answer(
        {"live": live and answers.head(live), "versions": [answers.stored_version(each) for each in found]}
    )


@router.get("/{template}/live", response_model=TemplateTextOut, responses=_ETAG)
async def get_live_template(workflow: Uses[TemplateWorkflow], who: Reading, template: Template) -> Response:
    """The text that new requests get."""
    found = await workflow.live(who.tenant, template)
    if found is None:
        raise Problem("not_found", "No version of this template is live.")
    return answers.text(found)


@router.get("/{template}/versions/{number}", response_model=TemplateTextOut, responses=_ETAG)
async def get_template_version(
    workflow: Uses[TemplateWorkflow], who: Reading, template: Template, number: Number
) -> Response:
    """One version with its files; 0 is the built-in version. Send its ETag in If-Match."""
    with answers.refusals():
        return answers.text(await workflow.text(who.tenant, template, number))


@router.get("/{template}/history", response_model=TemplateHistoryOut)
async def list_template_changes(
    workflow: Uses[TemplateWorkflow],
    who: Reading,
    template: Template,
    number: Annotated[int | None, Query(ge=0)] = None,
) -> Response:
    """Every change of a template or of one version of it: by whom, when and why."""
    found = await workflow.history(who.tenant, template, number)
    return bodies.answer({"changes": [answers.change(each) for each in found]})


@router.get("/{template}/versions/{number}/diff", response_model=Difference)
async def compare_template_version(
    workflow: Uses[TemplateWorkflow],
    who: Reading,
    template: Template,
    number: Number,
    against: Annotated[int | None, Query(ge=0, description="A number; default: what is live.")] = None,
) -> Response:
    """What a version changes: in a few sentences, in its files, and in the messages."""
    with answers.refusals():
        found = await workflow.difference(who.tenant, template, number, against)
    return bodies.answer(asdict(found))


@router.post("/{template}/lint", response_model=LintOut, openapi_extra=body(TextIn))
async def lint_template(
    request: Request, workflow: Uses[TemplateWorkflow], who: Reading, template: Template
) -> Response:
    """Check a text. The findings, errors first; an error blocks submitting and publishing."""
    given = await bodies.read_model(request, TextIn, _LIMITS)
    with answers.refusals():
        files = await _files(workflow, who, template, given)
    # In a thread, as the preview: compiling a large text takes long enough to block the event loop.
    found = await asyncio.to_thread(workflow.lint, template, files)
    return bodies.answer({"findings": [asdict(each) for each in found]})


@router.post("/{template}/preview", response_model=PreviewListOut, openapi_extra=body(PreviewIn))
async def preview_template(
    request: Request, workflow: Uses[TemplateWorkflow], who: Reading, template: Template
) -> Response:
    """The message on each channel, exactly as sent; for an SMS, its segments and their cost."""
    given = await bodies.read_model(request, PreviewIn, _LIMITS)
    with answers.refusals():
        files = await _files(workflow, who, template, given)
        shown = await asyncio.to_thread(workflow.preview, template, files, given.sample.request())
    return bodies.answer({"previews": [answers.shown(each) for each in shown]})


@router.get("/{template}/versions/{number}/consequences", response_model=ConsequenceListOut)
async def list_consequences(
    workflow: Uses[TemplateWorkflow], who: Reading, template: Template, number: Number
) -> Response:
    """The consequences of publishing now: callers that would break, changes that would be undone."""
    with answers.refusals():
        found = await workflow.consequences(who.tenant, template, number)
    return bodies.answer({"consequences": [asdict(each) for each in found]})


@router.get("/{template}/versions/{number}/findings", response_model=ReviewedFindingListOut)
async def list_version_findings(
    workflow: Uses[TemplateWorkflow], who: Reading, template: Template, number: Number
) -> Response:
    """The findings of a version, each with its key and with why it needs no change, where somebody has said so."""
    with answers.refusals():
        found = await workflow.reviews.findings(await workflow.text(who.tenant, template, number))
    return bodies.answer({"findings": [answers.reviewed_finding(each) for each in found]})


@router.get("/{template}/versions/{number}/translations", response_model=TranslationListOut)
async def list_translations(
    workflow: Uses[TemplateWorkflow], who: Reading, template: Template, number: Number
) -> Response:
    """What each locale lacks, and which of its texts are older than those of the default locale."""
    with answers.refusals():
        text = await workflow.text(who.tenant, template, number)
        found = await workflow.translations(who.tenant, text)
    parts = {locale: [asdict(each) for each in some] for locale, some in found.items()}
    return bodies.answer({"default_locale": default_locale_of(text.files), "translations": parts})


@router.get("/{template}/versions/{number}/results", response_model=VersionResultsOut)
async def get_version_results(
    results: Uses[TemplateResults], who: Reading, template: Template, number: Number
) -> Response:
    """What became of a version's messages, against the version that was live before it."""
    with answers.refusals():
        found = await results.read(who.tenant, template, number)
    return bodies.answer(answers.results(found))


@router.get("/{template}/versions/{number}/comments", response_model=CommentListOut)
async def list_version_comments(
    workflow: Uses[TemplateWorkflow], who: Reading, template: Template, number: Number
) -> Response:
    """The comments on a version; of a draft, those on the version before it, where that was sent back."""
    with answers.refusals():
        text = await workflow.text(who.tenant, template, number)
    found = await workflow.reviews.comments(text.stored) if text.stored else []
    return bodies.answer({"comments": [answers.placed_comment(each) for each in found]})


@router.get("/{template}/versions/{number}/provider-templates", response_model=ProviderTemplateListOut)
async def list_provider_templates(
    workflow: Uses[TemplateWorkflow], who: Reading, template: Template, number: Number
) -> Response:
    """The providers' templates of a version by locale, with those that are missing, and their states."""
    with answers.refusals():
        found = await workflow.provider_templates.listed(who.tenant, template, number)
    return bodies.answer({"provider_templates": [answers.provider_template(each) for each in found]})


# ── commands: one route for each entry of the table ─────────────────────────────────────────────────────────

_SCOPES = {
    Permission.READ: Scope.TEMPLATES_READ,
    Permission.EDIT: Scope.TEMPLATES_EDIT,
    Permission.APPROVE: Scope.TEMPLATES_APPROVE,
}
# The body of each command, by its parameters. DELETE has no body.
_BODIES: Mapping[type, type[RequestModel]] = {
    commands.Begin: BeginIn,
    commands.Save: SaveIn,
    commands.Comment: CommentIn,
    commands.CommentAt: CommentAtIn,
    commands.Explain: ExplainIn,
    commands.Reason: ReasonIn,
    commands.Publish: PublishIn,
    commands.RollBack: RollBackIn,
    commands.TestMessage: TestSendIn,
    commands.EnterProviderTemplate: EnterProviderTemplateIn,
    commands.ReportProviderTemplate: ReportProviderTemplateIn,
}
_PATHS = {
    Subject.TEMPLATE: "/{template}",
    Subject.VERSION: "/{template}/versions/{number}",
    Subject.DRAFT: "/{template}/versions/{number}",
    Subject.PROVIDER_TEMPLATE: "/{template}/versions/{number}/provider-templates/{provider}/{locale}",
}
# Where the method says what is done. All others are POST {template or version}/{name}.
_METHODS = {
    "begin": ("POST", "/{template}/versions", 201),
    "save": ("PUT", "/{template}/versions/{number}", 200),
    "enter": ("PUT", _PATHS[Subject.PROVIDER_TEMPLATE], 200),
    "discard": ("DELETE", "/{template}/versions/{number}", 200),
}


_SUBJECTS = {
    Subject.TEMPLATE: "template",
    Subject.VERSION: "template_version",
    Subject.DRAFT: "template_draft",
    Subject.PROVIDER_TEMPLATE: "provider_template",
}
# What is answered, where it is not the stored version.
_RESULTS: Mapping[str, type] = {
    "begin": TemplateTextOut,
    "save": TemplateTextOut,
    "roll-back": RolledBackOut,
    "test": TestSend,
    "enter": ProviderTemplateOut,
    "report": ProviderTemplateOut,
}


def _add_route(command: Command) -> None:
    method, path, status = _METHODS.get(command.name, ("POST", f"{_PATHS[command.subject]}/{command.name}", 200))
    model = _BODIES[command.parameters] if method != "DELETE" else None
    extra = {**(body(model) if model else {}), **(_IF_MATCH if command.subject is Subject.DRAFT else {})}
    router.add_api_route(
        path,
        _handler(command, model, status),
        methods=[method],
        name=f"{command.name.replace('-', '_')}_{_SUBJECTS[command.subject]}",
        response_model=_RESULTS.get(command.name, StoredVersion),
        responses={409: {"description": ""}},
        description=command.description,
        status_code=status,
        openapi_extra=extra,
    )


def _handler(command: Command, model: type[RequestModel] | None, status: int) -> Callable[..., Awaitable[Response]]:
    """The endpoint of a command, with the path's parts as its subject has them."""
    permitted = Depends(needs(_SCOPES[command.permission]))

    async def for_provider_template(
        request: Request,
        workflow: Uses[TemplateWorkflow],
        settings: Uses[HttpSettings],
        template: Template,
        number: Number,
        provider: ProviderName,
        locale: Locale,
        who: Caller = permitted,
    ) -> Response:
        revision = _revision(request) if command.subject is Subject.DRAFT else 0
        given = await bodies.read_model(request, model, _LIMITS) if model else None
        addresses = settings.test_addresses.get(who.tenant, {})
        target = Target(who.tenant, template, who.actor, number, revision, addresses, provider, locale)
        with answers.refusals():
            return answers.result(await command.run(workflow, target, _parameters(command, given)), status)

    async def for_version(
        request: Request,
        workflow: Uses[TemplateWorkflow],
        settings: Uses[HttpSettings],
        template: Template,
        number: Number,
        who: Caller = permitted,
    ) -> Response:
        return await for_provider_template(request, workflow, settings, template, number, "", "", who)

    async def for_template(
        request: Request,
        workflow: Uses[TemplateWorkflow],
        settings: Uses[HttpSettings],
        template: Template,
        who: Caller = permitted,
    ) -> Response:
        return await for_version(request, workflow, settings, template, 0, who)

    handlers: dict[Subject, Callable[..., Awaitable[Response]]] = {
        Subject.TEMPLATE: for_template,
        Subject.PROVIDER_TEMPLATE: for_provider_template,
    }
    return handlers.get(command.subject, for_version)


def _parameters(command: Command, given: RequestModel | None) -> Any:
    values = {} if given is None else dict(given)
    return command.parameters(**{name: _plain(value) for name, value in values.items()})


def _plain(value: Any) -> Any:
    if isinstance(value, SampleIn):
        return value.request()
    return [Slot(**dict(each)) for each in value] if isinstance(value, list) else value


for _command in commands.COMMANDS.values():
    _add_route(_command)


# ── in and out ──────────────────────────────────────────────────────────────────────────────────────────────


async def _files(workflow: TemplateWorkflow, who: Caller, template: str, given: TextIn) -> Mapping[str, str]:
    if given.files is not None:
        return given.files
    if given.number is not None:
        return (await workflow.text(who.tenant, template, given.number)).files
    found = await workflow.live(who.tenant, template)
    if found is None:
        raise Problem("not_found", "No version of this template is live; give its files, or a number.")
    return found.files


def _revision(request: Request) -> int:
    given = request.headers.get("if-match", "").strip().strip('"')
    if not given:
        raise Problem("revision_required")
    if not given.isdecimal() or len(given) > 9:
        raise Problem("invalid_request", errors=[FieldError("/header/If-Match", 'must be an ETag of ours, like "3"')])
    return int(given)
