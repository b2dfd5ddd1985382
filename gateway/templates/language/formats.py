"""Money, dates, numbers and plurals as they are written in a locale. Babel says how; what it said is kept.

Babel takes some 30 µs for an amount, and amounts rarely repeat. So a (currency, locale) is asked once how it writes
a few known amounts; where those show plain grouping by thousands, further amounts are written here. A test compares.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import date
from decimal import Decimal
from functools import lru_cache

from babel import Locale
from babel.dates import format_date
from babel.numbers import format_currency, format_decimal, get_currency_precision

DATE_STYLES = ("short", "medium", "long", "full")

# One amount for each length at which a locale may begin to write differently.
_PROBES = tuple(Decimal(each) for each in ("1234567.89", "0", "0.05", "1", "12.5", "987.65", "1234.5", "45678.9"))
_SHAPE = re.compile(r"(?P<before>\D*)1(?P<group>\D?)234(?P=group)567(?:(?P<point>\D)89)?(?P<after>\D*)")


@lru_cache(maxsize=256)
def locale_of(name: str) -> Locale:
    """Raises ValueError or UnknownLocaleError for a name that is none."""
    return Locale.parse(name, sep="-")


def money(value: Decimal, currency: str, locale: str) -> str:
    """An amount with its currency, like ``NT$3,913.00``."""
    write = _writer(currency, locale)
    return _money(value, currency, locale) if write is None or value < 0 else write(value)


@lru_cache(maxsize=1024)
def _money(value: Decimal, currency: str, locale: str) -> str:
    return str(format_currency(value, currency, locale=locale_of(locale)))


@lru_cache(maxsize=1024)
def _writer(currency: str, locale: str) -> Callable[[Decimal], str] | None:
    """What writes amounts as Babel does for this currency and locale; None where only Babel can."""
    shape = _SHAPE.fullmatch(
        _money(Decimal("1234567.89" if get_currency_precision(currency) else "1234567"), currency, locale)
    )
    if shape is None:
        return None
    before, after, group, point = shape["before"], shape["after"], shape["group"], shape["point"] or ""
    digits = f",.{get_currency_precision(currency)}f"
    signs = str.maketrans({",": group, ".": point})

    def write(value: Decimal) -> str:
        return f"{before}{format(value, digits).translate(signs)}{after}"

    return write if all(write(each) == _money(each, currency, locale) for each in _PROBES) else None


@lru_cache(maxsize=4096)
def day(value: date, style: str, locale: str) -> str:
    """A date, like ``November 1, 2026``. Due dates repeat within a portfolio."""
    return str(format_date(value, format=style, locale=locale_of(locale)))


@lru_cache(maxsize=1024)
def number(value: int | Decimal, locale: str) -> str:
    return str(format_decimal(value, locale=locale_of(locale)))


@lru_cache(maxsize=1024)
def is_one(value: int | Decimal, locale: str) -> bool:
    """Whether the locale's grammar has the singular for this number."""
    return str(locale_of(locale).plural_form(value)) == "one"
