"""The editor's forms: one route for each command of the workflow's table, and one that adds a language.

Maps a form's fields to the command's parameters by name (``_FIELDS``), and the result or refusal to a page. Checks the
role only; the workflow checks the state.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

from fastapi import APIRouter, Request
from starlette.responses import RedirectResponse, Response

from channels.base import TemplateStatus
from gateway.api.http.parts import GatewayClock, Uses
from gateway.core.provider_templates import Slot
from gateway.core.states import TemplateState
from gateway.identity.sessions import Session
from gateway.identity.users import Role
from gateway.templates.language.source import SETTINGS
from gateway.templates.language.variables import VariableSpec
from gateway.templates.language.version import TemplateVersion
from gateway.templates.previews.differences import DiffPiece, pieces
from gateway.templates.previews.preview import Sample, SampleRequest
from gateway.templates.repository import TemplateFiles
from gateway.templates.versions.refusals import (
    BadComment,
    BadText,
    DraftExists,
    EditedMeanwhile,
    NeedsConfirmation,
    TemplateRefusal,
)
from gateway.templates.versions.stored_version import StoredVersion
from gateway.templates.workflow.commands import COMMANDS, Command, Permission, Result, Save, Subject, Target
from gateway.templates.workflow.forms_of_mail import NotConvertible, other_form
from gateway.templates.workflow.provider_templates import ProviderTemplateView
from gateway.templates.workflow.test_send import TestSend
from gateway.templates.workflow.variable_settings import is_valid, with_variable, without_variable
from gateway.templates.workflow.workflow import TemplateWorkflow
from gateway.web.access import PageRoute, authenticated_form, pages_of
from gateway.web.editor import samples
from gateway.web.editor.provider_templates import show_provider_templates, slots_from
from gateway.web.editor.reviews import show_review
from gateway.web.editor.routes import files_of, page, sample_of, show_text
from gateway.web.form_texts import FIELD, SEEN, digest
from gateway.web.page import headers

router = APIRouter(prefix="/editor/templates/{template}", route_class=PageRoute, include_in_schema=False)

_ROLES = {Permission.READ: Role.VIEWER, Permission.EDIT: Role.EDITOR, Permission.APPROVE: Role.APPROVER}
_LONGEST_COMMENT = 500  # characters; our choice: a paragraph
_LONGEST_LOCALE = 11  # characters: language, script and country
_LONGEST_NUMBER = 9  # digits
# Of a provider's template, as in the API.
_LONGEST_REFERENCE, _LONGEST_LANGUAGE, _LONGEST_PROVIDER_TEXT, _LONGEST_REASON = 128, 32, 4096, 120


class FormError(Exception):
    """The form is invalid; ``key`` is the page's text with the remedy."""

    def __init__(self, key: str, status: int = 422) -> None:
        super().__init__(key)
        self.key = key
        self.status = status


@dataclass(frozen=True, slots=True)
class SubmittedForm:
    """A submitted form: fields, target and time. ``stored`` is the version's text, if there is one.

    ``files``: the texts, where they are not those of the fields.
    """

    session: Session
    fields: Mapping[str, str]
    target: Target
    workflow: TemplateWorkflow
    stored: TemplateFiles | None
    now: datetime
    files: Mapping[str, str] | None = None


@dataclass(frozen=True, slots=True)
class TextConflict:
    """A text that two users changed. ``pieces`` is the word diff from ``theirs`` (stored) to ``mine`` (submitted)."""

    name: str
    mine: str
    theirs: str
    pieces: tuple[DiffPiece, ...]


# ── from a form's fields to a command's parameters ──────────────────────────────────────────────────────────────────


async def _comment(form: SubmittedForm) -> str:
    """The comment on a step; of a finding, the reason beside it."""
    reason = form.fields.get(f"reason.{form.fields.get('finding', '')}")
    return (
        reason.strip()[:_LONGEST_COMMENT]
        if reason is not None
        else form.fields.get("comment", "").strip()[:_LONGEST_COMMENT]
    )


async def _files(form: SubmittedForm) -> Mapping[str, str] | None:
    """The stored texts, replaced by those of the page; for a new draft, the text of the version to begin from."""
    if form.files is not None:
        return form.files
    if form.stored is not None:
        return files_of(form.fields, form.stored.files)
    source = _number(form.fields, "from")
    if source is None:
        return None
    return (await form.workflow.text(form.target.tenant, form.target.template, source)).files


async def _at(form: SubmittedForm) -> datetime | None:
    """The time of a scheduled publication, in UTC: ``datetime-local`` has no zone, and the page labels it UTC."""
    if form.fields.get("when") != "later":
        return None
    try:
        found = datetime.fromisoformat(form.fields.get("at", ""))
    except ValueError:
        raise FormError("bad_time") from None
    at = found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)
    if at <= form.now:
        raise FormError("past_time")
    return at


