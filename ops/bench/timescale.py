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
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))

from gateway.app import serving
from gateway.app.app import Gateway
from gateway.app.settings import Settings
from gateway.app.templates import templates_folder
from gateway.cli.simulating import read_cases
from gateway.journeys.cases.record import CaseRecord
from gateway.journeys.definitions.model import parse
from gateway.journeys.simulation.assumptions import Assumptions, read_assumptions
from gateway.journeys.simulation.portfolio import latest_instant
from gateway.journeys.simulation.run import Simulation, SimulationSetup, simulate
from gateway.observability import logs
from gateway.storage.upgrade.migrate import migrate
from gateway.templates.folder import Folder
from tests.support.api_gateway import PROVIDERS
from tests.support.journeys.comparison import Comparison, compare, unequal
from tests.support.journeys.engine import JourneyEngine, MadeContact, by_workers
from tests.support.rules.policy_cases import PACKS
from tests.support.storage.postgresql import PostgresServer

_ROOT = Path(__file__).parents[2]
_CHANNELS = {"sms": "twilio", "email": "relay", "inapp": "feed"}
_SCAN_SECONDS = 0.005  # between two looks of the scanners: the clock waits for them at every instant
# A contact may be one tick late, and another one where it follows a message of the same route. The feed of what
# borrowers do may come a tick late, too.
_MOST_TICKS = 3
_SHOWN = 20  # differences of each kind


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
                    result.exits = unequal(expected.exits, await engine.exits())
                    result.steps = unequal(expected.steps, await engine.steps())
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
