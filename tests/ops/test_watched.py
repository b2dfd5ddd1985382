"""A real Prometheus on a running demo: every rule and every panel has data, every runbook's commands work."""

from __future__ import annotations

import asyncio
import csv
import json
import math
import os
import runpy
import signal
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from shutil import rmtree
from typing import Any

import aiohttp
import pytest
import pytest_asyncio

from tests.drills.monitoring import Watch, watching
from tests.drills.runbook import Hand, commands
from tests.drills.scaling import scaled
from tests.ops.promtool import OPS, alerts, tool
from tests.support.forked import ForkedProcess, run_gateway
from tests.support.production import free_port
from tests.support.shell_commands import gateway_program
from tests.support.storage.ledgers import begun, empty_sqlite
from tests.support.waiting import LIMIT_SECONDS, eventually_blocking

DASHBOARDS = runpy.run_path(str(OPS / "grafana" / "generate"))
FACTOR = 30  # how much faster the rules are: an hour in two minutes
_SETTLED_SECONDS = 900  # a generous limit: it settles in 15 s on two idle cores
_AUDITED = "max(gateway_audited_contacts_total) > 30"

pytestmark = pytest.mark.timeout(1500)
on_one_loop = pytest.mark.asyncio(loop_scope="module")  # with the one Prometheus that they share


