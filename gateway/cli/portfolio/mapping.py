"""The mapping language: a TOML file that maps the columns of a lender's export to the fields of requests.

    [where]                              # rows that don't meet all conditions are skipped
    months_overdue = { at_least = 1 }    # also at_most, equals, one_of; a bare value means equals

    [tables]                             # maps for "{column:table}"
    template = { first_reminder = "overdue-first", final_notice = "final-notice" }

    [[choose]]                           # adds a column: the value of the first case that holds, else "otherwise"
    column = "stage"
    cases = [{ when = { months_overdue = { at_least = 3 } }, value = "final_notice" }]
    otherwise = "first_reminder"

    [fields]                             # dotted path = a constant (text, number, date, list) or a template text
    "borrower.id" = "B-{id:06d}"
    "case.due_date" = 2026-10-31
    "template" = "{stage:template}"

A placeholder in a template text is ``{column}``, ``{column:table}`` (looked up by the column's text), or a number
format: ``{column:06d}`` for a whole number, ``{column:.2f}`` for a decimal. A value that consists of one placeholder
keeps the type of a chosen value, such as a list. ``{{`` is a brace. There is no arithmetic: a value that has to be
computed is added to the file first.

Owns this language. Must not know files or requests. Evaluates no code.
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

from gateway.cli.portfolio.template_texts import (
    MappingError,
    Placeholder,
    TemplateText,
    Unmappable,
    as_text,
    columns_in,
    compile_value,
    formatted,
    number_of,
)

__all__ = ["Mapper", "MappingError", "Unmappable", "load", "parse"]

Row = Mapping[str, Any]

_COMPARISONS: Mapping[str, Callable[[Any, Any], bool]] = {
    "at_least": lambda value, bound: bool(number_of(value) >= Decimal(str(bound))),
    "at_most": lambda value, bound: bool(number_of(value) <= Decimal(str(bound))),
    "equals": lambda value, bound: _same(value, bound),
    "one_of": lambda value, bound: any(_same(value, each) for each in bound),
}


@dataclass(frozen=True, slots=True)
class _Condition:
    column: str
    comparison: str
    bound: Any


@dataclass(frozen=True, slots=True)
class _Choice:
    column: str
    cases: tuple[tuple[tuple[_Condition, ...], Any], ...]
    otherwise: Any


_MISSING = object()


@dataclass(frozen=True, slots=True)
class Mapper:
    """A parsed and checked mapping, applied to one row at a time."""

    where: tuple[_Condition, ...]
    choices: tuple[_Choice, ...]
    fields: tuple[tuple[str, Any], ...]
    tables: Mapping[str, Mapping[str, Any]]

    def wants(self, row: Row) -> bool:
        """Whether the row meets all conditions of [where]. Raises Unmappable."""
        return all(self._holds(each, row) for each in self.where)

    def fields_of(self, row: Row) -> dict[str, Any]:
        """The request's dotted paths with their values. Raises Unmappable."""
        columns = dict(row)
        for choice in self.choices:
            columns[choice.column] = self._choose(choice, columns)
        return {path: self._fill(value, columns, path) for path, value in self.fields}

    def columns(self) -> frozenset[str]:
        """The columns that the file must have."""
        made: set[str] = set()
        wanted = {each.column for each in self.where}
        for choice in self.choices:
            wanted |= {each.column for conditions, _ in choice.cases for each in conditions} - made
            for value in (*(value for _, value in choice.cases), choice.otherwise):
                wanted |= columns_in(value) - made
            made.add(choice.column)
        for _, value in self.fields:
            wanted |= columns_in(value) - made
        return frozenset(wanted)

    def _choose(self, choice: _Choice, columns: Row) -> Any:
        for conditions, value in choice.cases:
            if all(self._holds(each, columns) for each in conditions):
                return self._fill(value, columns, choice.column)
        if choice.otherwise is _MISSING:
            raise Unmappable(choice.column, "none of the mapping's cases holds for this row")
        return self._fill(choice.otherwise, columns, choice.column)

    def _holds(self, condition: _Condition, row: Row) -> bool:
        try:
            return _COMPARISONS[condition.comparison](_cell(row, condition.column), condition.bound)
        except ValueError as error:
            raise Unmappable(condition.column, str(error)) from None

    def _fill(self, value: Any, row: Row, path: str) -> Any:
        if isinstance(value, TemplateText):
            if len(value.parts) == 1 and isinstance(value.parts[0], Placeholder):
                return self._value(value.parts[0], row)
            return "".join(
                part if isinstance(part, str) else as_text(self._value(part, row), path) for part in value.parts
            )
        if isinstance(value, list):
            return [self._fill(each, row, path) for each in value]
        if isinstance(value, dict):
            return {name: self._fill(each, row, path) for name, each in value.items()}
        return value

    def _value(self, placeholder: Placeholder, row: Row) -> Any:
        value = _cell(row, placeholder.column)
        try:
            if placeholder.table:
                return self.tables[placeholder.table][str(value)]
            return formatted(value, placeholder.format) if placeholder.format else value
        except KeyError:
            raise Unmappable(placeholder.column, f"has no entry in the mapping's table {placeholder.table}") from None
        except ValueError as error:
            raise Unmappable(placeholder.column, str(error)) from None


