"""``gateway notifications``: which notifications there are, and why those that were not sent were not."""

from __future__ import annotations

from itertools import islice
from typing import Annotated
from urllib.parse import urlencode

import typer

from gateway.cli import console
from gateway.cli.client_options import AsJson, DataDir, Key, Url, pages
from gateway.cli.runner import DEMO_DIR

_COLUMNS = ("id", "state", "reason", "borrower_id", "case_id", "template", "accepted_at")


def notifications(
    state: Annotated[str, typer.Option(help="In this state: suppressed, deferred, failed, delivered, …")] = "",
    borrower: Annotated[str, typer.Option(help="Of this borrower's id.")] = "",
    case: Annotated[str, typer.Option(help="Of this case's id.")] = "",
    limit: Annotated[int, typer.Option(min=1, max=100_000, help="At most so many, the newest.")] = 50,
    url: Url = "",
    key: Key = "",
    as_json: AsJson = False,
    data_dir: DataDir = DEMO_DIR,
) -> None:
    """List notifications, the newest first, with their state and the reason. Times are in UTC."""
    wanted = {"state": state, "borrower_id": borrower, "case_id": case, "limit": str(min(limit, 200))}
    query = urlencode({name: value for name, value in wanted.items() if value})
    found = list(islice(pages(f"/v1/notifications?{query}", "notifications", url, key, data_dir), limit))
    console.listing(found, _COLUMNS, as_json=as_json)
