"""promtool and the shipped rules, for tests."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

OPS = Path(__file__).parents[2] / "ops"
RULES = (OPS / "prometheus" / "alerts.yml", OPS / "prometheus" / "slo.yml")


def tool(name: str, package: str) -> str:
    """The path of a Debian tool; skips the test where it is not installed."""
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not installed (Debian: apt install {package})")
    return found


@cache
def rules() -> list[dict[str, Any]]:
    """Every rule of every file."""
    return [rule for path in RULES for group in yaml.safe_load(path.read_text())["groups"] for rule in group["rules"]]


def alerts() -> list[dict[str, Any]]:
    return [rule for rule in rules() if "alert" in rule]


def scenario(
    name: str, series: Mapping[str, str], minutes: int, expected: Mapping[str, Mapping[str, float]]
) -> dict[str, Any]:
    """A promtool test case: with these series (a sample a minute) each expression has these samples at the end."""
    return {
        "name": name,
        "interval": "1m",
        "input_series": [{"series": each, "values": values} for each, values in series.items()],
        "promql_expr_test": [
            {
                "expr": expression,
                "eval_time": f"{minutes}m",
                "exp_samples": [{"labels": labels, "value": value} for labels, value in samples.items()],
            }
            for expression, samples in expected.items()
        ],
    }


def alone(folder: Path, rule_file: Path, alert: str) -> Path:
    """The rule file reduced to this alert and the recording rules, because other alerts only cost time."""
    groups = yaml.safe_load(rule_file.read_text())["groups"]
    for group in groups:
        group["rules"] = [rule for rule in group["rules"] if rule.get("alert", alert) == alert]
    assert "ALERTS" not in str(groups), "an alert that looks at other alerts has to be tried with them"
    made = folder / f"{alert}-alone.yml"
    made.write_text(yaml.safe_dump({"groups": [group for group in groups if group["rules"]]}, sort_keys=False))
    return made


def check(folder: Path, *cases: tuple[Path, Sequence[dict[str, Any]]]) -> None:
    """Run each rule file's scenarios, all in one promtool."""
    promtool = tool("promtool", "prometheus")
    paths = []
    for number, (rule_file, scenarios) in enumerate(cases):
        case = {"rule_files": [str(rule_file)], "evaluation_interval": "1m", "tests": list(scenarios)}
        path = folder / f"case-{number}.yml"
        path.write_text(yaml.safe_dump(case, sort_keys=False))
        paths.append(str(path))
    done = subprocess.run([promtool, "test", "rules", *paths], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
