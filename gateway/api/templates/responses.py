"""What the template routes answer, for the OpenAPI document; see gateway/api/responses.py."""

from __future__ import annotations

from pydantic import BaseModel

from channels.base import Content
from gateway.templates.checks.findings import LintFinding
from gateway.templates.rendering.sms_segments import Segments
from gateway.templates.workflow.compatibility import Consequence
from gateway.templates.workflow.preview import Price
from gateway.templates.workflow.stored_version import Change, StoredVersion
from gateway.templates.workflow.transfer import Imported


class TemplateVersionHeadOut(BaseModel):
    """Number 0 is the built-in version."""

    template: str
    number: int
    version: str


class TemplateTextOut(TemplateVersionHeadOut):
    """A text with its files."""

    files: dict[str, str]
    stored_version: StoredVersion | None


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


class LintOut(BaseModel):
    findings: list[LintFinding]


class PreviewOut(BaseModel):
    """One channel's message; ``content`` is null where it can't be rendered, and ``error`` says why."""

    channel: str
    locale: str
    content: Content | None
    error: str
    segments: Segments | None
    cost: Price | None


class PreviewListOut(BaseModel):
    previews: list[PreviewOut]


class ConsequenceListOut(BaseModel):
    consequences: list[Consequence]


class RolledBackOut(BaseModel):
    """What is live now, and the scheduled version that will still replace it."""

    live: TemplateVersionHeadOut | None
    planned: StoredVersion | None
