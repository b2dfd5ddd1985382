"""Reads the packs' figures and applies them, independently of the policy's code.

Owns its own reading of the policy files and its own arithmetic of hours and periods, so that a mistake in the code
that decides (gateway/policy) is not repeated by the code that checks it: it must not import that. It is simpler,
because it only looks back: an instant was permitted or it was not. Guard minutes are the decision's safety margin and
no figure of the law's, so they are not looked at.
"""

from __future__ import annotations

import importlib.resources
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from pathlib import Path
from types import MappingProxyType
from typing import Any
from zoneinfo import ZoneInfo

import holidays
import yaml

DEFAULT = "default"
# Safe either way; libyaml's reads ten times as fast, and is not in every build of PyYAML.
_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_DAY = timedelta(days=1)
_WEEKDAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")


@dataclass(frozen=True, slots=True)
class RuleSection:
    """One half of one version of a pack: its sections as they stand in the file."""

    pack: str
    sections: Mapping[str, Any]

    def zones(self, stated: Sequence[str]) -> list[ZoneInfo]:
        """Every zone that the borrower may be in; [] where one is unknown, which forbids."""
        zone = self.sections["zone"]
        names = list(stated)
        if "tz" in zone and (zone["resolution"] == "legal_single_zone" or not names):
            names.append(zone["tz"])
        found = [_zone(name) for name in dict.fromkeys(names)]
        return [] if None in found else [each for each in found if each is not None]

    def windows(self) -> Mapping[str, Any]:
        found: Mapping[str, Any] = self.sections.get("windows", {})
        return found

    def named(self, section: str) -> frozenset[str]:
        """The value of a section that is a list of words."""
        return frozenset(self.sections.get(section, {}).get("value", ()))


@dataclass(frozen=True, slots=True)
class _Version:
    name: str
    since: datetime
    places: frozenset[str]
    overlay: bool
    rules: RuleSection
    universal: RuleSection | None


class Figures:
    """All versions of all packs. ``consents``: the categories for which a channel wants consent to it, by channel."""

    def __init__(self, versions: Sequence[_Version], consents: Mapping[str, frozenset[str]]) -> None:
        self.consents = consents
        self._versions = sorted(versions, key=lambda each: each.since)

    def contact_horizon(self) -> timedelta:
        """How far back a contact may count: the longest period of any cap or gap of any version."""
        halves = [half for each in self._versions for half in (each.rules, each.universal) if half is not None]
        caps = [_longest(cap["period_kind"], cap["period"]) for half in halves for cap in half.sections.get("caps", ())]
        gaps = [half.sections["min_gap"]["value_minutes"] for half in halves if "min_gap" in half.sections]
        return max([*caps, *(timedelta(minutes=each) for each in gaps)], default=timedelta(0))

    @classmethod
    def load(cls, folder: Path, consents: Mapping[str, frozenset[str]] = MappingProxyType({})) -> Figures:
        versions = [_version(yaml.load(path.read_bytes(), Loader=_LOADER)) for path in sorted(folder.glob("*.yaml"))]
        return cls(versions, consents)

    def at(self, jurisdiction: str, at: datetime) -> list[RuleSection]:
        """The pack sections in force for a borrower of that jurisdiction at that instant."""
        place = jurisdiction.casefold()
        country = place.partition("-")[0]
        current = {each.name: each for each in self._versions if each.since <= at}
        first = next(each for each in self._versions if each.name == DEFAULT)
        default = current.pop(DEFAULT, first)
        bases = [each for each in current.values() if not each.overlay]
        base = next((each for name in (place, country) for each in bases if name in each.places), default)
        here = {place, country}
        over = [each for each in current.values() if each.overlay and (not each.places or here & each.places)]
        universal = [default.universal] if default.universal else []
        return [*universal, base.rules, *(each.rules for each in over)]


def _version(content: Mapping[str, Any]) -> _Version:
    name, universal = content["name"], content.get("universal")
    return _Version(
        name,
        datetime.combine(content["effective_from"], time(), UTC),
        frozenset(content["jurisdictions"]),
        content.get("overlay", False),
        RuleSection(name, content["rules"]),
        RuleSection(name, universal) if universal else None,
    )


