"""Commands of the review queue: list and decide."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote

import typer

from gateway.cli import console
from gateway.cli.client_options import AsJson, DataDir, Key, Url, ask, pages
from gateway.cli.runner import DEMO_DIR, fail, full_id

app = typer.Typer(help="What waits for a person's decision.", no_args_is_help=True)

_PAGE = 500
Items = Annotated[
    list[str] | None, typer.Argument(metavar="[ID]...", help="As the list shows them, or the beginnings of them.")
]
Reason = Annotated[str, typer.Option("--reason", help="Why; kept as evidence.")]
Borrower = Annotated[str, typer.Option("--borrower", help="Whom a report is about.")]
FilterReason = Annotated[str, typer.Option("--filter-reason", help="All that wait for this reason.")]


@app.command("list")
def waiting(
    filter_reason: FilterReason = "",
    url: Url = "",
    key: Key = "",
    as_json: AsJson = False,
    data_dir: DataDir = DEMO_DIR,
) -> None:
    """List the reviews, the most urgent first, then the oldest."""
    found = _waiting(filter_reason, url, key, data_dir)
    # A borrower's text is personal data: it is in the JSON output, and not in the table.
    columns = ("id", "urgency", "review_by", "kind", "reason", "since", "borrower_id", "channel", "remedy")
    console.listing(found, columns, as_json=as_json)


@app.command()
def approve(
    reason: Reason,
    items: Items = None,
    filter_reason: FilterReason = "",
    url: Url = "",
    key: Key = "",
    data_dir: DataDir = DEMO_DIR,
) -> None:
    """The borrower may be contacted; all other rules are evaluated again. A report is about nobody."""
    _decide("approve", items or [], filter_reason, {"reason": reason}, url, key, data_dir)


@app.command()
def refuse(
    reason: Reason,
    items: Items = None,
    filter_reason: FilterReason = "",
    borrower: Borrower = "",
    url: Url = "",
    key: Key = "",
    data_dir: DataDir = DEMO_DIR,
) -> None:
    """The borrower must not be contacted."""
    body = {"reason": reason, **({"borrower_id": borrower} if borrower else {})}
    _decide("refuse", items or [], filter_reason, body, url, key, data_dir)


def _decide(
    verb: str,
    items: Sequence[str],
    filter_reason: str,
    body: Mapping[str, str],
    url: str,
    key: str,
    data_dir: Path,
) -> None:
    """Decide these reviews, or all with ``filter_reason``; exits at one that was decided meanwhile."""
    if bool(items) == bool(filter_reason):
        fail("give ids or --filter-reason, and not both", 2)
    known = [str(each["id"]) for each in _waiting(filter_reason, url, key, data_dir)]
    chosen = [full_id(each, known, "gateway review list") for each in items] if items else known
    for each in chosen:
        answer = ask(f"/v1/reviews/{quote(each, safe='')}/{verb}", body, url, key, data_dir)
        console.STDERR.print(f"{answer['id']} is {answer['decision']}")
    if not chosen:
        console.STDERR.print("nothing waits for this reason")


def _waiting(reason: str, url: str, key: str, data_dir: Path) -> list[dict[str, Any]]:
    """All open reviews, or those with this reason."""
    path = f"/v1/reviews?limit={_PAGE}" + (f"&reason={quote(reason)}" if reason else "")
    return list(pages(path, "reviews", url, key, data_dir))
