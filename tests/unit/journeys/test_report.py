"""The report of a definition: counts per version and arm, Wilson's intervals, and "too few to tell"."""

from __future__ import annotations

import pytest

from gateway.core.shares import wilson
from gateway.journeys.report import ReportRow, report


@pytest.mark.parametrize(
    ("hits", "number", "interval"),
    # Newcombe 1998 (Statistics in Medicine 17:857), table I, method 3; Wilson without continuity correction.
    [(81, 263, (0.2553, 0.3662)), (15, 148, (0.0624, 0.1605)), (0, 20, (0.0, 0.1611)), (1, 29, (0.0061, 0.1718))],
)
def test_the_interval_is_wilsons(hits: int, number: int, interval: tuple[float, float]) -> None:
    """The published examples."""
    assert wilson(hits, number) == pytest.approx(interval, abs=5e-5)


def test_a_line_per_version_and_arm() -> None:
    """Who was cured, opted out or complained, and why the others left; a small group is named as such."""
    rows = [ReportRow("v1", "all", True, "paid", 2) for _ in range(30)]
    rows += [ReportRow("v1", "all", False, "", 1, opted_out=True), ReportRow("v2", "all", True, "completed", 5)]
    first, second = report(rows)
    assert (first["entered"], first["open"], first["exited"], first["contacts"]) == (31, 1, {"paid": 30}, 61)
    assert first["cured"]["number"] == 30
    assert (first["opted_out"]["number"], first["too_few_to_tell"]) == (1, False)
    assert (second["version"], second["too_few_to_tell"]) == ("v2", True)
    assert report([]) == []
