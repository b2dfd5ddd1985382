"""Alert and recording rules: each alert fires when it should, only then, and has its runbook."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from gateway.observability.metrics import Metrics
from tests.ops.promtool import OPS, RULES, alerts, alone, check, rules, scenario, tool

ALERTS_FILE = RULES[0]
BURNS = {rule["alert"] for rule in alerts() if "burn" in rule["labels"]}
NAMES = sorted({rule["alert"] for rule in alerts()})
HEADINGS = ["What it means", "Who is harmed", "Check", "Fix", "Escalate"]

Series = dict[str, str]


def _share(channel: str, provider: str, job: str = "gateway-worker") -> str:
    return f'gateway_provider_share_ratio{{channel="{channel}",provider="{provider}",job="{job}"}}'


def _sent(template: str) -> str:
    return f'gateway_template_messages_total{{template="{template}"}}'


def _said_no(source: str) -> str:
    return f'gateway_opt_out_seconds_count{{source="{source}"}}'


def _depends(on: str, process: int) -> str:
    return f'gateway_dependency_up{{dependency="{on}",instance="{process}"}}'


def _followed(process: str) -> str:
    return f'gateway_templates_last_refresh_timestamp_seconds{{instance="{process}"}}'


def _overdue(urgency: str) -> str:
    return f'gateway_review_overdue_seconds{{urgency="{urgency}"}}'


def _unanswered(urgency: str) -> str:
    return f'gateway_conversations_overdue_seconds{{urgency="{urgency}"}}'


def _set_aside(reason: str) -> str:
    return f'gateway_journeys_review_waiting{{reason="{reason}"}}'


_VIOLATIONS = 'gateway_compliance_violations{{kind="{}"}}'

# alert: (series under which it fires, series under which it doesn't), one sample a minute for two hours
CASES: dict[str, tuple[Series, Series]] = {
    "GatewayContactForbidden": (
        {_VIOLATIONS.format("outside_window"): "0x60 1x60", _VIOLATIONS.format("over_cap"): "0x120"},
        {_VIOLATIONS.format("outside_window"): "0x120", _VIOLATIONS.format("repeat"): "1x120"},
    ),
    "GatewayContactRepeated": (
        {_VIOLATIONS.format("repeat"): "1x120"},
        {_VIOLATIONS.format("repeat"): "0x120", _VIOLATIONS.format("over_cap"): "1x120"},
    ),
    "GatewayDeliveriesLate": ({"gateway_oldest_due_seconds": "61x120"}, {"gateway_oldest_due_seconds": "59x120"}),
    "GatewayChannelDown": (
        {_share("sms", "a"): "0x120", _share("sms", "b"): "0x120", _share("sms", "a", "gateway-api"): "1x120"},
        {_share("sms", "a"): "0x120", _share("sms", "b"): "0.1x120"},
    ),
    # One a second for an hour and a half, then ten: more than ever. Ten all the time: as ever. A slow one: too few.
    "GatewayTemplateSurge": (
        {_sent("surging"): "0+60x100 6600+600x20"},
        {_sent("steady"): "0+600x120", _sent("slow"): "0x100 0+100x20"},
    ),
    "GatewayOptOutSurge": (
        {_said_no("reply"): "0+3x120", _sent("a"): "0+5x120"},
        {_said_no("reply"): "0+3x120", _sent("a"): "0+50x120", _said_no("lender"): "0+100x120"},
    ),
    "GatewayUnknownOutcomes": ({"gateway_unknown_outcomes": "1x120"}, {"gateway_unknown_outcomes": "1x10 0x110"}),
    "GatewayReviewWaits": (
        {_overdue("routine"): "0x30 0+60x90", _overdue("today"): "0x120"},
        {_overdue("routine"): "0x120", _overdue("today"): "0x120", _overdue("now"): "0+60x120"},
    ),
    # Read by a reviewer, and not answered by anybody.
    "GatewayUrgentReplyWaits": (
        {_overdue("now"): "0x120", _unanswered("now"): "0x30 0+60x90"},
        {_overdue("now"): "0x120", _overdue("today"): "0+60x120", _unanswered("now"): "0x120"},
    ),
    "GatewayConversationWaits": (
        {_unanswered("routine"): "0x30 0+60x90", _unanswered("today"): "0x120"},
        {_unanswered("routine"): "0x120", _unanswered("now"): "0+60x120"},
    ),
    # Somebody guesses; people who open their link twice do not.
    "GatewayVerificationsRefused": (
        {'gateway_verifications_total{result="refused"}': "0+10x120"},
        {'gateway_verifications_total{result="refused"}': "0+1x120"},
    ),
    "GatewayJourneysLate": (
        {"gateway_journeys_oldest_due_seconds": "0+60x120"},
        {"gateway_journeys_oldest_due_seconds": "0x60 0+60x14 0x46"},
    ),
    "GatewayJourneysSetAside": (
        {_set_aside("definition_unreadable"): "0x30 2x90", "gateway_journey_definitions_unreadable": "0x120"},
        {_set_aside("gate_lapsed"): "3x120", "gateway_journey_definitions_unreadable": "0x120"},
    ),
    "GatewayWebhooksLate": (
        {
            'gateway_webhook_oldest_seconds{instance="a"}': "0+60x120",
            'gateway_webhook_oldest_seconds{instance="b"}': "0x120",
        },
        # One endpoint's messages are late for half an hour, and then they arrive.
        {"gateway_webhook_oldest_seconds": "0x60 0+60x30 0x30"},
    ),
    "GatewayTemplatesStale": (
        {_followed("stuck"): "0x120", _followed("well"): "0+60x120"},
        {_followed("well"): "0+60x120", 'gateway_templates_passed_over{instance="well"}': "0x116 1x4"},
    ),
    "GatewayRelayStopped": (
        {"gateway_relay_last_run_timestamp_seconds": "0x120"},
        {
            'gateway_relay_last_run_timestamp_seconds{instance="dead"}': "0x120",
            'gateway_relay_last_run_timestamp_seconds{instance="alive"}': "0+60x120",
        },
    ),
    "GatewayLedgerLost": (
        {_depends("ledger", 1): "1x60 0x60", _depends("ledger", 2): "0x120", _depends("redis", 1): "1x120"},
        {_depends("ledger", 1): "1x120", _depends("ledger", 2): "0x120", _depends("redis", 1): "0x120"},
    ),
    "GatewayRedisLost": (
        {_depends("redis", 1): "1x60 0x60", _depends("redis", 2): "0x120"},
        {_depends("redis", 1): "1x120", _depends("redis", 2): "0x120", _depends("ledger", 1): "0x120"},
    ),
    "GatewayProcessCutOff": (
        {_depends("redis", 1): "1x120", _depends("redis", 2): "0x120"},
        {_depends("redis", 1): "1x114 0x6"},
    ),
    "GatewayApiAbsent": ({'up{job="gateway-api"}': "0x120"}, {'up{job="gateway-api"}': "1x120"}),
    "GatewayWorkerAbsent": ({'up{job="gateway-worker"}': "0x120"}, {'up{job="gateway-worker"}': "1x120"}),
    "GatewayProviderFailing": ({_share("sms", "a"): "0x120"}, {_share("sms", "a"): "0.1x120"}),
    "GatewayCallbacksRefused": (
        {'gateway_callbacks_refused_total{provider="a",reason="bad_signature"}': "0+2x120"},
        {'gateway_callbacks_refused_total{provider="a",reason="malformed"}': "0+2x120"},
    ),
    "GatewayAuditStopped": (
        {"gateway_audit_last_run_timestamp_seconds": "0x120"},
        {"gateway_audit_last_run_timestamp_seconds": "0+60x120"},
    ),
    "GatewayPausedLong": (
        {'gateway_controls{kind="pause",scope="all"}': "1x120"},
        {
            'gateway_controls{kind="pin",scope="provider"}': "1x120",
            'gateway_controls{kind="pause",scope="all"}': "0x120",
        },
    ),
    "GatewayClockOff": ({"gateway_clock_ahead_seconds": "-6x120"}, {"gateway_clock_ahead_seconds": "4x120"}),
    "GatewayWordsUnlisted": (
        {"gateway_unlisted_label_values_total": "0x60 1x60", "gateway_log_keys_dropped_total": "0x120"},
        {"gateway_unlisted_label_values_total": "7x120", "gateway_log_keys_dropped_total": "0x120"},
    ),
}


def test_every_alert_has_its_cases() -> None:
    """Every alert has a firing and a silent case; those of the SLO alerts are in test_slo.py."""
    assert sorted({*CASES, *BURNS}) == NAMES


def test_every_alert_fires_when_it_should_and_only_then(tmp_path: Path) -> None:
    """Two hours of the failing series make an alert fire, two hours of the almost failing ones do not."""
    tried = []
    for alert, cases in CASES.items():
        scenarios = []
        for fires, series in zip((True, False), cases, strict=True):
            expression = f'group(ALERTS{{alertname="{alert}", alertstate="firing"}})'
            samples = {"{}": 1.0} if fires else {}
            scenarios.append(scenario(f"{alert} {fires}", series, 118, {expression: samples}))
        tried.append((alone(tmp_path, ALERTS_FILE, alert), scenarios))
    check(tmp_path, *tried)


def test_what_is_recorded_is_what_it_says(tmp_path: Path) -> None:
    """Recorded rates are sums over all processes, by the labels that their names promise."""
    attempts = 'gateway_attempts_total{{channel="sms",provider="a",outcome="accepted",reason="x",instance="{}"}}'
    decisions = 'gateway_decisions_total{{verdict="send",reason="permitted",when="accept",instance="{}"}}'
    series = {
        **{attempts.format(number): "0+60x20" for number in range(2)},
        **{decisions.format(number): "0+120x20" for number in range(2)},
        _sent("t"): "0+60x20",
    }
    expected = {
        "gateway:attempts:rate5m": {
            'gateway:attempts:rate5m{channel="sms",provider="a",outcome="accepted"}': 2.0,
        },
        "gateway:decisions:rate5m": {
            'gateway:decisions:rate5m{verdict="send",reason="permitted",when="accept"}': 4.0,
        },
        "gateway:template_messages:rate5m": {'gateway:template_messages:rate5m{template="t"}': 1.0},
    }
    recorded = {rule["record"] for rule in rules() if "record" in rule and not rule["record"].startswith("gateway_slo")}
    assert set(expected) == recorded
    check(tmp_path, (ALERTS_FILE, [scenario("recorded", series, 20, expected)]))


def test_rules_ask_for_metrics_that_exist() -> None:
    """Every metric in a rule exists: a rule on a renamed metric would never fire."""
    text = Metrics(["sms"], [("sms", "a")]).render()[0].decode()
    known = set(re.findall(r"^(gateway_\w+|process_\w+)", text, re.MULTILINE)) | {"up"}
    for rule in rules():
        for name in re.findall(r"(?<![\w:])(gateway_\w+|up)(?=[{)\[\s])", rule["expr"]):
            assert name in known, (rule.get("alert") or rule["record"], name)


@pytest.mark.parametrize("rule", alerts(), ids=lambda rule: f"{rule['alert']}-{rule['labels'].get('burn', '')}")
def test_every_alert_has_its_page(rule: dict[str, Any]) -> None:
    """An alert has severity, kind, affects, a summary, and a runbook with five headings and commands."""
    labels = rule["labels"]
    assert labels["severity"] in ("page", "ticket")
    assert labels["kind"] in ("symptom", "cause")
    assert labels["affects"]
    assert rule["annotations"]["summary"]
    assert rule["annotations"]["runbook_url"] == "{{ $externalLabels.gateway_url }}/ops/runbooks/" + rule["alert"]
    page = (OPS / "runbooks" / f"{rule['alert']}.md").read_text("utf-8")
    assert re.findall(r"^## (.+)$", page, re.MULTILINE) == HEADINGS
    assert "```sh\n" in page.partition("## Check")[2]


def test_a_pager_gets_the_address_of_the_runbook(tmp_path: Path) -> None:
    """The alert that Prometheus sends has the runbook's page, with the gateway's address that prometheus.yml states."""
    case = {
        "interval": "1m",
        "input_series": [{"series": _overdue("today"), "values": "60x10"}],
        "external_labels": {"gateway_url": "https://gateway.example.com"},
        "alert_rule_test": [
            {
                "alertname": "GatewayReviewWaits",
                "eval_time": "5m",
                "exp_alerts": [
                    {
                        "exp_labels": {
                            "severity": "ticket",
                            "kind": "symptom",
                            "affects": "review",
                            "urgency": "today",
                        },
                        "exp_annotations": {
                            "summary": "A review (today) is undecided 1m 0s past its clock.",
                            "runbook_url": "https://gateway.example.com/ops/runbooks/GatewayReviewWaits",
                        },
                    }
                ],
            }
        ],
    }
    check(tmp_path, (alone(tmp_path, ALERTS_FILE, "GatewayReviewWaits"), [case]))


def test_no_page_is_left_over() -> None:
    """Every runbook belongs to an alert."""
    assert {path.stem for path in (OPS / "runbooks").glob("*.md")} - {"README"} == set(NAMES)


def test_prometheus_takes_the_configuration() -> None:
    """promtool accepts the shipped configuration and its rule files."""
    promtool = tool("promtool", "prometheus")
    where = OPS / "prometheus" / "prometheus.yml"
    done = subprocess.run([promtool, "check", "config", str(where)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_metrics_are_named_as_prometheus_wants() -> None:
    """promtool check metrics reports nothing about names, units and types."""
    promtool = tool("promtool", "prometheus")
    text = Metrics(["sms"], [("sms", "a")], ["t"], ["acme"]).render()[0]
    done = subprocess.run([promtool, "check", "metrics"], input=text, capture_output=True, check=False)
    assert (done.returncode, done.stdout + done.stderr) == (0, b"")
