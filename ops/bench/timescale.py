#!/usr/bin/env python3
"""Whether a simulation tells the truth: the same portfolio through a real gateway, contact by contact.

    ops/prepare-card-portfolio card-portfolio.csv.gz prepared.csv.gz
    python ops/bench/timescale.py prepared.csv.gz [--days 90] [--tick 600] [--definition F] [--assume F] [--json]

Simulates the portfolio, then runs it in a gateway with its own scanners, workers, ledger, Valkey and policy, whose
providers and borrowers do what the simulation assumes. The gateway's clock stands still while anything is due and then
moves to what is due next; what is due within ``--tick`` seconds of each other, of different cases, is done together.
Compared are the contacts (case, step, channel), their order for each case, their instants within what ticks allow, the
order of those that are further apart than that, the ends of the journeys and what became of each step. Exit status 1
where anything differs. ``--spread PT0S`` has all cases of a day at one instant, so that ``--tick 0`` takes no longer:
then every instant has to be the same. ``--postgresql``: on a server of its own, and not on SQLite.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import re
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))

from gateway.app import serving
from gateway.app.app import Gateway
from gateway.app.settings import Settings
from gateway.app.templates import templates_folder
from gateway.cli.simulating import read_cases
from gateway.journeys.assumptions import Assumptions, read_assumptions
from gateway.journeys.cases import CaseRecord
from gateway.journeys.definition import parse
from gateway.journeys.portfolio import latest_instant
from gateway.journeys.simulation import Simulation, SimulationSetup, simulate
from gateway.observability import logs
from gateway.storage.migrate import migrate
from gateway.templates.folder import Folder
from tests.support.api_gateway import PROVIDERS
from tests.support.journey_engine import JourneyEngine, MadeContact, by_workers
from tests.support.policy_cases import PACKS
from tests.support.postgresql import PostgresServer

_ROOT = Path(__file__).parents[2]
_CHANNELS = {"sms": "twilio", "email": "relay", "inapp": "feed"}
_SCAN_SECONDS = 0.005  # between two looks of the scanners: the clock waits for them at every instant
# A contact may be one tick late, and another one where it follows a message of the same route. The feed of what
# borrowers do may come a tick late, too.
_MOST_TICKS = 3
_SHOWN = 20  # differences of each kind


@dataclass
class Comparison:
    """What differs between the simulated contacts and those that were made."""

    simulated: int
    made: int
    missing: list[str] = field(default_factory=list)
    extra: list[str] = field(default_factory=list)
    other_order_of_a_case: list[str] = field(default_factory=list)
    other_instant: list[str] = field(default_factory=list)
    other_order_among_cases: int = 0
    most_seconds_late: float = 0.0
    exits: dict[str, list[int]] = field(default_factory=dict)
    steps: dict[str, list[int]] = field(default_factory=dict)

    @property
    def same(self) -> bool:
        lists = (self.missing, self.extra, self.other_order_of_a_case, self.other_instant, self.exits, self.steps)
        return not any(lists) and not self.other_order_among_cases


def compare(expected: Sequence[MadeContact], found: Sequence[MadeContact], tolerance: timedelta) -> Comparison:
    """Both as sequences, in the order in which they were made."""
    made = Comparison(len(expected), len(found))
    one, other = Counter(map(_which, expected)), Counter(map(_which, found))
    made.missing = [" ".join(each) for each in sorted((one - other).elements())]
    made.extra = [" ".join(each) for each in sorted((other - one).elements())]
    by_case, found_by_case = _by_case(expected), _by_case(found)
    instants: dict[tuple[str, str, str], datetime] = {_which(each): each.at for each in expected}
    for case_id, contacts in by_case.items():
        mine = found_by_case.get(case_id, [])
        if [_which(each) for each in contacts] != [_which(each) for each in mine]:
            made.other_order_of_a_case.append(case_id)
    latest: datetime | None = None
    for each in found:
        at = instants.get(_which(each))
        if at is None:
            continue
        late = each.at - at
        made.most_seconds_late = max(made.most_seconds_late, late.total_seconds(), key=abs)
        if not timedelta(0) <= late <= tolerance:
            made.other_instant.append(f"{' '.join(_which(each))}: {at.isoformat()} simulated, {each.at.isoformat()}")
        if latest is not None and at < latest - tolerance:
            made.other_order_among_cases += 1
        latest = at if latest is None else max(latest, at)
    return made


def _which(contact: MadeContact) -> tuple[str, str, str]:
    return contact.case_id, contact.step, contact.channel


def _by_case(contacts: Sequence[MadeContact]) -> dict[str, list[MadeContact]]:
    found: dict[str, list[MadeContact]] = {}
    for each in contacts:
        found.setdefault(each.case_id, []).append(each)
    return found


def _unequal(one: Counter[Any], other: Counter[Any]) -> dict[str, list[int]]:
    return {str(each): [one[each], other[each]] for each in {**one, **other} if one[each] != other[each]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("portfolio", type=Path, help="cases, as gateway cases load takes them")
    parser.add_argument("--mapping", type=Path, default=_ROOT / "ops/mappings/card-cases.toml")
    parser.add_argument("--definition", type=Path, default=_ROOT / "templates/journeys/card-overdue.toml")
    parser.add_argument("--assume", type=Path, help="assumptions; default: those of gateway journey simulate")
    parser.add_argument("--days", type=int, default=90)
    parser.add_argument("--cases", type=int, default=0, help="only the first so many")
    parser.add_argument("--tick", type=float, default=600.0, help="seconds of the gateway's clock")
    parser.add_argument("--spread", default="", help="in place of the definition's pace, like PT0S")
    parser.add_argument("--postgresql", action="store_true")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    source = options.definition.read_text("utf-8")
    if options.spread:
        source = re.sub(r'(?m)^spread = "\w+"', f'spread = "{options.spread}"', source)
    records = read_cases(options.portfolio, options.mapping)[: options.cases or None]
    assumed = read_assumptions(options.assume.read_text("utf-8")) if options.assume else Assumptions()
    setup = SimulationSetup(parse(source), PACKS, assumed, _category, latest_instant(records), options.days)
    began = time.monotonic()
    expected = simulate(setup, records)
    simulated_seconds = time.monotonic() - began
    began, used = time.monotonic(), time.process_time()
    tick = timedelta(seconds=options.tick)
    engine = JourneyEngine(setup, source, records, _CHANNELS, tick)
    result = asyncio.run(_run(engine, expected, records, _MOST_TICKS * tick, postgresql=options.postgresql))
    _show(
        result,
        {
            "cases": len(records),
            "days": options.days,
            "simulated_seconds": round(simulated_seconds, 1),
            "run_seconds": round(time.monotonic() - began, 1),
            "run_processor_seconds": round(time.process_time() - used, 1),
            "instants": engine.instants,
        },
        as_json=options.json,
    )
    raise SystemExit(0 if result.same else 1)


def _category(template: str) -> str:
    return str(_SOURCES[template].settings["category"])


_SOURCES = Folder.read(templates_folder(Settings())).sources()


async def _run(
    engine: JourneyEngine,
    expected: Simulation,
    records: Sequence[CaseRecord],
    tolerance: timedelta,
    *,
    postgresql: bool,
) -> Comparison:
    result = Comparison(0, 0)
    stop = asyncio.Event()
    with tempfile.TemporaryDirectory(prefix="gw-") as folder, _ledger(postgresql) as url:
        chosen = Settings(
            data_dir=Path(folder), database_url=url, providers=PROVIDERS, relay_seconds=_SCAN_SECONDS, metrics_port=0
        )
        with (Path(folder) / "gateway.log").open("w") as log:
            logs.configure("WARNING", stream=log)

            async def ready(gateway: Gateway) -> None:
                nonlocal result
                try:
                    await engine.run(gateway, by_workers, _progress(expected))
                    contacts = [
                        MadeContact(each.at, each.case_id, each.step, each.channel) for each in expected.contacts
                    ]
                    result = compare(contacts, engine.found, tolerance)
                    result.exits = _unequal(expected.exits, await engine.exits())
                    result.steps = _unequal(expected.steps, await engine.steps())
                finally:
                    stop.set()

            await serving.serve(chosen, api=False, worker=True, stop=stop, ready=ready, clock=engine.clock)
        print((Path(folder) / "gateway.log").read_text("utf-8")[-2000:], end="", file=sys.stderr)
    return result


@contextlib.contextmanager
def _ledger(postgresql: bool) -> Iterator[str]:
    """The database's URL; "" for the embedded one."""
    if not postgresql:
        yield ""
        return
    from sqlalchemy import create_engine

    with PostgresServer() as server:
        engine = create_engine(server.url)
        migrate(engine)
        engine.dispose()
        yield server.url


def _progress(expected: Simulation) -> Any:
    """Says the day as it comes, with how much of the run is over."""
    began, last = time.monotonic(), -1

    def looked(now: datetime) -> None:
        nonlocal last
        day = (now - expected.start) // timedelta(days=1)
        if day != last:
            last = day
            print(f"day {day} of {expected.days}, {time.monotonic() - began:.0f} s", file=sys.stderr)

    return looked


def _show(result: Comparison, figures: dict[str, Any], *, as_json: bool) -> None:
    found = asdict(result) | {"same": result.same} | figures
    if as_json:
        print(json.dumps(found))
        return
    for name, value in found.items():
        if isinstance(value, list):
            print(f"{name}: {len(value)}")
            for each in value[:_SHOWN]:
                print(f"  {each}")
        else:
            print(f"{name}: {value}")


if __name__ == "__main__":
    main()
