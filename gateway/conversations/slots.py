"""Dates and amounts in a reply, in the borrower's zone and calendar. Pure.

What has two readings in one text is none: it goes to a person. What is found is read back to the borrower, and nothing
follows before they confirm it.
"""

from __future__ import annotations

import re
import unicodedata
from calendar import monthrange
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal

from gateway.conversations.numerals import CHINESE, plain_number

# A promise beyond that is a plan, which a person agrees; our choice.
_FARTHEST = timedelta(days=92)
_LEAST, _MOST = Decimal(1), Decimal(100_000_000)
_CENT = Decimal("0.01")

_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_CHINESE_DAYS = "一二三四五六日"
_N = rf"(?:\d{{1,2}}|{CHINESE}{{1,3}})"
_MONTH = r"(jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)[a-z]*\.?"
_NUMBER = rf"(?:\d[\d,]*(?:\.\d+)?(?:k\b|[万千百]\d?)?|{CHINESE}+)"
_CURRENCY = r"(?:nt\$|hk\$|us\$|rmb|ntd|twd|cny|usd|gbp|hkd|inr|[$¥€£₹])"
_AFTER = r"(?:元|块|圆|蚊|dollars?|bucks|pounds?|quid|rupees?|yuan|rmb|ntd|twd|usd|gbp|hkd|inr)"

_AMOUNT = re.compile(rf"{_CURRENCY}\s*({_NUMBER})|({_NUMBER})\s*{_AFTER}")
# A number alone is an amount from two digits on: "I called 3 times".
_BARE = re.compile(
    rf"(?<![\da-z.])(\d[\d,]+(?:\.\d+)?k?|\d+(?:\.\d+)?(?:k|[万千百]\d?)|{CHINESE}*[百千万]{CHINESE}*)(?![\da-z])"
)


@dataclass(frozen=True, slots=True)
class ReplySlots:
    """The day and the amount that a reply names; None where it names none, or several."""

    day: date | None = None
    amount: Decimal | None = None


@dataclass(frozen=True, slots=True)
class _Calendar:
    today: date
    month_first: bool  # 3/4 is the fourth of March


_Read = Callable[[re.Match[str], _Calendar], date | None]


def slots_of(text: str, today: date, jurisdiction: str, fold: Mapping[int, str]) -> ReplySlots:
    """``today`` is the borrower's; ``fold`` maps traditional characters to simplified ones."""
    words = unicodedata.normalize("NFKC", text[:500]).casefold().translate(dict(fold))
    calendar = _Calendar(today, jurisdiction.casefold()[:2] not in ("uk", "gb", "in"))
    days, rest = _dates(words, calendar)
    day = days.pop() if len(days) == 1 else None
    if day is not None and not today <= day <= today + _FARTHEST:
        day = None
    return ReplySlots(day, _amount(rest))


def _dates(words: str, calendar: _Calendar) -> tuple[set[date], str]:
    """The dates that are named, and the text without them."""
    found: set[date] = set()
    for pattern, read in _DATES:
        for match in pattern.finditer(words):
            day = read(match, calendar)
            if day is not None:
                found.add(day)
        words = pattern.sub(" ", words)
    return found, words


def _amount(words: str) -> Decimal | None:
    named = {plain_number(match[1] or match[2]) for match in _AMOUNT.finditer(words)}
    if not named:
        named = {plain_number(match[1]) for match in _BARE.finditer(words)}
    found = {each.quantize(_CENT) for each in named if each is not None and _LEAST <= each < _MOST}
    return found.pop() if len(found) == 1 else None


# ── dates ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def _on(year: int, month: int, day: int) -> date | None:
    try:
        return date(year, month, day)
    except ValueError:
        return None


def _number(text: str) -> int:
    number = plain_number(text)
    return int(number) if number is not None else 0


def _coming(month: int, day: int, calendar: _Calendar) -> date | None:
    """The next day of this month and day."""
    this = _on(calendar.today.year, month, day)
    return this if this is None or this >= calendar.today else _on(calendar.today.year + 1, month, day)


def _of_month(day: int, months: int, calendar: _Calendar) -> date | None:
    """A day of this month, or of one of the next; day 0 is the last."""
    at = calendar.today.year * 12 + calendar.today.month - 1 + months
    year, month = at // 12, at % 12 + 1
    return _on(year, month, day or monthrange(year, month)[1])


def _next_of(day: int, calendar: _Calendar) -> date | None:
    """The next day of this number, of this month or the next."""
    this = _of_month(day, 0, calendar) if day else None
    return this if this is not None and this >= calendar.today else _of_month(day, 1, calendar) if day else None


