"""The content of the status page: items that need attention, decisions, plots."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from gateway.core.controls import Switch, SwitchKind, SwitchScope
from gateway.core.reasons import Violation
from gateway.core.understanding import OpenReviews, Urgency
from gateway.operations.activity import MINUTES, EventGroup
from gateway.operations.processes import RunningProcess
from gateway.stages.route import ProviderError, ProviderHealth
from gateway.storage.store import Backlog
from gateway.web.ops.status import Status, duration, status
from gateway.web.plots import PlotSeries, columns
from tests.support.storage.ledgers import NOW

RUNBOOKS = Path(__file__).parents[3] / "ops" / "runbooks"
QUIET = Backlog(0, 0.0, 0, 0, 0.0, 0)
CHANNELS = {"a": "sms", "b": "sms", "smtp": "email"}
GOOD = {name: ProviderHealth(1.0, 10, 0) for name in CHANNELS}
WORKER = RunningProcess("prc_1", "worker", "1.0", NOW - timedelta(hours=2), NOW, GOOD)


def _status(ages: Backlog = QUIET, minutes: Any = None, processes: Any = (WORKER,), **more: Any) -> Status:
    empty: dict[int, dict[EventGroup, int]] = {minute: {} for minute in range(MINUTES)}
    switches, not_ready = more.get("switches", []), more.get("not_ready", {})
    rest = more.get("webhooks", 0.0), more.get("violations", {})
    return status(NOW, ages, minutes or empty, processes, switches, CHANNELS, not_ready, *rest)


def _with(**shares: float) -> RunningProcess:
    return replace(WORKER, providers={name: replace(GOOD[name], share=shares.get(name, 1.0)) for name in GOOD})


def test_nothing_needs_a_look_when_all_is_well() -> None:
    """A quiet gateway says so: no false alarm on the page."""
    assert _status().warnings == []
    assert not any(number.troubled for number in _status().numbers)


PAUSE = Switch("swi", SwitchKind.PAUSE, SwitchScope.ALL, "", "", "why", "who", NOW)


@pytest.mark.parametrize(
    ("changes", "runbook"),
    [
        ({"ages": replace(QUIET, due=1, oldest_due_seconds=61)}, "GatewayDeliveriesLate"),
        ({"ages": replace(QUIET, unknown=1)}, "GatewayUnknownOutcomes"),
        ({"ages": replace(QUIET, reviews={Urgency.TODAY: OpenReviews(1, 1.0)})}, "GatewayReviewWaits"),
        ({"webhooks": 3601.0}, "GatewayWebhooksLate"),
        ({"violations": {Violation.REPEAT: 1}}, "GatewayContactRepeated"),
        ({"violations": {Violation.OVER_CAP: 1}}, "GatewayContactForbidden"),
        ({"ages": replace(QUIET, reviews={Urgency.NOW: OpenReviews(1, 1.0)})}, "GatewayUrgentReplyWaits"),
        ({"ages": replace(QUIET, conversations={Urgency.NOW: OpenReviews(1, 1.0)})}, "GatewayUrgentReplyWaits"),
        ({"ages": replace(QUIET, conversations={Urgency.TODAY: OpenReviews(1, 1.0)})}, "GatewayConversationWaits"),
        ({"processes": ()}, "GatewayWorkerAbsent"),
        ({"processes": (replace(WORKER, seen_at=NOW - timedelta(minutes=1)),)}, "GatewayWorkerAbsent"),
        ({"processes": (_with(a=0.0),)}, "GatewayProviderFailing"),
        ({"processes": (_with(a=0.0, b=0.0),)}, "GatewayChannelDown"),
        ({"switches": [PAUSE]}, "GatewayPausedLong"),
        ({"not_ready": {"redis": "ConnectionError"}}, "GatewayRedisLost"),
        ({"not_ready": {"migrations": "0001"}}, "GatewayAcceptAvailability"),
    ],
)
def test_what_needs_a_look_names_its_runbook(changes: dict[str, Any], runbook: str) -> None:
    """Each trouble is said once, with the page that an alert about it would name."""
    assert [each.runbook for each in _status(**changes).warnings] == [runbook]
    assert (RUNBOOKS / f"{runbook}.md").is_file()


def test_the_last_errors_of_a_provider_are_those_of_all_workers() -> None:
    """Numbers of the same error are added, and the latest error comes first."""
    early, late = ProviderError("timeout", "", 2, NOW - timedelta(seconds=9)), ProviderError("blocked", "7", 1, NOW)
    seen = [
        replace(WORKER, providers={**GOOD, "a": replace(GOOD["a"], errors=each)}) for each in ((early,), (late, early))
    ]
    [a, *_] = _status(processes=seen).providers
    assert a.errors == [late, replace(early, number=4)]


def test_a_provider_is_as_well_as_its_worst_worker_sees_it() -> None:
    """Two workers' attempts are added up; one of them that leaves a provider alone is shown."""
    [a, *_] = _status(processes=(_with(a=0.5), WORKER)).providers
    assert (a.share, a.attempts, a.workers) == (0.5, 20, 2)


