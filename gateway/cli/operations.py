"""Commands for operators: pause and resume, pin a provider, redrive failed notifications or give them up."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote, urlencode

import typer

from gateway.cli import console
from gateway.cli.client_options import AsJson, DataDir, Key, Url, ask, pages
from gateway.cli.panels import OPERATIONS
from gateway.cli.runner import DEMO_DIR, fail, full_id

Reason = Annotated[str, typer.Option("--reason", help="Why; kept as evidence.")]
Until = Annotated[str, typer.Option(help="When it ends by itself: 30m, 4h, 2d, or an instant (RFC 3339).")]
Everywhere = Annotated[bool, typer.Option("--everywhere", help="For every tenant; the key needs the scope platform.")]

WHOLE_ID = len("ntf_") + 32  # characters of a notification's id
_SCOPES = ("all", "tenant", "template", "channel", "provider")
_UNITS = {"m": "PT{}M", "h": "PT{}H", "d": "P{}D"}  # ISO 8601


def install(app: typer.Typer) -> None:
    """Add the commands to the command line."""
    for command in (pause, pin, resume, controls, dead_letters, redrive, give_up):
        app.command(rich_help_panel=OPERATIONS)(command)


def pause(
    scope: Annotated[str, typer.Argument(help="all, tenant, template, channel or provider.")],
    value: Annotated[str, typer.Argument(help="Which one; nothing for all.")] = "",
    reason: Reason = "",
    until: Until = "",
    everywhere: Everywhere = False,
    url: Url = "",
    key: Key = "",
    data_dir: DataDir = DEMO_DIR,
) -> None:
    """Stop sending now. Accepted notifications wait, and are decided again before they are sent."""
    _set("pause", scope, value, reason, until, everywhere, url, key, data_dir)


def pin(
    provider: Annotated[str, typer.Argument(help="The provider that its channel's messages are to go to.")],
    reason: Reason = "",
    until: Until = "",
    everywhere: Everywhere = False,
    url: Url = "",
    key: Key = "",
    data_dir: DataDir = DEMO_DIR,
) -> None:
    """Send a channel's messages by one provider, regardless of weights and health."""
    _set("pin", "provider", provider, reason, until, everywhere, url, key, data_dir)


def resume(
    what: Annotated[
        str,
        typer.Argument(
            metavar="ID|SCOPE", help="An id of gateway controls or the beginning of it, or a scope as it was paused."
        ),
    ],
    value: Annotated[str, typer.Argument(help="Which one of the scope, as it was paused.")] = "",
    url: Url = "",
    key: Key = "",
    data_dir: DataDir = DEMO_DIR,
) -> None:
    """End a pause or a pin: by its id, or as it was set (gateway resume channel sms)."""
    found = ask("/v1/controls", None, url, key, data_dir)["controls"]
    if what in _SCOPES:
        ended = [str(each["id"]) for each in found if (each["scope"], each["value"]) == (what, value)]
        if not ended:
            fail(f"{f'{what} {value}'.strip()} is neither paused nor pinned; gateway controls lists what is")
    else:
        ended = [full_id(what, (str(each["id"]) for each in found), "gateway controls")]
    for identifier in ended:
        answer = ask(f"/v1/controls/{quote(identifier, safe='')}", None, url, key, data_dir, method="DELETE")
        console.STDERR.print(f"{answer['id']} is ended; {answer['released']} deliveries are due again")


def controls(url: Url = "", key: Key = "", as_json: AsJson = False, data_dir: DataDir = DEMO_DIR) -> None:
    """List the pauses and pins in force: actor, reason and end."""
    found = ask("/v1/controls", None, url, key, data_dir)["controls"]
    columns = ("id", "kind", "scope", "value", "everywhere", "reason", "actor", "since", "until")
    console.listing(found, columns, as_json=as_json)