async def _confirm(form: SubmittedForm) -> bool:
    return form.fields.get("confirmed") == "yes"


async def _to(form: SubmittedForm) -> int | None:
    return _number(form.fields, "to")


async def _channel(form: SubmittedForm) -> str:
    return form.fields.get("channel", "")


async def _address(form: SubmittedForm) -> str:
    return form.session.user.test_addresses.get(form.fields.get("channel", ""), "")


async def _sample(form: SubmittedForm) -> SampleRequest:
    """The displayed sample. Unsaved text is refused, since a test sends the stored text."""
    if form.stored is None or files_of(form.fields, form.stored.files) != dict(form.stored.files):
        raise FormError("save_before_test", 409)
    stored = form.stored
    chosen: list[Sample] = []

    def choose(version: TemplateVersion) -> Sample:
        chosen.append(sample_of(version, stored.files, form.fields.get("locale", ""), form.fields))
        return chosen[0]

    await asyncio.to_thread(form.workflow.draft_preview, stored.template, stored.files, choose)
    if not chosen:
        return SampleRequest()
    [sample] = chosen
    return SampleRequest(sample.locale, sample.variables, sample.name, sample.jurisdiction)


async def _reference(form: SubmittedForm) -> str:
    found = form.fields.get("reference", "").strip()[:_LONGEST_REFERENCE]
    if not found:
        raise FormError("pt_bad_reference")
    return found


async def _locale(form: SubmittedForm) -> str:
    return form.fields.get("locale", "")


async def _words(form: SubmittedForm) -> str:
    return form.fields.get("words", "").strip()[:_LONGEST_COMMENT]


async def _finding(form: SubmittedForm) -> str:
    return form.fields.get("finding", "")


async def _language(form: SubmittedForm) -> str:
    return form.fields.get("language", "").strip()[:_LONGEST_LANGUAGE]


async def _provider_text(form: SubmittedForm) -> str | None:
    """The provider's text; None, where the form has none, is what our text proposes."""
    return form.fields.get("text", "").replace("\r\n", "\n").strip()[:_LONGEST_PROVIDER_TEXT] or None


async def _slots(form: SubmittedForm) -> Sequence[Slot] | None:
    try:
        return slots_from(form.fields.get("slots", ""))
    except ValueError:
        raise FormError("pt_bad_slots") from None


async def _ttl_seconds(form: SubmittedForm) -> int | None:
    return _number(form.fields, "ttl_seconds") or None


async def _status(form: SubmittedForm) -> TemplateStatus:
    try:
        return TemplateStatus(form.fields.get("status", ""))
    except ValueError:
        raise FormError("refusal_wrong_state", 409) from None


async def _reason(form: SubmittedForm) -> str:
    return form.fields.get("reason", "").strip()[:_LONGEST_REASON]


_FIELDS: Mapping[str, Callable[[SubmittedForm], Any]] = {
    "comment": _comment,
    "files": _files,
    "at": _at,
    "confirm": _confirm,
    "to": _to,
    "channel": _channel,
    "address": _address,
    "sample": _sample,
    "locale": _locale,
    "words": _words,
    "finding": _finding,
    "reference": _reference,
    "language": _language,
    "text": _provider_text,
    "slots": _slots,
    "ttl_seconds": _ttl_seconds,
    "status": _status,
    "reason": _reason,
}


# ── the routes ──────────────────────────────────────────────────────────────────────────────────────────────────────


def _add_route(command: Command) -> None:
    async def for_version(
        request: Request, template: str, workflow: Uses[TemplateWorkflow], clock: Uses[GatewayClock], number: int
    ) -> Response:
        session, fields = await authenticated_form(request, _ROLES[command.permission])
        return await _answer(request, command, await _read(session, fields, workflow, clock, template, number))

    async def for_template(
        request: Request, template: str, workflow: Uses[TemplateWorkflow], clock: Uses[GatewayClock]
    ) -> Response:
        return await for_version(request, template, workflow, clock, 0)

    if command.subject is Subject.TEMPLATE:
        router.add_api_route(f"/{command.name}", for_template, methods=["POST"], name=command.name)
    else:
        below = "provider-templates/" if command.subject is Subject.PROVIDER_TEMPLATE else ""
        router.add_api_route(f"/{{number:int}}/{below}{command.name}", for_version, methods=["POST"], name=command.name)


for _command in COMMANDS.values():
    _add_route(_command)


