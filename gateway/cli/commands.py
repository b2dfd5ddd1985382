"""The main commands. Tables and progress bars go to stderr unless they are the result."""

from __future__ import annotations

import asyncio
import gc
import json
import re
from datetime import datetime
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote

import typer

from gateway.cli import (
    borrowers,
    cases,
    client,
    console,
    journeys,
    notifications,
    operations,
    policies,
    replies,
    reviews,
    users,
    webhooks,
)
from gateway.cli.client_options import AsJson, DataDir, Key, Url, ask
from gateway.cli.doctor.command import doctor
from gateway.cli.ledger import acts
from gateway.cli.ledger.administration import keys_app, ledger_app
from gateway.cli.panels import EVIDENCE, OPERATIONS, PORTFOLIOS, PROCESSES, SETTINGS
from gateway.cli.portfolio import files, mapping, sender
from gateway.cli.runner import DEMO_DIR, fail, full_id, run, settings
from gateway.cli.templates import lint

app = typer.Typer(
    name="gateway",
    no_args_is_help=True,
    pretty_exceptions_enable=False,  # a traceback with local variables would show borrowers' data
)
_BEGINNING = re.compile("ntf_[0-9a-f]{1,32}")
File = Annotated[Path, typer.Argument(help="A .csv or .jsonl file, may be .gz.", dir_okay=False)]
MappingFile = Annotated[Path | None, typer.Option("--mapping", help="How a CSV's columns become requests (TOML).")]
Host = Annotated[str | None, typer.Option(help="The address to listen on (GATEWAY_HOST).")]
MetricsPort = Annotated[
    int | None, typer.Option(min=0, max=65535, help="For /metrics and probes; 0: none (GATEWAY_METRICS_PORT).")
]
Port = Annotated[int | None, typer.Option(min=0, max=65535, help="The port to listen on (GATEWAY_PORT).")]


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"gateway {version('notification-gateway')}")
        raise typer.Exit


