"""Whom a template is tried with: who is usual in a locale, and those who break messages.

A template's own ``examples/<locale>.json`` comes first: ``{"borrower": {"name": …}, "variables": {…}}``. Where it has
none, the examples of its variables, with the money of the locale's country.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import date
from typing import Any

from babel.numbers import get_territory_currencies

from gateway.templates.language.version import TemplateVersion
from gateway.templates.workflow.preview import NAME, Sample

# What is unusual about each. The names are nobody's.
KINDS = ("usual", "everything", "required_only", "longest", "long_name", "big_amount", "right_to_left", "chinese")
_NAMES = {
    "longest": "Maria-Magdalena Wolfeschlegelsteinhausen-Bergerdorff de la Santísima Trinidad",
    "long_name": "Maria-Magdalena Wolfeschlegelsteinhausen-Bergerdorff de la Santísima Trinidad",
    "right_to_left": "شهرزاد بنت عبد الرحمن",
    "chinese": "歐陽美玲",
}
_BIG = "98765432.10"  # longer than any that a layout was tried with
_LONG: Mapping[str, str] = {
    "money": _BIG,
    "date": "2026-09-30",  # the longest month, in English and its neighbours
    "url": "https://payments.example.com/accounts/0123456789/pay?reference=0123456789",
}
_IN_FORCE = date(2026, 1, 1)  # of currencies: a day on which today's are in use


def samples(version: TemplateVersion, locale: str, files: Mapping[str, str] | None = None) -> dict[str, Sample]:
    """The samples of a locale by kind. ``files`` are the template's, by path: its examples are among them."""
    name, own = _own(version, (files or {}).get(f"examples/{locale.lower()}.json", ""))
    declared = _declared(version, locale)
    everything = declared | own
    types = {each: spec.type for each, spec in version.variables.items()}
    values: dict[str, dict[str, Any]] = {
        "everything": everything,
        "required_only": {each: everything[each] for each, spec in version.variables.items() if spec.required},
        "longest": everything | {each: _LONG[kind] for each, kind in types.items() if kind in _LONG},
        "big_amount": (own or everything) | {each: _BIG for each, kind in types.items() if kind == "money"},
    }
    return {kind: Sample(locale, values.get(kind, own or everything), _NAMES.get(kind, name)) for kind in KINDS}


def _own(version: TemplateVersion, text: str) -> tuple[str, dict[str, Any]]:
    """The template's sample for a locale; one that can't be read is as good as none. What it leaves out is left out."""
    try:
        given = json.loads(text)
        name, variables = str(given["borrower"]["name"]), dict(given["variables"])
    except (ValueError, KeyError, TypeError):
        return NAME, {}
    return name, {each: value for each, value in variables.items() if each in version.variables}


def _declared(version: TemplateVersion, locale: str) -> dict[str, Any]:
    """The examples of the declarations, with the money of the locale's country."""
    country = locale.partition("-")[2].upper()
    currencies = get_territory_currencies(country, _IN_FORCE) if country else []
    found: dict[str, Any] = {each: spec.value_of_example for each, spec in version.variables.items()}
    if currencies:
        found |= {each: str(currencies[0]) for each, spec in version.variables.items() if spec.type == "currency"}
    return found
