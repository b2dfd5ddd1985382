"""Service level objectives: recorded as described, with alerts at the configured burn rates."""

from __future__ import annotations

import re
import runpy
from pathlib import Path
from typing import Any

import pytest

from tests.ops.promtool import OPS, RULES, check, rules, scenario

_GENERATED = runpy.run_path(str(OPS / "prometheus" / "generate"))
SLOS: list[Any] = _GENERATED["SLOS"]
_EVENTS = 100_000  # a minute


def _series(slo: str, errors: str, events: str) -> dict[str, str]:
    """The raw series for so many errors and events a minute, in promtool's notation."""
    histograms = {
        "accept-latency": ("gateway_accept_seconds", 'operation="single",', "0.5"),
        "handoff-delay": ("gateway_accept_to_provider_seconds", "", "60.0"),
        "opt-out-effect": ("gateway_opt_out_seconds", 'source="reply",', "10.0"),
    }
    good = f"0+{_EVENTS}x500"
    if slo in histograms:
        name, labels, within = histograms[slo]
        return {f'{name}_bucket{{{labels}le="{within}"}}': good, f"{name}_count{{{labels[:-1]}}}": events}
    if slo == "receipts-matched":
        of = 'gateway_receipts_total{{provider="a",status="delivered",result="{}"}}'
        return {of.format("orphan"): errors, of.format("moved"): good}
    return {'gateway_refused_total{reason="unavailable"}': errors, 'gateway_accepted_total{outcome="created"}': good}


def _burning(factor: float, minutes: int = 500) -> dict[str, str]:
    """The series of every objective, each at the burn rate ``factor``."""
    found: dict[str, str] = {}
    for slo in SLOS:
        share = factor * (1 - slo.objective)
        errors = round(_EVENTS * share / (1 - share))
        after = f" {errors * minutes}x500"
        events = f"0+{_EVENTS + errors}x{minutes}"
        if minutes < 500:
            events += f" {(_EVENTS + errors) * (minutes + 1)}+{_EVENTS}x500"
        found |= _series(slo.name, f"0+{errors}x{minutes}{after if minutes < 500 else ''}", events)
    return found


def _firing(*windows: str) -> dict[str, dict[str, float]]:
    severity = {"1h": "page", "6h": "page", "3d": "ticket"}
    samples = {
        f'{{alertname="{slo.alert}", severity="{severity[window]}", window="{window}"}}': 1.0
        for slo in SLOS
        for window in windows
    }
    return {'count by (alertname, severity, window) (ALERTS{alertstate="firing"})': samples}


def test_alerts_follow_the_speed_of_the_burn(tmp_path: Path) -> None:
    """Burn rate 20 pages by two rules, 8 by one; 2 is a ticket, 0.5 is nothing."""
    scenarios = [
        scenario("20 times", _burning(20), 118, _firing("1h", "6h", "3d")),
        scenario("8 times", _burning(8), 118, _firing("6h", "3d")),
        scenario("twice", _burning(2), 118, _firing("3d")),
        scenario("half", _burning(0.5), 118, _firing()),
        # Over for ten minutes: the short window of the fastest says so; the others still remember.
        scenario("over", _burning(20, 100), 111, _firing("6h", "3d")),
    ]
    check(tmp_path, (RULES[1], scenarios))


def test_little_traffic_burns_no_budget(tmp_path: Path) -> None:
    """With ten failures among ten requests no alert fires: traffic is too low."""
    few: dict[str, str] = {}
    for slo in SLOS:
        few |= _series(slo.name, "0x100 1x10 2x10 3x10 4x10 5x10 6x10", "0x100 1x10 2x10 3x10 4x10 5x10 6x10")
    few = {name: "0x160" if f"0+{_EVENTS}x500" == values else values for name, values in few.items()}
    check(tmp_path, (RULES[1], [scenario("few", few, 159, _firing())]))


def test_what_is_recorded_is_what_it_says(tmp_path: Path) -> None:
    """In every window the recorded ratio is the share of errors; the error budget is computed from it."""
    expected: dict[str, dict[str, float]] = {}
    for window in _GENERATED["WINDOWS"]:
        name = f"gateway_slo:error_ratio:increase{window}"
        expected[f"round({name}, 0.0001)"] = {
            f'{{slo="{slo.name}"}}': round(2 * (1 - slo.objective), 4) for slo in SLOS
        }
        for what in ("errors", "events"):
            expected[f"count(gateway_slo:{what}:increase{window} > 0)"] = {"{}": float(len(SLOS))}
    expected["gateway_slo:objective:ratio"] = {
        f'gateway_slo:objective:ratio{{slo="{slo.name}"}}': slo.objective for slo in SLOS
    }
    expected["round(gateway_slo:error_budget_left:ratio30d, 0.01)"] = {f'{{slo="{slo.name}"}}': -1.0 for slo in SLOS}
    recorded = {rule["record"] for rule in rules() if rule.get("record", "").startswith("gateway_slo")}
    assert recorded == set(re.findall(r"gateway_slo:\w+:\w+", " ".join(expected)))
    check(tmp_path, (RULES[1], [scenario("twice", _burning(2), 60, expected)]))


def test_the_rules_are_as_generated() -> None:
    """slo.yml is what the generator writes."""
    assert RULES[1].read_text() == _GENERATED["text"](), "run ops/prometheus/generate"


@pytest.mark.parametrize("slo", SLOS, ids=lambda slo: slo.name)
def test_the_page_names_every_service_level(slo: Any) -> None:
    """ops/slo.md has the objective and the alert of every rule."""
    rows = [line for line in (OPS / "slo.md").read_text("utf-8").splitlines() if line.startswith(f"| `{slo.name}`")]
    assert len(rows) == 1
    assert f"{slo.objective * 100:g} %" in rows[0]
    assert f"runbooks/{slo.alert}.md" in rows[0]
