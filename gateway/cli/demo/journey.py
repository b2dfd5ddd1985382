"""``gateway journey demo``: one case from its first day overdue to the gate, in scaled time.

A whole gateway of its own (API, worker, simulated providers) runs on a clock that is so much faster that the
definition's days fit into the seconds given. Waits of real processes (leases, receipts) are as much longer on
that clock. With ``stay`` it goes on at the usual pace at the gate, so that two people can decide on the page.
"""

from __future__ import annotations

import asyncio
import json
import secrets
import tempfile
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import typer

from gateway.app import serving
from gateway.app.app import Gateway
from gateway.app.settings import Settings
from gateway.app.templates import templates_folder
from gateway.cli import console
from gateway.cli.runner import settings as settings_of
from gateway.core.notifications import Borrower
from gateway.identity.users import Role
from gateway.journeys.cases.record import CaseRecord, Snapshot
from gateway.journeys.definitions.model import parse
from gateway.observability import logs

_TENANT, _CASE = "demo", "card-00001"
_PLACE = "Asia/Taipei"
_PEOPLE = (("mei@demo.example", "Mei Lin"), ("tom@demo.example", "Tom Hale"))
_POLL_SECONDS = 0.1  # our choice
_PROCESS_SECONDS = 20.0  # real seconds that a lease and a receipt are waited for; our choice
_GIVE_UP_SECONDS = 240.0  # beyond those given, for a busy machine; our choice
_AT_THE_END = frozenset({"gate", "review", "exited"})


class ScaledClock:
    """A clock that begins at ``start`` and runs ``scale`` times as fast as the system's, until ``slow_down``."""

    def __init__(self, start: datetime, scale: float) -> None:
        self._start, self._scale, self._began = start, scale, datetime.now(UTC)

    def __call__(self) -> datetime:
        return self._start + (datetime.now(UTC) - self._began) * self._scale

    def slow_down(self) -> None:
        """Go on at the usual pace from where it stands."""
        self._start, self._scale, self._began = self(), 1.0, datetime.now(UTC)


async def journey_demo(seconds: float, port: int, stop: asyncio.Event, *, as_json: bool, stay: bool) -> str:
    """Run it; the state in which the journey stands at the end. Raises CannotStart."""
    text = (templates_folder(settings_of()) / "journeys" / "card-overdue.toml").read_text("utf-8")
    days = max(each.day or 0 for each in parse(text).steps)
    scale = days * timedelta(days=1) / timedelta(seconds=seconds)
    start = datetime.combine(date(2026, 11, 24), time(10), ZoneInfo(_PLACE)).astimezone(UTC)
    found: dict[str, Any] = {}
    clock = ScaledClock(start, scale)
    with tempfile.TemporaryDirectory(prefix="gw-") as folder:
        chosen = Settings(
            data_dir=Path(folder),
            port=port,
            lease_seconds=_PROCESS_SECONDS * scale,
            unknown_grace_seconds=_PROCESS_SECONDS * scale,
            receipt_hours=_PROCESS_SECONDS * scale / 3600,
            relay_seconds=0.05,
            releases_per_second=0,
        )
        with (Path(folder) / "gateway.log").open("w") as log:
            logs.configure(chosen.log_level, stream=log)

            async def show(gateway: Gateway) -> None:
                try:
                    async with asyncio.timeout(_GIVE_UP_SECONDS + seconds):
                        found.update(await _follow(gateway, text, stop))
                    if stay and not stop.is_set():
                        clock.slow_down()
                        found.update(await _people(gateway))
                    if as_json:
                        typer.echo(json.dumps(found, ensure_ascii=False))
                    if stay:
                        _how_to_go_on(found)
                        await stop.wait()
                finally:
                    stop.set()

            await serving.serve(chosen, api=True, worker=True, stop=stop, ready=show, clock=clock)
    return str(found.get("state", ""))


async def _follow(gateway: Gateway, text: str, stop: asyncio.Event) -> dict[str, Any]:
    """Publish the definition, feed the case, and say what happens until the gate is open."""
    services, seen = gateway.journeys, 0
    made = await services.definitions.save(_TENANT, text, "user:author")
    for move in (services.definitions.submit, services.definitions.approve, services.definitions.publish):
        actor = "user:author" if move == services.definitions.submit else "user:approver"
        await move(_TENANT, made["name"], made["number"], actor)
    began = gateway.ledger.clock()
    await services.cases.feed(_TENANT, [CaseRecord(_CASE, _snapshot(began))], "demo")
    found: dict[str, Any] = {}
    while not stop.is_set() and found.get("state") not in _AT_THE_END:
        await asyncio.sleep(_POLL_SECONDS)
        for each in await services.reads.listed(_TENANT, case_id=_CASE, limit=1):
            found = await services.reads.find(_TENANT, each["id"]) or {}
        for event in found.get("events", [])[seen:]:
            seen += 1
            _say(event, began)
    return found


async def _people(gateway: Gateway) -> dict[str, Any]:
    """Two people who may decide, and where they sign in."""
    password, settings = secrets.token_urlsafe(15), gateway.ledger.settings
    for email, name in _PEOPLE:
        await gateway.ledger.users.add(_TENANT, name, email, Role.SUPERVISOR, password, gateway.ledger.clock())
    url = f"http://{settings.host}:{settings.port}"
    return {"url": url, "users": [email for email, _ in _PEOPLE], "password": password}


def _how_to_go_on(found: dict[str, Any]) -> None:
    if "url" in found:
        page = f"{found['url']}/journeys/course/{found['id']}"
        one, other = found["users"]
        console.STDERR.print(f"It stays up; Ctrl-C stops it. The case waits for two people's approval: {page}")
        words = f"Sign in as {one}, and in another browser as {other}, password {found['password']}"
        console.STDERR.print(words, markup=False, soft_wrap=True)


def _say(event: dict[str, Any], began: datetime) -> None:
    day = (datetime.fromisoformat(event["at"]) - began) // timedelta(days=1) + 1
    words = [event["kind"].replace("journey.", "").replace("_", " "), event["detail"].get("step", "")]
    words.append(event["reason"] or "")
    console.STDERR.print(f"day {day:>3}  {' '.join(word for word in words if word)}", markup=False)


def _snapshot(now: datetime) -> Snapshot:
    """A fictional account, four days overdue."""
    borrower = Borrower(
        "A-00001",
        "客戶 1",
        "zh-TW",
        "tw",
        (_PLACE,),
        {"sms": "+12025550123", "email": "account1@example.com", "inapp": "A-00001"},
    )
    due = now.astimezone(ZoneInfo(_PLACE)).date() - timedelta(days=4)
    owed = Decimal("3913.00")
    return Snapshot(now, borrower, "card", "TWD", owed, owed, due, {"months_overdue": 1})
