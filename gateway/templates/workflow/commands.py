"""The commands on templates, in one table: name, permission, parameters and function of each.

The HTTP API (gateway/api/templates/routes.py) and the editor's forms (gateway/web/editor/forms.py) are built from this
table, so that a new command is one entry here. Both check the permission before they read anything else. What is
allowed in which state, and that a second person approves, is checked by the workflow below, whoever calls it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from channels.base import TemplateStatus
from gateway.core.provider_templates import Slot
from gateway.core.states import TemplateState
from gateway.templates.previews.preview import SampleRequest
from gateway.templates.repository import TemplateFiles
from gateway.templates.versions.stored_version import StoredVersion
from gateway.templates.workflow.provider_templates import ProviderTemplateView
from gateway.templates.workflow.test_send import TestSend
from gateway.templates.workflow.workflow import TemplateWorkflow


class Permission(StrEnum):
    """What a command needs. The API has a scope for each (``templates:edit``), the pages a role."""

    READ = "read"
    EDIT = "edit"
    APPROVE = "approve"


class Subject(StrEnum):
    """The object of a command."""

    TEMPLATE = "template"
    VERSION = "version"
    PROVIDER_TEMPLATE = "provider_template"  # of a version, by provider and locale
    DRAFT = "draft"  # at a revision: refused with EditedMeanwhile where the text was saved since


@dataclass(frozen=True, slots=True)
class Target:
    """The tenant, template and version, and the actor (``user:<id>`` or ``key:<id>``).

    ``test_addresses``: the addresses that the actor may send tests to, by channel. ``provider`` and ``locale`` name a
    provider's template.
    """

    tenant: str
    template: str
    actor: str
    number: int = 0
    revision: int = 0
    test_addresses: Mapping[str, Collection[str]] = field(default_factory=dict)
    provider: str = ""
    locale: str = ""


@dataclass(frozen=True, slots=True)
class Comment:
    """An optional comment, kept as evidence."""

    comment: str = ""


@dataclass(frozen=True, slots=True)
class Reason:
    """The reason, kept as evidence. API keys have to give one; users may leave it out."""

    comment: str


@dataclass(frozen=True, slots=True)
class CommentAt:
    """A comment on ``words`` of the message on a channel in a locale; "": on the whole message."""

    channel: str
    locale: str
    comment: str
    words: str = ""


@dataclass(frozen=True, slots=True)
class Explain:
    """Why the finding with this key needs no change."""

    finding: str
    comment: str


@dataclass(frozen=True, slots=True)
class Begin:
    """``files`` None: begin from what is live."""

    comment: str = ""
    files: Mapping[str, str] | None = None


@dataclass(frozen=True, slots=True)
class Save:
    """The draft's whole text."""

    files: Mapping[str, str]
    comment: str = ""


@dataclass(frozen=True, slots=True)
class Publish:
    """``at`` None: now. ``confirm``: the consequences that NeedsConfirmation named are wanted."""

    comment: str
    at: datetime | None = None
    confirm: bool = False


@dataclass(frozen=True, slots=True)
class RollBack:
    """``to``: the number of an earlier version, 0 for the built-in one; None: the one before."""

    comment: str
    to: int | None = None


@dataclass(frozen=True, slots=True)
class TestMessage:
    """A message of this version for a sample borrower, to an address of the actor's own."""

    channel: str
    address: str
    sample: SampleRequest = field(default_factory=SampleRequest)


@dataclass(frozen=True, slots=True)
class EnterProviderTemplate:
    """``language`` "": the locale. ``text``, ``slots`` None: what our text proposes. ``ttl_seconds`` None: no limit."""

    reference: str
    language: str = ""
    text: str | None = None
    slots: Sequence[Slot] | None = None
    ttl_seconds: int | None = None


@dataclass(frozen=True, slots=True)
class ReportProviderTemplate:
    """``reason`` is the provider's own word, kept as evidence."""

    status: TemplateStatus
    reason: str = ""


@dataclass(frozen=True, slots=True)
class RolledBack:
    """The live version (None: none), and the scheduled version that will replace it."""

    live: TemplateFiles | None
    planned: StoredVersion | None


Result = TemplateFiles | StoredVersion | RolledBack | TestSend | ProviderTemplateView


@dataclass(frozen=True, slots=True)
class Command:
    """One entry. ``name`` is the last part of the URL; ``parameters`` is one of the dataclasses above.

    ``run`` raises TemplateRefusal (gateway/templates/versions/refusals.py) and Unavailable. ``may_need_confirmation``:
    it can raise NeedsConfirmation, and is then repeated with ``confirm``.
    """

    name: str
    description: str
    permission: Permission
    subject: Subject
    parameters: type[Any]
    run: Callable[[TemplateWorkflow, Target, Any], Awaitable[Result]]
    may_need_confirmation: bool = False


async def _begin(workflow: TemplateWorkflow, to: Target, given: Begin) -> Result:
    return await workflow.begin(to.tenant, to.template, to.actor, given.comment, given.files)


async def _save(workflow: TemplateWorkflow, to: Target, given: Save) -> Result:
    return await workflow.save(to.tenant, to.template, to.number, to.revision, given.files, to.actor, given.comment)


async def _discard(workflow: TemplateWorkflow, to: Target, given: Comment) -> Result:
    return await workflow.discard(to.tenant, to.template, to.number, to.revision, to.actor, given.comment)


async def _submit(workflow: TemplateWorkflow, to: Target, given: Reason) -> Result:
    return await workflow.submit(to.tenant, to.template, to.number, to.revision, to.actor, given.comment)


