"""Packs made for a test: one default pack, read and checked as a file would be."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import Any

import yaml

from gateway.policy import Packs, read_pack

SHIPPED = Path(__file__).parents[3] / "templates" / "policies"
MARK = {"authority": "our_choice", "seen": "not_applicable", "source": "made for a test"}
ALL_DAY = "00:00-24:00"
_UNIVERSAL = yaml.safe_load((SHIPPED / "default.yaml").read_bytes())["universal"]


def window(hours: str = ALL_DAY, **more: Any) -> dict[str, Any]:
    """A window for every category."""
    return {"value": hours, "categories": ["collections", "service", "promotional"], "mark": MARK, **more}


def cap(scope: str, kind: str, value: int, period: int = 1, **more: Any) -> dict[str, Any]:
    """A cap."""
    return {"scope": scope, "value": value, "period_kind": kind, "period": period, "mark": MARK, **more}


def packs(**rules: Any) -> Packs:
    """A default pack with these rules: without any, every hour is permitted and a minute lies between contacts."""
    half: Mapping[str, Any] = {
        "zone": {"resolution": "all_candidates", "mark": MARK},
        "windows": {"collections": window()},
        "caps": [],
        "min_gap": {"value_minutes": 1, "mark": MARK},
        **rules,
    }
    content = {
        "name": "default",
        "version": "made",
        "effective_from": date(2020, 1, 1),
        "status": "made for a test, not for counsel",
        "jurisdictions": [],
        "rules": half,
        "universal": _UNIVERSAL,
    }
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "default.yaml"
        path.write_text(yaml.safe_dump(content, allow_unicode=True, sort_keys=False), "utf-8")
        return Packs({"default": (read_pack(path),)})
