"""One drill, the shortest, from the fault to the end of its alert; ``./ops/drill`` runs all six."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.drills.__main__ import play
from tests.drills.drills import DRILLS
from tests.drills.runbook import commands
from tests.ops.promtool import alerts, tool


@pytest.fixture
def folder() -> Iterator[Path]:
    made = Path(tempfile.mkdtemp(prefix="gwdrill", dir="/tmp"))
    yield made
    shutil.rmtree(made, ignore_errors=True)


async def test_redis_is_lost_and_found(folder: Path) -> None:
    """Alertmanager has the alert, the pager is told, the page is followed, and all ends when Redis is back."""
    tool("prometheus", "prometheus")
    tool("prometheus-alertmanager", "prometheus-alertmanager")
    result = await play("redis-lost", folder, 30, lambda line: None, warm_up=3)
    assert result.wrong == ""
    assert 0 < result.detected_after < result.resolved_after
    assert result.told_after is not None
    assert result.commands >= 3
    assert (result.not_taken, result.violations) == (0, 0)
    assert result.contacts > 0


@pytest.mark.parametrize("name", DRILLS)
def test_every_drill_is_about_an_alert_that_pages(name: str) -> None:
    """A drill's alert is one of ours, wakes somebody, and has a page with something to type."""
    alert = DRILLS[name].alert
    assert "page" in {rule["labels"]["severity"] for rule in alerts() if rule["alert"] == alert}
    assert commands(alert, "Check")
