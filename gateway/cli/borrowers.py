"""Commands about one borrower: the timeline, and the evidence."""

from __future__ import annotations

import asyncio
import json
from http import HTTPStatus
from pathlib import Path
from typing import Annotated
from urllib.parse import quote

import typer

from gateway.cli import client, console
from gateway.cli.client_options import AsJson, DataDir, Key, Url, pages
from gateway.cli.panels import EVIDENCE, PORTFOLIOS
from gateway.cli.runner import DEMO_DIR, fail, run
from gateway.core.security.private_files import open_private


def install(app: typer.Typer) -> None:
    """Add the commands to the command line."""
    app.command(rich_help_panel=PORTFOLIOS)(timeline)
    app.command(rich_help_panel=EVIDENCE)(evidence)


def timeline(
    borrower: Annotated[str, typer.Argument(help="A borrower's id.")],
    url: Url = "",
    key: Key = "",
    as_json: AsJson = False,
    data_dir: DataDir = DEMO_DIR,
) -> None:
    """Show all events of a borrower, in order."""
    found = pages(f"/v1/borrowers/{quote(borrower, safe='')}/timeline?limit=500", "events", url, key, data_dir)
    items = list(found)
    if not items:
        fail(f"there is no borrower {borrower!r}: nothing was ever accepted or recorded for this id")
    if as_json:
        typer.echo(json.dumps(items, ensure_ascii=False))
        return
    console.timeline(items)


def evidence(
    borrower: Annotated[str, typer.Argument(help="A borrower's id.")],
    output: Annotated[Path, typer.Option(help="The ZIP to write.", dir_okay=False)] = Path("evidence.zip"),
    url: Url = "",
    key: Key = "",
    data_dir: DataDir = DEMO_DIR,
) -> None:
    """Write the evidence for one borrower: a page that is read offline, the events, and a program that verifies them.

    The key needs the scope words, and the administrators' log has an entry.
    """
    if output.exists():  # another borrower's, it may be
        fail(f"{output} exists, and is not overwritten: name another file with --output")

    async def work(stop: asyncio.Event) -> bytes:
        where = client.find(url, key, data_dir)
        async with where.session() as session:
            try:
                return await client.download(session, where, f"/v1/borrowers/{quote(borrower, safe='')}/evidence")
            except client.CallFailed as error:
                if error.status != HTTPStatus.NOT_FOUND:
                    raise
                raise client.CallFailed(f"there is no borrower {borrower!r}") from None

    made = run(work)
    with open_private(output, "wb") as file:  # it has personal data
        file.write(made)
    typer.echo(f"{output}: open evidence.en.html in it; verify it by: python3 verify.py")
