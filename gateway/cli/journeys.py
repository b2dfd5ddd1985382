"""Commands on journeys: check and simulate a definition, bring it to life, see what runs, decide what waits."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import quote

import typer

from gateway.cli import console
from gateway.cli.client_options import AsJson, DataDir, Key, Url, ask, instant_of
from gateway.cli.runner import DEMO_DIR, fail, run, settings

app = typer.Typer(help="Journeys: a case's course over days.", no_args_is_help=True)

Source = Annotated[Path, typer.Argument(help="A definition (TOML).", exists=True, dir_okay=False)]
NameArgument = Annotated[str, typer.Argument(help="A definition's name.")]
NumberArgument = Annotated[int, typer.Argument(help="A version's number.", min=1)]
JourneyId = Annotated[str, typer.Argument(metavar="ID", help="A journey's id.")]
Why = Annotated[str, typer.Option("--reason", help="Why; kept as evidence.")]
_BASE = "/v1/journey-definitions"


@app.command("schema")
def show_schema() -> None:
    """Print the JSON schema of a definition."""
    from gateway.journeys.definitions.model import schema

    typer.echo(json.dumps(schema(), indent=2))


@app.command()
def lint(file: Source, as_json: AsJson = False) -> None:
    """Check a definition by the built-in templates and the packs in force. Exit status 1 for errors."""
    from gateway.journeys.definitions.lint import lint as check

    definition, find_template, packs = _read(file), _find_template(), _packs()
    found = check(definition, find_template, packs, datetime.now(UTC))
    if as_json:
        typer.echo(json.dumps([asdict(each) for each in found], ensure_ascii=False))
    elif found:
        rows = [(each.level, each.rule, each.place, each.detail) for each in found]
        console.STDOUT.print(console.table(None, ("level", "rule", "place", "what"), rows))
    errors = sum(each.level == "error" for each in found)
    console.STDERR.print(f"{errors} errors, {len(found) - errors} warnings")
    if errors:
        raise typer.Exit(1)


@app.command()
def simulate(
    file: Source,
    portfolio: Annotated[Path, typer.Option("--portfolio", help="Cases: .csv or .jsonl, may be .gz.", exists=True)],
    mapping_file: Annotated[Path | None, typer.Option("--mapping", help="How a CSV's columns become cases.")] = None,
    days: Annotated[int, typer.Option(min=1, max=1000, help="How many days.")] = 90,
    assume: Annotated[Path | None, typer.Option("--assume", help="Assumptions (TOML).", exists=True)] = None,
    against: Annotated[
        Path | None, typer.Option("--against", help="Another definition to compare.", exists=True)
    ] = None,
    start: Annotated[str, typer.Option("--from", help="The first instant; default: the cases' latest as_of.")] = "",
    plot: Annotated[Path | None, typer.Option("--plot", help="Write contacts by day as an SVG.")] = None,
    page: Annotated[Path | None, typer.Option("--page", help="Write the result as an HTML page.")] = None,
    as_json: AsJson = False,
) -> None:
    """Send a portfolio through a definition, by the advance and the policy of production. Stores and sends nothing.

    The same files and the same seed give the same bytes.
    """
    from gateway.cli import simulating
    from gateway.journeys.definitions.model import BadDefinition
    from gateway.journeys.simulation.assumptions import Assumptions, read_assumptions
    from gateway.journeys.simulation.portfolio import latest_instant
    from gateway.journeys.simulation.view import difference, view

    try:
        assumed = read_assumptions(assume.read_text("utf-8")) if assume is not None else Assumptions()
    except BadDefinition as error:
        fail(f"{assume}: {error}", 2)
    definitions = [_read(each) for each in (file, against) if each is not None]
    records, category = simulating.read_cases(portfolio, mapping_file), _categories()
    first = instant_of(start, "--from") if start else latest_instant(records)
    results = []
    with console.progress() as bar:
        for definition in definitions:
            task = bar.add_task(definition.name, total=len(records))
            advanced = partial(bar.advance, task)
            results.append(simulating.run(definition, records, _packs(), assumed, category, first, days, advanced))
    views = [view(each, assumed) for each in results]
    if plot is not None:
        plot.write_text(simulating.svg(views[0]), "utf-8")
    if page is not None:
        page.write_text(simulating.html([each.name for each in definitions], views), "utf-8")
    if as_json:
        typer.echo(json.dumps(views[0] if against is None else views, ensure_ascii=False))
        return
    if against is not None:
        rows = list(difference(views[0], views[1]))
        console.STDOUT.print(console.table(None, ("", file.name, against.name), rows))
        return
    simulating.show(views[0])


@app.command()
def demo(
    seconds: Annotated[float, typer.Option(min=10, max=3600, help="How long the course may take.")] = 60,
    port: Annotated[int, typer.Option(min=0, max=65535, help="The port to listen on; 0: a free one.")] = 0,
    stay: Annotated[bool, typer.Option("--stay", help="Stay up at the gate, so that two people approve it.")] = False,
    as_json: AsJson = False,
) -> None:
    """Show one case from its first day to the gate, in scaled time, on a gateway of its own that ends with it.

    With --stay it goes on until Ctrl-C: the pages show the case, and two people may approve the legal step.
    """
    from gateway.cli.demo.journey import journey_demo

    state = run(lambda stop: journey_demo(seconds, port, stop, as_json=as_json, stay=stay))
    raise typer.Exit(0 if state == "gate" else 1)


@app.command("list")
def list_definitions(url: Url = "", key: Key = "", as_json: AsJson = False, data_dir: DataDir = DEMO_DIR) -> None:
    """List all versions of all definitions."""
    found = ask(_BASE, None, url, key, data_dir)["journey_definitions"]
    console.listing(found, ("name", "number", "state", "submitted_by", "approved_by", "updated_at"), as_json=as_json)


@app.command()
def save(file: Source, url: Url = "", key: Key = "", data_dir: DataDir = DEMO_DIR) -> None:
    """Save a definition as the draft of its name."""
    made = ask(_BASE, {"source": file.read_text("utf-8")}, url, key, data_dir)
    typer.echo(f"{made['name']} {made['number']}: {made['state']}")


@app.command()
def move(
    name: NameArgument,
    number: NumberArgument,
    to: Annotated[Literal["submit", "approve", "reject", "publish", "stop"], typer.Argument(help="What to do.")],
    url: Url = "",
    key: Key = "",
    data_dir: DataDir = DEMO_DIR,
) -> None:
    """Submit, approve, reject, publish or stop a version; approving takes another person's key than submitting."""
    made = ask(f"{_BASE}/{name}/{number}/{to}", None, url, key, data_dir, method="POST")
    typer.echo(f"{made['name']} {made['number']}: {made['state']}")


