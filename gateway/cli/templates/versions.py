"""Commands on a running gateway's templates: draft, review, publication, roll-back, import and export."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote

import typer

from gateway.cli import console
from gateway.cli.client_options import AsJson, DataDir, Key, Url, ask
from gateway.cli.runner import DEMO_DIR, fail
from gateway.cli.templates import providers

Template = Annotated[str, typer.Argument(metavar="TEMPLATE", help="A template's id.")]
Number = Annotated[int, typer.Argument(metavar="NUMBER", min=0, help="A version's; see gateway template show.")]
Why = Annotated[str, typer.Option("--reason", help="The reason; kept as evidence.")]
Confirm = Annotated[bool, typer.Option("--confirm", help="The consequences that a refusal named are wanted.")]
Names = Annotated[list[str] | None, typer.Option("--template", help="Only these; may be repeated.")]


def install(app: typer.Typer) -> None:
    """Add the commands to ``gateway template``."""
    app.add_typer(providers.app, name="providers")
    app.command("list")(list_templates)
    app.command("import")(import_template)
    for command in (show, preview, diff, export, discard, submit, approve, reject, publish, unschedule, rollback):
        app.command()(command)


def list_templates(
    search: Annotated[str, typer.Argument(help="In id and title.")] = "",
    url: Url = "",
    key: Key = "",
    as_json: AsJson = False,
    data_dir: DataDir = DEMO_DIR,
) -> None:
    """List all templates with their live version and open versions."""
    found = ask(f"/v1/templates?search={quote(search)}", None, url, key, data_dir)["templates"]
    if as_json:
        _json(found)
        return
    rows = []
    for each in found:
        under_way = ", ".join(f"{one['number']} {one['state']}" for one in each["under_way"])
        rows.append((each["template"], each["title"], each["live"], under_way))
    console.STDOUT.print(console.table(None, ("template", "title", "live", "under way"), rows))


def show(
    template: Template, url: Url = "", key: Key = "", as_json: AsJson = False, data_dir: DataDir = DEMO_DIR
) -> None:
    """Show a template: its versions, and its changes with actor and reason."""
    versions = ask(_path(template, "versions"), None, url, key, data_dir)
    changes = ask(_path(template, "history"), None, url, key, data_dir)["changes"]
    if as_json:
        _json({**versions, "changes": changes})
        return
    live = versions["live"]
    console.STDERR.print(f"live: {live['version']}" if live else "nothing is live")
    _table(("number", "state", "version", "updated_by", "updated_at", "publish_at"), versions["versions"])
    _table(("at", "number", "kind", "actor", "comment"), changes)


def preview(
    template: Template,
    number: Annotated[int | None, typer.Option(help="A version's number; default: what is live.")] = None,
    locale: Annotated[str, typer.Option(help="Like zh-TW; default: the template's own.")] = "",
    variables: Annotated[Path | None, typer.Option(help="A JSON file; default: the template's examples.")] = None,
    folder: Annotated[Path | None, typer.Option(file_okay=False, help="Its folder, in place of a version.")] = None,
    url: Url = "",
    key: Key = "",
    as_json: AsJson = False,
    data_dir: DataDir = DEMO_DIR,
) -> None:
    """Show the message for every channel; for an SMS also segments, encoding and cost."""
    sample: dict[str, Any] = {"locale": locale} if locale else {}
    if variables is not None:
        sample["variables"] = _read_json(variables)
    body = {"number": number, "files": _read(folder) if folder else None, "sample": sample}
    found = ask(_path(template, "preview"), body, url, key, data_dir)["previews"]
    if as_json:
        _json(found)
        return
    for each in found:
        counted, cost = each["segments"], each["cost"]
        about = f", {counted['segments']} x {counted['encoding']}" if counted else ""
        about += f", {cost['amount']} {cost['currency']}" if cost else ""
        console.STDERR.print(f"── {each['channel']} ({each['locale']}{about})")
        content = each["content"]
        typer.echo("\n".join(filter(None, (content["subject"], content["text"]))) if content else each["error"])


def diff(
    template: Template,
    number: Number,
    against: Annotated[int | None, typer.Option(help="Another number; default: what is live.")] = None,
    url: Url = "",
    key: Key = "",
    as_json: AsJson = False,
    data_dir: DataDir = DEMO_DIR,
) -> None:
    """Show the changes of a version, as a summary and line by line."""
    query = "" if against is None else f"?against={against}"
    found = ask(_path(template, "versions", number, "diff") + query, None, url, key, data_dir)
    if as_json:
        _json(found)
        return
    for words in found["words"]:
        console.STDERR.print(words)
    for file in found["files"]:
        typer.echo(file["unified"])


def export(
    folder: Annotated[Path, typer.Argument(metavar="DIR", file_okay=False, help="Gets a folder for each template.")],
    names: Names = None,
    url: Url = "",
    key: Key = "",
    data_dir: DataDir = DEMO_DIR,
) -> None:
    """Write the live versions as files, byte for byte; other files in the folder are kept."""
    from gateway.templates import BadTemplate
    from gateway.templates.folder import write_template

    found = ask("/v1/templates/export", None, url, key, data_dir)["templates"]
    for name in names or found:
        if name not in found:
            fail(f"there is no template {name}; there are {', '.join(found)}", 2)
        try:
            write_template(folder, name, found[name])
        except (BadTemplate, OSError) as error:
            fail(f"{name} can't be written: {error}")
    console.STDERR.print(f"{len(names or found)} templates are in {folder}")


def import_template(
    folder: Annotated[Path, typer.Argument(metavar="DIR", exists=True, file_okay=False, help="A folder of templates.")],
    why: Why = "",
    names: Names = None,
    live: Annotated[bool, typer.Option("--publish", help="Live at once, reviewed elsewhere; needs admin.")] = False,
    confirm: Confirm = False,
    url: Url = "",
    key: Key = "",
    as_json: AsJson = False,
    data_dir: DataDir = DEMO_DIR,
) -> None:
    """Begin drafts of the templates that differ in a folder, or publish them. Exit status 1 when one was refused."""
    found = {each.parent.name: _read(each.parent) for each in sorted(folder.glob("*/template.toml"))}
    for name in names or ():
        if name not in found:
            fail(f"{folder} has no template {name}; it has {', '.join(found)}", 2)
    chosen = {name: files for name, files in found.items() if not names or name in names}
    if not chosen:
        fail(f"{folder} has no templates: each is a folder with a template.toml", 2)
    body = {"templates": chosen, "comment": _said(why), "publish": live, "confirm": confirm}
    results = ask("/v1/templates/import", body, url, key, data_dir)["results"]
    if as_json:
        _json(results)
    else:
        _table(("template", "outcome", "number", "detail"), results)
    if any(each["outcome"] == "refused" for each in results):
        raise typer.Exit(1)


def discard(template: Template, number: Number, url: Url = "", key: Key = "", data_dir: DataDir = DEMO_DIR) -> None:
    """Discard a draft."""
    match = _if_match(template, number, url, key, data_dir)
    path = _path(template, "versions", number)
    answer = ask(path, None, url, key, data_dir, method="DELETE", headers=match)
    console.STDERR.print(f"{template} {answer['number']} is {answer['state']}")


def submit(
    template: Template, number: Number, why: Why = "", url: Url = "", key: Key = "", data_dir: DataDir = DEMO_DIR
) -> None:
    """Submit a draft for review; its text can't change any more."""
    match = _if_match(template, number, url, key, data_dir)
    _move(template, number, "submit", {"comment": _said(why)}, url, key, data_dir, match)


