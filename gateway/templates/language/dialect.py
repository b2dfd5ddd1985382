"""The dialect of Liquid: its tags and filters, the types that filters accept, and the limits on rendering.

Filters format values for the message's locale with formats.py.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import date
from decimal import Decimal
from functools import lru_cache
from typing import Any

from liquid import BoundTemplate, Environment, RenderContext, StrictUndefined
from liquid.exceptions import LiquidError, LoopIterationLimitError
from liquid.filter import with_context

from gateway.templates.language import formats

TAGS = ("if", "unless", "case", "for", "break", "continue", "assign", "comment", "echo")
WITHIN = ("else", "elsif", "when")
_INNER = ("content", "output", "illegal", "doc", "#")  # the parser's own, and {% # remarks %}
_FILTERS = ("default", "upcase", "capitalize", "escape", "size", "strip")
BLOCKS = ("if", "unless", "case", "for", "comment")
_MOST_BYTES = 10_000  # of one rendered part; our choice: 60 SMS segments, a long e-mail
_MOST_HTML_BYTES = 100_000  # Gmail clips messages beyond 102 kB


class _CountingContext(RenderContext):
    """One render, with one budget of iterations for all of its loops.

    The library multiplies the lengths of loops within each other, and forgets those that have ended: loops in a row
    each had the whole budget.
    """

    iterations = 0

    def raise_for_loop_limit(self, length: int = 1) -> None:
        """Called when a loop begins, in each round of the loop around it; ``length`` is how many rounds it takes."""
        self.iterations += length
        if self.iterations > (self.env.loop_iteration_limit or 0):
            raise LoopIterationLimitError("loop iteration limit reached", token=None)


class _CountedTemplate(BoundTemplate):
    context_class = _CountingContext


class _Limited(Environment):
    """An environment with limits for each render of a part; they are class attributes in this library."""

    template_class = _CountedTemplate
    loop_iteration_limit = 1_000  # rounds of all loops together; our choice: no message lists so much
    local_namespace_limit = 20_000
    context_depth_limit = 14  # each loop takes one, beside the library's own four
    output_stream_limit = _MOST_BYTES


class _LimitedHtml(_Limited):
    output_stream_limit = _MOST_HTML_BYTES


def _in_locale(function: Callable[..., str]) -> Callable[..., str]:
    """A filter whose first argument is the message's locale."""

    @with_context
    def wrapped(value: object, *arguments: object, context: Any) -> str:
        return function(str(context.resolve("locale")), value, *arguments)

    return wrapped


def _money(locale: str, value: object, currency: object, style: object = "exact") -> str:
    if not isinstance(value, Decimal) or not isinstance(currency, str) or style not in formats.MONEY_STYLES:
        raise LiquidError(
            f"money wants an amount and a currency, and one of {', '.join(formats.MONEY_STYLES)}", token=None
        )
    return formats.money(value, currency, locale, str(style))


def _date(locale: str, value: object, style: object = "long") -> str:
    if not isinstance(value, date) or style not in formats.DATE_STYLES:
        raise LiquidError(f"date wants a date, and one of {', '.join(formats.DATE_STYLES)}", token=None)
    return formats.day(value, str(style), locale)


def _number(locale: str, value: object) -> str:
    if not isinstance(value, int | Decimal):
        raise LiquidError("number wants a number", token=None)
    return formats.number(value, locale)


def _plural(locale: str, value: object, one: object, other: object) -> str:
    if not isinstance(value, int | Decimal):
        raise LiquidError("plural wants a number", token=None)
    return str(one if formats.is_one(value, locale) else other)


FILTERS = {
    "money": _in_locale(_money),
    "date": _in_locale(_date),
    "number": _in_locale(_number),
    "plural": _in_locale(_plural),
}
# The types that each filter accepts, and its syntax.
WANTS: Mapping[str, tuple[tuple[str, ...], int, str]] = {
    "money": (("money",), 1, "{{ amount | money: currency }}"),
    "date": (("date",), 0, "{{ due_date | date }}"),
    "number": (("integer", "money"), 0, "{{ days | number }}"),
    "plural": (("integer",), 2, "{{ days | plural: 'day', 'days' }}"),
}


@lru_cache(maxsize=2)
def environment(*, html: bool) -> Environment:
    """The language for text, or for HTML (where variables are escaped)."""
    made = (_LimitedHtml if html else _Limited)(undefined=StrictUndefined, strict_filters=True, autoescape=html)
    made.tags = {name: tag for name, tag in made.tags.items() if name in (*TAGS, *_INNER)}
    made.filters = {name: made.filters[name] for name in _FILTERS} | FILTERS
    return made
