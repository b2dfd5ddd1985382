"""A template's variables: declarations, types, and the validation of the values in a request."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date
from decimal import Decimal, InvalidOperation
from typing import Any

from babel.numbers import list_currencies

from gateway.templates.translatable import Translatable, translatable

_CURRENCIES = frozenset(list_currencies())
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")
_MOST_CHARACTERS = 500  # of a text variable; our choice, three SMS segments
_MOST_DIGITS = 15  # of an amount: beyond any debt of a person; our choice
_INTEGER = re.compile(rf"-?[0-9]{{1,{_MOST_DIGITS}}}")


def integer_in(text: str) -> int | str:
    """The integer that a text is, else the text: what is no request's value is refused where values are checked."""
    return int(text) if _INTEGER.fullmatch(text) else text


@dataclass(frozen=True, slots=True)
class VariableSpec:
    """One variable, as template.toml declares it."""

    name: str
    type: str  # money | currency | date | text | integer | url
    required: bool
    example: str
    description: str

    @property
    def value_of_example(self) -> str | int:
        """The example as JSON value of a request."""
        return integer_in(self.example) if self.type == "integer" else self.example


@dataclass(frozen=True, slots=True)
class VariableProblem:
    """An invalid variable: the error and the remedy, never the value."""

    pointer: str
    detail: str

    @property
    def sentence(self) -> Translatable:
        """The same with the variable's name."""
        return translatable("{name} {problem}", name=self.pointer.rpartition("/")[2], problem=self.detail)


def _money(value: Any) -> Decimal:
    if not isinstance(value, str) or len(value) > _MOST_DIGITS + 4:
        raise ValueError
    amount = Decimal(value)
    if not amount.is_finite() or "e" in value.lower():
        raise ValueError
    return amount


def _currency(value: Any) -> str:
    if value not in _CURRENCIES:
        raise ValueError
    return str(value)


def _date(value: Any) -> date:
    if not isinstance(value, str) or len(value) != len("2026-11-01"):
        raise ValueError
    return date.fromisoformat(value)


def _text(value: Any) -> str:
    if not isinstance(value, str) or len(value) > _MOST_CHARACTERS or _CONTROL.search(value):
        raise ValueError
    return value


def _integer(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise ValueError
    return value


def _url(value: Any) -> str:
    if not isinstance(value, str) or not re.fullmatch(r"https://[\w.-]+(:\d+)?(/[\w./~%?&=#+-]*)?", value):
        raise ValueError
    return value


# For each type: the conversion of a JSON value for rendering, and the description of what is expected.
_TYPES: Mapping[str, tuple[Callable[[Any], Any], str]] = {
    "money": (_money, translatable('must be a decimal amount in a string, like "3913.00"')),
    "currency": (_currency, translatable("must be an ISO 4217 code, like TWD")),
    "date": (_date, translatable("must be a date, like 2026-11-01")),
    "text": (
        _text,
        translatable("must be text of at most {most} characters without control characters", most=_MOST_CHARACTERS),
    ),
    "integer": (_integer, translatable("must be a whole number")),
    "url": (_url, translatable("must be an https address")),
}
TYPES = frozenset(_TYPES)


def check(specs: Mapping[str, VariableSpec], given: Mapping[str, Any]) -> list[VariableProblem]:
    """All errors in ``given``."""
    problems = [
        VariableProblem(f"/variables/{name}", translatable("is missing: {what}", what=spec.description))
        for name, spec in specs.items()
        if spec.required and given.get(name) is None
    ]
    for name, value in given.items():
        spec = specs.get(name)
        if spec is None:
            known = ", ".join(sorted(specs))
            detail = translatable("is unknown; this template has: {known}", known=known)
            problems.append(VariableProblem(f"/variables/{_pointer(name)}", detail))
        elif value is not None and not _fits(spec, value):
            problems.append(VariableProblem(f"/variables/{name}", _TYPES[spec.type][1]))
    return problems


def values(specs: Mapping[str, VariableSpec], given: Mapping[str, Any]) -> dict[str, Any]:
    """The values for rendering; a missing optional variable is nil. ``given`` has passed ``check``."""
    return {
        name: None if given.get(name) is None else _TYPES[spec.type][0](given[name]) for name, spec in specs.items()
    }


def _fits(spec: VariableSpec, value: Any) -> bool:
    try:
        _TYPES[spec.type][0](value)
    except (ValueError, TypeError, InvalidOperation):
        return False
    return True


def _pointer(name: str) -> str:
    return name.replace("~", "~0").replace("/", "~1")
