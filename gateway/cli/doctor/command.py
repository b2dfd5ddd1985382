"""``gateway doctor``: runs all checks, which neither send nor change anything."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from gateway.cli import console
from gateway.cli.doctor.finding import CheckResult, Level, error
from gateway.cli.runner import run, why_refused

if TYPE_CHECKING:
    from gateway.app.settings import Settings

_STYLE = {Level.OK: "green", Level.SKIPPED: "dim", Level.WARNING: "yellow", Level.ERROR: "bold red"}


def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="The findings as JSON on stdout.")] = False,
    strict: Annotated[bool, typer.Option("--strict", help="Warnings count as errors.")] = False,
) -> None:
    """Check this installation and show a remedy for each problem. Sends and changes nothing.

    Run it on the machine and with the environment of a process. Exit status 0: no problem; 1: a problem.
    """
    from gateway.app.settings import Settings

    try:
        settings = Settings()
    except (ValueError, OSError) as refused:
        found = [error("configuration", why_refused(refused), "mend this first: nothing else could be looked at")]
    else:
        found = run(lambda stop: examine(settings, os.environ))
    if as_json:
        typer.echo(json.dumps([asdict(each) for each in found], ensure_ascii=False))
    else:
        _show(found)
    bad = {Level.ERROR, Level.WARNING} if strict else {Level.ERROR}
    raise typer.Exit(1 if any(each.level in bad for each in found) else 0)


async def examine(settings: Settings, environment: Mapping[str, str]) -> list[CheckResult]:
    """Run all checks; those that wait for other servers run concurrently."""
    from gateway.app.storage import system_clock
    from gateway.app.templates import templates_folder
    from gateway.cli.doctor import configuration, host, ledger, outside, queue, texts

    clock = system_clock(settings)
    found = configuration.check(settings, environment)
    found += host.check(settings, environment, clock())
    parts = await asyncio.gather(
        ledger.check(settings, clock),
        queue.check(settings),
        outside.providers(settings, clock),
        outside.public_url(settings, clock),
        outside.sign_in(settings),
    )
    found += [finding for part in parts for finding in part]
    return found + texts.check(settings, templates_folder(settings), clock())


def _show(found: list[CheckResult]) -> None:
    from rich.text import Text

    table = console.table(None, ("", "what", "to change"), [])
    for each in found:
        table.add_row(Text(each.level, _STYLE[each.level]), Text(f"{each.check}: {each.what}"), Text(each.remedy))
    console.STDOUT.print(table)
    counts = {level: sum(each.level is level for each in found) for level in Level}
    console.STDERR.print(f"{counts[Level.ERROR]} errors, {counts[Level.WARNING]} warnings, {counts[Level.OK]} fine")
