"""The page for security teams: every test that it names exists."""

from __future__ import annotations

import ast
import re

from tests.ops.promtool import OPS

ROOT = OPS.parent


def test_every_test_that_is_named_exists() -> None:
    """A renamed or removed test is renamed or removed on the page, too."""
    named = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", (OPS / "security.md").read_text("utf-8"))
    assert len(named) >= 40
    known = {
        path: {
            each.name for each in ast.walk(ast.parse((ROOT / path).read_text("utf-8"))) if isinstance(each, _DEFINED)
        }
        for path in {path for path, _ in named}
    }
    assert [(path, name) for path, name in named if name not in known[path]] == []


_DEFINED = (ast.FunctionDef, ast.AsyncFunctionDef)
