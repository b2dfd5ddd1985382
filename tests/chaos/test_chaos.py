"""./ops/chaos, briefly: promises hold under every kind of fault, and a gateway broken on purpose is found out."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from tests.chaos.harness.__main__ import main

FIGURES = (
    *("seed", "faults", "accepted", "lost", "repeated", "unresolved", "outside_window", "over_cap", "after_opt_out"),
    *("free_text", "journeys_lost", "steps_repeated", "after_payment", "orphans", "seconds_to_settle"),
)


Run = Callable[..., tuple[int, dict[str, Any]]]


@pytest.fixture
def chaos(capsys: pytest.CaptureFixture[str]) -> Run:
    """``./ops/chaos --json ARGUMENTS…`` in this process: its status and its figures."""

    def run(*arguments: str) -> tuple[int, dict[str, Any]]:
        status = main(["--json", *arguments])
        [line] = capsys.readouterr().out.splitlines()
        found = json.loads(line)
        assert tuple(found) == FIGURES
        return status, found

    return run


def test_faults_of_all_kinds_break_no_promise(chaos: Run) -> None:
    """Under one short seed nothing is lost, repeated, outside hours, over a cap, after an opt-out, or left open."""
    status, found = chaos("--seed", "7", "--minutes", "0.35", "--rate", "8", "--patience", "400")
    promises = FIGURES[3:-1]
    assert {name: found[name] for name in promises} == dict.fromkeys(promises, 0), found
    assert status == 0
    assert found["accepted"] > 100
    assert len(found["faults"]) >= 5


def test_resending_after_a_timeout_is_found_out(chaos: Run) -> None:
    """A gateway that sends again whenever an answer is missing is reported for its repetitions."""
    status, found = chaos(
        *("--seed", "3", "--minutes", "3", "--until-broken", "--only", "timeout_after_accepting,receipts_delayed"),
        *("--patience", "1", "--break", "resend-on-timeout"),
    )
    assert (status, found["repeated"] > 0) == (1, True), found


def test_a_queue_that_is_taken_for_the_truth_is_found_out(chaos: Run) -> None:
    """A gateway that looks for work in its queue only is reported for what a lost queue had in it."""
    faults = "empty_valkey,kill_valkey"
    status, found = chaos(
        *("--seed", "3", "--minutes", "0.12", "--only", faults, "--patience", "5", "--break", "queue-as-truth")
    )
    assert (status, found["lost"] > 0, found["unresolved"] > 0) == (1, True, True), found
