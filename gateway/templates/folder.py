"""Reads and writes a folder of templates: each template's files byte for byte, and the files shared by all templates.

An editor's draft consists of the same files (``"en-US/sms.liquid"`` → text), so that export and import lose nothing.
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from jsonschema import ValidationError
from jsonschema.exceptions import best_match
from jsonschema.protocols import Validator
from jsonschema.validators import validator_for

from gateway.core.bounded.toml import read_toml
from gateway.templates.language.source import FRAGMENTS, SETTINGS, BadTemplate, TemplateSource
from gateway.templates.purposes import Purpose, load_purposes
from gateway.templates.translatable import translatable

_PURPOSES = "_purposes"
_ID = re.compile(r"[a-z][a-z0-9-]{0,63}")
# Settings, a locale's parts, and examples. Nothing else: names become paths when a template is written to disk.
_NAME = re.compile(
    r"template\.toml|[a-z]{2,3}-[A-Z]{2}/[a-z_]+(\.[a-z]+){1,3}|examples/[a-z0-9][a-z0-9-]{0,59}\.json", re.ASCII
)
_MOST_FILES = 400  # our choice: thirty locales of a dozen parts
_MOST_CHARACTERS = 100_000  # of one file; Gmail clips messages there


@dataclass(frozen=True, slots=True)
class Folder:
    """The shared files, the files of the built-in templates, and the purposes of new ones, each by its id.

    ``shape`` validates settings (JSON Schema).
    """

    fragments: Mapping[str, str]
    shape: Validator
    templates: Mapping[str, Mapping[str, str]]
    purposes: Mapping[str, Purpose]

    @classmethod
    def read(cls, path: Path) -> Folder:
        """Read a folder of templates. Raises BadTemplate, OSError."""
        try:
            shape = _shape(json.loads((path / "schema.json").read_text("utf-8")))
            fragments = {
                str(file.relative_to(path / FRAGMENTS)): file.read_text("utf-8").removesuffix("\n")
                for file in sorted((path / FRAGMENTS).glob("*/*.liquid"))
            }
            found = {each.parent.name: read_template(each.parent) for each in sorted(path.glob(f"*/{SETTINGS}"))}
            purposes = load_purposes(path / _PURPOSES, found)
        except UnicodeDecodeError as error:
            raise BadTemplate.at(path.name, translatable("a file is not UTF-8 ({why})", why=error.reason)) from None
        return cls(fragments, shape, found, purposes)

    def sources(self) -> dict[str, TemplateSource]:
        """The sources of the built-in templates, by id. Raises BadTemplate."""
        return {name: self.source(name, files) for name, files in self.templates.items()}

    def source(self, template_id: str, files: Mapping[str, str], version: str = "") -> TemplateSource:
        """The source of a version, with the current fragments. Raises BadTemplate with the file's name.

        ``version`` replaces the number in the settings for versions that the ledger numbers.
        """
        check(template_id, files)
        where = f"{template_id}/{SETTINGS}"
        try:
            settings = read_toml(files[SETTINGS])
            if error := best_match(self.shape.iter_errors(settings)):
                raise error
        except tomllib.TOMLDecodeError as error:
            raise BadTemplate.at(where, *_toml_problem(error)) from None
        except ValidationError as error:
            place = "/".join(str(part) for part in error.absolute_path)
            words = translatable("{place}: {problem}", place=place, problem=error.message[:200])
            raise BadTemplate.at(where, words if place else error.message[:200]) from None
        parts = {
            name: text.removesuffix("\n")
            for name, text in files.items()
            if name != SETTINGS and not name.startswith("examples/")
        }
        made = TemplateSource(template_id, settings, parts, self.fragments)
        return replace(made, settings={**settings, "version": version}) if version else made


def _shape(schema: dict[str, Any]) -> Validator:
    """Check the JSON Schema once: that takes longer than checking a template by it. Raises SchemaError."""
    made = validator_for(schema)
    made.check_schema(schema)
    return made(schema)


def _toml_problem(error: tomllib.TOMLDecodeError) -> tuple[str, int, int]:
    """The TOML parser's message, with the position that stands at its end."""
    words, place, rest = str(error).partition(" (at line ")
    found = re.fullmatch(r"(\d+), column (\d+)\)", rest)
    return (words, int(found[1]), int(found[2])) if found else (words + place + rest, 0, 0)


def check(template_id: str, files: Mapping[str, str]) -> None:
    """Check names, number and sizes of a template's files. Raises BadTemplate."""
    if not _ID.fullmatch(template_id):
        words = translatable("a template ID has lowercase letters, digits and hyphens only, and starts with a letter")
        raise BadTemplate.at("id", words)
    if SETTINGS not in files:
        raise BadTemplate.at(f"{template_id}/{SETTINGS}", translatable("is missing"))
    if len(files) > _MOST_FILES:
        raise BadTemplate.at(template_id, translatable("has more than {most} files", most=_MOST_FILES))
    for name, text in files.items():
        if not _NAME.fullmatch(name):
            raise BadTemplate.at(
                template_id, translatable("contains a file with an unknown name; see templates/README.md")
            )
        if len(text) > _MOST_CHARACTERS or "\x00" in text:
            words = translatable("is longer than {most} characters or contains a NUL character", most=_MOST_CHARACTERS)
            raise BadTemplate.at(f"{template_id}/{name}", words)


def read_template(path: Path) -> dict[str, str]:
    """A template's files, byte for byte. Other files there, such as a text editor's back-up, are ignored."""
    names = {str(file.relative_to(path)): file for file in sorted(path.rglob("*")) if file.is_file()}
    return {name: file.read_bytes().decode("utf-8") for name, file in names.items() if _NAME.fullmatch(name)}


def write_template(folder: Path, template_id: str, files: Mapping[str, str]) -> None:
    """Write a template's folder in ``folder``, and remove its files that are not in ``files``. Raises BadTemplate."""
    check(template_id, files)  # the names become paths
    path = folder / template_id
    for name in read_template(path) if path.is_dir() else ():
        if name not in files:
            (path / name).unlink()
    for name, text in files.items():
        file = path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(text.encode("utf-8"))