def dead_letters(
    filter_reason: Annotated[str, typer.Option(help="Only those that failed for this reason.")] = "",
    channel: Annotated[str, typer.Option(help="Only those that failed on this channel.")] = "",
    url: Url = "",
    key: Key = "",
    as_json: AsJson = False,
    data_dir: DataDir = DEMO_DIR,
) -> None:
    """List notifications that failed, the oldest first; gateway redrive tries them again."""
    asked = {"limit": "500", "reason": filter_reason, "channel": channel}
    query = urlencode({name: value for name, value in asked.items() if value})
    found = list(pages(f"/v1/dead-letters?{query}", "dead_letters", url, key, data_dir))
    columns = ("notification_id", "reason", "channel", "template", "since")
    console.listing(found, columns, as_json=as_json)


def redrive(
    notification: Annotated[list[str] | None, typer.Argument(metavar="[ID]...", help="These notifications.")] = None,
    filter_reason: Annotated[str, typer.Option(help="All that failed for this reason.")] = "",
    channel: Annotated[str, typer.Option(help="All that failed on this channel.")] = "",
    template: Annotated[str, typer.Option(help="All with this template.")] = "",
    reason: Reason = "",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say which would be tried again.")] = False,
    url: Url = "",
    key: Key = "",
    as_json: AsJson = False,
    data_dir: DataDir = DEMO_DIR,
) -> None:
    """Try failed notifications again, through the policy; up to 1,000 at once. Reviews: gateway review approve."""
    if not (reason or dry_run):
        fail("--reason is missing; it is kept as evidence", 2)
    body = {
        "ids": [_dead_letter(each, url, key, data_dir) for each in notification or []],
        "filter_reason": filter_reason,
        "channel": channel or None,
        "template": template,
        "reason": reason or "dry run",
        "dry_run": dry_run,
    }
    answer = ask("/v1/dead-letters/redrive", body, url, key, data_dir)
    _outcomes(answer, "would be" if dry_run else None, as_json=as_json)


def give_up(
    notification: Annotated[list[str], typer.Argument(metavar="ID...", help="These notifications.")],
    reason: Reason = "",
    url: Url = "",
    key: Key = "",
    as_json: AsJson = False,
    data_dir: DataDir = DEMO_DIR,
) -> None:
    """Take failed notifications out of the dead letters for good: they are not tried again."""
    if not reason:
        fail("--reason is missing; it is kept as evidence", 2)
    body = {"ids": [_dead_letter(each, url, key, data_dir) for each in notification], "reason": reason}
    _outcomes(ask("/v1/dead-letters/give-up", body, url, key, data_dir), None, as_json=as_json)


def _outcomes(answer: dict[str, Any], title: str | None, *, as_json: bool) -> None:
    """The dead letters of an answer, each with what became of it."""
    if as_json:
        typer.echo(json.dumps(answer, ensure_ascii=False))
        return
    columns = ("notification_id", "state", "reason", "channel", "since", "outcome")
    rows = [[each[column] for column in columns] for each in answer["dead_letters"]]
    console.STDOUT.print(console.table(title, columns, rows))


def _dead_letter(given: str, url: str, key: str, data_dir: Path) -> str:
    """The full id of a dead letter; a complete id is not looked up, since there may be many dead letters."""
    if len(given) == WHOLE_ID:
        return given
    found = pages("/v1/dead-letters?limit=500", "dead_letters", url, key, data_dir)
    return full_id(given, (str(each["notification_id"]) for each in found), "gateway dead-letters")


def _set(
    kind: str, scope: str, value: str, reason: str, until: str, everywhere: bool, url: str, key: str, data_dir: Path
) -> None:
    if not reason:
        fail("--reason is missing; it is kept as evidence", 2)
    body = {"kind": kind, "scope": scope, "value": value, "reason": reason, "everywhere": everywhere}
    answer = ask("/v1/controls", body | _end(until), url, key, data_dir)
    console.STDERR.print(f"{answer['id']} is in force" + (f" until {answer['until']}" if answer["until"] else ""))


def _end(text: str) -> dict[str, str]:
    """The end of a duration, by the gateway's clock, which may differ from this machine's."""
    if not text:
        return {}
    if text[-1] in _UNITS and text[:-1].isdigit():
        return {"duration": _UNITS[text[-1]].format(text[:-1])}
    try:
        return {"until": datetime.fromisoformat(text).astimezone().isoformat()}
    except ValueError:
        fail("--until is a duration like 30m, 4h or 2d, or an instant like 2026-11-24T18:00:00Z", 2)
