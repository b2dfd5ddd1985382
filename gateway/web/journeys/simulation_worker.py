"""A simulation in a process of its own, which reads a job and writes the result.

The same simulation as the command's (gateway/journeys/simulation/run.py). It is a process, so that seconds of
computing hold up no request, and so that it can be stopped; it limits its own memory and time. It stores nothing.
"""

from __future__ import annotations

import os
import resource
import sys
import zlib
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

import msgspec
from msgspec import Struct

from channels import registry
from gateway import policy
from gateway.api.http.bodies import validated
from gateway.api.http.problems import Problem
from gateway.api.requests.cases import CaseItemIn
from gateway.journeys.cases.record import CaseRecord
from gateway.journeys.cases.store import decode_record
from gateway.journeys.definitions.model import BadDefinition, JourneyDefinition, parse
from gateway.journeys.simulation.assumptions import Assumptions
from gateway.journeys.simulation.portfolio import example_portfolio, latest_instant
from gateway.journeys.simulation.run import SimulationSetup, simulate
from gateway.journeys.simulation.view import view

EXAMPLE_CASES = 500  # our choice: a second of computing, and a hundred for each jurisdiction
MOST_CASES = 10_000  # our choice: some ten seconds for 90 days (measured: 1.1 ms a case)
_MOST_BYTES = 50_000_000  # of a file unpacked; our choice: a case takes some 600 bytes
_MOST_MEMORY = 2 * 1024**3  # of address space; our choice
CPU_SECONDS = 60  # as the command's bound for 6,818 cases over 90 days
_SHOWN = 20  # rows of a file that could not be read; our choice
_NICE = 10  # after the requests


class SimulationJob(Struct, frozen=True):
    """What to simulate: one or two definitions, and cases of the ledger (their records' texts), a file, or examples."""

    sources: tuple[str, ...]
    days: int
    now: datetime
    policies: str  # the folder of the packs
    categories: dict[str, str]  # of the templates, by their names
    portfolio: Literal["example", "ledger", "file"] = "example"
    records: tuple[str, ...] = ()
    file: bytes = b""  # JSON lines, each a case as of POST /v1/cases/batch; may be gzip


class BadRow(Struct, frozen=True):
    """A row of a file that is left out."""

    line: int
    field: str
    detail: str


class SimulationResult(Struct, frozen=True):
    """The figures of each definition; or why there are none, as a key of the page's texts."""

    views: tuple[dict[str, Any], ...] = ()
    bad_rows: tuple[BadRow, ...] = ()
    bad_count: int = 0
    error: str = ""
    detail: str = ""


def templates_of(definition: JourneyDefinition) -> set[str]:
    """Every template that a definition may send."""
    named = {each for step in definition.steps for each in (step.template, step.gentler)}
    remind = definition.promise.remind
    return {each for each in (*named, remind.template if remind else None) if each is not None}


class UnusableCases(Exception):
    """The cases can't be simulated; ``key`` is the page's text."""

    def __init__(self, key: str) -> None:
        super().__init__(key)
        self.key = key


def run(job: SimulationJob) -> SimulationResult:
    """Simulate each definition with the same cases."""
    bad: list[BadRow] = []
    try:
        definitions = [parse(each) for each in job.sources]
        records = [each for each in _records(job, bad.append) if each.snapshot is not None]
        if not records:
            raise UnusableCases("simulation_no_cases")
    except BadDefinition as error:
        return SimulationResult(error="simulation_bad_definition", detail=str(error))
    except UnusableCases as error:
        return SimulationResult((), tuple(bad[:_SHOWN]), len(bad), error.key)
    if missing := sorted({name for each in definitions for name in templates_of(each)} - job.categories.keys()):
        return SimulationResult(error="simulation_no_template", detail=", ".join(missing))
    packs, assumed = policy.load_packs(Path(job.policies)), Assumptions()
    start = latest_instant(records) if job.portfolio == "file" else job.now.astimezone(latest_instant(records).tzinfo)
    consents = {name: each.profile.consent_categories for name, each in registry.discover().items()}
    views = []
    for definition in definitions:
        setup = SimulationSetup(definition, packs, assumed, job.categories.__getitem__, start, job.days, consents)
        views.append(view(simulate(setup, records), assumed, contacts=False))
    return SimulationResult(tuple(views), tuple(bad[:_SHOWN]), len(bad))


def _records(job: SimulationJob, bad: Callable[[BadRow], None]) -> list[CaseRecord]:
    if job.portfolio == "example":
        return list(example_portfolio(EXAMPLE_CASES, job.now))
    if job.portfolio == "ledger":
        return [decode_record(each) for each in job.records]
    found: list[CaseRecord] = []
    for number, line in enumerate(_unpacked(job.file).splitlines(), start=1):
        if not line.strip():
            continue
        if len(found) >= MOST_CASES:
            raise UnusableCases("simulation_too_many_cases")
        try:
            item = validated(CaseItemIn, msgspec.json.decode(line))
        except (msgspec.DecodeError, UnicodeError, RecursionError):
            bad(BadRow(number, "", "is not one JSON object (RFC 8259)"))
        except Problem as problem:
            bad(BadRow(number, problem.errors[0].pointer, problem.errors[0].detail))
        else:
            if item.case is not None:
                found.append(item.record(item.case.as_of))
    return found


def _unpacked(file: bytes) -> bytes:
    """The file's bytes, of gzip (RFC 1952) what it packs. Raises UnusableCases."""
    if not file.startswith(b"\x1f\x8b"):
        return file
    unpacking = zlib.decompressobj(wbits=31)  # 16 + the largest window: gzip only (zlib's manual, inflateInit2)
    try:
        unpacked = unpacking.decompress(file, _MOST_BYTES)
    except zlib.error:
        raise UnusableCases("simulation_bad_file") from None
    if not unpacking.eof:
        raise UnusableCases("simulation_too_many_cases" if unpacking.unconsumed_tail else "simulation_bad_file")
    return unpacked


def main() -> None:
    """Read the job from stdin, write the result to stdout."""
    resource.setrlimit(resource.RLIMIT_AS, (_MOST_MEMORY, _MOST_MEMORY))
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_SECONDS, CPU_SECONDS))
    os.nice(_NICE)
    job = msgspec.msgpack.decode(sys.stdin.buffer.read(), type=SimulationJob)
    sys.stdout.buffer.write(msgspec.msgpack.encode(run(job)))


if __name__ == "__main__":
    main()