@router.post("/{number:int}/locale")
async def add_locale(
    request: Request, template: str, number: int, workflow: Uses[TemplateWorkflow], clock: Uses[GatewayClock]
) -> Response:
    """Save with an additional locale, whose texts are copied from the displayed one."""
    command = COMMANDS["save"]
    session, fields = await authenticated_form(request, _ROLES[command.permission])
    new, old = fields.get("new_locale", "").strip()[:_LONGEST_LOCALE], fields.get("locale", "")
    copied = {
        f"{FIELD}{new}/{name.rpartition('/')[2]}": text
        for name, text in fields.items()
        if new and name.startswith(f"{FIELD}{old}/")
    }
    form = await _read(session, {**copied, **fields, "locale": new or old}, workflow, clock, template, number)
    return await _answer(request, command, form)


@router.post("/{number:int}/mail-form")
async def change_mail_form(
    request: Request, template: str, number: int, workflow: Uses[TemplateWorkflow], clock: Uses[GatewayClock]
) -> Response:
    """Save with the e-mail of the displayed locale in its other form: Markdown, or MJML and plain text."""
    command = COMMANDS["save"]
    session, fields = await authenticated_form(request, _ROLES[command.permission])
    form = await _read(session, fields, workflow, clock, template, number)
    files, locale = files_of(fields, form.stored.files if form.stored else {}), fields.get("locale", "")
    drafted = await asyncio.to_thread(
        workflow.draft_preview, template, files, lambda version: samples.sample(version, files, locale, "")
    )
    try:
        changed = other_form(workflow.profiles, drafted.version, files, locale)
    except NotConvertible as error:
        return await _notice(
            request, form, "not_converted", 422, pages_of(request).texts(request).translate(error.detail)
        )
    return await _answer(request, command, replace(form, files=changed))


@router.post("/{number:int}/variable")
async def change_variable(
    request: Request, template: str, number: int, workflow: Uses[TemplateWorkflow], clock: Uses[GatewayClock]
) -> Response:
    """Save with a variable that the form declares, in the place of the one of its name, or without the named one."""
    command = COMMANDS["save"]
    session, fields = await authenticated_form(request, _ROLES[command.permission])
    form = await _read(session, fields, workflow, clock, template, number)
    files = files_of(fields, form.stored.files if form.stored else {})
    settings, removed = files.get(SETTINGS, ""), fields.get("remove_variable", "")
    name, kind, example, description = (
        " ".join(fields.get(f"variable_{each}", "").split()) for each in ("name", "type", "example", "description")
    )
    spec = VariableSpec(name, kind, bool(fields.get("variable_required")), example, description)
    if not removed and not is_valid(spec):
        return await _notice(request, form, "bad_variable", 422)
    settings = without_variable(settings, removed) if removed else with_variable(settings, spec)
    return await _answer(request, command, replace(form, files={**files, SETTINGS: settings}))


async def _read(
    session: Session,
    fields: Mapping[str, str],
    workflow: TemplateWorkflow,
    clock: GatewayClock,
    template: str,
    number: int,
) -> SubmittedForm:
    user = session.user
    own = {channel: [address] for channel, address in user.test_addresses.items()}
    revision = _number(fields, "revision") or 0
    place = (fields.get("provider", ""), fields.get("locale", "")) if "provider" in fields else ("", "")
    target = Target(user.tenant, template, user.actor, number, revision, own, *place)
    stored = await workflow.text(user.tenant, template, number) if number else None
    return SubmittedForm(session, fields, target, workflow, stored, clock())


async def _answer(request: Request, command: Command, form: SubmittedForm) -> Response:
    """Run the command, and return the page for its result or refusal."""
    try:
        return await _done(request, command, form, await _run(command, form))
    except FormError as error:
        return await _notice(request, form, error.key, error.status)
    except EditedMeanwhile as error:
        return await _show_conflict(request, form, error)
    except NeedsConfirmation as error:
        target = form.target
        values = {"template": target.template, "number": target.number, "warnings": error.warnings, "form": form.fields}
        return await page(request, form.session, "confirm.html", values, 409)
    except BadComment as error:
        return await _notice(request, form, f"bad_comment_{error.field}", 422)
    except BadText:
        blocked = "pt_blocked" if command.subject is Subject.PROVIDER_TEMPLATE else "lint_blocks"
        return await _notice(request, form, "not_saved" if command.name == "save" else blocked, 422)
    except DraftExists as error:
        return to_version(form.target.template, error.current.stored.number, "draft_exists")
    except TemplateRefusal as error:
        if command.name != "test":
            raise
        words = pages_of(request).texts(request).maybe(f"refusal_{error.kind}", str(error))
        return await _notice(request, form, "test_refused", 409, words)


