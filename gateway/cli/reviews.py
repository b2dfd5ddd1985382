"""Commands of the review queue: what waits for a person, and the person's word."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote

import typer

from gateway.cli import console
from gateway.cli.client_options import DEMO_DIR, AsJson, DataDir, Key, Url, ask

app = typer.Typer(help="What waits for a person's decision.", no_args_is_help=True)

_PAGE = 500
Item = Annotated[str, typer.Argument(metavar="ID", help="As the list shows it.")]
Why = Annotated[str, typer.Option("--reason", help="Why; kept as evidence.")]


@app.command("list")
def waiting(
    reason: Annotated[str, typer.Option(help="Only these.")] = "",
    url: Url = "",
    key: Key = "",
    as_json: AsJson = False,
    data_dir: DataDir = DEMO_DIR,
) -> None:
    """Everything that waits, the longest first within its kind."""
    found: list[dict[str, Any]] = []
    cursor: str | None = ""
    while cursor is not None:
        path = f"/v1/reviews?limit={_PAGE}" + (f"&reason={quote(reason)}" if reason else "")
        page = ask(path + (f"&cursor={cursor}" if cursor else ""), None, url, key, data_dir)
        found += page["reviews"]
        cursor = page["next_cursor"]
    # A borrower's own words are personal data: they are in the JSON, for who asks for it, and not on the screen.
    columns = ("id", "kind", "reason", "since", "borrower_id", "channel", "remedy")
    console.listing(found, columns, as_json=as_json)


@app.command()
def approve(item: Item, why: Why, url: Url = "", key: Key = "", data_dir: DataDir = DEMO_DIR) -> None:
    """The borrower may be contacted; all other rules are asked again."""
    _decide(item, "approve", why, url, key, data_dir)


@app.command()
def refuse(item: Item, why: Why, url: Url = "", key: Key = "", data_dir: DataDir = DEMO_DIR) -> None:
    """The borrower must not be contacted."""
    _decide(item, "refuse", why, url, key, data_dir)


def _decide(item: str, verb: str, why: str, url: str, key: str, data_dir: Path) -> None:
    answer = ask(f"/v1/reviews/{quote(item, safe='')}/{verb}", {"reason": why}, url, key, data_dir)
    console.STDERR.print(f"{answer['id']} is {answer['decision']}")