def _weekday(at: int, weeks: int, calendar: _Calendar) -> date:
    """The coming one, today included; with ``weeks`` that of a following week, which begins on Monday."""
    monday = calendar.today - timedelta(days=calendar.today.weekday())
    if weeks:
        return monday + timedelta(days=at, weeks=weeks)
    return calendar.today + timedelta(days=(at - calendar.today.weekday()) % 7)


def _iso(match: re.Match[str], calendar: _Calendar) -> date | None:
    return _on(int(match[1]), int(match[2]), int(match[3]))


def _slashes(match: re.Match[str], calendar: _Calendar) -> date | None:
    one, other = int(match[1]), int(match[2])
    month, day = (one, other) if calendar.month_first else (other, one)
    if match[3]:
        return _on(int(match[3]) + (2000 if len(match[3]) == 2 else 0), month, day)
    return _coming(month, day, calendar)


def _month_day(match: re.Match[str], calendar: _Calendar) -> date | None:
    return _coming(_MONTHS.index(match[1]) + 1, int(match[2]), calendar)


def _day_month(match: re.Match[str], calendar: _Calendar) -> date | None:
    return _coming(_MONTHS.index(match[2]) + 1, int(match[1]), calendar)


def _chinese_date(match: re.Match[str], calendar: _Calendar) -> date | None:
    month, day = _number(match[2]), _number(match[3])
    if match[1]:
        year = _number(match[1])
        return _on(year if year > 1911 else year + 1911, month, day)  # Taiwan counts years from 1911
    return _coming(month, day, calendar)


def _chinese_weekday(match: re.Match[str], calendar: _Calendar) -> date:
    name = match[2].replace("天", "日")
    at = int(name) - 1 if name.isdigit() else _CHINESE_DAYS.index(name)
    return _weekday(at, len(match[1]), calendar)


def _in_days(match: re.Match[str], calendar: _Calendar) -> date | None:
    days = _number(next(each for each in match.groups() if each))
    return calendar.today + timedelta(days=days) if 0 < days <= _FARTHEST.days else None


def _after(days: int) -> _Read:
    return lambda match, calendar: calendar.today + timedelta(days=days)


def _patterns() -> Iterator[tuple[re.Pattern[str], _Read]]:
    """The longer forms first: what one has read, the next ones don't see."""
    names = "|".join(_DAYS)
    yield re.compile(r"(?<!\d)(20\d\d)[-/.](\d{1,2})[-/.](\d{1,2})(?!\d)"), _iso
    yield re.compile(rf"(?:(20\d\d|1\d\d|{CHINESE}{{4}})年)?({_N})月({_N})[日号]?"), _chinese_date
    yield re.compile(rf"下个?月({_N})[日号]"), lambda match, c: _of_month(_number(match[1]), 1, c)
    yield re.compile(rf"(?:这个?|本)月({_N})[日号]"), lambda match, c: _of_month(_number(match[1]), 0, c)
    yield re.compile(r"下个?月底"), lambda match, c: _of_month(0, 1, c)
    yield re.compile(r"(?:这个?|本)?月底|end of (?:the|this) month"), lambda match, c: _of_month(0, 0, c)
    yield re.compile(r"end of next month"), lambda match, c: _of_month(0, 1, c)
    yield re.compile(r"(下{0,2})个?(?:周|星期|礼拜)([一二三四五六日天1-6])"), _chinese_weekday
    yield re.compile(rf"(?<![\d.])({_N})[号日]"), lambda match, c: _next_of(_number(match[1]), c)
    yield re.compile(rf"({_N})天[之以]?[后内]|in (\d{{1,2}}) days|within (\d{{1,2}}) days"), _in_days
    yield re.compile("大后天"), _after(3)
    yield re.compile("后天|后日|day after tomorrow"), _after(2)
    yield re.compile(r"明天|明日|听日|\b(?:tomorrow|tmrw|tmr)\b"), _after(1)
    yield re.compile(r"今天|今日|今晚|\b(?:today|tonight)\b"), _after(0)
    yield re.compile(rf"\b{_MONTH}\s+(\d{{1,2}})(?:st|nd|rd|th)?\b(?!\d)"), _month_day
    yield re.compile(rf"\b(\d{{1,2}})(?:st|nd|rd|th)?\s+(?:of\s+)?{_MONTH}\b"), _day_month
    yield re.compile(r"(?<![\d/.,$])(\d{1,2})/(\d{1,2})(?:/(\d{4}|\d\d))?(?![\d/])"), _slashes
    yield re.compile(r"\b(\d{1,2})(?:st|nd|rd|th)\b"), lambda match, c: _next_of(int(match[1]), c)
    yield (
        re.compile(rf"\b(next\s+)?({names})(?:day|sday|nesday|rsday|urday|s|rs)?\b"),
        lambda match, c: _weekday(_DAYS.index(match[2]), 1 if match[1] else 0, c),
    )


_DATES = tuple(_patterns())