async def _run(command: Command, form: SubmittedForm) -> Result:
    target = form.target
    if command.name == "reject" and not await _comment(form):
        raise FormError("reject_reason")
    if command.name in ("submit", "explain"):  # the page has one button for saving and for this
        files = files_of(form.fields, form.stored.files if form.stored else {})
        saved = await COMMANDS["save"].run(form.workflow, target, Save(files, await _comment(form)))
        if isinstance(saved, TemplateFiles) and saved.stored is not None:
            target = Target(target.tenant, target.template, target.actor, target.number, saved.stored.revision)
    given = {each.name: await _FIELDS[each.name](form) for each in fields(command.parameters)}
    return await command.run(form.workflow, target, command.parameters(**given))


async def _done(request: Request, command: Command, form: SubmittedForm, result: Result) -> Response:
    template = form.target.template
    if isinstance(result, TestSend):
        if result.outcome == "accepted_by_provider":
            address = form.session.user.test_addresses.get(result.channel, "")
            return await _notice(request, form, "test_sent", 200, address)
        return await _notice(request, form, "test_refused", 200, f"{result.outcome} {result.code}".strip())
    if command.name == "comment":
        address = f"/editor/templates/{quote(template)}/{form.target.number}/changes?done=comment"
        return RedirectResponse(address, 303, headers())
    if isinstance(result, StoredVersion) and result.state is not TemplateState.DISCARDED:
        scheduled = result.state is TemplateState.SCHEDULED
        done, locale = "schedule" if scheduled else command.name, form.fields.get("locale", "")
        return to_version(template, result.number, done, locale)
    if isinstance(result, ProviderTemplateView):
        page_of = f"/editor/templates/{quote(template)}/{form.target.number}/provider-templates"
        return RedirectResponse(f"{page_of}?done={command.name}", 303, headers())
    if isinstance(result, TemplateFiles) and form.fields.get("page") == "translations":
        shown = f"locale={quote(form.fields.get('locale', ''))}&done=save"
        address = f"/editor/templates/{quote(template)}/{result.number}/translations?{shown}"
        return RedirectResponse(address, 303, headers())
    if isinstance(result, TemplateFiles):
        return to_version(template, result.number, command.name, form.fields.get("locale", ""))
    return RedirectResponse(f"/editor/templates/{quote(template)}?done={command.name}", 303, headers())


def to_version(template: str, number: int, done: str, locale: str = "") -> Response:
    """Redirect to a version's page with the message ``done_{done}``."""
    where = f"&locale={quote(locale)}" if locale else ""
    return RedirectResponse(f"/editor/templates/{quote(template)}/{number}?done={done}{where}", 303, headers())


# ── pages for refusals ────────────────────────────────────────────────────────────────────────────────────


async def _notice(request: Request, form: SubmittedForm, key: str, status: int, words: str = "") -> Response:
    """The version's page with the submitted text and a notice. Reads the stored text again, as it may have changed."""
    target = form.target
    if target.provider:
        return await show_provider_templates(
            request, form.session, target.template, target.number, form.fields, status, key
        )
    if "words" in form.fields:  # a comment on the reviewer's page
        return await show_review(
            request, form.session, target.template, target.number, form=form.fields, status=status, notice=key
        )
    text = await form.workflow.text(target.tenant, target.template, target.number)
    return await show_text(request, form.session, text, form.fields, status, notice=key, words=words)


async def _show_conflict(request: Request, form: SubmittedForm, meanwhile: EditedMeanwhile) -> Response:
    """Show a conflict: texts that both users changed side by side; texts that one of them changed are merged."""
    theirs = dict(meanwhile.current.files)
    merged, conflicts = dict(theirs), []
    for name, mine in files_of(form.fields, theirs).items():
        seen, before = form.fields.get(SEEN + name, ""), theirs.get(name, "")
        if mine == before or digest(mine) == seen:
            continue  # unchanged on this page
        merged[name] = mine
        if digest(before) != seen:  # changed by another user, too
            shown = before.removesuffix("\n"), mine.removesuffix("\n")
            conflicts.append(TextConflict(name, shown[1], shown[0], await asyncio.to_thread(pieces, *shown)))
    values: dict[str, Any] = {
        "template": form.target.template,
        "number": form.target.number,
        "stored": meanwhile.current.stored,
        "conflicts": conflicts,
        "kept": {name: text for name, text in merged.items() if text != theirs.get(name)},
        "locale": form.fields.get("locale", ""),
    }
    return await page(request, form.session, "conflict.html", values, 409)


def _number(form: Mapping[str, str], name: str) -> int | None:
    value = form.get(name, "")
    return int(value) if value.isdecimal() and len(value) <= _LONGEST_NUMBER else None
