"""Sample data to see a template with: what is usual in a locale, and the extremes that break a layout.

A template's own ``examples/<locale>.json`` comes first: ``{"borrower": {"name": …}, "variables": {…}}``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any

from babel.numbers import get_territory_currencies

from gateway.catalog.variables import VariableSpec

SAMPLES = ("plain", "short", "long", "big", "rtl", "cjk")
_NAMES: Mapping[str, str] = {"zh-CN": "陈美", "zh-TW": "陳美", "zh": "陳美", "en": "Alex Morgan"}
_LONG_NAME = "Wolfeschlegelsteinhausenbergerdorff-Papadimitriou Maximiliana Alexandrina"
_RTL_NAME = "عبد الرحمن بن يوسف"
_CJK_NAME = "歐陽詩涵"
_BIG = "98765432.10"  # in Indian grouping, and in any currency, as wide as an amount gets
_LONG_TEXT = "Longest possible wording of this piece of information, as a case system might give it without thinking"


@dataclass(frozen=True, slots=True)
class Sample:
    """``name`` is one of SAMPLES. ``variables`` are as in a request."""

    name: str
    borrower_name: str
    variables: Mapping[str, Any]


def samples(
    variables: Mapping[str, VariableSpec], locale: str, examples: Mapping[str, str] | None = None
) -> dict[str, Sample]:
    """The samples of one locale by name. ``examples`` are the template's example files by path.

    ``plain`` has every variable, ``short`` only the required ones.
    """
    own = _own(examples or {}, locale)
    usual = _usual(variables, locale) | dict(own.get("variables", {}))
    name = str(own.get("borrower", {}).get("name") or _name(locale))
    required = {each: usual[each] for each, spec in variables.items() if spec.required}
    of_type = {spec.name: spec.type for spec in variables.values()}
    big = usual | {each: _BIG for each, kind in of_type.items() if kind == "money"}
    long = big | {each: _long(kind) for each, kind in of_type.items() if kind in ("url", "text", "date")}
    return {
        "plain": Sample("plain", name, usual),
        "short": Sample("short", name, required),
        "long": Sample("long", _LONG_NAME, long),
        "big": Sample("big", name, big),
        "rtl": Sample("rtl", _RTL_NAME, usual | {each: _RTL_NAME for each, kind in of_type.items() if kind == "text"}),
        "cjk": Sample("cjk", _CJK_NAME, usual | {each: _CJK_NAME for each, kind in of_type.items() if kind == "text"}),
    }


def _own(examples: Mapping[str, str], locale: str) -> Mapping[str, Any]:
    text = examples.get(f"examples/{locale.lower()}.json")
    try:
        found = json.loads(text) if text else {}
    except ValueError:
        return {}  # being written; the lint says so
    return found if isinstance(found, dict) and isinstance(found.get("variables", {}), dict) else {}


def _usual(variables: Mapping[str, VariableSpec], locale: str) -> dict[str, Any]:
    """The examples of the declarations, with the money of the locale's country."""
    country = locale.partition("-")[2].upper()
    currencies = get_territory_currencies(country, date(2026, 1, 1)) if country else []
    currency = str(currencies[0]) if currencies else ""
    return {
        name: currency if spec.type == "currency" and currency else spec.value_of_example
        for name, spec in variables.items()
    }


def _long(kind: str) -> str:
    if kind == "date":
        return "2026-09-30"  # the longest month, in English and its neighbours
    return _LONG_TEXT if kind == "text" else "https://payments.example.com/accounts/0123456789/pay?reference=0123456789"


def _name(locale: str) -> str:
    return _NAMES.get(locale) or _NAMES.get(locale.partition("-")[0]) or _NAMES["en"]
