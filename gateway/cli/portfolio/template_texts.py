"""Template texts of a mapping: constants with placeholders such as ``{column:06d}``, and the conversion of cells.

Owns the syntax of placeholders and number formats. Must not know conditions or choices.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from decimal import Decimal, InvalidOperation
from typing import Any

_PLACEHOLDER = re.compile(r"\{\{|\}\}|\{([^{}]*)\}|[{}]")
_INSIDE = re.compile(r"([^:]+)(?::(\w+|\.\d+f))?")
_NUMBER_FORMAT = re.compile(r"0?\d{0,2}d|\.\df")
_LARGEST = (
    Decimal(10) ** 15
)  # our choice: above any amount and account number, and bounds the length of a formatted one


class MappingError(ValueError):
    """The mapping is invalid. The message is one line."""


class Unmappable(Exception):
    """One row can't be mapped: ``field`` is the column or path. The message never has the row's value."""

    def __init__(self, field: str, detail: str) -> None:
        super().__init__(f"{field}: {detail}")
        self.field = field
        self.detail = detail


@dataclass(frozen=True, slots=True)
class Placeholder:
    column: str
    table: str = ""
    format: str = ""


@dataclass(frozen=True, slots=True)
class TemplateText:
    parts: tuple[str | Placeholder, ...]


def compile_value(value: Any, tables: Mapping[str, Any], where: str) -> Any:
    """Compile texts with placeholders to ``TemplateText``, also inside of lists and tables."""
    if isinstance(value, str):
        parts = _parts(value, tables, where)
        return (
            "".join(str(part) for part in parts)
            if all(isinstance(part, str) for part in parts)
            else TemplateText(parts)
        )
    if isinstance(value, list):
        return [compile_value(each, tables, where) for each in value]
    if isinstance(value, dict):
        return {name: compile_value(each, tables, where) for name, each in value.items()}
    return value.isoformat() if isinstance(value, date) else value  # a datetime is a date, too


def _parts(text: str, tables: Mapping[str, Any], where: str) -> tuple[str | Placeholder, ...]:
    parts: list[str | Placeholder] = []
    end = 0
    for match in _PLACEHOLDER.finditer(text):
        parts.append(text[end : match.start()])
        end = match.end()
        if match[0] in ("{{", "}}"):
            parts.append(match[0][0])
        elif match[1] is None:
            raise MappingError(f"{where}: a lone brace in {text!r}; write it twice to mean itself")
        else:
            parts.append(_placeholder(match[1], tables, where))
    parts.append(text[end:])
    return tuple(part for part in parts if part != "")


def _placeholder(inside: str, tables: Mapping[str, Any], where: str) -> Placeholder:
    match = _INSIDE.fullmatch(inside)
    if match is None:
        raise MappingError(
            f"{where}: {{{inside}}} is not {{column}}, {{column:table}} or {{column:format}}, such as {{id:06d}}"
        )
    column, specification = match[1].strip(), match[2] or ""
    if not specification:
        return Placeholder(column)
    if specification in tables:
        return Placeholder(column, table=specification)
    if _NUMBER_FORMAT.fullmatch(specification):
        return Placeholder(column, format=specification)
    raise MappingError(f"{where}: {specification!r} is neither a table of this mapping nor a format like 06d or .2f")


def columns_in(value: Any) -> set[str]:
    if isinstance(value, TemplateText):
        return {part.column for part in value.parts if isinstance(part, Placeholder)}
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        return {column for each in value for column in columns_in(each)}
    return set()


def number_of(value: Any) -> Decimal:
    try:
        # Spreadsheets write 500000 as 5.00E+05; Decimal reads both exactly.
        number = Decimal(str(value).strip())
    except InvalidOperation:
        raise ValueError("is not a number") from None
    if not number.is_finite() or abs(number) >= _LARGEST:
        raise ValueError("is not a number of a sensible size")
    return number


def _whole(value: Any) -> int:
    number = number_of(value)
    if number != number.to_integral_value():
        raise ValueError("is not a whole number")
    return int(number)


def formatted(value: Any, specification: str) -> str:
    if specification.endswith("d"):
        return format(_whole(value), specification)
    return format(number_of(value), specification)


def as_text(value: Any, path: str) -> str:
    if isinstance(value, list | dict):
        raise Unmappable(path, "a list can't be part of a text")
    return str(value)
