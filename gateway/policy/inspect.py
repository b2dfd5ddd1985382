"""Packs for their readers: what is doubtful in one, what its figures are, and how two of them differ.

Reads the files as they are written; what is in force is asked of packs.py. Knows no command and no screen.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from gateway.policy.packs import PackError, load_packs, read_pack

_UNVERIFIED = "nobody has seen this in the law's own text: look it up before relying on it"


@dataclass(frozen=True, slots=True)
class PackFinding:
    """Something in a pack that must (``error``) or should (``warning``) be changed. ``place`` is a path in the file."""

    level: str
    file: str
    place: str
    message: str


@dataclass(frozen=True, slots=True)
class Figure:
    """One figure of a pack, as it is written, with its mark."""

    place: str
    value: str
    authority: str
    seen: str
    source: str


def lint(folder: Path, files: Sequence[Path] = ()) -> list[PackFinding]:
    """What is wrong with the packs of a folder, or with these files alone."""
    found: list[PackFinding] = []
    for path in files or sorted(folder.glob("*.yaml")):
        try:
            read_pack(path)
        except (PackError, OSError) as error:
            found.append(PackFinding("error", path.name, "", str(error).removeprefix(f"{path.name}: ")))
            continue
        found += [
            PackFinding("warning", path.name, each.place, f"{each.source}: {_UNVERIFIED}")
            for each in figures(path)
            if each.seen == "not_seen"
        ]
    if not files and not any(each.level == "error" for each in found):
        try:
            load_packs(folder)
        except PackError as error:
            found.append(PackFinding("error", folder.name, "", str(error)))
    return found


def figures(path: Path) -> list[Figure]:
    """Every marked figure of a pack file, in its order."""
    content = yaml.safe_load(path.read_bytes())
    return list(_marked("", {half: content.get(half, {}) for half in ("rules", "universal")}))


def difference(old: Path, new: Path) -> list[tuple[str, str, str]]:
    """(place, before, after) of everything that differs; "" where it is missing."""
    before = dict(_leaves("", yaml.safe_load(old.read_bytes())))
    after = dict(_leaves("", yaml.safe_load(new.read_bytes())))
    return [
        (place, before.get(place, ""), after.get(place, ""))
        for place in dict.fromkeys([*before, *after])
        if before.get(place) != after.get(place)
    ]


def _marked(place: str, node: Any) -> Iterator[Figure]:
    if isinstance(node, Mapping) and "mark" in node:
        value = " ".join(f"{name}={_plain(each)}" for name, each in node.items() if name != "mark")
        mark = node["mark"]
        yield Figure(place.lstrip("/"), value, mark["authority"], mark["seen"], mark["source"])
        return
    for name, each in _children(node):
        yield from _marked(f"{place}/{name}", each)


def _leaves(place: str, node: Any) -> Iterator[tuple[str, str]]:
    children = list(_children(node))
    if not children:
        yield place.lstrip("/"), _plain(node)
    for name, each in children:
        yield from _leaves(f"{place}/{name}", each)


def _children(node: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(node, Mapping):
        yield from ((str(name), each) for name, each in node.items())
    elif isinstance(node, list) and node and isinstance(node[0], Mapping):
        # By what it is about and not by its number: a cap put in before it does not make it another one.
        about = ("scope", "channel", "period_kind", "period")
        for number, each in enumerate(node):
            yield " ".join(str(each[key]) for key in about if key in each) or str(number), each


def _plain(node: Any) -> str:
    return ",".join(str(each) for each in node) if isinstance(node, list) else str(node)
