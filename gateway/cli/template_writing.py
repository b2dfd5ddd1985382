"""Commands of writers and approvers on a running gateway: new templates by purpose."""

from __future__ import annotations

import json
from typing import Annotated, Any
from urllib.parse import quote

import typer

from gateway.cli import console
from gateway.cli.client_options import AsJson, DataDir, Key, Url, ask
from gateway.cli.runner import DEMO_DIR

Template = Annotated[str, typer.Argument(metavar="TEMPLATE", help="A template's id.")]


def install(app: typer.Typer) -> None:
    """Add the commands to ``gateway template``."""
    for command in (new, purposes):
        app.command()(command)


def purposes(url: Url = "", key: Key = "", as_json: AsJson = False, data_dir: DataDir = DEMO_DIR) -> None:
    """List what a new template can be for, with the variables of its text."""
    found = ask("/v1/templates/purposes", None, url, key, data_dir)["purposes"]
    if as_json:
        _json(found)
        return
    rows = []
    for each in found:
        variables = ", ".join(f"{one['name']} ({one['example']})" for one in each["variables"])
        rows.append((each["id"], each["title"], each["category"], " ".join(each["locales"]), variables))
    console.STDOUT.print(console.table(None, ("purpose", "title", "category", "locales", "variables"), rows))


def new(
    template: Template,
    purpose: Annotated[str, typer.Option(help="What it is for; see gateway template purposes.")],
    title: Annotated[str, typer.Option(help="For colleagues; at most 80 characters.")],
    locales: Annotated[list[str], typer.Option("--locale", help="Like zh-TW; may be repeated.")],
    channels: Annotated[list[str], typer.Option("--channel", help="Like sms; may be repeated.")],
    url: Url = "",
    key: Key = "",
    as_json: AsJson = False,
    data_dir: DataDir = DEMO_DIR,
) -> None:
    """Create a template for a purpose: a draft with the purpose's text."""
    body = {"purpose": purpose, "title": title, "locales": locales, "channels": channels}
    made = ask(f"/v1/templates/{quote(template, safe='')}", body, url, key, data_dir)
    if as_json:
        _json(made)
        return
    console.STDERR.print(f"{made['template']} {made['number']} is a draft")


def _json(found: Any) -> None:
    typer.echo(json.dumps(found, ensure_ascii=False))
