"""Policy packs: dated YAML files, checked against their schema, compiled into rules.

A pack has two halves. ``rules`` hold where the pack is the base for a borrower's jurisdiction; ``universal`` (in the
``default`` pack) hold for everybody, whatever else applies. An overlay adds its rules to those of the base: for a
region (``us-fl`` over ``us``), for a country, or for everybody. The strictest answer wins, so what is added can only
tighten.
"""

from __future__ import annotations

import hashlib
import json
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, time, timedelta
from functools import cache
from pathlib import Path
from typing import Any, Protocol

import holidays
import yaml
from jsonschema.exceptions import best_match
from jsonschema.protocols import Validator
from jsonschema.validators import validator_for

from gateway.policy import addresses, caps, four_eyes, holds, notice, windows, wishes
from gateway.policy.rule import PackSection, Rule
from gateway.policy.schema import Schema, pack_schema
from gateway.policy.zones import ZoneResolution, zone, zone_resolution_from

DEFAULT = "default"
# Safe either way; libyaml's reads ten times as fast, and is not in every build of PyYAML.
_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_ALWAYS = datetime.min.replace(tzinfo=UTC)


class Family(Protocol):
    """A module of rules: the sections of a pack that it reads, by name, and its rules for one half of a pack file."""

    SECTIONS: Schema

    def rules(self, source: PackSection) -> list[Rule]: ...


# A new family of rules is a new file and a new line here.
FAMILIES: Sequence[Family] = (
    holds,
    wishes,
    addresses,
    windows,
    caps,
    notice,
    four_eyes,
)
SCHEMA = pack_schema({name: shape for family in FAMILIES for name, shape in family.SECTIONS.items()})


class PackError(ValueError):
    """A pack can't be used; the message names the file and the place in it."""


@dataclass(frozen=True, slots=True, eq=False)
class Pack:
    """One version of one pack."""

    name: str
    version: str
    sha256: str
    effective_from: datetime
    jurisdictions: tuple[str, ...]
    overlay: bool
    zoning: ZoneResolution
    rules: tuple[Rule, ...]
    universal: tuple[Rule, ...]


@dataclass(frozen=True, slots=True)
class EffectiveRules:
    """What holds for a jurisdiction at an instant."""

    rules: tuple[Rule, ...]
    zoning: ZoneResolution
    packs: tuple[tuple[str, str, str], ...]  # (name, version, sha256)
    _concerned: dict[tuple[str, str], tuple[Rule, ...]] = field(default_factory=dict)

    def applicable(self, category: str, channel: str) -> tuple[Rule, ...]:
        """The rules that can have anything to say of such a message."""
        key = (category, channel)
        if key not in self._concerned:
            self._concerned[key] = tuple(rule for rule in self.rules if rule.applies_to(category, channel))
        return self._concerned[key]


@dataclass(frozen=True, slots=True)
class Packs:
    """All versions of all packs."""

    by_name: Mapping[str, tuple[Pack, ...]]  # newest first
    _cache: dict[tuple[str, int], EffectiveRules] = field(default_factory=dict)
    _dates: list[datetime] = field(default_factory=list)
    _places: set[str] = field(default_factory=set)

    def in_force(self, jurisdiction: str, now: datetime, names: Sequence[str] = ()) -> EffectiveRules:
        """The rules for a borrower of ``jurisdiction``. One that no pack names has the default pack.

        ``names`` are packs to judge by in place of those that the jurisdiction chooses; what is universal stays.
        Raises PackError where there is no such pack.
        """
        place = self._place(jurisdiction.casefold())
        if names:
            return self._compiled(place, now, names)
        # Between two dates on which some pack changes, the answer is the same.
        key = (place, bisect_right(self._changes(), now))
        if key not in self._cache:
            self._cache[key] = self._compiled(place, now, ())
        return self._cache[key]

    @property
    def contact_horizon(self) -> timedelta:
        """How far back contacts must be known: the longest period of any rule of any version, past or to come."""
        versions = [pack for named in self.by_name.values() for pack in named]
        rules = (rule for pack in versions for rule in (*pack.rules, *pack.universal))
        return max((rule.lookback() for rule in rules), default=timedelta(0))

    def _place(self, jurisdiction: str) -> str:
        """The jurisdiction as far as any pack names it, so that what is kept does not grow with what is asked."""
        if not self._places:
            versions = [each for named in self.by_name.values() for each in named]
            self._places.update({"", *(place for each in versions for place in each.jurisdictions)})
        country = jurisdiction.partition("-")[0]
        return next(place for place in (jurisdiction, country, "") if place in self._places)

    def _compiled(self, jurisdiction: str, now: datetime, names: Sequence[str]) -> EffectiveRules:
        default = self._at(DEFAULT, now) or self.by_name[DEFAULT][-1]  # before its first version as with that one
        chosen = self._named(names, now) if names else self._of(jurisdiction, now)
        base = [pack for pack in chosen if not pack.overlay] or [default]
        used = tuple(dict.fromkeys([default, *base, *(pack for pack in chosen if pack.overlay)]))
        return EffectiveRules(
            (*default.universal, *(rule for pack in used if pack in base or pack.overlay for rule in pack.rules)),
            base[0].zoning,
            tuple((pack.name, pack.version, pack.sha256) for pack in used),
        )

    def _changes(self) -> Sequence[datetime]:
        if not self._dates:
            self._dates.extend(sorted(pack.effective_from for versions in self.by_name.values() for pack in versions))
        return self._dates

    def with_pack(self, pack: Pack) -> Packs:
        """The same packs with this one always in force in place of every version of its name."""
        return Packs({**self.by_name, pack.name: (replace(pack, effective_from=_ALWAYS),)})

    def _of(self, wanted: str, now: datetime) -> list[Pack]:
        """The packs that a jurisdiction has: its own or its country's base, and every overlay of either."""
        country = wanted.partition("-")[0]
        present = [pack for name in self.by_name if name != DEFAULT and (pack := self._at(name, now)) is not None]
        bases = [pack for pack in present if not pack.overlay]
        base = next((pack for place in (wanted, country) for pack in bases if place in pack.jurisdictions), None)
        overlays = [
            pack
            for pack in present
            if pack.overlay and (not pack.jurisdictions or {wanted, country} & {*pack.jurisdictions})
        ]
        return [*([base] if base else ()), *overlays]

    def _named(self, names: Sequence[str], now: datetime) -> list[Pack]:
        found = []
        for name in names:
            if name not in self.by_name:
                raise PackError(f"there is no pack {name!r}; there are {', '.join(sorted(self.by_name))}")
            found.append(self._at(name, now) or self.by_name[name][-1])
        return found

    def _at(self, name: str, now: datetime) -> Pack | None:
        return next((pack for pack in self.by_name[name] if pack.effective_from <= now), None)