@app.command("roll-back")
def roll_back(name: NameArgument, url: Url = "", key: Key = "", data_dir: DataDir = DEMO_DIR) -> None:
    """Have the version before the live one live again; journeys under way stay on theirs."""
    made = ask(f"{_BASE}/{name}/roll-back", None, url, key, data_dir, method="POST")
    typer.echo(f"{made['name']} {made['number']}: {made['state']}")


@app.command()
def migrate(
    name: NameArgument,
    number: NumberArgument,
    to: Annotated[int, typer.Option("--to", min=1, help="The version that they go to.")],
    dry_run: Annotated[bool, typer.Option("--dry-run/--do", help="Only show each one's next step.")] = True,
    url: Url = "",
    key: Key = "",
    as_json: AsJson = False,
    data_dir: DataDir = DEMO_DIR,
) -> None:
    """Move a version's open journeys to another one: each one's next step before and after."""
    body = {"to": to, "dry_run": dry_run}
    found = ask(f"{_BASE}/{name}/{number}/migrate", body, url, key, data_dir)
    if as_json:
        typer.echo(json.dumps(found, ensure_ascii=False))
        return
    rows = [
        (each["case_id"], each["before"]["step"] or "", each["before"]["at"] or "")
        + (each["after"]["step"] or "", each["after"]["at"] or "")
        for each in found["rows"]
    ]
    console.STDOUT.print(console.table(None, ("case", "next before", "at", "next after", "at"), rows))
    console.STDERR.print(f"{found['journeys']} journeys, {found['changed']} of those shown go on with another step")


