"""Writes values and variables into a template's settings without touching the rest of the text, remarks included."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping

from gateway.templates.language.variables import TYPES, VariableSpec

_NAME = re.compile(r"[a-z][a-z0-9_]{0,39}")  # as templates/schema.json
_LONGEST = 200  # characters of a description, as templates/schema.json


def is_valid(spec: VariableSpec) -> bool:
    """Whether a declaration can be written; whether the example fits its type is the lint's to say."""
    described = 0 < len(spec.description) <= _LONGEST
    return bool(_NAME.fullmatch(spec.name)) and spec.type in TYPES and described and 0 < len(spec.example) <= _LONGEST


def with_settings(settings: str, values: Mapping[str, str]) -> str:
    """The settings with these lines at the top; everything else, comments included, is unchanged."""
    tables = re.search(r"^\[", settings, re.MULTILINE)
    head, rest = (settings[: tables.start()], settings[tables.start() :]) if tables else (settings, "")
    for name in values:
        head = re.sub(rf"^{name}\s*=.*\n?", "", head, flags=re.MULTILINE)
    # A JSON string with unescaped non-ASCII characters is a valid TOML string.
    lines = "".join(f"{name} = {json.dumps(value, ensure_ascii=False)}\n" for name, value in values.items())
    return lines + (head or "\n") + rest


def with_variable(settings: str, spec: VariableSpec) -> str:
    """The settings with this variable, in the place of the one of its name or at the end. ``spec`` is valid."""
    lines = {"type": spec.type, "example": spec.example, "description": spec.description}
    # A JSON string with unescaped non-ASCII characters is a valid TOML string.
    table = "".join(f"{name} = {json.dumps(value, ensure_ascii=False)}\n" for name, value in lines.items())
    if not spec.required:
        table += "required = false\n"
    table = f"[variables.{spec.name}]\n{table}"
    found = _table(spec.name).search(settings)
    if found is None:
        return f"{settings.rstrip()}\n\n{table}"
    rest = settings[found.end() :]
    gap = "\n" if rest else ""
    return f"{settings[: found.start()]}{table}{gap}{rest}"


def without_variable(settings: str, name: str) -> str:
    """The settings without this variable; unchanged where it has no table of its own."""
    found = _table(name).search(settings)
    if found is None:
        return settings
    kept = settings[: found.start()] + settings[found.end() :]
    return kept if "[variables" in kept else f"{kept.rstrip()}\n\n[variables]\n"


def _table(name: str) -> re.Pattern[str]:
    return re.compile(rf"^\[variables\.{re.escape(name)}\][^\n]*(?:\n(?!\[)[^\n]*)*\n?", re.MULTILINE)
