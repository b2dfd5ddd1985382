"""Commands of operators: stop and resume, pin a provider, and try again what came to nothing."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path
from typing import Annotated
from urllib.parse import quote

import typer

from gateway.cli import console
from gateway.cli.client_options import DEMO_DIR, AsJson, DataDir, Key, Url, ask
from gateway.cli.runner import fail

Why = Annotated[str, typer.Option("--why", help="The reason; kept as evidence.")]
Until = Annotated[str, typer.Option(help="When it ends by itself: 30m, 4h, 2d, or an instant (RFC 3339).")]
Everywhere = Annotated[bool, typer.Option("--everywhere", help="For every tenant; the key needs the scope admin.")]

_UNITS = {"m": "PT{}M", "h": "PT{}H", "d": "P{}D"}  # ISO 8601


def install(app: typer.Typer) -> None:
    """Add the commands to the command line."""
    for command in (pause, pin, resume, switches, redrive):
        app.command()(command)


def pause(
    scope: Annotated[str, typer.Argument(help="all, tenant, template, channel or provider.")],
    value: Annotated[str, typer.Argument(help="Which one; nothing for all.")] = "",
    why: Why = "",
    until: Until = "",
    everywhere: Everywhere = False,
    url: Url = "",
    key: Key = "",
    data_dir: DataDir = DEMO_DIR,
) -> None:
    """Hand nothing of it over from now on. What is accepted waits, and goes out decided anew."""
    _set("pause", scope, value, why, until, everywhere, url, key, data_dir)


def pin(
    provider: Annotated[str, typer.Argument(help="The provider that its channel's messages are to go to.")],
    why: Why = "",
    until: Until = "",
    everywhere: Everywhere = False,
    url: Url = "",
    key: Key = "",
    data_dir: DataDir = DEMO_DIR,
) -> None:
    """Send a channel's messages by one provider, whatever the weights and its health."""
    _set("pin", "provider", provider, why, until, everywhere, url, key, data_dir)


def resume(
    switch: Annotated[str, typer.Argument(metavar="ID", help="As gateway switches shows it.")],
    url: Url = "",
    key: Key = "",
    data_dir: DataDir = DEMO_DIR,
) -> None:
    """End a pause or a pin."""
    answer = ask(f"/v1/switches/{quote(switch, safe='')}", None, url, key, data_dir, method="DELETE")
    console.STDERR.print(f"{answer['id']} is ended; {answer['released']} deliveries are due again")


def switches(url: Url = "", key: Key = "", as_json: AsJson = False, data_dir: DataDir = DEMO_DIR) -> None:
    """What is stopped or pinned now: by whom, why, and until when."""
    found = ask("/v1/switches", None, url, key, data_dir)["switches"]
    columns = ("id", "kind", "scope", "value", "everywhere", "reason", "actor", "since", "until")
    console.listing(found, columns, as_json=as_json)


def redrive(
    notification: Annotated[list[str] | None, typer.Argument(metavar="[ID]...", help="These notifications.")] = None,
    reason: Annotated[str, typer.Option(help="All that ended for this reason.")] = "",
    channel: Annotated[str, typer.Option(help="All that ended on this channel.")] = "",
    template: Annotated[str, typer.Option(help="All with this template.")] = "",
    why: Why = "",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say which would be tried again.")] = False,
    url: Url = "",
    key: Key = "",
    as_json: AsJson = False,
    data_dir: DataDir = DEMO_DIR,
) -> None:
    """Try again what failed or waits for review, through the policy; up to 1,000 at once."""
    if not (why or dry_run):
        fail("say why: --why is kept as evidence", 2)
    body = {
        "ids": notification or [],
        "reason": reason,
        "channel": channel or None,
        "template": template,
        "why": why or "dry run",
        "dry_run": dry_run,
    }
    answer = ask("/v1/dead-letters/redrive", body, url, key, data_dir)
    if as_json:
        typer.echo(json.dumps(answer, ensure_ascii=False))
        return
    columns = ("notification_id", "state", "reason", "channel", "since", "outcome")
    rows = [[each[column] for column in columns] for each in answer["dead_letters"]]
    console.STDOUT.print(console.table("would be" if dry_run else None, columns, rows))


def _set(
    kind: str, scope: str, value: str, why: str, until: str, everywhere: bool, url: str, key: str, data_dir: Path
) -> None:
    if not why:
        fail("say why: --why is kept as evidence", 2)
    body = {"kind": kind, "scope": scope, "value": value, "reason": why, "everywhere": everywhere}
    answer = ask("/v1/switches", body | _end(until), url, key, data_dir)
    console.STDERR.print(f"{answer['id']} is in force" + (f" until {answer['until']}" if answer["until"] else ""))


def _end(text: str) -> dict[str, str]:
    """A duration is counted by the gateway's clock, which is not this machine's."""
    if not text:
        return {}
    if text[-1] in _UNITS and text[:-1].isdigit():
        return {"lasts": _UNITS[text[-1]].format(text[:-1])}
    try:
        return {"until": datetime.fromisoformat(text).astimezone().isoformat()}
    except ValueError:
        fail("--until is a duration like 30m, 4h or 2d, or an instant like 2026-11-24T18:00:00Z", 2)
        raise
