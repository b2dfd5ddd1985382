"""The templates' language: Liquid with few tags, few filters and hard limits.

A template is written by people who don't program, and by nobody we have to trust: it can't reach Python, can't
run long and can't grow large. Errors name line and column and never a variable's value.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import date
from decimal import Decimal
from functools import lru_cache
from html import escape
from typing import Any

from babel import Locale
from babel.dates import format_date
from babel.numbers import format_currency, format_decimal
from liquid import BoundTemplate, Environment, StrictUndefined
from liquid.exceptions import LiquidError
from liquid.filter import with_context

from gateway.ports import RenderFailed

_TAGS = ("if", "unless", "case", "for", "break", "continue", "assign", "comment", "echo", "#")
_INNER = ("content", "output", "illegal", "doc")  # the parser's own
_FILTERS = ("default", "upcase", "capitalize", "escape", "size", "strip")
_BODIES = 10_000  # loop turns, and characters of one part; our choice: 60 SMS segments, a long e-mail
_HTML_CHARACTERS = 100_000  # Gmail clips messages beyond 102 kB


class _Limited(Environment):
    """An environment with limits; they are class attributes in this library."""

    loop_iteration_limit = 1_000
    local_namespace_limit = 20_000
    context_depth_limit = 8
    output_stream_limit = _BODIES


class _LimitedHtml(_Limited):
    output_stream_limit = _HTML_CHARACTERS


@lru_cache(maxsize=64)
def _locale(name: str) -> Locale:
    return Locale.parse(name, sep="-")


def _locale_of(context: Any) -> Locale:
    return _locale(str(context.resolve("locale")))


# Formatting takes Babel some 30 µs; due dates repeat within a portfolio, and amounts repeat within a message.
@lru_cache(maxsize=4096)
def _formatted_money(value: Decimal, currency: str, locale: str) -> str:
    return str(format_currency(value, currency, locale=_locale(locale)))


@lru_cache(maxsize=4096)
def _formatted_date(value: date, style: str, locale: str) -> str:
    return str(format_date(value, format=style, locale=_locale(locale)))


@with_context
def _money(value: object, currency: object = "", *, context: Any) -> str:
    if not isinstance(value, Decimal):
        raise LiquidError("money wants an amount", token=None)
    return _formatted_money(value, str(currency), str(context.resolve("locale")))


@with_context
def _date(value: object, style: object = "long", *, context: Any) -> str:
    if not isinstance(value, date):
        raise LiquidError("date wants a date", token=None)
    return _formatted_date(value, str(style), str(context.resolve("locale")))


@with_context
def _number(value: object, *, context: Any) -> str:
    if not isinstance(value, int | Decimal):
        raise LiquidError("number wants a number", token=None)
    return str(format_decimal(value, locale=_locale_of(context)))


@with_context
def _plural(value: object, one: object, other: object, *, context: Any) -> str:
    if not isinstance(value, int | Decimal):
        raise LiquidError("plural wants a number", token=None)
    return str(one if _locale_of(context).plural_form(value) == "one" else other)


FILTERS = {"money": _money, "date": _date, "number": _number, "plural": _plural}


_FRAGMENT = re.compile(r"\{%-?\s*render\s+'([a-z0-9-]+)'\s*-?%\}")
_NESTING = 4  # fragments within fragments; our choice, and the end of any circle


def expand(text: str, fragments: Mapping[str, str], where: str) -> str:
    """Put the shared fragments into a part's text, before it is compiled. Raises RenderFailed.

    They take no arguments, so this says the same as Liquid's own ``render`` tag, at half the cost of a message.
    """
    for _ in range(_NESTING):
        for name in _FRAGMENT.findall(text):
            if name not in fragments:
                raise RenderFailed(f"{where}: there is no shared fragment {name!r} in this language")
        text = _FRAGMENT.sub(lambda found: fragments[found[1]], text)
    return text


_CONSTANT = re.compile(r"\{\{\s*([a-z]+(?:\.[a-z_]+)?)\s*\}\}")


def settle(text: str, constants: Mapping[str, str], *, html: bool) -> str:
    """Write in what is the same in every message (the lender's name and number), once, instead of at each rendering."""

    def value(found: re.Match[str]) -> str:
        constant = constants.get(found[1])
        if constant is None or "{" in constant:
            return found[0]
        return escape(constant) if html else constant

    return _CONSTANT.sub(value, text)


def environment(*, html: bool) -> Environment:
    """The language for text, or for HTML (where variables are escaped)."""
    made = (_LimitedHtml if html else _Limited)(undefined=StrictUndefined, strict_filters=True, autoescape=html)
    made.tags = {name: tag for name, tag in made.tags.items() if name in (*_TAGS, *_INNER)}
    made.filters = {name: made.filters[name] for name in _FILTERS} | FILTERS
    return made


def compile_part(made: Environment, source: str, where: str) -> BoundTemplate:
    """Compile one part. Raises RenderFailed naming ``where``, line and column."""
    try:
        return made.from_string(source, name=where)
    except LiquidError as error:
        raise RenderFailed(f"{where}{_place(error, source)}: {_message(error)}") from None


def render_part(template: BoundTemplate, values: Mapping[str, Any]) -> str:
    """Render one part. Raises RenderFailed; the message has no values in it."""
    try:
        return template.render(values)
    except LiquidError as error:
        raise RenderFailed(f"{template.name}{_place(error, '')}: {_message(error)}") from None
    except (ValueError, TypeError, ArithmeticError, RecursionError) as error:
        raise RenderFailed(f"{template.name}: {type(error).__name__}") from None


def _place(error: LiquidError, source: str) -> str:
    context = error.context() if callable(getattr(error, "context", None)) else None
    if context:
        return f":{context[0]}:{context[1] + 1}"
    return f" ({source.count(chr(10)) + 1} lines)" if source else ""


def _message(error: LiquidError) -> str:
    # The library quotes names and tags of the template, never values; a quoted text is cut short all the same.
    return re.sub(r"\s+", " ", str(error.args[0] if error.args else type(error).__name__))[:120]
