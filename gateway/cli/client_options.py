"""Options and the HTTP call shared by the commands on a running gateway."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from gateway.cli import client
from gateway.cli.runner import DEMO_DIR as DEMO_DIR
from gateway.cli.runner import fail, run

Url = Annotated[str, typer.Option(envvar="GATEWAY_URL", help="The gateway; default: the demo that is up.")]
Key = Annotated[str, typer.Option(envvar="GATEWAY_API_KEY", help="An API key for it.", show_envvar=True)]
AsJson = Annotated[bool, typer.Option("--json", help="The answer as JSON on stdout.")]
DataDir = Annotated[Path, typer.Option(envvar="GATEWAY_DATA_DIR", help="The data directory.")]


def ask(
    path: str,
    body: Any,
    url: str,
    key: str,
    data_dir: Path,
    *,
    method: str = "",
    headers: Mapping[str, str] | None = None,
) -> Any:
    """One call: GET, or POST where there is a body, or ``method``; the JSON answer. Exits on failure."""

    async def work(stop: asyncio.Event) -> Any:
        where = client.find(url, key, data_dir)
        async with where.session() as session:
            return await client.call(session, where, path, body, method=method, headers=headers)

    return run(work)


def pages(path: str, name: str, url: str, key: str, data_dir: Path) -> Iterator[dict[str, Any]]:
    """The items of a list that is read page by page; ``name`` is the answer's member that has them."""
    cursor: str | None = ""
    while cursor is not None:
        page = ask(path + (f"&cursor={cursor}" if cursor else ""), None, url, key, data_dir)
        yield from page[name]
        cursor = page["next_cursor"]


def instant_of(text: str, option: str) -> datetime:
    """An option's RFC 3339 instant, in UTC where it names no offset. Exits if it is invalid."""
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        fail(f"{option}: {text!r} is not an instant; write it like 2026-11-24T00:00:00Z", 2)
    return (found if found.tzinfo else found.replace(tzinfo=UTC)).astimezone(UTC)
