"""Alertmanager: routes and inhibition, checked with amtool."""

from __future__ import annotations

import re
import subprocess

import pytest
import yaml

from tests.ops.promtool import OPS, alerts, tool

CONFIG = OPS / "alertmanager" / "alertmanager.yml"


def _amtool(*arguments: str) -> str:
    amtool = tool("amtool", "prometheus-alertmanager")
    done = subprocess.run([amtool, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.strip()


def test_the_configuration_is_valid() -> None:
    """amtool accepts the configuration."""
    assert "SUCCESS" in _amtool("check-config", str(CONFIG))


@pytest.mark.parametrize(
    ("labels", "receiver"),
    [
        ({"severity": "page", "affects": "delivery"}, "page"),
        ({"severity": "page", "affects": "compliance"}, "page-and-compliance"),
        ({"severity": "ticket", "affects": "compliance"}, "ticket"),
        ({"severity": "ticket", "affects": "provider"}, "ticket"),
        ({}, "ticket"),
    ],
)
def test_alerts_reach_who_is_to_act(labels: dict[str, str], receiver: str) -> None:
    """Pages go to the pager, breaches of the law also to compliance, the rest to tickets."""
    given = [f"{name}={value}" for name, value in labels.items()]
    assert _amtool("config", "routes", "test", f"--config.file={CONFIG}", *given) == receiver


def test_what_is_felt_keeps_its_causes_quiet() -> None:
    """Every paging cause has a paging symptom with the same "affects", so that one failure pages once."""
    first, second = yaml.safe_load(CONFIG.read_text())["inhibit_rules"]
    assert (first["equal"], second["equal"]) == (["affects"], ["alertname"])
    paging = [rule["labels"] for rule in alerts() if rule["labels"]["severity"] == "page"]
    felt = {labels["affects"] for labels in paging if labels["kind"] == "symptom"}
    assert {labels["affects"] for labels in paging if labels["kind"] == "cause"} <= felt


def test_rules_and_routes_use_the_same_labels() -> None:
    """A label that no alert has would match nothing."""
    used = set(re.findall(r"\[?(\w+)=\"", CONFIG.read_text()))
    assert used <= {name for rule in alerts() for name in rule["labels"]}
