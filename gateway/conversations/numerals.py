"""Numbers as people write them: 1,234.50, 3.5k, 三千五, 一万二, 十二. Pure."""

from __future__ import annotations

import re
from decimal import Decimal

DIGITS = {each: value for value, each in enumerate("零一二三四五六七八九")} | {"两": 2, "〇": 0, "俩": 2}
_UNITS = {"十": 10, "百": 100, "千": 1000}
_LARGE = {"万": 10_000, "亿": 100_000_000}
CHINESE = "[" + "".join((*DIGITS, *_UNITS, *_LARGE)) + "]"

_MIXED = re.compile(rf"(\d+(?:\.\d+)?)([{''.join((*_UNITS, *_LARGE))}])(\d?)")


def chinese_number(text: str) -> int | None:
    """A number in simplified Chinese numerals; a digit after a unit without its own stands for the next lower one.

    三千五 is 3,500, 三千零五 is 3,005, 一万二 is 12,000, 二零二六 is 2026. None for what is no number.
    """
    if not text or any(each not in DIGITS and each not in _UNITS and each not in _LARGE for each in text):
        return None
    if all(each in DIGITS for each in text):
        return int("".join(str(DIGITS[each]) for each in text))
    total = section = 0
    digit: int | None = None
    last, zero = 1, False
    for each in text:
        if each in DIGITS:
            digit, zero = DIGITS[each], zero or DIGITS[each] == 0
        elif each in _UNITS:
            section += (1 if digit is None else digit) * _UNITS[each]
            digit, last, zero = None, _UNITS[each], False
        else:
            total = (total + section + (digit or 0)) * _LARGE[each]
            section, digit, last, zero = 0, None, _LARGE[each], False
    if digit:
        section += digit if zero or last <= 10 else digit * last // 10
    return total + section


def plain_number(text: str) -> Decimal | None:
    """A number of digits or of Chinese numerals or of both (3万5); None for what is no number."""
    if (number := chinese_number(text)) is not None:
        return Decimal(number)
    if mixed := _MIXED.fullmatch(text):
        unit = (_UNITS | _LARGE)[mixed[2]]
        return Decimal(mixed[1]) * unit + Decimal(mixed[3] or 0) * unit / 10
    digits = text.replace(",", "")
    if digits[-1:] == "k" and re.fullmatch(r"\d+(\.\d+)?", digits[:-1], re.ASCII):
        return Decimal(digits[:-1]) * 1000
    return Decimal(digits) if re.fullmatch(r"\d+(\.\d+)?", digits, re.ASCII) else None
