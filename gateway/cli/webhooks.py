"""Commands for webhooks: endpoints, delivery log and replay."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote

import typer

from gateway.cli import console
from gateway.cli.client_options import AsJson, DataDir, Key, Url, ask, instant_of
from gateway.cli.runner import DEMO_DIR, full_id

app = typer.Typer(help="Webhook endpoints of case systems, their log and replay.", no_args_is_help=True)

_PATH = "/v1/webhook-endpoints"
Endpoint = Annotated[str, typer.Argument(metavar="ID", help="As the list shows it, or the beginning of it.")]


@app.command("list")
def listed(url: Url = "", key: Key = "", as_json: AsJson = False, data_dir: DataDir = DEMO_DIR) -> None:
    """List the endpoints."""
    columns = ("id", "url", "types", "last_sequence", "disabled_reason")
    console.listing(ask(_PATH, None, url, key, data_dir)["webhook_endpoints"], columns, as_json=as_json)


@app.command()
def create(
    target: Annotated[str, typer.Argument(metavar="URL", help="Where messages are posted to.")],
    types: Annotated[list[str] | None, typer.Option("--type", help="Only these; may be repeated.")] = None,
    url: Url = "",
    key: Key = "",
    data_dir: DataDir = DEMO_DIR,
) -> None:
    """Create an endpoint. Prints it with its secret, which is not shown again."""
    typer.echo(json.dumps(ask(_PATH, {"url": target, "types": types or []}, url, key, data_dir)))


@app.command()
def delete(endpoint: Endpoint, url: Url = "", key: Key = "", data_dir: DataDir = DEMO_DIR) -> None:
    """Delete this webhook, and the log of what was sent to it."""
    path = _of(endpoint, url, key, data_dir)
    ask(path, None, url, key, data_dir, method="DELETE")
    console.STDERR.print(f"{path.rpartition('/')[2]} is deleted")


@app.command()
def rotate(endpoint: Endpoint, url: Url = "", key: Key = "", data_dir: DataDir = DEMO_DIR) -> None:
    """Make a new secret, printed once; the previous one stays valid for a day."""
    typer.echo(json.dumps(ask(f"{_of(endpoint, url, key, data_dir)}/rotate", {}, url, key, data_dir)))


@app.command()
def enable(endpoint: Endpoint, url: Url = "", key: Key = "", data_dir: DataDir = DEMO_DIR) -> None:
    """Enable an endpoint that was disabled because it answered 410 Gone."""
    path = _of(endpoint, url, key, data_dir)
    ask(f"{path}/enable", {}, url, key, data_dir)
    console.STDERR.print(f"{path.rpartition('/')[2]} is enabled")


@app.command("test")
def send_test(endpoint: Endpoint, url: Url = "", key: Key = "", data_dir: DataDir = DEMO_DIR) -> None:
    """Send one signed test message now, and say how it was answered; exit status 1 if it was not taken."""
    found = ask(f"{_of(endpoint, url, key, data_dir)}/test", {}, url, key, data_dir)
    status = f", status {found['status']}" if found["status"] else ""
    console.STDERR.print(f"{found['id']}: {found['outcome']}{status}")
    if found["state"] != "delivered":
        raise typer.Exit(1)


@app.command()
def log(
    endpoint: Endpoint,
    state: Annotated[str, typer.Option(help="pending, delivered or failed.")] = "",
    url: Url = "",
    key: Key = "",
    as_json: AsJson = False,
    data_dir: DataDir = DEMO_DIR,
) -> None:
    """Show the recent messages and the answers to them."""
    path = f"{_of(endpoint, url, key, data_dir)}/messages?limit=500" + (f"&state={quote(state)}" if state else "")
    columns = ("sequence", "id", "type", "state", "attempts", "outcome", "status", "attempted_at")
    console.listing(ask(path, None, url, key, data_dir)["messages"], columns, as_json=as_json)


@app.command()
def replay(
    endpoint: Endpoint,
    ids: Annotated[list[str] | None, typer.Argument(metavar="[MESSAGE]...", help="Only these.")] = None,
    since: Annotated[str, typer.Option(help="Only messages created since then, RFC 3339.")] = "",
    everything: Annotated[bool, typer.Option("--all", help="What had arrived as well.")] = False,
    url: Url = "",
    key: Key = "",
    data_dir: DataDir = DEMO_DIR,
) -> None:
    """Send messages again with the same ids; without ``--all`` only those that failed."""
    body: dict[str, Any] = {"ids": ids or [], "all": everything}
    if since:
        body["since"] = instant_of(since, "--since").isoformat()
    answer = ask(f"{_of(endpoint, url, key, data_dir)}/replay", body, url, key, data_dir)
    console.STDERR.print(f"{answer['replayed']} messages will be sent again")


def _of(endpoint: str, url: str, key: str, data_dir: Path) -> str:
    """The path of the endpoint with this id, or with an id that begins so."""
    known = (str(each["id"]) for each in ask(_PATH, None, url, key, data_dir)["webhook_endpoints"])
    return f"{_PATH}/{quote(full_id(endpoint, known, 'gateway webhook list'), safe='')}"
