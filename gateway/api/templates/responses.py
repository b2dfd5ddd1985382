"""What the template routes answer, for the OpenAPI document; see gateway/api/responses."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from pydantic import BaseModel, Field

from channels.base import Content, TemplateStatus
from gateway.core.provider_templates import Slot
from gateway.templates.checks.findings import LintFinding
from gateway.templates.language.variables import VariableSpec
from gateway.templates.previews.preview import Price
from gateway.templates.rendering.reading import SentLink, Spoken
from gateway.templates.rendering.sms_segments import Segments
from gateway.templates.versions.compatibility import Consequence
from gateway.templates.versions.stored_version import Change, StoredVersion
from gateway.templates.workflow.results import MeasuredShare, VersionCounts
from gateway.templates.workflow.reviews import PlacedComment, ReviewedFinding, WaitingVersion
from gateway.templates.workflow.transfer import Imported
from gateway.templates.workflow.translations import TranslatedPart


class TemplateVersionHeadOut(BaseModel):
    """Number 0 is the built-in version."""

    template: str
    number: int
    version: str


class TemplateTextOut(TemplateVersionHeadOut):
    """A text with its files."""

    files: dict[str, str]
    stored_version: StoredVersion | None


class PurposeOut(BaseModel):
    """What a new template can be for; ``locales`` are those with a text to begin from."""

    id: str
    title: str
    what: str
    category: str
    variables: list[VariableSpec]
    locales: list[str]


class PurposeListOut(BaseModel):
    purposes: list[PurposeOut]


class TemplateSummaryOut(BaseModel):
    template: str
    title: str
    category: str
    live: str
    own: bool
    under_way: list[StoredVersion]


class TemplateListOut(BaseModel):
    templates: list[TemplateSummaryOut]


class TemplateExportOut(BaseModel):
    """The files of each template, by its id."""

    templates: dict[str, dict[str, str]]


class TemplateImportOut(BaseModel):
    results: list[Imported]


class TemplateVersionListOut(BaseModel):
    live: TemplateVersionHeadOut | None
    versions: list[StoredVersion]


class TemplateHistoryOut(BaseModel):
    changes: list[Change]


class ReviewedFindingListOut(BaseModel):
    """``key`` is what ``…/explain`` takes."""

    findings: list[ReviewedFinding]


class CommentListOut(BaseModel):
    comments: list[PlacedComment]


class WaitingListOut(BaseModel):
    waiting: list[WaitingVersion]


class TranslationListOut(BaseModel):
    """Each locale's parts, beside those of the default locale."""

    default_locale: str
    translations: dict[str, list[TranslatedPart]]


class VersionResultsOut(BaseModel):
    """Counts and shares of the last 90 days; nothing of a borrower. See ``MeasuredShare`` for the intervals.

    ``complete`` false: there were more requests than are looked at, and the oldest are left out. ``segments`` and
    ``cost`` are estimates, by the usual sample of the default language.
    """

    number: int
    version: str
    before: Annotated[str, Field(description='The version that was live before; "": none.')]
    since: datetime
    complete: bool
    counts: VersionCounts
    shares: list[MeasuredShare]
    segments: int
    cost: str | None
    currency: str


class LintOut(BaseModel):
    findings: list[LintFinding]


class ClientNoteOut(BaseModel):
    """What a mail program leaves out of this message, and where that is known from."""

    client: str
    what: str
    source: str


class PreviewOut(BaseModel):
    """One channel's message; ``content`` is null where it can't be rendered, and ``error`` says why.

    ``parts``: the text where its segments break. ``spoken``: HTML as a screen reader reads it.
    """

    channel: str
    locale: str
    content: Content | None
    error: str
    segments: Segments | None
    cost: Price | None
    parts: list[str]
    links: list[SentLink]
    amounts: list[str]
    spoken: list[Spoken]
    clients: list[ClientNoteOut]


class PreviewListOut(BaseModel):
    previews: list[PreviewOut]


class ConsequenceListOut(BaseModel):
    consequences: list[Consequence]


class ProviderTemplateOut(BaseModel):
    """A provider's template in one locale; what was entered is null and ``status`` is "none" where there is none.

    ``our_text`` and ``provider_text`` are what a sample borrower would read: they have to say the same.
    """

    provider: str
    channel: str
    locale: str
    status: TemplateStatus | Literal["none"]
    usable: bool
    reason: str
    seen_at: datetime | None
    reference: str | None
    language: str | None
    text: str | None
    slots: list[Slot]
    ttl_seconds: int | None
    our_text: str
    provider_text: str
    proposed_text: str
    proposed_slots: list[Slot]
    findings: list[LintFinding]


class ProviderTemplateListOut(BaseModel):
    provider_templates: list[ProviderTemplateOut]


class RolledBackOut(BaseModel):
    """What is live now, and the scheduled version that will still replace it."""

    live: TemplateVersionHeadOut | None
    planned: StoredVersion | None
