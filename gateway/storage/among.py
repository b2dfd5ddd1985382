"""Conditions on long lists of texts, for SQLAlchemy: the list is one parameter, and the statement's text is constant.

With a parameter for each text, SQLAlchemy and the driver take apart a new statement each time: of a batch of retention
that was a third of the processor time (measured).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from sqlalchemy import Boolean, ColumnElement, Text, literal
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import FunctionElement

from gateway.storage.statements import document


class _Among(FunctionElement[bool]):
    """Of a column, and of a JSON array of texts."""

    type = Boolean()
    inherit_cache = True


@compiles(_Among, "sqlite")
def _in_sqlite(element: _Among, compiler: Any, **options: Any) -> str:
    column, texts = (compiler.process(each, **options) for each in element.clauses)
    return f"{column} IN (SELECT value FROM json_each({texts}))"


@compiles(_Among)
def _in_postgresql(element: _Among, compiler: Any, **options: Any) -> str:
    column, texts = (compiler.process(each, **options) for each in element.clauses)
    # As an array, it is an index condition whatever the planner estimates of its length.
    return f"{column} = ANY(ARRAY(SELECT json_array_elements_text(CAST({texts} AS json))))"


def among(column: ColumnElement[Any], texts: Iterable[str]) -> ColumnElement[bool]:
    """The condition that the column is one of these texts."""
    return _Among(column, literal(document(list(texts)), Text))
