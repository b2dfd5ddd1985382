"""Answers of the template routes: texts, versions, previews, and refusals as problems."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any

from starlette.responses import Response

from gateway.api.http import bodies
from gateway.api.http.problems import Problem
from gateway.core.codec import instant
from gateway.core.errors import RenderFailed
from gateway.core.requests import FieldError
from gateway.templates.previews.preview import ChannelPreview
from gateway.templates.purposes import Purpose
from gateway.templates.repository import TemplateFiles
from gateway.templates.versions.refusals import (
    BadComment,
    BadPlan,
    BadText,
    DraftExists,
    EditedMeanwhile,
    NeedsConfirmation,
    TemplateRefusal,
)
from gateway.templates.versions.stored_version import Change, StoredVersion, VersionText
from gateway.templates.workflow.commands import Result, RolledBack
from gateway.templates.workflow.provider_templates import ProviderTemplateView
from gateway.templates.workflow.results import VersionResults
from gateway.templates.workflow.reviews import PlacedComment, ReviewedFinding, WaitingVersion
from gateway.templates.workflow.workflow import TemplateSummary


@contextmanager
def refusals() -> Iterator[None]:
    """Turns refusals of the workflow into problems."""
    try:
        yield
    except (EditedMeanwhile, DraftExists) as error:
        raise Problem(error.kind, str(error), extra={"current": _current(error.current)}) from None
    except BadText as error:
        findings = [asdict(each) for each in error.findings]
        raise Problem(error.kind, str(error), extra={"findings": findings}) from None
    except (BadComment, BadPlan) as error:
        raise Problem(error.kind, errors=[FieldError(f"/{error.field}", str(error))]) from None
    except NeedsConfirmation as error:
        raise Problem(
            error.kind, str(error), extra={"consequences": [asdict(each) for each in error.warnings]}
        ) from None
    except TemplateRefusal as error:
        raise Problem(error.kind, str(error)) from None
    except RenderFailed as error:
        raise Problem("invalid_variables", f"It can't be rendered: {error}") from None


def result(found: Result, status: int) -> Response:
    """What a command answered."""
    if isinstance(found, TemplateFiles):
        return text(found, status)
    if isinstance(found, StoredVersion):
        return bodies.answer(stored_version(found), status)
    if isinstance(found, RolledBack):
        view = {"live": found.live and head(found.live), "planned": found.planned and stored_version(found.planned)}
        return bodies.answer(view, status)
    if isinstance(found, ProviderTemplateView):
        return bodies.answer(provider_template(found), status)
    return bodies.answer(asdict(found), status)


def provider_template(found: ProviderTemplateView) -> dict[str, Any]:
    same = ("provider", "channel", "locale", "usable", "our_text", "provider_text", "proposed_text")
    entered = found.template
    return {
        **{name: getattr(found, name) for name in same},
        "status": entered.status if entered else "none",
        "reason": entered.reason if entered else "",
        "seen_at": instant(entered.seen_at) if entered else None,
        "reference": entered and entered.reference,
        "language": entered and entered.language,
        "text": entered and entered.approved_text,
        "slots": [asdict(each) for each in entered.slots] if entered else [],
        "ttl_seconds": int(entered.ttl.total_seconds()) if entered and entered.ttl else None,
        "proposed_slots": [asdict(each) for each in found.proposed_slots],
        "findings": [asdict(each) for each in found.findings],
    }


def text(found: TemplateFiles, status: int = 200) -> Response:
    """A text with its files; a draft's revision is its ETag."""
    view = {**head(found), "files": found.files, "stored_version": found.stored and stored_version(found.stored)}
    etag = {"ETag": f'"{found.stored.revision}"'} if found.stored is not None else {}
    return bodies.answer(view, status, etag)


def head(found: TemplateFiles) -> dict[str, Any]:
    return {"template": found.template, "number": found.number, "version": found.version}


def purpose(found: Purpose) -> dict[str, Any]:
    variables = [asdict(each) for each in found.variables]
    locales = sorted({name.partition("/")[0] for name in found.files if "/" in name and "examples" not in name})
    words = {"title": found.title, "what": found.what}
    return {"id": found.id, **words, "category": found.category, "variables": variables, "locales": locales}


def summary(found: TemplateSummary) -> dict[str, Any]:
    view = {name: getattr(found, name) for name in ("template", "title", "category", "live", "own")}
    return {**view, "under_way": [stored_version(each) for each in found.under_way]}


def stored_version(found: StoredVersion) -> dict[str, Any]:
    times = ("created_at", "updated_at", "publish_at", "published_at")
    return {**asdict(found), **{name: instant(getattr(found, name)) for name in times}}


def waiting(found: WaitingVersion) -> dict[str, Any]:
    view = {name: getattr(found, name) for name in ("title", "waits", "comment", "comments")}
    return {"stored": stored_version(found.stored), **view}


def placed_comment(found: PlacedComment) -> dict[str, Any]:
    return {**asdict(found), "at": instant(found.at)}


def reviewed_finding(found: ReviewedFinding) -> dict[str, Any]:
    why = found.explanation and {**asdict(found.explanation), "at": instant(found.explanation.at)}
    return {"key": found.key, "finding": asdict(found.finding), "explanation": why}


def results(found: VersionResults) -> dict[str, Any]:
    cost = None if found.cost is None else f"{found.cost.normalize():f}"
    return {**asdict(found), "since": instant(found.since), "cost": cost}


def change(found: Change) -> dict[str, Any]:
    return {**asdict(found), "at": instant(found.at)}


def shown(found: ChannelPreview) -> dict[str, Any]:
    cost = found.cost and {"amount": str(found.cost.amount), "currency": found.cost.currency}
    return {**asdict(found), "cost": cost}


def _current(found: VersionText) -> dict[str, Any]:
    return {**stored_version(found.stored), "files": found.files}
