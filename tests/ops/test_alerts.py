"""The alert rules: each fires when it should and is silent when it should not be, and each has its page."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.main import get_command

from gateway.cli import app
from gateway.metrics import Metrics

OPS = Path(__file__).parents[2] / "ops"
RULES = OPS / "prometheus" / "alerts.yml"
ALERTS = [rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]]
NAMES = [rule["alert"] for rule in ALERTS]
HEADINGS = ["What it means", "Who is harmed", "Check", "Fix", "Escalate"]

Series = dict[str, str]


def _share(channel: str, provider: str) -> str:
    return f'gateway_provider_share_ratio{{channel="{channel}",provider="{provider}"}}'


_REFUSED = 'gateway_refused_total{reason="unavailable"}'
_CREATED = 'gateway_accepted_total{outcome="created"}'
_PAUSES = 'gateway_switches{kind="pause",scope="all"}'

# alert: (series under which it fires, series under which it doesn't), one sample a minute for two hours
CASES: dict[str, tuple[Series, Series]] = {
    "GatewayDeliveriesLate": ({"gateway_oldest_due_seconds": "61x120"}, {"gateway_oldest_due_seconds": "59x120"}),
    "GatewayRefusesRequests": (
        {
            'gateway_refused_total{reason="unavailable"}': "0+10x120",
            'gateway_accepted_total{outcome="created"}': "0+100x120",
        },
        {
            'gateway_refused_total{reason="unavailable"}': "0+1x120",
            'gateway_accepted_total{outcome="created"}': "0+1000x120",
        },
    ),
    "GatewayChannelDown": (
        {_share("sms", "a"): "0x120", _share("sms", "b"): "0x120"},
        {_share("sms", "a"): "0x120", _share("sms", "b"): "0.1x120"},
    ),
    "GatewayUnknownOutcomes": ({"gateway_unknown_outcomes": "1x120"}, {"gateway_unknown_outcomes": "1x10 0x110"}),
    "GatewayReviewWaits": (
        {"gateway_review_oldest_seconds": "14401x120"},
        {"gateway_review_oldest_seconds": "14399x120"},
    ),
    "GatewayRelayStopped": (
        {"gateway_relay_last_run_timestamp_seconds": "0x120"},
        {
            'gateway_relay_last_run_timestamp_seconds{instance="dead"}': "0x120",
            'gateway_relay_last_run_timestamp_seconds{instance="alive"}': "0+60x120",
        },
    ),
    "GatewayApiAbsent": ({'up{job="gateway-api"}': "0x120"}, {'up{job="gateway-api"}': "1x120"}),
    "GatewayWorkerAbsent": ({'up{job="gateway-worker"}': "0x120"}, {'up{job="gateway-worker"}': "1x120"}),
    "GatewayProviderFailing": ({_share("sms", "a"): "0x120"}, {_share("sms", "a"): "0.1x120"}),
    "GatewayCallbacksRefused": (
        {'gateway_callbacks_refused_total{provider="a",reason="bad_signature"}': "0+2x120"},
        {'gateway_callbacks_refused_total{provider="a",reason="malformed"}': "0+2x120"},
    ),
    "GatewayPausedLong": (
        {'gateway_switches{kind="pause",scope="all"}': "1x120"},
        {
            'gateway_switches{kind="pin",scope="provider"}': "1x120",
            'gateway_switches{kind="pause",scope="all"}': "0x120",
        },
    ),
    "GatewayClockOff": ({"gateway_clock_ahead_seconds": "-6x120"}, {"gateway_clock_ahead_seconds": "4x120"}),
}


def test_every_alert_has_its_cases() -> None:
    """A rule without a firing and a silent case is not tested."""
    assert sorted(CASES) == sorted(NAMES)


@pytest.mark.parametrize("alert", NAMES)
@pytest.mark.parametrize("fires", [True, False])
def test_an_alert_fires_when_it_should(alert: str, fires: bool, tmp_path: Path) -> None:
    """Two hours of the harmful series make it fire, two hours of the nearly harmful ones don't."""
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is not installed (Debian: apt install prometheus)")
    series = CASES[alert][0 if fires else 1]
    wanted = [{"labels": "{}", "value": 1}] if fires else []
    expression = f'group(ALERTS{{alertname="{alert}", alertstate="firing"}})'
    case: dict[str, Any] = {
        "rule_files": [str(RULES)],
        "evaluation_interval": "1m",
        "tests": [
            {
                "interval": "1m",
                "input_series": [{"series": name, "values": text} for name, text in series.items()],
                "promql_expr_test": [{"expr": expression, "eval_time": "118m", "exp_samples": wanted}],
            }
        ],
    }
    (tmp_path / "case.yml").write_text(yaml.safe_dump(case))
    done = subprocess.run(
        [promtool, "test", "rules", str(tmp_path / "case.yml")], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_alerts_ask_for_metrics_that_exist() -> None:
    """A rule about a metric that was renamed never fires, and nobody notices."""
    metrics = Metrics(["sms"], [("sms", "a")]).render()[0].decode()
    known = set(re.findall(r"^# TYPE (\S+)", metrics, re.MULTILINE)) | {"up"}
    for rule in ALERTS:
        for name in re.findall(r"\b(gateway_\w+|up)\b(?=[{)\[\s])", rule["expr"]):
            assert name in known, (rule["alert"], name)


@pytest.mark.parametrize("rule", ALERTS, ids=NAMES)
def test_every_alert_has_its_page(rule: dict[str, Any]) -> None:
    """Severity, summary, and a runbook that says what it means, who is harmed, what to check, mend and whom to call."""
    assert rule["labels"]["severity"] in ("page", "ticket")
    assert rule["annotations"]["runbook"] == f"ops/runbooks/{rule['alert']}.md"
    page = (OPS / "runbooks" / f"{rule['alert']}.md").read_text("utf-8")
    assert re.findall(r"^## (.+)$", page, re.MULTILINE) == HEADINGS


def test_no_page_is_left_over() -> None:
    """A runbook without an alert is one that nobody is sent to."""
    assert {path.stem for path in (OPS / "runbooks").glob("*.md")} == set(NAMES)


def test_the_pages_name_commands_that_exist() -> None:
    """Every ``gateway …`` in a runbook is a command of this version."""
    root: Any = get_command(app)
    named = set()
    for path in (OPS / "runbooks").glob("*.md"):
        named |= set(re.findall(r"`gateway ([a-z]+)(?: ([a-z-]+))?", path.read_text("utf-8")))
    assert named
    for command, sub in named:
        assert command in root.commands, command
        if hasattr(root.commands[command], "commands"):
            assert sub in root.commands[command].commands, (command, sub)