@lru_cache(maxsize=1024)
def _zone(name: str) -> ZoneInfo | None:
    # The tzdata package's, as in decisions: another version's rules would be a difference of data, not of judgement.
    path = importlib.resources.files("tzdata").joinpath("zoneinfo", *name.split("/"))
    if ".." in name or not name or not path.is_file():
        return None
    with path.open("rb") as file:
        return ZoneInfo.from_file(file, key=name)


# ── hours ───────────────────────────────────────────────────────────────────────────────────────────────────────


def closed_in(source: RuleSection, category: str, zones: Iterable[ZoneInfo], at: datetime) -> Iterator[str]:
    """The windows of a pack that were closed at that instant: each as text, with the wall clock's reading."""
    off = source.sections.get("holidays")
    for name, window in source.windows().items():
        if category not in window["categories"]:
            continue
        for zone in zones:
            if not _open(window, off, at.astimezone(zone)):
                yield f"{source.pack} {name} {window['value']}: {at.astimezone(zone):%a %H:%M:%S} in {zone.key}"


def _open(window: Mapping[str, Any], off: Mapping[str, Any] | None, local: datetime) -> bool:
    for begins in (local.date(), local.date() - _DAY):
        usual = window.get("weekdays", {}).get(_WEEKDAYS[begins.weekday()], window["value"])
        on_holiday = off is not None and _holiday(off["country"], tuple(off.get("subdivisions", ())), begins)
        if _within(usual, local, begins) and (off is None or not on_holiday or _within(off["value"], local, begins)):
            return True
    return False


def _within(hours: str, local: datetime, begins: date) -> bool:
    """Whether the wall clock reads inside hours that begin on that date; both ends count as inside."""
    if hours == "closed":
        return False
    opens, closes = (_minutes(each) for each in hours.split("-"))
    if opens == closes:
        return False
    reads = (local.date() - begins).days * 1440 + local.hour * 60 + local.minute + local.second / 60
    return opens <= reads <= (closes if closes > opens else closes + 1440)


def within_wish(windows: Sequence[Sequence[str]], local: datetime) -> bool:
    """Whether the wall clock reads inside one of the borrower's own hours."""
    days = (local.date(), local.date() - _DAY)
    return any(_within(f"{opens}-{closes}", local, day) for opens, closes in windows for day in days)


def _minutes(text: str) -> int:
    hours, minutes = text.split(":")[:2]
    return int(hours) * 60 + int(minutes)


@lru_cache(maxsize=256)
def _holidays(country: str, subdivision: str | None, year: int) -> frozenset[date]:
    return frozenset(holidays.country_holidays(country, subdiv=subdivision, years=[year]))


def _holiday(country: str, subdivisions: tuple[str, ...], day: date) -> bool:
    return any(day in _holidays(country, each, day.year) for each in subdivisions or (None,))


# ── periods ─────────────────────────────────────────────────────────────────────────────────────────────────────


# Anchored periods may follow each other without a pause: so many are counted through. Our choice.
_ANCHORED_CHAIN = 4


def _longest(kind: str, period: int) -> timedelta:
    """How long before a contact another may lie that ``within_period`` counts; local dates begin up to a day apart."""
    if kind == "rolling_hours":
        return timedelta(hours=period)
    if kind == "anchored":
        return timedelta(hours=period) * _ANCHORED_CHAIN
    return _DAY * ((7 if kind == "calendar_week" else period) + 2)


def within_period(kind: str, period: int, earlier: Sequence[datetime], at: datetime, zone: ZoneInfo) -> int:
    """How many of the ``earlier`` instants fall into the same period as ``at``, where dates are that zone's."""
    if kind == "rolling_hours":
        return sum(at - each < timedelta(hours=period) for each in earlier)
    if kind == "anchored":
        return _anchored(timedelta(hours=period), sorted(earlier), at)
    today = at.astimezone(zone).date()
    dates = [each.astimezone(zone).date() for each in earlier]
    if kind == "calendar_week":
        return sum(each.isocalendar()[:2] == today.isocalendar()[:2] for each in dates)
    return sum((today - each).days < period for each in dates)  # calendar_day and consecutive_days


def _anchored(period: timedelta, earlier: Sequence[datetime], at: datetime) -> int:
    opened, count = None, 0
    for each in earlier:
        if opened is None or each >= opened + period:
            opened, count = each, 0
        count += 1
    return count if opened is not None and at < opened + period else 0