@app.callback()
def main(
    show_version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Payment reminders for regulated lenders: decided, sent once, followed to the end."""


@app.command(rich_help_panel=PORTFOLIOS)
def send(
    file: File,
    mapping_file: MappingFile = None,
    url: Url = "",
    key: Key = "",
    as_json: AsJson = False,
    batch: Annotated[int, typer.Option(min=1, max=1000, help="Requests in one call.")] = sender.BATCH_SIZE,
    in_flight: Annotated[int, typer.Option(min=1, max=16, help="Calls at once.")] = sender.IN_FLIGHT,
    data_dir: DataDir = DEMO_DIR,
) -> None:
    """Send a portfolio. Safe to repeat: rows that were accepted before are replayed, not sent twice.

    Exit status 0: all rows were accepted. 1: some were rejected, or the gateway could not be reached.
    """

    async def work(stop: asyncio.Event) -> sender.Tally:
        mapper = mapping.load(mapping_file) if mapping_file else None
        where = client.find(url, key, data_dir)
        with console.progress() as bar:
            task = bar.add_task("sent", total=files.count(file, mapper))
            options = sender.SendOptions(
                batch, in_flight, rows_done=lambda n: bar.advance(task, n), bad_row=console.bad_row
            )
            sent = asyncio.ensure_future(sender.send(files.read(file, mapper), where, options))
            stopped = asyncio.ensure_future(stop.wait())
            await asyncio.wait({sent, stopped}, return_when=asyncio.FIRST_COMPLETED)
            stopped.cancel()
            if not sent.done():
                sent.cancel()
                raise client.CallFailed("interrupted; run the same command again: what was taken is not repeated")
            return sent.result()

    tally = run(work)
    if as_json:
        typer.echo(json.dumps(tally.view(), ensure_ascii=False))
    else:
        console.tally(tally)
    raise typer.Exit(1 if tally.rejected else 0)


@app.command(rich_help_panel=PORTFOLIOS)
def status(
    notification: Annotated[str, typer.Argument(metavar="ID", help="A notification's id, or the beginning of it.")],
    url: Url = "",
    key: Key = "",
    as_json: AsJson = False,
    data_dir: DataDir = DEMO_DIR,
) -> None:
    """Show a notification: its state, deliveries and events."""
    identifier = _notification(notification, url, key, data_dir)
    found = ask(f"/v1/notifications/{_segment(identifier)}", None, url, key, data_dir)
    if as_json:
        typer.echo(json.dumps(found, ensure_ascii=False))
        return
    console.notification(found)


app.command(rich_help_panel=PORTFOLIOS)(notifications.notifications)


@app.command(rich_help_panel=PORTFOLIOS)
def show(
    notification: Annotated[str, typer.Argument(metavar="ID", help="A notification's id, or the beginning of it.")],
    url: Url = "",
    key: Key = "",
    as_json: AsJson = False,
    data_dir: DataDir = DEMO_DIR,
) -> None:
    """Show the words that were sent, exactly as they were handed over. Each look is recorded; needs the scope words."""
    identifier = _notification(notification, url, key, data_dir)
    found = ask(f"/v1/notifications/{_segment(identifier)}/messages", None, url, key, data_dir)
    if as_json:
        typer.echo(json.dumps(found, ensure_ascii=False))
        return
    console.messages(found["messages"])


@app.command(rich_help_panel=PORTFOLIOS)
def decide(
    file: File,
    mapping_file: MappingFile = None,
    url: Url = "",
    key: Key = "",
    as_json: AsJson = False,
    each_row: Annotated[bool, typer.Option("--rows", help="A line for each row of the file.")] = False,
    data_dir: DataDir = DEMO_DIR,
) -> None:
    """Decide a portfolio by the current policy: each decision with its rule. Stores and sends nothing."""
    from gateway.cli.portfolio import decisions

    async def work(stop: asyncio.Event) -> decisions.DecisionCounts:
        mapper = mapping.load(mapping_file) if mapping_file else None
        where = client.find(url, key, data_dir)
        with console.progress() as bar:
            task = bar.add_task("decided", total=files.count(file, mapper))
            rows = files.read(file, mapper)
            return await decisions.decide(rows, where, lambda: bar.advance(task), console.bad_row)

    verdicts = run(work)
    if as_json:
        typer.echo(json.dumps(verdicts.view(), ensure_ascii=False))
    else:
        console.decisions(verdicts, each_row=each_row)
    raise typer.Exit(1 if verdicts.errors else 0)


@app.command(rich_help_panel=PROCESSES)
def serve(host: Host = None, port: Port = None, metrics_port: MetricsPort = None) -> None:
    """API and worker in one process; with the embedded default, all parts on this machine."""
    _serve(api=True, worker=True, host=host, port=port, metrics_port=metrics_port)


@app.command(rich_help_panel=PROCESSES)
def api(host: Host = None, port: Port = None, metrics_port: MetricsPort = None) -> None:
    """The API alone; several may run."""
    _serve(api=True, worker=False, host=host, port=port, metrics_port=metrics_port)


@app.command(rich_help_panel=PROCESSES)
def worker(metrics_port: MetricsPort = None) -> None:
    """A worker alone; several may run."""
    _serve(api=False, worker=True, metrics_port=metrics_port)


def _serve(*, api: bool, worker: bool, **given: Any) -> None:
    gc.disable()  # what a start makes stays: looking for garbage in it is a fifth of its time. Serving enables it
    # These imports take more than a second, which small commands avoid.
    from gateway.app import serving
    from gateway.observability import logs

    chosen = settings(**given)
    if chosen.embedded and not (api and worker):
        fail(
            "the embedded default is one process: use gateway serve, or set GATEWAY_DATABASE_URL and GATEWAY_REDIS_URL"
        )
    logs.configure(chosen.log_level)
    run(lambda stop: serving.serve(chosen, api=api, worker=worker, stop=stop))


@app.command(rich_help_panel=PROCESSES)
def demo(
    file: Annotated[Path | None, typer.Option(help="A portfolio; default: the one that ships.")] = None,
    mapping_file: MappingFile = None,
    once: Annotated[bool, typer.Option("--once", help="Stop after the table.")] = False,
    as_json: AsJson = False,
    host: Host = None,
    port: Port = None,
    data_dir: Annotated[Path, typer.Option(envvar="GATEWAY_DATA_DIR", help="Where its data is.")] = DEMO_DIR,
    at: Annotated[str, typer.Option(help="The demo's time (RFC 3339); default: a day of its own.")] = "",
    time_scale: Annotated[float, typer.Option(min=1, help="How many times shorter waits are.")] = 360,
    wait: Annotated[float, typer.Option(min=1, help="How many seconds to wait for end states at most.")] = 300,
) -> None:
    """Run a gateway on this machine, send a portfolio through all channels and show the results."""
    gc.disable()  # as in _serve
    from gateway.cli.demo.command import DemoOptions
    from gateway.cli.demo.command import demo as run_demo

    if at and not _is_instant(at):
        fail(f"--at {at}: is not an instant like 2026-11-24T10:00:00Z", 2)
    chosen = settings(host=host, port=port, data_dir=data_dir, at=at or None, time_scale=time_scale)
    portfolio_file = file or _shipped("demo-portfolio.csv")
    options = DemoOptions(once=once, as_json=as_json, wait_seconds=wait)
    complete = run(lambda stop: run_demo(chosen, portfolio_file, mapping_file, options, stop))
    raise typer.Exit(1 if once and not complete else 0)


def _is_instant(text: str) -> bool:
    try:
        return datetime.fromisoformat(text).tzinfo is not None
    except ValueError:
        return False


def _shipped(name: str) -> Path:
    path = Path(__file__).parents[2] / "ops" / name
    if not path.exists():
        fail(f"{name} is not in this installation: give a portfolio with --file")
    return path


def _notification(given: str, url: str, key: str, data_dir: Path) -> str:
    """The full id of a notification; a complete id is not looked up."""
    if len(given) == operations.WHOLE_ID:
        return given
    if not _BEGINNING.fullmatch(given):
        fail(f"{given!r} is no notification's id: it begins with ntf_; gateway notifications lists the ids", 2)
    found = ask(f"/v1/notifications?limit=200&id_prefix={_segment(given)}", None, url, key, data_dir)
    return full_id(given, (str(each["id"]) for each in found["notifications"]), "gateway notifications")


def _segment(identifier: str) -> str:
    return quote(identifier, safe="")


app.command(rich_help_panel=PROCESSES)(doctor)
borrowers.install(app)
operations.install(app)
app.add_typer(cases.app, name="cases", rich_help_panel=PORTFOLIOS)
app.add_typer(journeys.app, name="journey", rich_help_panel=PORTFOLIOS)
app.add_typer(reviews.app, name="review", rich_help_panel=OPERATIONS)
app.add_typer(lint.app, name="template", rich_help_panel=SETTINGS)
app.add_typer(policies.app, name="policy", rich_help_panel=SETTINGS)
app.add_typer(replies.app, name="replies", rich_help_panel=SETTINGS)
app.add_typer(keys_app, name="key", rich_help_panel=SETTINGS)
app.add_typer(users.app, name="user", rich_help_panel=SETTINGS)
app.add_typer(webhooks.app, name="webhook", rich_help_panel=SETTINGS)
app.add_typer(ledger_app, name="ledger", rich_help_panel=EVIDENCE)
app.command("admin-log", rich_help_panel=EVIDENCE)(acts.admin_log)
