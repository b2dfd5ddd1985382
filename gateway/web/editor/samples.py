"""Reads the sample that an editor selected or typed for the preview."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gateway.templates.language.variables import integer_in
from gateway.templates.language.version import TemplateVersion
from gateway.templates.previews.preview import Sample
from gateway.templates.previews.samples import samples

KINDS = (
    "usual",
    "everything",
    "required_only",
    "long_name",
    "big_amount",
    "right_to_left",
    "chinese",
)  # one button each


def sample(version: TemplateVersion, files: Mapping[str, str], locale: str, kind: str) -> Sample:
    """The sample of one of ``KINDS``; the usual one for an unknown kind."""
    found = samples(version, locale, files)
    return found.get(kind, found["usual"])


def typed(version: TemplateVersion, given: Mapping[str, str]) -> dict[str, Any]:
    """Typed sample values, converted to the types of a request; empty ones are left out."""
    found: dict[str, Any] = {}
    for name, spec in version.variables.items():
        value = given.get(name, "").strip()
        found[name] = integer_in(value) if spec.type == "integer" and value else value or None
    return found
