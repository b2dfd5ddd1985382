"""What callers are told about templates: texts, versions, previews, and refusals as problems."""

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
from gateway.templates.repository import Files
from gateway.templates.workflow.preview import Shown
from gateway.templates.workflow.refusals import (
    BadText,
    DraftExists,
    EditedMeanwhile,
    NeedsConfirmation,
    TemplateRefusal,
)
from gateway.templates.workflow.unit_of_work import Change, StoredVersion, Text
from gateway.templates.workflow.workflow import Card


@contextmanager
def refusals() -> Iterator[None]:
    """What the catalogue refuses, as problems."""
    try:
        yield
    except (EditedMeanwhile, DraftExists) as error:
        raise Problem(error.kind, str(error), extra={"current": _current(error.current)}) from None
    except BadText as error:
        findings = [asdict(each) for each in error.findings]
        raise Problem(error.kind, str(error), extra={"findings": findings}) from None
    except NeedsConfirmation as error:
        raise Problem(
            error.kind, str(error), extra={"consequences": [asdict(each) for each in error.warnings]}
        ) from None
    except TemplateRefusal as error:
        raise Problem(error.kind, str(error)) from None
    except RenderFailed as error:
        raise Problem("invalid_variables", f"It can't be rendered: {error}") from None


def text(found: Files, status: int = 200) -> Response:
    """A text with its files; a draft's revision is its ETag."""
    view = {**head(found), "files": found.files, "edition": found.edition and edition(found.edition)}
    etag = {"ETag": f'"{found.edition.revision}"'} if found.edition is not None else {}
    return bodies.answer(view, status, etag)


def head(found: Files) -> dict[str, Any]:
    return {"template": found.template, "number": found.number, "version": found.version}


def card(found: Card) -> dict[str, Any]:
    view = {name: getattr(found, name) for name in ("template", "title", "category", "live", "own")}
    return {**view, "under_way": [edition(each) for each in found.under_way]}


def edition(found: StoredVersion) -> dict[str, Any]:
    times = ("created_at", "updated_at", "publish_at", "published_at")
    return {**asdict(found), **{name: instant(getattr(found, name)) for name in times}}


def change(found: Change) -> dict[str, Any]:
    return {**asdict(found), "at": instant(found.at)}


def shown(found: Shown) -> dict[str, Any]:
    cost = found.cost and {"amount": str(found.cost.amount), "currency": found.cost.currency}
    return {**asdict(found), "cost": cost}


def _current(found: Text) -> dict[str, Any]:
    return {**edition(found.edition), "files": found.files}
