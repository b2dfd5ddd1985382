"""Policy packs: dated YAML files, checked against their schema, compiled into rules.

A pack has two halves. ``rules`` hold where the pack is the base for a borrower's jurisdiction; ``universal`` (in the
``default`` pack) hold for everybody, whatever else applies. The strictest answer wins, so a half can only tighten.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time
from pathlib import Path
from typing import Any

import jsonschema
import yaml

from gateway.policy import addresses, caps, holds, windows, wishes
from gateway.policy.rule import Rule, Source
from gateway.policy.zones import Zoning, zoning_from

DEFAULT = "default"

# A new family of rules is a new file and a new line here.
FAMILIES: Sequence[Callable[[Source], list[Rule]]] = (
    holds.rules,
    wishes.rules,
    addresses.rules,
    windows.rules,
    caps.rules,
)


class PackError(ValueError):
    """A pack can't be used; the message names the file and the place in it."""


@dataclass(frozen=True, slots=True)
class Pack:
    """One version of one pack."""

    name: str
    version: str
    sha256: str
    effective_from: datetime
    jurisdictions: tuple[str, ...]
    zoning: Zoning
    rules: tuple[Rule, ...]
    universal: tuple[Rule, ...]


@dataclass(frozen=True, slots=True)
class InForce:
    """What holds for a jurisdiction at an instant."""

    rules: tuple[Rule, ...]
    zoning: Zoning
    packs: tuple[tuple[str, str, str], ...]  # (name, version, sha256)


@dataclass(frozen=True, slots=True)
class Packs:
    """All versions of all packs."""

    by_name: Mapping[str, tuple[Pack, ...]]  # newest first
    _cache: dict[tuple[str, ...], InForce] = field(default_factory=dict)

    def in_force(self, jurisdiction: str, now: datetime) -> InForce:
        """The rules for a borrower of ``jurisdiction``. One that no pack names has the default pack, the strictest."""
        wanted = jurisdiction.casefold()
        base = next(
            (
                pack
                for name in self.by_name
                if name != DEFAULT and (pack := self._at(name, now)) is not None and wanted in pack.jurisdictions
            ),
            None,
        )
        default = self._at(DEFAULT, now)
        if default is None:
            raise PackError("no version of the default pack is in force")
        key = (default.sha256, base.sha256 if base else "")
        if key not in self._cache:
            chosen = base.rules if base else default.rules
            used = [default] if base is None else [default, base]
            self._cache[key] = InForce(
                (*default.universal, *chosen),
                used[-1].zoning,
                tuple((pack.name, pack.version, pack.sha256) for pack in used),
            )
        return self._cache[key]

    def _at(self, name: str, now: datetime) -> Pack | None:
        return next((pack for pack in self.by_name[name] if pack.effective_from <= now), None)


def load_packs(folder: Path) -> Packs:
    """Read every pack of a folder. Raises PackError."""
    schema = json.loads((folder / "schema.json").read_text("utf-8"))
    found: dict[str, list[Pack]] = {}
    for path in sorted(folder.glob("*.yaml")):
        pack = _read(path, schema)
        found.setdefault(pack.name, []).append(pack)
    if DEFAULT not in found:
        raise PackError(f"{folder}: there is no default pack")
    newest = {
        name: tuple(sorted(each, key=lambda pack: pack.effective_from, reverse=True)) for name, each in found.items()
    }
    return Packs(newest)


def _read(path: Path, schema: Mapping[str, Any]) -> Pack:
    raw = path.read_bytes()
    try:
        content = yaml.safe_load(raw)
        jsonschema.validate(json.loads(json.dumps(content, default=str)), schema)
    except yaml.YAMLError as error:
        raise PackError(f"{path.name}: {error}") from None
    except jsonschema.ValidationError as error:
        where = "/".join(str(part) for part in error.absolute_path)
        raise PackError(f"{path.name}: {where}: {error.message[:200]}") from None
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
        zoning=zoning_from(content["rules"]["zone"]),
        rules=_compiled(Source(name, version, content["rules"])),
        universal=_compiled(Source(name, version, universal)) if universal else (),
    )


def _compiled(source: Source) -> tuple[Rule, ...]:
    return tuple(rule for family in FAMILIES for rule in family(source))