async def _approve(workflow: TemplateWorkflow, to: Target, given: Comment) -> Result:
    return await workflow.approve(to.tenant, to.template, to.number, to.actor, given.comment)


async def _reject(workflow: TemplateWorkflow, to: Target, given: Reason) -> Result:
    return await workflow.reject(to.tenant, to.template, to.number, to.actor, given.comment)


async def _comment(workflow: TemplateWorkflow, to: Target, given: CommentAt) -> Result:
    place = (given.channel, given.locale, given.words)
    return await workflow.reviews.comment(to.tenant, to.template, to.number, to.actor, place, given.comment)


async def _explain(workflow: TemplateWorkflow, to: Target, given: Explain) -> Result:
    return await workflow.reviews.explain(to.tenant, to.template, to.number, to.actor, given.finding, given.comment)


async def _publish(workflow: TemplateWorkflow, to: Target, given: Publish) -> Result:
    return await workflow.publish(
        to.tenant, to.template, to.number, to.actor, given.comment, given.at, confirmed=given.confirm
    )


async def _unschedule(workflow: TemplateWorkflow, to: Target, given: Reason) -> Result:
    return await workflow.unschedule(to.tenant, to.template, to.number, to.actor, given.comment)


async def _roll_back(workflow: TemplateWorkflow, to: Target, given: RollBack) -> Result:
    await workflow.roll_back(to.tenant, to.template, to.actor, given.comment, given.to)
    versions = await workflow.versions(to.tenant, to.template)
    planned = next((each for each in versions if each.state is TemplateState.SCHEDULED), None)
    return RolledBack(await workflow.live(to.tenant, to.template), planned)


async def _test(workflow: TemplateWorkflow, to: Target, given: TestMessage) -> Result:
    own = to.test_addresses.get(given.channel, ())
    return await workflow.test_send(
        to.tenant, to.template, to.number, given.channel, given.address, own, to.actor, given.sample
    )


async def _enter(workflow: TemplateWorkflow, to: Target, given: EnterProviderTemplate) -> Result:
    return await workflow.provider_templates.enter(
        to.tenant,
        to.template,
        to.number,
        (to.provider, to.locale),
        to.actor,
        reference=given.reference,
        language=given.language,
        text=given.text,
        slots=given.slots,
        ttl_seconds=given.ttl_seconds,
    )


async def _report(workflow: TemplateWorkflow, to: Target, given: ReportProviderTemplate) -> Result:
    place = (to.provider, to.locale)
    return await workflow.provider_templates.report(
        to.tenant, to.template, to.number, place, to.actor, status=given.status, reason=given.reason
    )


COMMANDS: Mapping[str, Command] = {
    each.name: each
    for each in (
        Command(
            "begin",
            "Begin a draft. A template has one draft at a time: 409 returns the open one.",
            Permission.EDIT,
            Subject.TEMPLATE,
            Begin,
            _begin,
        ),
        Command(
            "save",
            "Save a draft's text, finished or not. 412 returns the stored text where somebody saved it since.",
            Permission.EDIT,
            Subject.DRAFT,
            Save,
            _save,
        ),
        Command("discard", "Discard a draft.", Permission.EDIT, Subject.DRAFT, Comment, _discard),
        Command(
            "submit",
            "Submit a draft for approval; its text can't change any more. 422 where the checks find errors.",
            Permission.EDIT,
            Subject.DRAFT,
            Reason,
            _submit,
        ),
        Command(
            "approve",
            "Approve what somebody else wrote and submitted.",
            Permission.APPROVE,
            Subject.VERSION,
            Comment,
            _approve,
        ),
        Command(
            "reject",
            "Reject a submitted version; its editor begins another draft.",
            Permission.APPROVE,
            Subject.VERSION,
            Reason,
            _reject,
        ),
        Command(
            "comment",
            "Comment on words of a submitted version's message, as borrowers read it.",
            Permission.APPROVE,
            Subject.VERSION,
            CommentAt,
            _comment,
        ),
        Command(
            "explain",
            "Record why a draft's finding needs no change; the approver reads it. An error can't be explained away.",
            Permission.EDIT,
            Subject.VERSION,
            Explain,
            _explain,
        ),
        Command(
            "publish",
            "Publish an approved version now, or at a time. 409 names the consequences that have to be confirmed.",
            Permission.APPROVE,
            Subject.VERSION,
            Publish,
            _publish,
            may_need_confirmation=True,
        ),
        Command(
            "unschedule",
            "Cancel a scheduled publication.",
            Permission.APPROVE,
            Subject.VERSION,
            Reason,
            _unschedule,
        ),
        Command(
            "roll-back",
            "Make an earlier version live again at once. Requests accepted before keep the version they were accepted "
            "with. `planned` is a scheduled version that will still replace it, unless it is unscheduled.",
            Permission.APPROVE,
            Subject.TEMPLATE,
            RollBack,
            _roll_back,
        ),
        Command(
            "test",
            "Send one message, marked as a test, to an address on the caller's own list, through the real provider. "
            "It counts against no contact limit.",
            Permission.EDIT,
            Subject.VERSION,
            TestMessage,
            _test,
        ),
        Command(
            "enter",
            "Enter a provider's template of this version, as a draft. Without text and slots, they come from our text.",
            Permission.EDIT,
            Subject.PROVIDER_TEMPLATE,
            EnterProviderTemplate,
            _enter,
        ),
        Command(
            "report",
            "Record that a provider's template was submitted, or what the provider said of it. 422 where it would be "
            "refused, or does not say what our text says.",
            Permission.EDIT,
            Subject.PROVIDER_TEMPLATE,
            ReportProviderTemplate,
            _report,
        ),
    )
}
