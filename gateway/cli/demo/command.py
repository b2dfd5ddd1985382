"""``gateway demo``: runs a gateway, sends a portfolio through it and shows the results.

Owns the steps of a demo and DATA_DIR/demo.json. Must not know sending or storage.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import time
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import typer

from gateway.app import serving
from gateway.app.app import Gateway
from gateway.app.embedded.errors import CannotStart
from gateway.app.settings import Settings
from gateway.app.storage import open_ledger
from gateway.cli import console
from gateway.cli.client import ApiTarget
from gateway.cli.demo import access, clock, links, outcome, preparation
from gateway.cli.demo.access import TENANT, DemoAccess
from gateway.cli.demo.outcome import Before
from gateway.cli.demo.preparation import TemplateApprovals
from gateway.cli.portfolio import files, mapping, sender
from gateway.cli.portfolio.files import PortfolioRow, RowError
from gateway.cli.portfolio.sender import Tally
from gateway.core.security.private_files import open_private
from gateway.observability import logs

_POLL_SECONDS = 0.5  # our choice: frequent enough for the progress bar, and little load
_TOKEN_LIFE = timedelta(days=1)
# Per segment, of the magnitude of public price lists; our choice, so that the preview shows a cost.
_SMS_PRICES = {"us": "0.008 USD", "gb": "0.05 USD", "tw": "0.06 USD", "cn": "0.04 USD", "": "0.06 USD"}


_LOOPBACK = ("127.0.0.0/8", "::1/128")  # RFC 1122 section 3.2.1.3, RFC 4291 section 2.5.3: a developer's own receiver


@dataclass(frozen=True, slots=True)
class DemoOptions:
    """The command's options. ``wait_seconds`` limits the wait for end states."""

    once: bool
    as_json: bool
    wait_seconds: float


@dataclass(slots=True)
class Demo:
    """One run."""

    settings: Settings
    options: DemoOptions
    rows: Sequence[PortfolioRow | RowError]
    since: Before
    stop: asyncio.Event
    complete: bool = False
    _made: Path = field(init=False)
    _access: DemoAccess = field(init=False, repr=False)
    _running: dict[str, Any] = field(init=False, repr=False)  # demo.json

    def __post_init__(self) -> None:
        self._made = self.settings.data_dir / "demo.json"

    async def run(self) -> bool:
        """Serve, send and show the results, until stopped or once. Returns whether everything settled in time."""
        try:
            await serving.serve(self.settings, api=True, worker=True, ready=self._ready, stop=self.stop)
        finally:
            self._made.unlink(missing_ok=True)
        return self.complete

    async def _ready(self, gateway: Gateway) -> None:
        await _unless(self.stop, self._show(gateway))
        if self.options.once:
            self.stop.set()

    async def _show(self, gateway: Gateway) -> None:
        target = await self._announce(gateway)
        await preparation.record_consents(gateway, TENANT, self.rows)
        simulators = gateway.providers.simulators
        approvals = TemplateApprovals(gateway, simulators, TENANT) if simulators is not None else None
        if approvals is not None:
            await approvals.prepare(self.rows)
        started = time.monotonic()
        tally = await _send(self.rows, target)
        console.tally(tally)
        self.complete = await self._settle(gateway)
        result = await self._result(gateway, tally, time.monotonic() - started)
        _tables(result)
        if self.options.as_json:
            typer.echo(json.dumps(result, ensure_ascii=False))
        if not self.options.once:
            await self._how_to_go_on(gateway)
            if approvals is not None:
                await approvals.follow()

    async def _announce(self, gateway: Gateway) -> ApiTarget:
        """Write demo.json for scripts."""
        settings, now = gateway.ledger.settings, gateway.ledger.clock()
        self._access = await access.grant(gateway, settings.data_dir)
        url = f"http://{settings.host}:{settings.port}"
        borrower = next(filter(None, (_reader_of(row) for row in self.rows if isinstance(row, PortfolioRow))), "")
        token = gateway.ledger.signer.borrower_token(TENANT, borrower, now + _TOKEN_LIFE) if borrower else ""
        users = [email for email, *_ in access.PEOPLE]
        editor = {"url": f"{url}/editor", "users": users, "password": self._access.password}
        key = self._access.api_key
        self._running = {"url": url, "api_key": key, "borrower_token": token, "editor": editor, "pid": os.getpid()}
        _write_private(self._made, self._running)
        console.STDERR.print(f"gateway: up at {url}, its clock at {now:%Y-%m-%d %H:%M} UTC")
        return ApiTarget(url, key)

    async def _how_to_go_on(self, gateway: Gateway) -> None:
        first = await outcome.first_sent(gateway.ledger.database, TENANT)
        notification, borrower = first or ("", "")
        shown = links.lines(
            self._running["url"],
            self._access,
            borrower=borrower,
            notification=notification,
            feed_token=self._running["borrower_token"],
            metrics_port=gateway.ledger.settings.metrics_port or 0,
        )
        for line in ("", *shown):
            console.STDERR.print(line, markup=False, soft_wrap=True)

    async def _settle(self, gateway: Gateway) -> bool:
        deadline = time.monotonic() + self.options.wait_seconds
        remaining = await outcome.unsettled(gateway.ledger.database, TENANT, gateway.ledger.clock())
        with console.progress() as bar:
            task = bar.add_task("settled", total=remaining)
            most = remaining
            while remaining and time.monotonic() < deadline:
                await asyncio.sleep(_POLL_SECONDS)
                remaining = await outcome.unsettled(gateway.ledger.database, TENANT, gateway.ledger.clock())
                most = max(most, remaining)
                bar.update(task, completed=most - remaining, total=most)
        if remaining:
            console.STDERR.print(f"gateway: {remaining} are still under way after {self.options.wait_seconds:.0f} s")
        return not remaining

    async def _result(self, gateway: Gateway, tally: Tally, seconds: float) -> dict[str, Any]:
        summary = await gateway.ledger.reads.summary(TENANT)
        messages, duplicates = await outcome.received(gateway.providers.simulators, gateway.ledger.database, self.since)
        return {
            "requests": tally.requests,
            "accepted": tally.accepted,
            "replayed": tally.replayed,
            "rejected": tally.rejected,
            "states": summary["states"],
            "reasons": summary["reasons"],
            "deliveries": summary["deliveries"],
            "messages": messages,
            "duplicates": duplicates,
            "seconds": round(seconds, 3),
        }


