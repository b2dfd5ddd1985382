"""Commands on cases: load a file of them, and show one."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote

import typer

from gateway.cli import client, console
from gateway.cli.client_options import AsJson, DataDir, Key, Url, ask
from gateway.cli.portfolio import files, mapping, sender
from gateway.cli.runner import DEMO_DIR, run

app = typer.Typer(help="The cases that journeys are about.", no_args_is_help=True)

MappingFile = Annotated[Path | None, typer.Option("--mapping", help="How a CSV's columns become cases (TOML).")]


@app.command()
def load(
    file: Annotated[Path, typer.Argument(help="A .csv or .jsonl file, may be .gz.", dir_okay=False)],
    mapping_file: MappingFile = None,
    url: Url = "",
    key: Key = "",
    as_json: AsJson = False,
    data_dir: DataDir = DEMO_DIR,
) -> None:
    """Feed a file of cases. Safe to repeat: what is known already changes nothing, and an older file neither.

    Exit status 0: all rows were taken. 1: some were refused, or the gateway could not be reached.
    """

    async def work(stop: asyncio.Event) -> sender.Tally:
        mapper = mapping.load(mapping_file) if mapping_file else None
        where = client.find(url, key, data_dir)
        with console.progress() as bar:
            task = bar.add_task("fed", total=files.count(file, mapper))
            options = sender.SendOptions(
                rows_done=lambda n: bar.advance(task, n), bad_row=console.bad_row, endpoint=sender.CASES
            )
            fed = asyncio.ensure_future(sender.send(files.read(file, mapper), where, options))
            stopped = asyncio.ensure_future(stop.wait())
            await asyncio.wait({fed, stopped}, return_when=asyncio.FIRST_COMPLETED)
            stopped.cancel()
            if not fed.done():
                fed.cancel()
                raise client.CallFailed("interrupted; run the same command again: what was taken is not repeated")
            return fed.result()

    tally = run(work)
    if as_json:
        typer.echo(json.dumps(tally.view(), ensure_ascii=False))
    else:
        console.tally(tally)
    raise typer.Exit(1 if tally.rejected else 0)


@app.command()
def show(
    case: Annotated[str, typer.Argument(metavar="CASE", help="A case's id.")],
    url: Url = "",
    key: Key = "",
    as_json: AsJson = False,
    data_dir: DataDir = DEMO_DIR,
) -> None:
    """Show a case: what was fed of it, and what follows."""
    found: dict[str, Any] = ask(f"/v1/cases/{quote(case, safe='')}", None, url, key, data_dir)
    if as_json:
        typer.echo(json.dumps(found, ensure_ascii=False))
        return
    rows = [(name, json.dumps(value) if isinstance(value, dict) else value) for name, value in found.items()]
    console.STDOUT.print(console.table(None, ("", ""), [(name, str(value)) for name, value in rows if value]))