@app.command()
def report(
    name: NameArgument, url: Url = "", key: Key = "", as_json: AsJson = False, data_dir: DataDir = DEMO_DIR
) -> None:
    """What came of a definition, per version and arm, with 95 % intervals."""
    found = ask(f"{_BASE}/{name}/report", None, url, key, data_dir)
    if as_json:
        typer.echo(json.dumps(found, ensure_ascii=False))
        return
    rows = [
        (each["number"], each["arm"], each["entered"], each["open"], each["contacts"])
        + (_share(each["cured"]), _share(each["opted_out"]), _share(each["complained"]))
        + ("too few to tell" if each["too_few_to_tell"] else "",)
        for each in found["lines"]
    ]
    columns = ("version", "arm", "entered", "open", "contacts", "cured", "opted out", "complained", "")
    console.STDOUT.print(console.table(name, columns, rows))


def _share(value: dict[str, Any]) -> str:
    if value["share"] is None:
        return ""
    low, high = value["interval"]
    return f"{value['share']:.1%} ({low:.1%} to {high:.1%})"


@app.command()
def show(
    journey: JourneyId, url: Url = "", key: Key = "", as_json: AsJson = False, data_dir: DataDir = DEMO_DIR
) -> None:
    """Show a journey's course: every step, what came of it and why."""
    found = ask(f"/v1/journeys/{quote(journey, safe='')}", None, url, key, data_dir)
    if as_json:
        typer.echo(json.dumps(found, ensure_ascii=False))
        return
    names = ("case_id", "definition", "arm", "state", "reason", "due_at")
    console.STDOUT.print(console.table(None, ("", ""), [(name, found[name]) for name in names if found[name]]))
    rows = [
        (
            each["local_at"] or each["at"],
            each["kind"],
            each["detail"].get("step", ""),
            each["reason"] or "",
            each["actor"],
        )
        for each in found["events"]
    ]
    messages = [(each["step"], each["message"]) for each in found["steps"] if each["message"]]
    sent = [(step, each["state"], each["reason"] or "", each["notification_id"]) for step, each in messages]
    console.STDOUT.print(console.table("messages", ("step", "state", "reason", "notification"), sent))
    console.STDOUT.print(console.table("course", ("at", "what", "step", "reason", "by"), rows))


@app.command()
def decide(
    journey: JourneyId,
    act: Annotated[
        Literal["approve", "refuse", "reopen", "pause", "resume", "end"], typer.Argument(help="What to do.")
    ],
    reason: Why,
    url: Url = "",
    key: Key = "",
    data_dir: DataDir = DEMO_DIR,
) -> None:
    """Approve, refuse or reopen a gate; go on with what was set aside (reopen); pause, resume or end a journey.

    The key's owner is who did it.
    """
    made = ask(f"/v1/journeys/{quote(journey, safe='')}/{act}", {"reason": reason}, url, key, data_dir)
    typer.echo(f"{made['id']}: {made['state']}{' ' + made['reason'] if made['reason'] else ''}")


def _read(file: Path) -> Any:
    from gateway.journeys.definitions.model import BadDefinition, parse

    try:
        return parse(file.read_text("utf-8"))
    except (BadDefinition, UnicodeDecodeError) as error:
        fail(f"{file}: {error}", 2)


def _packs() -> Any:
    from gateway import policy
    from gateway.app.templates import policies_folder

    try:
        return policy.load_packs(policies_folder(settings()))
    except policy.PackError as error:
        fail(str(error), 2)


def _categories() -> Callable[[str], str]:
    """What tells a template's category; ends the command where there is no such template."""
    find_template = _find_template()

    def category(name: str) -> str:
        found = find_template(name)
        if found is None:
            fail(f"there is no template {name}; gateway journey lint lists all errors", 2)
        return str(found.category)

    return category


def _find_template() -> Any:
    """The built-in templates, as the lint takes them; nothing is compiled."""
    from gateway.app.templates import templates_folder
    from gateway.journeys.definitions.lint import TemplateFacts
    from gateway.templates.folder import Folder

    found = {}
    for name, source in Folder.read(templates_folder(settings())).sources().items():
        locales = sorted({part.split("/")[0] for part in source.parts})
        channels = sorted({part.split("/")[1].split(".")[0] for part in source.parts})
        required = source.settings.get("must_arrive", False)
        found[name] = TemplateFacts(source.settings["category"], channels, locales, required)
    return found.get
