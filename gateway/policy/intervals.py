"""Opening hours as exact stretches of UTC: the arithmetic behind every contact window.

Owns the meaning of a window at a change of the clocks, at midnight and on a holiday: an instant is inside when the
clock on the borrower's wall, reading as it does at that instant, is inside. So a window that opens in a skipped hour
opens when the clocks jump, and one inside a repeated hour is open twice. Knows no pack, no rule and no borrower.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from functools import lru_cache
from importlib.metadata import version
from itertools import pairwise

import holidays

from gateway.policy.zones import OffsetPeriod, offset_periods

HOLIDAYS_VERSION: str = version("holidays")

# After this long without a common opening there is none worth waiting for: two months, so that a change of the
# clocks or a run of holidays cannot hide one. Our choice.
SEARCH_LIMIT = timedelta(days=62)

Hours = tuple[tuple[int, int], ...]  # minutes after the opening date's midnight; a close past 1440 is the next day
Interval = tuple[datetime, datetime]  # half-open, UTC

_EPOCH = datetime(2020, 1, 6, tzinfo=UTC)
_BLOCK = timedelta(days=7)
# A window may begin the day before and clocks differ from UTC by up to 14 hours; two days cover both.
_MARGIN_DAYS = 2


@dataclass(frozen=True, slots=True)
class Calendar:
    """The public holidays of a country; with several subdivisions, a day off in any of them."""

    country: str
    subdivisions: tuple[str, ...] = ()

    def has(self, day: date) -> bool:
        return day in _days_off(self, day.year)


@dataclass(frozen=True, slots=True, eq=False)
class ContactHours:
    """Permitted local hours per weekday (Monday first); on a holiday the holiday's hours must hold as well.

    ``guard`` is taken off both ends of every stretch. ``exclusive`` says that the law excludes the opening instant
    itself. Compared by identity, since each is a cache key on the hot path.
    """

    weekdays: tuple[Hours, ...]
    guard: timedelta = timedelta(0)
    exclusive: bool = False
    holiday: Hours | None = None
    calendar: Calendar | None = None

    def hours(self, day: date) -> Hours:
        usual = self.weekdays[day.weekday()]
        if self.holiday is None or self.calendar is None or not self.calendar.has(day):
            return usual
        return tuple((max(a, c), min(b, d)) for a, b in usual for c, d in self.holiday if max(a, c) < min(b, d))


@lru_cache(maxsize=512)
def _days_off(calendar: Calendar, year: int) -> frozenset[date]:
    days: set[date] = set()
    for subdivision in calendar.subdivisions or (None,):
        found = holidays.country_holidays(calendar.country, subdiv=subdivision, years=[year])
        # Some countries' calendars bring observed days of the neighbouring year with them.
        days.update(day for day in found if day.year == year)
    return frozenset(days)


def parse_hours(opens: str, closes: str) -> Hours:
    """``("22:00", "06:00")`` as minutes. It belongs to its opening date; equal ends mean closed, not all day."""
    a, b = _minutes(opens), _minutes(closes)
    if a == b:
        return ()
    return ((a, b if b > a else b + 1440),)


def _minutes(text: str) -> int:
    if text == "24:00":
        return 1440
    return (at := time.fromisoformat(text)).hour * 60 + at.minute


def next_opening(schedule: ContactHours, zones: tuple[tzinfo, ...], t: datetime) -> Interval | None:
    """The stretch that contains ``t``, or the first one after it, in all zones at once; None within the horizon."""
    block = (t - _EPOCH) // _BLOCK
    last = (t + SEARCH_LIMIT - _EPOCH) // _BLOCK
    while block <= last:
        found = _open(schedule, zones, block)
        index = bisect_right(found, t, key=_end)
        if index < len(found):
            return found[index][0], _joined_end(schedule, zones, block, index)
        block += 1
    return None


def _end(interval: Interval) -> datetime:
    return interval[1]


def _joined_end(schedule: ContactHours, zones: tuple[tzinfo, ...], block: int, index: int) -> datetime:
    """The true end of a stretch that the cut between two blocks may have shortened."""
    end = _open(schedule, zones, block)[index][1]
    last = block + SEARCH_LIMIT // _BLOCK
    while end == _EPOCH + (block + 1) * _BLOCK and block < last:
        block += 1
        following = _open(schedule, zones, block)
        if not following or following[0][0] != end:
            break
        end = following[0][1]
    return end


@lru_cache(maxsize=16384)
def _open(schedule: ContactHours, zones: tuple[tzinfo, ...], block: int) -> tuple[Interval, ...]:
    """All stretches of one block of a week that are open in every zone."""
    start = _EPOCH + block * _BLOCK
    end = start + _BLOCK
    common: list[Interval] = [(start, end)]
    for tz in zones:
        common = list(_intersection(common, _guarded(schedule, _merged(_stretches(schedule, tz, block)))))
    return tuple(common)


@lru_cache(maxsize=16384)
def _pieces(tz: tzinfo, block: int) -> tuple[OffsetPeriod, ...]:
    margin = timedelta(days=_MARGIN_DAYS + 2)
    start = _EPOCH + block * _BLOCK
    return offset_periods(tz, start - margin, start + _BLOCK + margin)


def _stretches(schedule: ContactHours, tz: tzinfo, block: int) -> Iterator[Interval]:
    first = (_EPOCH + block * _BLOCK).date() - timedelta(days=_MARGIN_DAYS)
    for number in range(_BLOCK.days + 2 * _MARGIN_DAYS):
        day = first + timedelta(days=number)
        midnight = datetime.combine(day, time(), UTC)
        for opens, closes in schedule.hours(day):
            low, high = midnight + timedelta(minutes=opens), midnight + timedelta(minutes=closes)
            for piece in _pieces(tz, block):
                a, b = max(low - piece.offset, piece.start), min(high - piece.offset, piece.end)
                if a < b:
                    yield a, b


def _merged(stretches: Iterable[Interval]) -> list[Interval]:
    merged: list[Interval] = []
    for start, end in sorted(stretches):
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(merged[-1][1], end))
        else:
            merged.append((start, end))
    return merged


def _guarded(schedule: ContactHours, stretches: Sequence[Interval]) -> list[Interval]:
    # The smallest step of our clock stands for "strictly after": a statute's "after 8 o'clock" excludes 8:00:00.
    at_open = max(schedule.guard, timedelta(microseconds=1)) if schedule.exclusive else schedule.guard
    shrunk = ((start + at_open, end - schedule.guard) for start, end in stretches)
    return [(start, end) for start, end in shrunk if start < end]


def _intersection(ours: Sequence[Interval], theirs: Sequence[Interval]) -> Iterator[Interval]:
    assert all(a[1] <= b[0] for a, b in pairwise(theirs))
    i = j = 0
    while i < len(ours) and j < len(theirs):
        start, end = max(ours[i][0], theirs[j][0]), min(ours[i][1], theirs[j][1])
        if start < end:
            yield start, end
        if ours[i][1] <= theirs[j][1]:
            i += 1
        else:
            j += 1
