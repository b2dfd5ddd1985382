"""Runs the measurements, group by group, and shows and keeps what was found."""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import machine
import report
from accept import measure_accept
from cost import figures, measure_cost
from counting import measure_idle, measure_round_trips
from dispatch import Sizes, measure_dispatch
from endtoend import measure_endtoend
from growth import SIZES, measure_contacts, measure_growth, measure_templates
from measuring import Measurement
from pieces import measure_pieces
from previews import measure_previews
from rich.console import Console
from rich.table import Table
from shape import postgresql
from targets import LIMITS, TARGETS

_FULL = Sizes(deliveries=20_000, jobs=6_000, rivals_python=os.environ.get("BENCH_RIVALS_PYTHON", ""))
_QUICK = Sizes(deliveries=3_000, jobs=1_600, rivals_python=_FULL.rivals_python)

Measurements = dict[str, Measurement]


def main() -> None:
    """Measure, print, and exit 0 whether or not targets are met: a missed one is a finding, not a failure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="less of everything: for a look, not for a claim")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of tables")
    parser.add_argument("--only", choices=("cost", "growth"), help="this group alone; nothing is written into results/")
    parser.add_argument(
        "--against", metavar="COMMIT", default="", help="with --only cost: beside another commit's code"
    )
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that what was started is ended
    machine.pin(machine.OTHERS)  # we, the load and the servers; what is measured gets a processor of its own
    about, commit = machine.describe(), machine.commit()  # before this run's own results change the tree
    if options.only == "growth":
        grown = {name: asdict(each) for name, each in _growth(options.quick).items()}
        _print({"growth": grown, "machine": about["machine"], "commit": commit})
        return
    if options.only:
        found = measure_cost(quick=options.quick, against=options.against)
        _print({"cost": found, "machine": about["machine"], "commit": commit})
        return

    def answer_of(found: Measurements) -> dict[str, Any]:
        return {
            "targets": [target.checked(found) for target in TARGETS],
            "limits": [limit.checked(found) for limit in LIMITS],
            "measurements": {name: asdict(each) for name, each in found.items()},
            "machine": about["machine"],
            "commit": commit,
        }

    def keep(found: Measurements, missing: dict[str, str]) -> None:
        # After each group: a run that is cut short leaves what it measured.
        if not options.quick:
            versions = {name: text for name, text in about.items() if name != "machine"}
            report.write(answer_of(found), versions, missing)

    measured = _measure(quick=options.quick, keep=keep)
    answer = answer_of(measured)
    if options.json:
        _print(answer)
    else:
        _show(measured, answer)


def _print(answer: dict[str, Any]) -> None:
    json.dump(answer, sys.stdout, indent=2, ensure_ascii=False)
    print()


def _measure(*, quick: bool, keep: Callable[[Measurements, dict[str, str]], None]) -> Measurements:
    """Every group; one that fails is told of and does not keep the others from being measured."""
    found: Measurements = {}
    missing: dict[str, str] = {}

    def group(name: str, work: Callable[[], Measurements]) -> None:
        began = time.monotonic()
        print(f"bench: {name} …", file=sys.stderr, end="", flush=True)
        try:
            found.update(work())
        except Exception as error:
            missing[name] = f"{type(error).__name__}: {error}"
            print(f" failed: {missing[name]}", file=sys.stderr)
        else:
            print(f" {time.monotonic() - began:.0f} s", file=sys.stderr)
        keep(found, missing)

    with postgresql() as url:
        group("accept", lambda: measure_accept(url, 0.7 if quick else 2.0))
        group("dispatch", lambda: _dispatch(url, _QUICK if quick else _FULL, missing))
        group("end to end", lambda: measure_endtoend(url, 3 if quick else 10))
        group("round trips", lambda: measure_round_trips(url))
        group("cost", lambda: figures(measure_cost(quick=quick)))
        group("idle", lambda: measure_idle(url, 2 if quick else 5))
        group("pieces", lambda: measure_pieces(rounds=3 if quick else 5, size=1_000 if quick else 3_000))
        group("previews", lambda: measure_previews(url, 30))
        group("templates", lambda: measure_templates(url, 1_000 if quick else 3_000, rounds=1 if quick else 3))
        group("contacts", lambda: measure_contacts(url))
    group("growth", lambda: _growth(quick))
    return found


def _growth(quick: bool) -> Measurements:
    """The largest ledger takes some ten minutes and 40 GB to fill."""
    return measure_growth(SIZES[:1] + (100_000,) if quick else SIZES, 1_000 if quick else 3_000)


def _dispatch(url: str, sizes: Sizes, missing: dict[str, str]) -> Measurements:
    found, left_out = measure_dispatch(url, sizes)
    missing.update(left_out)
    for name, why in left_out.items():
        print(f" (without {name}: {why[:200]})", file=sys.stderr, end="")
    return found


def _show(found: Measurements, answer: dict[str, object]) -> None:
    table = Table(
        "measured", "median", "slowest to fastest", "p50/p95/p99 ms", title=f"{answer['machine']}, {answer['commit']}"
    )
    for name, each in found.items():
        waits = "/".join(f"{value:,.1f}" for value in each.latency_ms.values())
        table.add_row(name, f"{each.per_second:,.1f}", f"{each.slowest:,.1f} to {each.fastest:,.1f}", waits)
    console = Console()
    console.print(table)
    targets = Table("target", "value", "wanted", "met")
    for target in answer["targets"]:  # type: ignore[attr-defined]
        value = "-" if target["value"] is None else f"{target['value']:,.2f}"
        targets.add_row(target["name"], value, target["target"], "yes" if target["met"] else "no")
    console.print(targets)


if __name__ == "__main__":
    main()