def load(path: Path) -> Mapper:
    """Read a mapping file. Raises MappingError."""
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise MappingError(f"cannot read the mapping {path}: {error.strerror}") from error
    except ValueError as error:
        raise MappingError(f"{path}: {error}") from error
    try:
        return parse(document)
    except MappingError as error:
        raise MappingError(f"{path}: {error}") from error


def parse(document: Mapping[str, Any]) -> Mapper:
    """Check the document and compile its template texts. Raises MappingError."""
    unknown = document.keys() - {"where", "tables", "choose", "fields"}
    if unknown:
        raise MappingError(f"[{min(unknown)}] is not a part of a mapping; there are where, tables, choose and fields")
    tables = document.get("tables", {})
    for name, table in tables.items():
        if not isinstance(table, dict):
            raise MappingError(f"tables.{name} must be a table: key = value")
    if not document.get("fields"):
        raise MappingError("[fields] is missing: it defines the fields of a request")
    return Mapper(
        where=_conditions(document.get("where", {})),
        choices=tuple(_choice(each, tables) for each in document.get("choose", [])),
        fields=tuple((path, compile_value(value, tables, path)) for path, value in document["fields"].items()),
        tables=tables,
    )


def _choice(entry: Mapping[str, Any], tables: Mapping[str, Any]) -> _Choice:
    column = entry.get("column")
    if not isinstance(column, str) or entry.keys() - {"column", "cases", "otherwise"}:
        raise MappingError("[[choose]] has column, cases and otherwise, and column is a name")
    cases = []
    for case in entry.get("cases", []):
        if not isinstance(case, dict) or case.keys() != {"when", "value"}:
            raise MappingError(f"choose {column}: every case is {{ when = {{…}}, value = … }}")
        cases.append((_conditions(case["when"]), compile_value(case["value"], tables, column)))
    otherwise = compile_value(entry["otherwise"], tables, column) if "otherwise" in entry else _MISSING
    return _Choice(column, tuple(cases), otherwise)


def _conditions(entries: Mapping[str, Any]) -> tuple[_Condition, ...]:
    found = []
    for column, wanted in entries.items():
        comparisons = wanted if isinstance(wanted, dict) else {"equals": wanted}
        for comparison, bound in comparisons.items():
            if comparison not in _COMPARISONS:
                raise MappingError(f"{column}: {comparison!r} is not one of {', '.join(_COMPARISONS)}")
            if comparison in ("at_least", "at_most") and not isinstance(bound, int | float):
                raise MappingError(f"{column}: {comparison} needs a number")
            if comparison == "one_of" and not isinstance(bound, list):
                raise MappingError(f"{column}: one_of needs a list")
            found.append(_Condition(column, comparison, bound))
    return tuple(found)


def _cell(row: Row, column: str) -> Any:
    value = row.get(column)
    if value is None:
        raise Unmappable(column, "the row has no such column")
    return value


def _same(value: Any, wanted: Any) -> bool:
    if isinstance(wanted, int | float) and not isinstance(wanted, bool):
        return number_of(value) == Decimal(str(wanted))
    return str(value) == str(wanted)
