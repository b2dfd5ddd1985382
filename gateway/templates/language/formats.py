"""Formats money, dates, numbers and plurals for a locale with Babel; caches what repeats in a portfolio."""

from __future__ import annotations

from copy import copy
from datetime import date
from decimal import Decimal
from functools import lru_cache

from babel import Locale, UnknownLocaleError
from babel.dates import format_date, format_skeleton
from babel.numbers import NumberPattern, format_currency, format_decimal

DATE_STYLES = ("short", "medium", "long", "full", "day")
MONEY_STYLES = ("exact", "whole")


@lru_cache(maxsize=256)
def locale_of(name: str) -> Locale:
    """Parse a locale name. Raises ValueError, also for a language of which Babel knows nothing."""
    try:
        return Locale.parse(name, sep="-")
    except UnknownLocaleError:  # which is no ValueError
        raise ValueError(f"no locale: {name}") from None


def money(value: Decimal, currency: str, locale: str, style: str = "exact") -> str:
    """An amount with its currency, like ``NT$3,913.00``; "whole": ``NT$3,913``, where there are no cents."""
    if style == "whole" and value == value.to_integral_value():
        return str(_without_cents(locale).apply(value, locale_of(locale), currency=currency, currency_digits=False))
    return str(format_currency(value, currency, locale=locale_of(locale)))


@lru_cache(maxsize=256)
def _without_cents(locale: str) -> NumberPattern:
    pattern: NumberPattern = copy(locale_of(locale).currency_formats["standard"])
    pattern.frac_prec = (0, 0)
    return pattern


@lru_cache(maxsize=4096)
def day(value: date, style: str, locale: str) -> str:
    """A date, like ``November 1, 2026``; "day": ``November 1``. Due dates repeat within a portfolio."""
    if style == "day":
        return str(format_skeleton("MMMMd", value, locale=locale_of(locale)))
    return str(format_date(value, format=style, locale=locale_of(locale)))


@lru_cache(maxsize=1024)
def number(value: int | Decimal, locale: str) -> str:
    return str(format_decimal(value, locale=locale_of(locale)))


@lru_cache(maxsize=1024)
def is_one(value: int | Decimal, locale: str) -> bool:
    """Whether the locale's grammar has the singular for this number."""
    return str(locale_of(locale).plural_form(value)) == "one"
