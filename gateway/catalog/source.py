"""Templates as files: where they are read, and what one of them consists of before it is compiled."""

from __future__ import annotations

import hashlib
import json
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jsonschema

FRAGMENTS = "_fragments"


@dataclass(frozen=True, slots=True)
class Problem:
    """Why a part can't be compiled. ``line`` and ``column`` count from 1, 0 where it has no place."""

    where: str  # template/locale/part
    line: int
    column: int
    detail: str

    def __str__(self) -> str:
        place = f":{self.line}:{self.column}" if self.line else ""
        return f"{self.where}{place}: {self.detail}"


class BadTemplate(Exception):
    """A template can't be used. The message names file, line and column where there are any; ``problems`` has all."""

    def __init__(self, message: str, problems: Sequence[Problem] = ()) -> None:
        super().__init__(message)
        self.problems = tuple(problems)

    @classmethod
    def of(cls, problems: Sequence[Problem]) -> BadTemplate:
        """One that says all of these."""
        return cls("; ".join(str(each) for each in problems), problems)


@dataclass(frozen=True, slots=True)
class Lender:
    """Who writes: stands in every message."""

    name: str
    phone: str
    help_url: str


@dataclass(frozen=True, slots=True)
class Source:
    """One template's files, with the shared fragments as they were: all that its rendering depends on."""

    id: str
    settings: Mapping[str, Any]  # template.toml
    parts: Mapping[str, str]  # "en-US/sms.liquid" → text
    fragments: Mapping[str, str]  # "en-US/opt-out.liquid" → text

    def dump(self) -> str:
        """As JSON, for the ledger: a pinned version outlives the files it came from."""
        return json.dumps(
            {"id": self.id, "settings": self.settings, "parts": self.parts, "fragments": self.fragments},
            sort_keys=True,
            ensure_ascii=False,
        )

    @classmethod
    def parse(cls, text: str) -> Source:
        return cls(**json.loads(text))

    @property
    def digest(self) -> str:
        return hashlib.sha256(self.dump().encode()).hexdigest()

    @property
    def version(self) -> str:
        """The editors' number and what it stood for: another text is another version, whatever the number says."""
        return f"{self.settings['version']}-{self.digest[:8]}"


def read_folder(folder: Path) -> dict[str, Source]:
    """All templates of a folder. Raises BadTemplate."""
    fragments = _texts(folder / FRAGMENTS)
    schema = json.loads((folder / "schema.json").read_text("utf-8"))
    found = {}
    for path in sorted(folder.glob("*/template.toml")):
        source = _read(path, fragments)
        try:
            jsonschema.validate(source.settings, schema)
        except jsonschema.ValidationError as error:
            where = "/".join(str(part) for part in error.absolute_path)
            raise BadTemplate(f"{path.parent.name}/template.toml: {where}: {error.message[:200]}") from None
        found[source.id] = source
    return found


def _read(path: Path, fragments: Mapping[str, str]) -> Source:
    try:
        settings = tomllib.loads(path.read_text("utf-8"))
    except tomllib.TOMLDecodeError as error:
        raise BadTemplate(f"{path.parent.name}/template.toml: {error}") from None
    parts = _texts(path.parent)
    return Source(path.parent.name, settings, parts, fragments)


def _texts(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): path.read_text("utf-8").removesuffix("\n")
        for path in sorted(folder.glob("*/*.liquid"))
    }
