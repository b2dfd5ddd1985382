"""./ops/drill NAME …: cause a fault, see its alert, follow its runbook, see it resolved; times as a table.

The rules are the shipped ones, their durations divided by --factor (tests/drills/scaling.py), so the times are not
those of production: there an alert's own waiting is --factor times as long. Exit status: 0 every drill went as it
should, 1 one did not, 2 a tool is missing.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from tests.drills.drills import DRILLS, Drill
from tests.drills.monitoring import ToolNotInstalled
from tests.drills.runbook import CommandFailed
from tests.drills.scene import Scene, scene
from tests.support.waiting import eventually

_PATIENCE = 240.0  # seconds for an alert to fire, and again to resolve; generous, for loaded machines
_WARM_UP = 35  # messages sent before the fault


Firing = Mapping[str, Sequence[Mapping[str, str]]]


@dataclass
class Result:
    """The result of a drill: seconds after the fault; ``mended_in`` is from the page to the end of the runbook."""

    drill: str
    alert: str
    fault: str
    detected_after: float = 0.0  # Alertmanager received it
    told_after: float | None = None  # the pager received it
    mended_in: float = 0.0
    resolved_after: float = 0.0
    commands: int = 0
    also: list[str] = field(default_factory=list)  # other alerts that were active meanwhile
    requests: int = 0
    not_taken: int = 0
    contacts: int = 0  # checked by the audit at the end
    violations: int = 0
    wrong: str = ""


def main() -> int:
    """Parse, run, print."""
    parser = argparse.ArgumentParser(prog="ops/drill", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help="see --list; none: all of them")
    parser.add_argument("--list", action="store_true", help="the drills, with their alerts")
    parser.add_argument("--factor", type=float, default=20.0, help="how much faster the rules are")
    parser.add_argument("--keep", type=Path, help="keep the processes' logs in this directory")
    parser.add_argument("--json", action="store_true", help="print one JSON object for each")
    options = parser.parse_args()
    if options.list:
        for name, drill in DRILLS.items():
            print(f"{name:<18} {drill.alert:<28} {drill.fault}")
        return 0
    unknown = set(options.names) - set(DRILLS)
    if unknown:
        parser.error(f"there is no drill {', '.join(sorted(unknown))}; there are {', '.join(DRILLS)}")
    results = []
    for name in options.names or DRILLS:
        try:
            results.append(_play(name, options.factor, options.keep))
        except ToolNotInstalled as error:
            print(f"drill: {error}", file=sys.stderr)
            return 2
        print(json.dumps(asdict(results[-1])) if options.json else _line(results[-1], first=len(results) == 1))
    return 1 if any(each.wrong for each in results) else 0


def _play(name: str, factor: float, keep: Path | None) -> Result:
    folder = Path(tempfile.mkdtemp(prefix="gwdrill", dir="/tmp"))
    try:
        return asyncio.run(play(name, folder, factor, lambda line: print(f"drill: {line}", file=sys.stderr)))
    finally:
        if keep:
            shutil.copytree(folder, keep / name, dirs_exist_ok=True, ignore=shutil.ignore_patterns("data"))
        shutil.rmtree(folder, ignore_errors=True)


async def play(name: str, folder: Path, factor: float, say: Callable[[str], None], warm_up: int = _WARM_UP) -> Result:
    """One drill from the start of its processes to their end. Raises ToolNotInstalled."""
    drill = DRILLS[name]
    result = Result(name, drill.alert, drill.fault)
    async with scene(folder, factor, drill.per_second) as stage:
        try:
            await _until(stage, result, lambda firing: len(stage.load.taken) >= warm_up and not _pages(drill, firing))
            await _run(drill, stage, result, say)
        except (TimeoutError, CommandFailed, AssertionError) as error:
            result.wrong = f"{type(error).__name__} {error}, firing: {sorted(await stage.watch.firing())}"
        result.commands = len(stage.hand.said)
        result.requests = len(stage.load.taken)
    return result


async def _run(drill: Drill, stage: Scene, result: Result, say: Callable[[str], None]) -> None:
    result.also = []  # alerts caused by a slow machine may still be active
    stage.hand.notification = stage.load.taken[0][0]
    say(f"{result.drill}: {drill.fault}")
    began = time.monotonic()
    await drill.cause(stage)
    await _until(stage, result, lambda firing: _pages(drill, firing))
    result.detected_after = round(time.monotonic() - began, 1)
    say(f"{drill.alert} after {result.detected_after} s; following its runbook")
    told = await eventually(lambda: stage.watch.told.first(drill.alert, "firing", began), _PATIENCE)
    assert told is not None
    result.told_after = round(told - began, 1)
    paged = time.monotonic()
    await stage.hand.follow(drill.alert, "Check")
    await drill.mend(stage)
    result.mended_in = round(time.monotonic() - paged, 1)
    await _until(stage, result, lambda firing: not _pages(drill, firing))
    result.resolved_after = round(time.monotonic() - began, 1)
    say(f"resolved after {result.resolved_after} s")
    result.not_taken = await stage.load.answered(_PATIENCE)
    audit = json.loads(await stage.hand.run('gateway ledger audit --from "$YESTERDAY" --json || test $? -eq 1'))
    result.contacts, result.violations = audit["contacts"], len(audit["violations"])
    if result.not_taken or result.violations:
        result.wrong = f"{result.not_taken} requests are not taken, {result.violations} contacts broke a rule"


def _pages(drill: Drill, firing: Firing) -> bool:
    """Whether the drill's alert is a page; tickets of a used-up error budget stay active for days."""
    return any(each["severity"] == "page" for each in firing.get(drill.alert, ()))


async def _until(stage: Scene, result: Result, condition: Callable[[Firing], bool]) -> None:
    async with asyncio.timeout(_PATIENCE):
        while True:
            firing = await stage.watch.firing()
            result.also = sorted({*result.also, *firing} - {result.alert})
            if condition(firing):
                return
            await asyncio.sleep(0.2)


_COLUMNS = "{:<18} {:<26} {:>10} {:>7} {:>8} {:>10} {:>8} {:>8} {:>10}  {}"
_HEAD = (
    "drill",
    "alert",
    "detected s",
    "told s",
    "mended s",
    "resolved s",
    "commands",
    "contacts",
    "violations",
    "also",
)


def _line(result: Result, *, first: bool) -> str:
    cells = (
        *(result.drill, result.alert, result.detected_after, result.told_after or "-", result.mended_in),
        *(result.resolved_after, result.commands, result.contacts, result.violations, ", ".join(result.also) or "-"),
    )
    wrong = f"  WRONG: {result.wrong}" if result.wrong else ""
    return "\n".join(filter(None, [_COLUMNS.format(*_HEAD) if first else "", _COLUMNS.format(*cells), wrong]))


if __name__ == "__main__":
    sys.exit(main())