def load_packs(folder: Path) -> Packs:
    """Read every pack of a folder. Raises PackError."""
    found: dict[str, list[Pack]] = {}
    for path in sorted(folder.glob("*.yaml")):
        pack = read_pack(path)
        found.setdefault(pack.name, []).append(pack)
    if DEFAULT not in found:
        raise PackError(f"{folder}: there is no default pack")
    newest = {
        name: tuple(sorted(each, key=lambda pack: pack.effective_from, reverse=True)) for name, each in found.items()
    }
    _check_together(newest)
    return Packs(newest)


def _check_together(packs: Mapping[str, Sequence[Pack]]) -> None:
    """Which pack holds must not depend on the order of files."""
    for name, versions in packs.items():
        if len({each.effective_from for each in versions}) < len(versions):
            raise PackError(f"{name}: two versions are effective from the same date")
    named: dict[str, str] = {}
    for name, versions in packs.items():
        for place in {place for each in versions if not each.overlay for place in each.jurisdictions}:
            if place in named:
                raise PackError(f"{name}: /jurisdictions: {place} has the pack {named[place]}; make one an overlay")
            named[place] = name


def read_pack(path: Path) -> Pack:
    """One pack file. Raises PackError."""
    raw = path.read_bytes()
    try:
        content = yaml.load(raw, Loader=_LOADER)
    except yaml.YAMLError as error:
        raise PackError(f"{path.name}: {error}") from None
    if wrong := best_match(_validator().iter_errors(json.loads(json.dumps(content, default=str)))):
        where = "/".join(str(part) for part in wrong.absolute_path)
        raise PackError(f"{path.name}: /{where}: {wrong.message[:200]}")
    for half in ("rules", "universal"):
        tz = content.get(half, {}).get("zone", {}).get("tz")
        if tz is not None and zone(tz) is None:
            raise PackError(f"{path.name}: /{half}/zone/tz: {tz} is not an IANA time zone")
        if off := content.get(half, {}).get("holidays"):
            _check_holidays(f"{path.name}: /{half}/holidays", off["country"], off.get("subdivisions", ()))
    name, version = content["name"], content["version"]
    universal = content.get("universal", {})
    # A date is in force from its first instant in UTC: packs speak of many zones, and midnight is nobody's window.
    effective: date = content["effective_from"]
    return Pack(
        name=name,
        version=version,
        sha256=hashlib.sha256(raw).hexdigest(),
        effective_from=datetime.combine(effective, time(), UTC),
        jurisdictions=tuple(content["jurisdictions"]),
        overlay=content.get("overlay", False),
        zoning=zone_resolution_from(content["rules"]["zone"]),
        rules=_compiled(PackSection(name, version, content["rules"])),
        universal=_compiled(PackSection(name, version, universal)) if universal else (),
    )


@cache
def _validator() -> Validator:
    """Checks packs by the schema, which is itself checked once: that takes ten times as long as a pack."""
    kind = validator_for(SCHEMA)
    kind.check_schema(SCHEMA)
    return kind(SCHEMA)


def _check_holidays(place: str, country: str, subdivisions: Sequence[str]) -> None:
    known = holidays.list_supported_countries()
    if country not in known:
        raise PackError(f"{place}/country: no public holidays are known of {country}")
    for number, subdivision in enumerate(subdivisions):
        if subdivision not in known[country]:
            listed = ", ".join(known[country])
            raise PackError(f"{place}/subdivisions/{number}: {country} has no {subdivision}; it has {listed}")


def _compiled(source: PackSection) -> tuple[Rule, ...]:
    return tuple(rule for family in FAMILIES for rule in family.rules(source))