async def demo(
    settings: Settings, file: Path, mapping_file: Path | None, options: DemoOptions, stop: asyncio.Event
) -> bool:
    """Everything that ``gateway demo`` does. Raises PortfolioError, MappingError, CannotStart, CallFailed."""
    if not settings.embedded:
        raise CannotStart(
            "the demo works with the embedded default only: unset GATEWAY_DATABASE_URL, GATEWAY_REDIS_URL"
        )
    # The whole file is read first, so that the measured time excludes parsing, which shares this process.
    rows = list(files.read(file, mapping.load(mapping_file) if mapping_file else None))
    async with open_ledger(settings) as ledger:
        since = await outcome.before(ledger.database)
    if not settings.at:
        at = clock.demo_time(since.last)
        settings = settings.model_copy(update={"at": at.isoformat()})
    if not settings.webhook_networks:
        settings = settings.model_copy(update={"webhook_networks": list(_LOOPBACK)})
    if not settings.sms_prices:
        settings = settings.model_copy(update={"sms_prices": _SMS_PRICES})
    with open_private(settings.data_dir / "gateway.log", "a", "utf-8") as log:
        logs.configure(settings.log_level, stream=log)
        return await Demo(settings, options, rows, since, stop).run()


async def _send(rows: Sequence[PortfolioRow | RowError], target: ApiTarget) -> Tally:
    with console.progress() as bar:
        task = bar.add_task("sent", total=len(rows))
        options = sender.SendOptions(rows_done=lambda number: bar.advance(task, number), bad_row=console.bad_row)
        return await sender.send(rows, target, options)


async def _unless(stop: asyncio.Event, work: Coroutine[Any, Any, None]) -> None:
    """Do ``work`` to its end, or until ``stop`` is set."""
    doing = asyncio.ensure_future(work)
    stopping = asyncio.ensure_future(stop.wait())
    try:
        await asyncio.wait({doing, stopping}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        stopping.cancel()
        doing.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await doing


def _reader_of(row: PortfolioRow) -> str:
    """The in-app feed of a row that starts with this channel; "" for others."""
    borrower, route = row.request.get("borrower"), row.request.get("route")
    first = route[0] if isinstance(route, list) and route else None
    channel = first.get("channel") if isinstance(first, dict) else first
    addresses = borrower.get("addresses") if isinstance(borrower, dict) else None
    return str(addresses.get("inapp", "")) if channel == "inapp" and isinstance(addresses, dict) else ""


def _write_private(path: Path, content: Any) -> None:
    """Write a file that only the owner can read."""
    path.unlink(missing_ok=True)
    with open_private(path, "x", "utf-8") as file:
        json.dump(content, file)


def _tables(result: dict[str, Any]) -> None:
    show = console.STDERR.print
    show(console.counts("notifications", ("state", "number"), result["states"]))
    # A receipt's own reason, and none for messages in the feed, are no answer to it.
    reasons = {reason: number for reason, number in result["reasons"].items() if reason != "delivered"}
    show(console.counts("not sent, or not delivered, because", ("reason", "number"), reasons))
    per_channel = [
        (channel, state, number)
        for channel, states in result["deliveries"].items()
        for state, number in sorted(states.items())
    ]
    show(console.table("deliveries", ("channel", "state", "number"), per_channel))
    arrived = [*result["messages"].items(), ("duplicates", result["duplicates"])]
    show(console.table("arrived at the receiving side in this run", ("channel", "messages"), arrived))
    show(f"{result['seconds']:.1f} s from the first request to the last end state")
