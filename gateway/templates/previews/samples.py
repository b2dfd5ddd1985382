"""Sample borrowers for previews and lint: a usual one for each locale, and edge cases such as the longest values.

A template's ``examples/<locale>.json`` comes first: ``{"borrower": {"name": …}, "variables": {…}}``. Without one, the
examples of its variables are used, with the currency of the locale's country.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import date
from typing import Any

from babel.numbers import get_territory_currencies

from gateway.templates.language.version import TemplateVersion
from gateway.templates.previews.preview import NAME, Sample

# The property that each kind has. The names are fictional.
KINDS = ("usual", "everything", "required_only", "longest", "long_name", "big_amount", "right_to_left", "chinese")
_NAMES = {
    "longest": "Maria-Magdalena Wolfeschlegelsteinhausen-Bergerdorff de la Santísima Trinidad",
    "long_name": "Maria-Magdalena Wolfeschlegelsteinhausen-Bergerdorff de la Santísima Trinidad",
    "right_to_left": "شهرزاد بنت عبد الرحمن",
    "chinese": "歐陽美玲",
}
_BIG = "98765432.10"  # a name longer than layouts are designed for
_LONG: Mapping[str, str] = {
    "money": _BIG,
    "date": "2026-09-30",  # the longest month name in English and related languages
    "url": "https://payments.example.com/accounts/0123456789/pay?reference=0123456789",
}
_IN_FORCE = date(2026, 1, 1)  # the date whose currencies are used; our choice


def samples(version: TemplateVersion, locale: str, files: Mapping[str, str] | None = None) -> dict[str, Sample]:
    """The samples of a locale by kind. ``files`` are the template's files by path, with its examples."""
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
    """The template's sample for a locale; one that can't be parsed is ignored. Missing variables stay missing."""
    try:
        given = json.loads(text)
        name, variables = str(given["borrower"]["name"]), dict(given["variables"])
    except (ValueError, KeyError, TypeError):
        return NAME, {}
    return name, {each: value for each, value in variables.items() if each in version.variables}


def _declared(version: TemplateVersion, locale: str) -> dict[str, Any]:
    """The examples of the declarations, with the currency of the locale's country."""
    country = locale.partition("-")[2].upper()
    currencies = get_territory_currencies(country, _IN_FORCE) if country else []
    found: dict[str, Any] = {each: spec.value_of_example for each, spec in version.variables.items()}
    if currencies:
        found |= {each: str(currencies[0]) for each, spec in version.variables.items() if spec.type == "currency"}
    return found
