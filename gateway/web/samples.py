"""Sample borrowers for the preview: a usual one for each locale, and those who break messages.

A template's own samples (``examples/<locale>.json``) come first; where it has none, the examples of its variables.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from gateway.catalog.preview import NAME, Sample, examples
from gateway.catalog.version import TemplateVersion

# The button, and what is unusual about its borrower. The names are nobody's.
KINDS = ("usual", "long_name", "big_amount", "right_to_left", "chinese")
_NAMES = {
    "long_name": "Maria-Magdalena Wolfeschlegelsteinhausen-Bergerdorff de la Santísima Trinidad",
    "right_to_left": "شهرزاد بنت عبد الرحمن",
    "chinese": "歐陽美玲",
}
_BIG = "98765432.10"  # longer than any that a layout was tried with


def sample(version: TemplateVersion, files: Mapping[str, str], locale: str, kind: str) -> Sample:
    """The borrower of one of ``KINDS``; an unknown kind is the usual one."""
    name, given = _own(version, files.get(f"examples/{locale.lower()}.json", ""))
    variables = dict(given)
    if kind == "big_amount":
        variables |= {name: _BIG for name, each in version.variables.items() if each.type == "money"}
    return Sample(locale, variables, _NAMES.get(kind, name))


def _own(version: TemplateVersion, text: str) -> tuple[str, Mapping[str, Any]]:
    """The template's sample for a locale. One that can't be read is as good as none: the lint says what is wrong."""
    usual = examples(version)
    try:
        given = json.loads(text)
        name, variables = str(given["borrower"]["name"]), dict(given["variables"])
    except (ValueError, KeyError, TypeError):
        return NAME, usual
    # What a sample leaves out, requests may leave out too.
    return name, {each: variables.get(each) for each in version.variables}


def typed(version: TemplateVersion, given: Mapping[str, str]) -> dict[str, Any]:
    """Sample values as an editor typed them, in the types of a request; an empty one is not given."""
    found: dict[str, Any] = {}
    for name, spec in version.variables.items():
        value = given.get(name, "").strip()
        whole = spec.type == "integer" and value.removeprefix("-").isdecimal()
        found[name] = int(value) if whole else value or None
    return found