def approve(
    template: Template, number: Number, why: Why = "", url: Url = "", key: Key = "", data_dir: DataDir = DEMO_DIR
) -> None:
    """Approve a version that another person wrote and submitted."""
    _move(template, number, "approve", {"comment": why}, url, key, data_dir)


def reject(
    template: Template, number: Number, why: Why = "", url: Url = "", key: Key = "", data_dir: DataDir = DEMO_DIR
) -> None:
    """Reject a version; the editor can begin another draft."""
    _move(template, number, "reject", {"comment": _said(why)}, url, key, data_dir)


def publish(
    template: Template,
    number: Number,
    why: Why = "",
    at: Annotated[str, typer.Option(help="From this instant on (RFC 3339); default: at once.")] = "",
    confirm: Confirm = False,
    url: Url = "",
    key: Key = "",
    data_dir: DataDir = DEMO_DIR,
) -> None:
    """Publish an approved version. A refusal names the callers that it would break."""
    body = {"comment": _said(why), "at": at or None, "confirm": confirm}
    _move(template, number, "publish", body, url, key, data_dir)


def unschedule(
    template: Template, number: Number, why: Why = "", url: Url = "", key: Key = "", data_dir: DataDir = DEMO_DIR
) -> None:
    """Cancel a scheduled publication; the version is approved as before."""
    _move(template, number, "unschedule", {"comment": _said(why)}, url, key, data_dir)


def rollback(
    template: Template,
    why: Why = "",
    to: Annotated[int | None, typer.Option(min=0, help="A number, 0 for the files'; default: the one before.")] = None,
    url: Url = "",
    key: Key = "",
    data_dir: DataDir = DEMO_DIR,
) -> None:
    """Make an earlier version live again at once."""
    answer = ask(_path(template, "roll-back"), {"comment": _said(why), "to": to}, url, key, data_dir)
    live, planned = answer["live"], answer["planned"]
    console.STDERR.print(f"{template} {live['number']} ({live['version']}) is live")
    if planned:
        console.STDERR.print(
            f"{planned['number']} will take its place at {planned['publish_at']}; unschedule it if not"
        )


def _if_match(template: str, number: int, url: str, key: str, data_dir: Path) -> dict[str, str]:
    """The If-Match header with the draft's current revision."""
    stored = ask(_path(template, "versions", number), None, url, key, data_dir)["stored_version"]
    if stored is None:
        fail(f"{template} 0 is the version of the files, and no draft", 2)
    return {"If-Match": f'"{stored["revision"]}"'}


def _move(
    template: str,
    number: int,
    verb: str,
    body: Any,
    url: str,
    key: str,
    data_dir: Path,
    headers: dict[str, str] | None = None,
) -> None:
    answer = ask(_path(template, "versions", number, verb), body, url, key, data_dir, headers=headers)
    at = f" from {answer['publish_at']} on" if answer["state"] == "scheduled" else ""
    console.STDERR.print(f"{template} {answer['number']} is {answer['state']}{at}")


def _path(template: str, *parts: str | int) -> str:
    return "/".join(("/v1/templates", quote(template, safe=""), *(str(each) for each in parts)))


def _said(why: str) -> str:
    if not why:
        fail("--reason is missing; it is kept as evidence", 2)
    return why


def _read(folder: Path) -> dict[str, str]:
    from gateway.templates.folder import read_template

    try:
        return read_template(folder)
    except (OSError, UnicodeDecodeError) as error:
        fail(f"{folder} can't be read: {type(error).__name__}", 2)


def _read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        fail(f"{path} can't be read as JSON: {type(error).__name__}", 2)


def _table(columns: Sequence[str], found: Sequence[Mapping[str, Any]]) -> None:
    console.STDOUT.print(console.table(None, columns, [[each[column] for column in columns] for each in found]))


def _json(found: Any) -> None:
    typer.echo(json.dumps(found, ensure_ascii=False))
