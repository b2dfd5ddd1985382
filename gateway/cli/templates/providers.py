"""``gateway template providers``: the providers' templates of a version, and their states."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote

import typer

from gateway.cli import console
from gateway.cli.client_options import AsJson, DataDir, Key, Url, ask
from gateway.cli.runner import DEMO_DIR, fail

app = typer.Typer(no_args_is_help=True, help="The providers' approved templates of a version, and their states.")

Template = Annotated[str, typer.Argument(metavar="TEMPLATE", help="A template's id.")]
Number = Annotated[int, typer.Argument(metavar="NUMBER", min=0, help="A version's; 0: the built-in one.")]
ProviderName = Annotated[str, typer.Argument(metavar="PROVIDER", help="Its name in GATEWAY_PROVIDERS.")]
LocaleName = Annotated[str, typer.Argument(metavar="LOCALE", help="Of our text, like zh-TW.")]


@app.command("list")
def list_provider_templates(
    template: Template,
    number: Number,
    url: Url = "",
    key: Key = "",
    as_json: AsJson = False,
    data_dir: DataDir = DEMO_DIR,
) -> None:
    """List them with their states, reasons and when that was seen, and what is wrong with them."""
    found = ask(_path(template, number), None, url, key, data_dir)["provider_templates"]
    if as_json:
        typer.echo(json.dumps(found, ensure_ascii=False))
        return
    columns = ("provider", "channel", "locale", "reference", "status", "reason", "seen_at")
    console.STDOUT.print(console.table(None, columns, [[each[one] or "" for one in columns] for each in found]))
    for each in found:
        _show_findings(each)


@app.command()
def enter(
    template: Template,
    number: Number,
    provider: ProviderName,
    locale: LocaleName,
    reference: Annotated[str, typer.Option(help="The provider's name or id of it.")],
    language: Annotated[str, typer.Option(help="The provider's code; default: the locale.")] = "",
    text: Annotated[Path | None, typer.Option(help="A file with the approved text; default: what ours says.")] = None,
    slots: Annotated[
        Path | None, typer.Option(help='A JSON file: [{"name", "expression", "longest"}]; default: those of our text.')
    ] = None,
    ttl: Annotated[int | None, typer.Option(min=30, help="Its lifetime at the provider, in seconds.")] = None,
    url: Url = "",
    key: Key = "",
    data_dir: DataDir = DEMO_DIR,
) -> None:
    """Enter or replace one, as a draft. The answer shows our text and what the provider's template says."""
    body: dict[str, Any] = {"reference": reference, "language": language, "ttl_seconds": ttl}
    body["text"] = _read(text) if text else None
    try:
        body["slots"] = json.loads(_read(slots)) if slots else None
    except ValueError:
        fail(f"{slots} is not JSON", 2)
    made = ask(_path(template, number, provider, locale), body, url, key, data_dir, method="PUT")
    console.STDERR.print("── ours")
    typer.echo(made["our_text"])
    console.STDERR.print(f"── {provider}")
    typer.echo(made["provider_text"])
    _show_findings(made)


@app.command()
def submit(
    template: Template,
    number: Number,
    provider: ProviderName,
    locale: LocaleName,
    url: Url = "",
    key: Key = "",
    data_dir: DataDir = DEMO_DIR,
) -> None:
    """Record that it was submitted to the provider, with the provider's own tools."""
    report(template, number, provider, locale, "submitted", "", url, key, data_dir)


@app.command()
def report(
    template: Template,
    number: Number,
    provider: ProviderName,
    locale: LocaleName,
    status: Annotated[
        str, typer.Argument(metavar="STATUS", help="approved, paused, rejected, disabled, recategorised.")
    ],
    why: Annotated[str, typer.Option("--reason", help="The provider's own word.")] = "",
    url: Url = "",
    key: Key = "",
    data_dir: DataDir = DEMO_DIR,
) -> None:
    """Record what the provider said of it, where it does not report by itself."""
    path = _path(template, number, provider, locale, "report")
    made = ask(path, {"status": status, "reason": why}, url, key, data_dir)
    console.STDERR.print(f"{template} {number}: the template of {provider} in {locale} is {made['status']}")


def _path(template: str, number: int, *parts: str) -> str:
    names = ("/v1/templates", quote(template, safe=""), "versions", str(number), "provider-templates")
    return "/".join((*names, *(quote(each, safe="") for each in parts)))


def _read(path: Path) -> str:
    try:
        return path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        fail(f"{path} can't be read: {type(error).__name__}", 2)


def _show_findings(found: dict[str, Any]) -> None:
    for each in found["findings"]:
        console.STDERR.print(f"{each['level']}: {each['where']}: {each['detail']}. {each['remedy']}")
