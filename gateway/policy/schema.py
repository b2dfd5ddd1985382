"""The JSON Schema of a pack file: its frame, and the shapes from which families of rules describe their sections.

A family describes its sections beside the rules that read them. Knows no family, no file and no rule.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gateway.core.notifications import Category

Schema = Mapping[str, Any]

MARK: Schema = {
    "type": "object",
    "additionalProperties": False,
    "required": ["authority", "seen", "source"],
    "properties": {
        "authority": {"enum": ["law", "guidance", "vendor", "recalled", "our_choice"]},
        "seen": {"enum": ["official_text", "secondary", "not_seen", "not_applicable"]},
        "source": {"type": "string", "minLength": 3},
    },
}
POSITIVE: Schema = {"type": "integer", "minimum": 1}
NAMES: Schema = {"type": "array", "items": {"type": "string"}}
CATEGORIES: Schema = {"type": "array", "items": {"enum": [str(each) for each in Category]}}
HOURS: Schema = {
    "type": "string",
    "pattern": "^(closed|([01][0-9]|2[0-3]):[0-5][0-9]-(([01][0-9]|2[0-3]):[0-5][0-9]|24:00))$",
}


def marked(required: Schema, optional: Schema | None = None) -> Schema:
    """An object with these fields and the mark that says where its figures come from, and with no others."""
    return {
        "type": "object",
        "additionalProperties": False,
        "required": [*required, "mark"],
        "properties": {**required, **(optional or {}), "mark": MARK},
    }


WORDS: Schema = marked({"value": {"type": ["array", "string"]}})


def pack_schema(sections: Schema) -> dict[str, Any]:
    """The schema of a pack file whose halves, ``rules`` and ``universal``, may have these sections."""
    half = {"type": "object", "additionalProperties": False, "properties": sections}
    overlay = {"properties": {"overlay": {"const": True}}, "required": ["overlay"]}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "A policy pack",
        "type": "object",
        "additionalProperties": False,
        "required": ["name", "version", "effective_from", "status", "jurisdictions", "rules"],
        "properties": {
            "name": {"type": "string", "pattern": "^[a-z][a-z0-9_]*$"},
            "version": {"type": "string", "minLength": 1},
            "effective_from": {"type": "string", "pattern": "^[0-9]{4}-[0-9]{2}-[0-9]{2}$"},
            "status": {"type": "string", "pattern": "counsel"},
            "jurisdictions": {"type": "array", "items": {"type": "string", "pattern": "^[a-z]{2}(-[a-z0-9]{1,3})?$"}},
            "overlay": {"type": "boolean"},
            "rules": {"$ref": "#/$defs/half", "required": ["zone"]},
            "universal": {"$ref": "#/$defs/half"},
        },
        "if": overlay,
        "then": {"not": {"required": ["universal"]}},
        "else": {"properties": {"rules": {"required": ["windows", "caps", "min_gap"]}}},
        "$defs": {"half": half},
    }