def test_the_verdict_mix_counts_decisions_and_not_receipts() -> None:
    """Sent at hand-over; deferred, suppressed and reviewed where the policy said so; duplicates are suppressed."""
    happened = {
        EventGroup("attempt_started", "sending", ""): 6,
        EventGroup("decided", "accepted", "permitted"): 9,  # at accept, to be decided again at hand-over
        EventGroup("decided", "deferred", "outside_window"): 3,
        EventGroup("suppressed", "suppressed", "duplicate"): 1,
        EventGroup("receipt", "delivered", ""): 6,
    }
    mix = _status(minutes={0: happened}).verdicts
    assert [(each.verdict, each.reason, each.count, each.percent) for each in mix] == [
        ("send", "permitted", 6, 60.0),
        ("defer", "outside_window", 3, 30.0),
        ("suppress", "duplicate", 1, 10.0),
    ]


def test_the_last_deployment_is_when_the_newest_version_first_started() -> None:
    """A restart of the same version is no deployment."""
    old = replace(
        WORKER, id="prc_0", version="0.9", started_at=NOW - timedelta(days=3), seen_at=NOW - timedelta(days=1)
    )
    again = replace(WORKER, id="prc_2", started_at=NOW)
    assert _status(processes=(again, WORKER, old)).deployed == ("1.0", WORKER.started_at)


def test_columns_are_as_high_as_their_values() -> None:
    """Heights are in proportion to the values, and the picture says in words what it shows."""
    picture = columns("Accepted", [PlotSeries("sms", [1, 2]), PlotSeries("e-mail", [1, 0])], ["10:00", "10:01"])
    heights = [float(each) for each in re.findall(r'<rect class="series-\d" [^>]* height="([\d.]+)"', picture)]
    assert heights == pytest.approx([heights[0], 2 * heights[0], heights[0]])
    assert 'aria-label="Accepted. sms: 3; e-mail: 1."' in picture


@pytest.mark.parametrize(
    ("most", "scale"),
    [
        (0, ["0", "1"]),
        (2, ["0", "1", "2"]),
        (7, ["0", "2", "4", "6", "8", "10"]),
        (33, ["0", "10", "20", "30", "40"]),
        (1900, ["0", "500", "1k", "1.5k", "2k"]),
        (2_000_001, ["0", "1M", "2M", "3M", "4M"]),
    ],
)
def test_the_scale_of_a_plot_has_whole_numbers_only(most: int, scale: list[str]) -> None:
    """What is drawn is counted, so no line of the scale stands for a half; four letters fit at its side."""
    picture = columns("Accepted", [PlotSeries("sms", [most])], ["10:00"])
    assert re.findall(r'text-anchor="end">([^<]*)<', picture) == scale


def test_a_plot_writes_names_and_runs_nothing() -> None:
    """A name with markup in it stays text."""
    assert "<script>" not in columns('"><script>', [PlotSeries("<script>", [0])], ["<script>"])


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0 s"), (59.9, "59 s"), (60, "1 min"), (3599, "59 min"), (11100, "3 h 5 min"), (187_200, "2 d 4 h")],
)
def test_durations_are_read_at_a_glance(seconds: float, text: str) -> None:
    """Two units at the most."""
    assert duration(seconds) == text
