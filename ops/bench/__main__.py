"""Runs the measurements and shows them: medians of several rounds after a warm-up, and how much the rounds differ."""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

from measuring import Measurement
from pieces import measure_pieces
from rich.console import Console
from rich.table import Table


@dataclass(frozen=True)
class Target:
    """What a measurement should reach at least; the figure is the issue tracker's."""

    name: str
    measurement: str
    at_least: float


_TARGETS = (
    Target("policy decisions a second, one core", "decisions", 5_000),
    Target("SMS renders a second, one core", "renders_sms", 10_000),
)


def main() -> None:
    """Measure, print, and exit 0 whether or not targets are met: a missed one is a finding, not a failure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer and shorter rounds: for a look, not for a claim")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of tables")
    options = parser.parse_args()
    found = measure_pieces(rounds=3 if options.quick else 7, size=1_000 if options.quick else 5_000)
    answer = {
        "targets": [_checked(target, found) for target in _TARGETS],
        "measurements": {name: asdict(each) for name, each in found.items()},
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}",
        "commit": _commit(),
    }
    if options.json:
        json.dump(answer, sys.stdout, indent=2)
        print()
    else:
        _show(found, answer)


def _checked(target: Target, found: dict[str, Measurement]) -> dict[str, object]:
    value = found[target.measurement].per_second
    return {"name": target.name, "value": value, "target": target.at_least, "met": value >= target.at_least}


def _commit() -> str:
    here = Path(__file__).parent
    asked = subprocess.run(["git", "describe", "--always", "--dirty"], cwd=here, capture_output=True, check=False)
    return asked.stdout.decode().strip()


def _show(found: dict[str, Measurement], answer: dict[str, object]) -> None:
    table = Table(
        "measured", "per second", "slowest to fastest round", title=f"{answer['machine']}, {answer['commit']}"
    )
    for name, each in found.items():
        table.add_row(name, f"{each.per_second:,.0f}", f"{each.slowest:,.0f} to {each.fastest:,.0f}")
    console = Console()
    console.print(table)
    targets = Table("target", "value", "wanted", "met")
    for target in answer["targets"]:  # type: ignore[attr-defined]
        met = "yes" if target["met"] else "no"
        targets.add_row(target["name"], f"{target['value']:,.0f}", f"{target['target']:,.0f}", met)
    console.print(targets)


if __name__ == "__main__":
    main()
