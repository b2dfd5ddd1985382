"""What a new template can be for: the purposes, each one file of data (``templates/_purposes``).

A purpose has its words for people, a category, and the text that a new template begins with: that of a built-in
template, or texts of its own. Adding a purpose is adding a file. Must not know who writes.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from channels.profile import Wording
from gateway.templates.language.source import SETTINGS, BadTemplate
from gateway.templates.language.variables import VariableSpec
from gateway.templates.translatable import Translatable, worded
from gateway.templates.workflow.variable_settings import with_settings, with_variable


@dataclass(frozen=True, slots=True)
class Purpose:
    """One purpose. ``files`` are a template's, as in a folder of templates; ``title`` and ``what`` are translatable."""

    id: str
    title: Translatable
    what: Translatable
    category: str
    variables: tuple[VariableSpec, ...]
    files: Mapping[str, str]


def load_purposes(folder: Path, templates: Mapping[str, Mapping[str, str]]) -> dict[str, Purpose]:
    """The purposes by id, in their order. ``templates``: the files of the built-in templates.

    Raises BadTemplate with the file's name, OSError.
    """
    found: list[tuple[int, Purpose]] = []
    for path in sorted(folder.glob("*.toml")):
        try:
            raw = tomllib.loads(path.read_text("utf-8"))
            if raw.get("template", "") not in {"", *templates}:
                continue  # a lender that has removed a template has no such purpose either
            found.append((int(raw["order"]), _purpose(path.stem, raw, templates)))
        except (tomllib.TOMLDecodeError, UnicodeDecodeError, KeyError, TypeError, ValueError) as error:
            raise BadTemplate.at(f"{folder.name}/{path.name}", f"{type(error).__name__}: {error}") from None
    return {each.id: each for _, each in sorted(found, key=lambda one: (one[0], one[1].id))}


def _purpose(name: str, raw: Mapping[str, Any], templates: Mapping[str, Mapping[str, str]]) -> Purpose:
    title, what = (worded(Wording(raw[each]["en"], raw[each]["zh"])) for each in ("title", "what"))
    files = templates[raw["template"]] if "template" in raw else _own_files(raw, title, what)
    settings = tomllib.loads(files[SETTINGS])
    return Purpose(name, title, what, str(settings["category"]), _variables(settings), files)


def _own_files(raw: Mapping[str, Any], title: str, what: str) -> dict[str, str]:
    values = {
        "version": "1",
        "title": str(title),
        "description": str(what),
        "category": raw["category"],
        "default_locale": raw["default_locale"],
    }
    settings = with_settings("", values)
    for spec in _variables(raw):
        settings = with_variable(settings, spec)
    texts = {f"{locale}/{part}": text for locale, parts in raw["texts"].items() for part, text in parts.items()}
    return {SETTINGS: settings, **texts}


def _variables(settings: Mapping[str, Any]) -> tuple[VariableSpec, ...]:
    return tuple(
        VariableSpec(name, each["type"], each.get("required", True), str(each["example"]), each["description"])
        for name, each in settings.get("variables", {}).items()
    )
