"""The stored form of a tenant's template version: its row, its text, and its changes.

Owns the mapping of rows to values. Must not know the permitted transitions (unit_of_work.py, versions_store.py).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any

from gateway.core.states import TemplateState
from gateway.storage.tables.templates import template_editions

Key = tuple[str, str, int]  # (tenant, template, number)


@dataclass(frozen=True, slots=True)
class StoredVersion:
    """One version of a tenant's template. Requests are pinned to ``version``, "" while it is a draft.

    ``replaced`` is the number of the version that was live before it (0: the built-in one). Times are UTC.
    """

    tenant: str
    template: str
    number: int
    state: TemplateState
    revision: int
    version: str
    based_on: str
    replaced: int
    editors: tuple[str, ...]
    created_at: datetime
    updated_at: datetime
    updated_by: str
    submitted_by: str
    approved_by: str
    publish_at: datetime | None
    published_at: datetime | None

    @property
    def key(self) -> Key:
        return (self.tenant, self.template, self.number)


@dataclass(frozen=True, slots=True)
class VersionText:
    """A version with its text. ``source`` is "" while it is a draft."""

    stored: StoredVersion
    files: Mapping[str, str]
    source: str


@dataclass(frozen=True, slots=True)
class Change:
    """One change of a template: kind, actor, time and reason."""

    at: datetime
    actor: str
    kind: str
    number: int
    state: str
    comment: str
    detail: Mapping[str, Any]


COLUMNS = [template_editions.c[each.name] for each in fields(StoredVersion)]


def stored_version_from(row: Any) -> StoredVersion:
    known = {each.name: getattr(row, each.name) for each in fields(StoredVersion)}
    return StoredVersion(**{**known, "state": TemplateState(row.state), "editors": tuple(json.loads(row.editors))})


def text_from(row: Any) -> VersionText:
    return VersionText(stored_version_from(row), json.loads(row.files), row.source)


def encode_files(files: Mapping[str, str]) -> str:
    return json.dumps(dict(files), ensure_ascii=False, sort_keys=True)


def change_from(row: Any) -> Change:
    detail = json.loads(row.detail)
    number, comment = detail.pop("number"), detail.pop("comment")
    return Change(row.at, row.actor, row.kind, number, row.state, comment, detail)
