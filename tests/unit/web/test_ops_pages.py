"""The pages below /ops: every alert has its runbook there, and every reason its words."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from channels.base import ProviderReason
from gateway.core.reasons import EndReason, PolicyReason
from gateway.core.states import State, WebhookOutcome
from gateway.web import translations
from gateway.web.ops.page import MENU, picked, reason_of
from gateway.web.ops.runbooks import rendered, runbooks

RULES = Path(__file__).parents[3] / "ops" / "prometheus"
TEXTS = translations.load({})


def test_every_alert_of_the_rules_is_there() -> None:
    """Each has a runbook at its runbook_url, and a title in both languages."""
    files = [yaml.safe_load((RULES / name).read_text("utf-8")) for name in ("alerts.yml", "slo.yml")]
    rules = [rule for each in files for group in each["groups"] for rule in group["rules"] if "alert" in rule]
    assert {rule["annotations"]["runbook_url"].rpartition("/ops/runbooks/")[2] for rule in rules} == set(runbooks())
    for t in TEXTS.values():
        assert [name for name in runbooks() if f"alert_{name}" not in t.texts] == []


@pytest.mark.parametrize("language", TEXTS)
def test_every_word_of_the_closed_lists_has_a_text(language: str) -> None:
    """Reasons, states and outcomes are shown in words, in both languages, and so is the menu."""
    known = TEXTS[language].texts
    reasons = {f"reason_{each}" for kind in (PolicyReason, EndReason, ProviderReason) for each in kind}
    others = {f"message_{each}" for each in State} | {f"webhook_{each}" for each in WebhookOutcome}
    menu = {f"ops_menu_{name or 'status'}" for name in MENU}
    assert sorted((reasons | others | menu) - known.keys()) == []


def test_a_runbook_is_shown_as_what_it_says() -> None:
    """Without its title; HTML in it is text, and links lead to runbooks alone."""
    made = rendered("# Title\n\n<b>x</b> see [A](GatewayApiAbsent.md) and [B](../x.md), [C](https://example.com)\n")
    assert made == ('<p>&lt;b&gt;x&lt;/b&gt; see <a href="/ops/runbooks/GatewayApiAbsent">A</a> and B, C</p>\n')


@pytest.mark.parametrize(
    ("reason", "kept"), [("ok, because", "ok, because"), ("  x ", None), ("x" * 501, None), ("a\x00bc", None)]
)
def test_a_reason_is_one_that_can_be_kept(reason: str, kept: str | None) -> None:
    """Three to 500 characters, as in the API, without what no database stores."""
    assert reason_of({"reason": reason}) == kept
    assert picked({"pick:ntf_1": "1", "pick:\x00": "1", "reason": "x"}) == ["ntf_1"]
