"""Time zones: the zones a borrower may be in, local time there, and the start of a local date.

Owns every conversion between instants and local time. Zone rules come from the ``tzdata`` package, never from the
operating system, so that the version recorded in a verdict is the one that was used. Knows no pack and no rule.
"""

from __future__ import annotations

import importlib.resources
import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from functools import lru_cache
from typing import Any
from zoneinfo import ZoneInfo

import tzdata  # type: ignore[import-untyped, unused-ignore]

TZDATA_VERSION: str = tzdata.IANA_VERSION

# Offsets are sampled this often and changes between two samples are then found to the second. No zone has ever
# changed twice within three hours.
_SAMPLE = timedelta(hours=3)

# Zones lie between UTC-12 and UTC+14, so a local date lies within this margin of the UTC date of the same name.
_MARGIN = timedelta(hours=27)


@dataclass(frozen=True, slots=True)
class OffsetPeriod:
    """A half-open interval in UTC during which one offset holds."""

    start: datetime
    end: datetime
    offset: timedelta


@dataclass(frozen=True, slots=True, eq=False)
class ZoneResolution:
    """How a pack resolves the zones to decide in: ``all_candidates``, ``legal_single_zone`` or ``preferred``."""

    resolution: str
    tz: str | None = None


@lru_cache(maxsize=1)
def _known() -> frozenset[str]:
    return frozenset(importlib.resources.files("tzdata").joinpath("zones").read_text("utf-8").split())


def zone(key: str) -> ZoneInfo | None:
    """The zone of that IANA name; None where there is none."""
    return _load(key) if key in _known() else None


@lru_cache(maxsize=1024)
def _load(key: str) -> ZoneInfo:
    resource = importlib.resources.files("tzdata").joinpath("zoneinfo", *key.split("/"))
    with resource.open("rb") as file:
        return ZoneInfo.from_file(file, key=key)


def zone_resolution_from(section: Mapping[str, Any]) -> ZoneResolution:
    return ZoneResolution(section["resolution"], section.get("tz"))


@lru_cache(maxsize=16384)
def candidate_zones(zoning: ZoneResolution, stated: tuple[str, ...]) -> tuple[ZoneInfo, ...]:
    """Every zone the borrower may be in; empty where that is unknown, which denies.

    A country's single legal zone is added to the stated zones and never replaced by them, because the borrower may be
    travelling. One name that is not an IANA zone makes the result unknown.
    """
    names = dict.fromkeys(stated)
    if zoning.tz is not None and (zoning.resolution == "legal_single_zone" or not names):
        names = {zoning.tz: None, **names}
    found = [zone(name) for name in names]
    return tuple(each for each in found if each is not None) if None not in found else ()


def offset_periods(tz: tzinfo, start: datetime, end: datetime) -> tuple[OffsetPeriod, ...]:
    """``[start, end)`` cut where the zone's offset changes."""
    cuts = [start]
    here = start
    while here < end:
        there = min(here + _SAMPLE, end)
        if _offset(tz, here) != _offset(tz, there):
            cuts.append(_change(tz, here, there))
        here = there
    cuts.append(end)
    return tuple(OffsetPeriod(a, b, _offset(tz, a)) for a, b in itertools.pairwise(cuts) if a < b)


def _offset(tz: tzinfo, instant: datetime) -> timedelta:
    offset = instant.astimezone(tz).utcoffset()
    assert offset is not None
    return offset


def _change(tz: tzinfo, low: datetime, high: datetime) -> datetime:
    before = _offset(tz, low)
    while high - low > timedelta(seconds=1):
        middle = low + timedelta(seconds=int((high - low).total_seconds()) // 2)
        low, high = (middle, high) if _offset(tz, middle) == before else (low, middle)
    return high


@lru_cache(maxsize=32768)
def day_start(tz: tzinfo, day: date) -> datetime:
    """The first instant that exists of that local date: midnight, unless the clocks jump over it.

    A date that was skipped altogether begins and ends with the next one.
    """
    midnight = datetime.combine(day, time(), UTC)
    for piece in offset_periods(tz, midnight - _MARGIN, midnight + _MARGIN):
        begins = max(piece.start, midnight - piece.offset)
        if begins < piece.end:
            return begins
    raise ValueError(f"no zone is that far from UTC: {tz}")


@lru_cache(maxsize=1024)  # the caps of one decision ask for the same few
def local_date(tz: tzinfo, instant: datetime) -> date:
    """The date to which an instant belongs; clocks put back across midnight do not reopen the day before."""
    day = instant.astimezone(tz).date()
    tomorrow = day + timedelta(days=1)
    return tomorrow if day_start(tz, tomorrow) <= instant else day
