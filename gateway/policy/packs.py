"""Policy packs: dated files of figures, read once, checked, and compiled into rules.

Owns which packs apply to whom and when. Knows no rule's meaning: rulebook.py compiles, engine.py asks.
"""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from functools import lru_cache
from pathlib import Path
from typing import Any

import jsonschema
import yaml

from gateway.model import HoldKind
from gateway.policy.rule import Rule, Source
from gateway.policy.rulebook import compile_source
from gateway.policy.windows import ZoneRule
from gateway.policy.zones import Zoning, day_start, zone

DEFAULT = "default"


class PackError(Exception):
    """A pack file that cannot be used. Says which file, where in it, and why."""


@dataclass(frozen=True, slots=True, eq=False)
class Pack:
    """One version of one pack. ``document`` is the file as read, for whoever shows or compares it."""

    name: str
    version: str
    sha256: str
    effective_from: datetime
    jurisdictions: tuple[str, ...]
    rules: tuple[Rule, ...]
    universal: tuple[Rule, ...]
    document: Mapping[str, Any]


@dataclass(frozen=True, slots=True, eq=False)
class InForce:
    """The packs that apply to one jurisdiction at one instant, and their rules in one list."""

    packs: tuple[Pack, ...]
    rules: tuple[Rule, ...]
    zonings: tuple[Zoning, ...]
    identities: tuple[tuple[str, str, str], ...]  # (name, version, sha256)


class Packs:
    """All packs of a folder, in all their versions."""

    def __init__(self, packs: Iterable[Pack]) -> None:
        by_name: dict[str, list[Pack]] = defaultdict(list)
        for pack in sorted(packs, key=lambda each: each.effective_from):
            by_name[pack.name].append(pack)
        self._versions = dict(by_name)

    @property
    def all(self) -> tuple[Pack, ...]:
        return tuple(pack for versions in self._versions.values() for pack in versions)

    def for_jurisdiction(self, jurisdiction: str, now: datetime) -> InForce | None:
        """The packs in force; None where even ``default`` is not, and then nobody may be contacted.

        ``us-ma`` is decided by the packs for ``us`` and those for ``us-ma`` together.
        """
        default = self._in_force(DEFAULT, now)
        if default is None:
            return None
        places = _places(jurisdiction)
        own = tuple(
            pack
            for name in self._versions
            if name != DEFAULT
            and (pack := self._in_force(name, now)) is not None
            and not places.isdisjoint(pack.jurisdictions)
        )
        return _together(default, own)

    def _in_force(self, name: str, now: datetime) -> Pack | None:
        begun = [pack for pack in self._versions.get(name, ()) if pack.effective_from <= now]
        return begun[-1] if begun else None


@lru_cache(maxsize=4096)
def _places(jurisdiction: str) -> frozenset[str]:
    parts = jurisdiction.lower().split("-")
    return frozenset("-".join(parts[:length]) for length in range(1, len(parts) + 1))


@lru_cache(maxsize=1024)
def _together(default: Pack, own: tuple[Pack, ...]) -> InForce:
    """The universal rules, with the jurisdiction's own; or, where it has none, with the strictest base."""
    base = tuple(rule for pack in own for rule in pack.rules) or default.rules
    rules = default.universal + base
    packs = (default, *own)
    zonings = tuple(rule.zoning for rule in rules if isinstance(rule, ZoneRule))
    return InForce(packs, rules, zonings, tuple((pack.name, pack.version, pack.sha256) for pack in packs))


def load_packs(folder: Path) -> Packs:
    """Read ``*.yaml`` in ``folder``, by the ``schema.json`` beside them. Raises PackError."""
    schema = json.loads((folder / "schema.json").read_text("utf-8"))
    validator = jsonschema.Draft202012Validator(schema)
    packs = [_load(path, validator) for path in sorted(folder.glob("*.yaml"))]
    seen: dict[tuple[str, datetime], Pack] = {}
    for pack in packs:
        key = (pack.name, pack.effective_from)
        if key in seen:
            raise PackError(f"two versions of {pack.name} begin on {pack.effective_from.date()}: {pack.version} too")
        seen[key] = pack
    if not any(pack.name == DEFAULT for pack in packs):
        raise PackError(f"no pack named {DEFAULT} in {folder}")
    return Packs(packs)


def _load(path: Path, validator: jsonschema.Draft202012Validator) -> Pack:
    content = path.read_bytes()
    try:
        document = yaml.safe_load(content)
    except yaml.YAMLError as error:
        raise PackError(f"{path.name}: {error}") from error
    for wrong in sorted(validator.iter_errors(document), key=lambda each: list(map(str, each.absolute_path))):
        raise PackError(f"{path.name}: /{'/'.join(map(str, wrong.absolute_path))}: {wrong.message}")
    if document["name"] != path.name.split(".")[0]:
        raise PackError(f"{path.name}: /name: must be the file's name up to its first dot")
    try:
        return _pack(document, hashlib.sha256(content).hexdigest())
    except ValueError as error:
        raise PackError(f"{path.name}: {error}") from error


def _pack(document: Mapping[str, Any], sha256: str) -> Pack:
    name, version = document["name"], document["version"]
    _check(document)
    return Pack(
        name,
        version,
        sha256,
        _effective(document["effective_from"]),
        tuple(document["jurisdictions"]),
        compile_source(Source(name, version, document["rules"])),
        compile_source(Source(name, version, document["universal"], universal=True)) if name == DEFAULT else (),
        document,
    )


def _effective(section: Mapping[str, str]) -> datetime:
    tz = zone(section["zone"])
    if tz is None:
        raise ValueError(f"/effective_from/zone: {section['zone']} is no time zone")
    return day_start(tz, date.fromisoformat(section["date"])).astimezone(UTC)


def _check(document: Mapping[str, Any]) -> None:
    """What a schema can't say."""
    tz = document["rules"]["zone"].get("tz")
    if tz is not None and zone(tz) is None:
        raise ValueError(f"/rules/zone/tz: {tz} is no time zone")
    names = [cap["name"] for cap in document["rules"]["caps"]["limits"]]
    if len(names) != len(set(names)):
        raise ValueError("/rules/caps/limits: two caps have the same name")
    if document["name"] == DEFAULT:
        missing = {kind.value for kind in HoldKind} - document["universal"]["holds"]["kinds"].keys()
        if missing:
            # A kind that no pack names would hold nobody back.
            raise ValueError(f"/universal/holds/kinds: says nothing about {', '.join(sorted(missing))}")
