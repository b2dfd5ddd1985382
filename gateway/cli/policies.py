"""Commands on policy packs: lint, show, diff and backtest."""

from __future__ import annotations

import asyncio
import json
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from gateway.cli import console
from gateway.cli.client_options import instant_of
from gateway.cli.runner import fail, ledger_settings, run, settings

app = typer.Typer(help="The policy packs.", no_args_is_help=True)

AsJson = Annotated[bool, typer.Option("--json", help="The answer as JSON on stdout.")]
Folder = Annotated[Path | None, typer.Option("--folder", help="The packs; default: those that are in use.")]
When = Annotated[str, typer.Option("--at", help="An instant, RFC 3339; default: now.")]


@app.command()
def lint(
    files: Annotated[list[Path] | None, typer.Argument(help="Pack files; default: all.", exists=True)] = None,
    folder: Folder = None,
    as_json: AsJson = False,
) -> None:
    """Check packs. Warnings name figures that were not verified in the text of the law. Exit status 1 for errors."""
    from gateway.policy import inspect

    found = inspect.lint(_folder(folder), files or ())
    if as_json:
        typer.echo(json.dumps([asdict(each) for each in found], ensure_ascii=False))
    elif found:
        rows = [(each.level, each.file, each.place, each.message) for each in found]
        console.STDOUT.print(console.table(None, ("level", "file", "place", "what"), rows))
    errors = sum(each.level == "error" for each in found)
    console.STDERR.print(f"{errors} errors, {len(found) - errors} warnings")
    if errors:
        raise typer.Exit(1)


@app.command()
def show(
    name: Annotated[str, typer.Argument(help="A pack; default: a list of all.")] = "",
    jurisdiction: Annotated[str, typer.Option(help="What holds for borrowers there.")] = "",
    at: When = "",
    folder: Folder = None,
    as_json: AsJson = False,
) -> None:
    """Show all packs, the figures of one with their authorities, or those of a jurisdiction."""
    from gateway import policy
    from gateway.policy import inspect

    where, now = _folder(folder), instant_of(at, "--at") if at else datetime.now(UTC)
    try:
        files = {path: policy.read_pack(path) for path in sorted(where.glob("*.yaml"))}
        packs = policy.load_packs(where)
    except policy.PackError as error:
        fail(str(error))
    if jurisdiction:
        wanted = {sha for _, _, sha in packs.in_force(jurisdiction, now).packs}
    elif name:
        wanted = {each.sha256 for each in packs.by_name.get(name, ())}
        if not wanted:
            fail(f"there is no pack {name}; gateway policy show lists them", 2)
    else:
        _list(list(files.values()), as_json)
        return
    chosen = {path: pack for path, pack in files.items() if pack.sha256 in wanted}
    rows = [(pack.name, each) for path, pack in chosen.items() for each in inspect.figures(path)]
    if as_json:
        typer.echo(json.dumps([{"pack": pack, **asdict(each)} for pack, each in rows], ensure_ascii=False))
        return
    for path, pack in chosen.items():
        title = f"{pack.name} {pack.version}, from {pack.effective_from:%Y-%m-%d}, draft for counsel to review"
        table = [
            (each.place, each.value, f"{each.authority}, {each.seen}", each.source) for each in inspect.figures(path)
        ]
        console.STDOUT.print(console.table(title, ("rule", "figures", "authority", "source"), table))


@app.command()
def schema() -> None:
    """Print the JSON Schema of a pack file, by which editors complete and check YAML."""
    from gateway.policy.packs import SCHEMA

    typer.echo(json.dumps(SCHEMA, indent=2))


@app.command()
def diff(
    old: Annotated[Path, typer.Argument(exists=True, dir_okay=False)],
    new: Annotated[Path, typer.Argument(exists=True, dir_okay=False)],
    as_json: AsJson = False,
) -> None:
    """Show the differences of two pack files, figure by figure."""
    from gateway.policy import inspect

    found = inspect.difference(old, new)
    if as_json:
        names = ("place", "before", "after")
        typer.echo(json.dumps([dict(zip(names, each, strict=True)) for each in found], ensure_ascii=False))
    else:
        console.STDOUT.print(console.table(None, ("place", old.name, new.name), found))


@app.command()
def backtest(
    pack: Annotated[list[Path], typer.Option("--pack", help="A changed pack; may be repeated.", exists=True)],
    since: Annotated[str, typer.Option("--from", help="Requests accepted from then on, RFC 3339.")],
    until: Annotated[str, typer.Option("--to", help="And before then.")],
    tenant: Annotated[str | None, typer.Option(help="Only this tenant's.")] = None,
    as_json: AsJson = False,
    data_dir: Annotated[Path | None, typer.Option(help="The data directory of the embedded ledger.")] = None,
) -> None:
    """Repeat past decisions with these packs; changes and sends nothing."""
    from gateway import policy
    from gateway.app.storage import open_ledger
    from gateway.app.templates import load_catalog, policies_folder
    from gateway.cli import backtest
    from gateway.templates.versions.published_store import PublishedVersions

    begin, end = instant_of(since, "--from"), instant_of(until, "--to")
    chosen = ledger_settings(data_dir)
    folder = policies_folder(chosen)
    try:
        present = policy.load_packs(folder)
        new = [policy.read_pack(each) for each in pack]
    except policy.PackError as error:
        fail(str(error), 2)
    changed = present
    for each in new:
        changed = changed.with_pack(each)

    async def work(stop: asyncio.Event) -> Any:
        async with open_ledger(chosen, locked=False, create=False) as ledger:
            templates = load_catalog(chosen, PublishedVersions(ledger.database))
            with console.progress() as bar:
                task = bar.add_task("decided again", total=None)
                return await backtest.backtest(
                    ledger.history,
                    templates,
                    present,
                    changed,
                    begin,
                    end,
                    tenant,
                    lambda more: bar.advance(task, more),
                )

    result = run(work)
    if as_json:
        typer.echo(json.dumps(result.view(), ensure_ascii=False))
        return
    title = f"{result.decisions:,} decisions with {', '.join(f'{each.name} {each.version}' for each in new)}"
    columns = ("when", "was", "would be", "number", "for example")
    console.STDOUT.print(console.table(title, columns, result.rows()))


def _list(packs: list[Any], as_json: bool) -> None:
    rows = [
        {
            "name": each.name,
            "version": each.version,
            "effective_from": f"{each.effective_from:%Y-%m-%d}",
            "jurisdictions": " ".join(each.jurisdictions),
            "overlay": "overlay" if each.overlay else "",
            "sha256": each.sha256,
        }
        for each in packs
    ]
    if as_json:
        typer.echo(json.dumps(rows))
        return
    columns = ("name", "version", "effective_from", "jurisdictions", "overlay")
    table = console.table("drafts, for counsel to review", columns, [[row[each] for each in columns] for row in rows])
    console.STDOUT.print(table)


def _folder(given: Path | None) -> Path:
    from gateway.app.templates import policies_folder

    return given if given is not None else policies_folder(settings())
