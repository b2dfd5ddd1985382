"""Commands of writers and approvers on a running gateway: new templates, reviews, translations, the glossary."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote

import typer

from gateway.cli import console
from gateway.cli.client_options import AsJson, DataDir, Key, Url, ask
from gateway.cli.runner import DEMO_DIR, fail

Template = Annotated[str, typer.Argument(metavar="TEMPLATE", help="A template's id.")]

Number = Annotated[int, typer.Argument(metavar="NUMBER", min=0, help="A version's; see gateway template show.")]


def install(app: typer.Typer) -> None:
    """Add the commands to ``gateway template``."""
    for command in (new, purposes, waiting, comments, comment, findings, explain, translations, glossary, results):
        app.command()(command)


def purposes(url: Url = "", key: Key = "", as_json: AsJson = False, data_dir: DataDir = DEMO_DIR) -> None:
    """List what a new template can be for, with the variables of its text."""
    found = ask("/v1/templates/purposes", None, url, key, data_dir)["purposes"]

    def row(each: dict[str, Any]) -> tuple[str, ...]:
        variables = ", ".join(f"{one['name']} ({one['example']})" for one in each["variables"])
        return each["id"], each["title"], each["category"], " ".join(each["locales"]), variables

    _list(found, as_json, ("purpose", "title", "category", "locales", "variables"), map(row, found))


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


def waiting(url: Url = "", key: Key = "", as_json: AsJson = False, data_dir: DataDir = DEMO_DIR) -> None:
    """List what waits for you: to approve, to publish, sent back to you, and yours that wait for others."""
    found = ask("/v1/templates/waiting", None, url, key, data_dir)["waiting"]

    def row(each: dict[str, Any]) -> tuple[str, ...]:
        stored = each["stored"]
        about = (stored["template"], str(stored["number"]), each["title"], stored["updated_at"], each["comment"])
        return each["waits"], *about

    _list(found, as_json, ("for", "template", "number", "title", "since", "comment"), map(row, found))


def comments(
    template: Template,
    number: Number,
    url: Url = "",
    key: Key = "",
    as_json: AsJson = False,
    data_dir: DataDir = DEMO_DIR,
) -> None:
    """List the comments on a version, each with the words that it is about."""
    found = ask(_path(template, number, "comments"), None, url, key, data_dir)["comments"]
    columns = ("channel", "locale", "words", "comment", "actor", "at")
    _list(found, as_json, columns, ([each[one] for one in columns] for each in found))


def comment(
    template: Template,
    number: Number,
    channel: Annotated[str, typer.Option(help="Of the message, like sms.")],
    locale: Annotated[str, typer.Option(help="Of the message, like zh-TW.")],
    text: Annotated[str, typer.Option(help="The comment.")],
    words: Annotated[str, typer.Option(help="Words of the message; default: all of it.")] = "",
    url: Url = "",
    key: Key = "",
    data_dir: DataDir = DEMO_DIR,
) -> None:
    """Comment on a submitted version, at words of a message as borrowers read it."""
    body = {"channel": channel, "locale": locale, "words": words, "comment": text}
    ask(_path(template, number, "comment"), body, url, key, data_dir)
    console.STDERR.print(f"commented on {template} {number}")


def findings(
    template: Template,
    number: Number,
    url: Url = "",
    key: Key = "",
    as_json: AsJson = False,
    data_dir: DataDir = DEMO_DIR,
) -> None:
    """List the findings of a version, with why they need no change where somebody has said so."""
    found = ask(_path(template, number, "findings"), None, url, key, data_dir)["findings"]

    def row(each: dict[str, Any]) -> tuple[str, ...]:
        one, why = each["finding"], each["explanation"]
        explained = why["reason"] if why else ""
        return each["key"], one["level"], one["where"], str(one["line"] or ""), one["detail"], explained

    _list(found, as_json, ("key", "level", "where", "line", "what", "explained"), map(row, found))


def explain(
    template: Template,
    number: Number,
    finding: Annotated[str, typer.Argument(help="Its key; see gateway template findings.")],
    why: Annotated[str, typer.Option("--reason", help="The reason, for the approver; kept as evidence.")],
    url: Url = "",
    key: Key = "",
    data_dir: DataDir = DEMO_DIR,
) -> None:
    """Record why a draft's finding needs no change. An error can't be explained away."""
    ask(_path(template, number, "explain"), {"finding": finding, "comment": why}, url, key, data_dir)
    console.STDERR.print(f"explained a finding of {template} {number}")


def translations(
    template: Template,
    number: Number,
    url: Url = "",
    key: Key = "",
    as_json: AsJson = False,
    data_dir: DataDir = DEMO_DIR,
) -> None:
    """List the texts that a locale lacks, or that are older than those of the default locale."""
    found = ask(_path(template, number, "translations"), None, url, key, data_dir)["translations"]
    rows = [(locale, each["file"], each["state"]) for locale, parts in found.items() for each in parts]
    _list(found, as_json, ("locale", "part", "state"), (each for each in rows if each[2] != "current"))


def results(
    template: Template,
    number: Number,
    url: Url = "",
    key: Key = "",
    as_json: AsJson = False,
    data_dir: DataDir = DEMO_DIR,
) -> None:
    """Show what became of a version's messages in 90 days, against the version before; of no borrower."""
    found = ask(_path(template, number, "results"), None, url, key, data_dir)
    if as_json:
        _json(found)
        return
    counts = found["counts"]
    price = f", about {found['cost']} {found['currency']}" if found["cost"] else ""
    console.STDERR.print(
        f"{counts['sent']} messages of {counts['requests']} requests, {found['segments']} segments{price}"
    )
    rows = []
    for each in found["shares"]:
        low, high = each["interval"]
        share = f"{each['share']:.1%} ({low:.1%} to {high:.1%})" if each["share"] is not None else ""
        rows.append((each["measure"], f"{each['number']} of {each['of']}", share, _against(each)))
    console.STDOUT.print(console.table(None, ("what", "number", "share", "against the version before"), rows))


def _against(share: dict[str, Any]) -> str:
    if share["too_few"]:
        return "too few to tell"
    if share["difference"] is None:
        return ""
    low, high = (100 * each for each in share["difference_interval"])
    verdict = "" if share["clear"] else ", may be chance"
    return f"{100 * share['difference']:+.1f} points ({low:+.1f} to {high:+.1f}){verdict}"


def glossary(
    file: Annotated[
        Path | None, typer.Argument(dir_okay=False, help="JSON of the whole glossary; default: show it.")
    ] = None,
    url: Url = "",
    key: Key = "",
    data_dir: DataDir = DEMO_DIR,
) -> None:
    """Show the lender's words for its terms as JSON, or replace them by a file of the same form."""
    if file is None:
        _json(ask("/v1/templates/glossary", None, url, key, data_dir))
        return
    try:
        body = json.loads(file.read_text("utf-8"))
    except (OSError, ValueError) as error:
        fail(f"{file} can't be read as JSON: {type(error).__name__}", 2)
    saved = ask("/v1/templates/glossary", body, url, key, data_dir, method="PUT")
    console.STDERR.print(f"{len(saved['terms'])} terms, revision {saved['revision']}")


def _path(template: str, number: int, part: str) -> str:
    return f"/v1/templates/{quote(template, safe='')}/versions/{number}/{part}"


def _list(found: Any, as_json: bool, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Print what was found as JSON, or its rows as a table."""
    if as_json:
        _json(found)
    else:
        console.STDOUT.print(console.table(None, columns, rows))


def _json(found: Any) -> None:
    typer.echo(json.dumps(found, ensure_ascii=False))