@pytest.fixture(scope="module")
def demo() -> Iterator[tuple[Path, dict[str, Any]]]:
    """A running demo after a hundred of the shipped rows with all outcomes; its folder and its keys."""
    tool("prometheus", "prometheus")
    folder = Path(tempfile.mkdtemp(prefix="gw-"))
    begun(empty_sqlite(folder))
    with (OPS / "demo-portfolio.csv").open(encoding="utf-8", newline="") as file:
        head, *rows = csv.reader(file)
    with (folder / "portfolio.csv").open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([head, *rows[:: max(1, len(rows) // 100)], rows[0]])
    metrics = free_port()
    environment = {**os.environ, "GATEWAY_METRICS_TENANTS": '["demo"]', "GATEWAY_METRICS_PORT": str(metrics)}
    arguments = ["demo", "--port", "0", "--file", str(folder / "portfolio.csv"), "--data-dir", str(folder)]
    process = ForkedProcess(run_gateway, arguments, environment, folder / "stdout", folder / "stderr")

    def settled() -> bool:
        told = (folder / "stderr").read_text() if (folder / "stderr").exists() else ""
        assert process.poll() is None, told
        return "Ctrl-C" in told

    try:
        eventually_blocking(settled, _SETTLED_SECONDS, every=0.1)
        yield folder, {**json.loads((folder / "demo.json").read_text()), "metrics_port": metrics}
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(LIMIT_SECONDS)
        rmtree(folder, ignore_errors=True)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def watch(demo: tuple[Path, dict[str, Any]]) -> AsyncIterator[Watch]:
    folder, keys = demo
    targets = {job: [keys["metrics_port"]] for job in ("gateway-api", "gateway-worker")}
    async with watching(folder / "watch", targets, FACTOR, alerting=False) as found:
        yield found


async def _traffic(keys: dict[str, Any], number: int) -> None:
    """One request, a rejected one and an opt-out, so that rates have current samples."""
    headers = {"Authorization": f"Bearer {keys['api_key']}"}
    borrower = {
        "id": f"B-watched-{number}",
        "name": "Chen Mei",
        "locale": "zh-TW",
        "jurisdiction": "tw",
        "time_zones": ["Asia/Taipei"],
        "addresses": {"sms": "+12025550101", "email": "b@example.com", "inapp": f"B-watched-{number}"},
    }
    body = {
        "borrower": borrower,
        "case": {"id": f"C-watched-{number}", "product": "card", "due_date": "2026-11-01", "stage": "first_reminder"},
        "template": "overdue-first",
        "variables": {"amount": "3913.00", "currency": "TWD", "due_date": "2026-11-01"},
        "route": [["sms"], ["email"], ["inapp"]][number % 3],
    }
    async with aiohttp.ClientSession(keys["url"], headers=headers) as http:
        async with http.post("/v1/notifications", json=body) as response:
            assert response.status == 202, await response.text()
        async with http.post("/v1/notifications/batch", json={"notifications": [body, {}]}) as response:
            assert response.status == 202
        async with http.post(f"/v1/borrowers/{borrower['id']}/opt-outs", json={"source": "letter"}) as response:
            assert response.status == 201, await response.text()


@on_one_loop
async def test_every_rule_and_every_panel_has_data(watch: Watch, demo: tuple[Path, dict[str, Any]]) -> None:
    """With traffic of all kinds every recorded series exists, no rule has an error, and no panel is empty."""
    _, keys = demo
    panels = [panel for path in (OPS / "grafana").glob("*.json") for panel in json.loads(path.read_text())["panels"]]
    wanted = {(panel["title"], target["expr"]) for panel in panels for target in panel["targets"]}
    wanted |= {("recorded", rule["name"]) for rule in await watch.rules() if rule["type"] == "recording"}
    wanted.add(("audited", _AUDITED))  # the audit looks once in a while, whatever the panels have
    empty = wanted
    deadline = time.monotonic() + _SETTLED_SECONDS
    number = 0
    while empty and time.monotonic() < deadline:
        await _traffic(keys, number := number + 1)
        await asyncio.sleep(0.5)
        if number % 6 == 0:
            empty = {each for each in empty if not await _has_data(watch, each[1])}
    assert not empty
    seen = await watch.rules()
    assert {rule["name"]: rule.get("lastError") for rule in seen if rule["health"] != "ok"} == {}
    assert {rule["name"] for rule in seen if rule["type"] == "alerting"} == {rule["alert"] for rule in alerts()}
    # A bucket leads to a notification: its trace id is the notification's own.
    [exemplar, *_] = await watch.exemplars("gateway_accept_to_provider_seconds_bucket")
    where = f"{keys['url']}/v1/notifications/ntf_{exemplar['trace_id']}"
    async with watch.http.get(where, headers={"Authorization": f"Bearer {keys['api_key']}"}) as response:
        assert response.status == 200
    # The audit has judged what the demo sent, and found nothing wrong with it.
    assert float((await watch.query(_AUDITED))[0]["value"][1]) > 30
    assert {each["value"][1] for each in await watch.query("gateway_compliance_violations")} == {"0"}


async def _has_data(watch: Watch, expression: str) -> bool:
    filled = expression.replace("$__rate_interval", "10s").replace("$tenant", "demo")
    found = await watch.query(scaled(filled, 1))
    return any(not math.isnan(float(each["value"][1])) for each in found)


@on_one_loop
async def test_every_command_of_every_runbook_works(watch: Watch, demo: tuple[Path, dict[str, Any]]) -> None:
    """Every command of every runbook ends with status 0 on a running gateway, in the order of the page."""
    folder, keys = demo
    environment = {
        "GATEWAY_URL": keys["url"],
        "GATEWAY_API_KEY": keys["api_key"],
        "GATEWAY_DATA_DIR": str(folder),
        "PROMETHEUS_URL": watch.url,
        "YESTERDAY": "2020-01-01T00:00:00Z",
    }
    with gateway_program(folder) as programs:
        hand = Hand(environment, folder, programs)
        found = await hand.run('curl -sS -H "Authorization: Bearer $GATEWAY_API_KEY" "$GATEWAY_URL/v1/notifications"')
        hand.notification = json.loads(found)["notifications"][0]["id"]
        for page in sorted((OPS / "runbooks").glob("Gateway*.md")):
            # A pause is ended by its own page; the other commands are the same wherever they stand.
            done = {line for line, _ in hand.said if "$SWITCH" not in line}
            fresh = set(commands(page.stem, "Check", "Fix")) - done
            await hand.follow(page.stem, "Check", "Fix", choose=fresh.__contains__)
        assert json.loads(await hand.run("gateway controls --json")) == []
        assert len(hand.said) > 50


def test_the_dashboards_are_as_generated() -> None:
    """The dashboards are what the generator writes."""
    for name in DASHBOARDS["DASHBOARDS"]:
        assert (OPS / "grafana" / f"{name}.json").read_text() == DASHBOARDS["text"](name), "run ops/grafana/generate"
    assert {path.stem for path in (OPS / "grafana").glob("*.json")} == set(DASHBOARDS["DASHBOARDS"])


def test_the_catalogue_is_as_generated() -> None:
    """ops/metrics.md lists the metrics of the registry and their users."""
    catalogue = runpy.run_path(str(OPS / "prometheus" / "catalogue"))
    assert (OPS / "metrics.md").read_text() == catalogue["text"](), "run ops/prometheus/catalogue"


def test_the_scaling_changes_durations_and_nothing_else() -> None:
    """Ranges, offsets and durations are divided by the factor; thresholds and names are unchanged."""
    text = "expr: x:rate5m > 60 and rate(y[5m] offset 1h) > 4 * 3600\nfor: 2m\ninterval: 5m\nz[10s]"
    assert scaled(text, 30) == (
        "expr: x:rate5m > 60 and rate(y[10000ms] offset 120000ms) > 4 * 3600\nfor: 4000ms\ninterval: 10000ms\nz[4000ms]"
    )
