"""Logs, metrics, traces, queue, URLs and error pages have no personal data.

A whole gateway with simulated providers gets marked names, numbers, addresses and texts: all channels and outcomes,
replies, bounces, reports, invalid requests and injected faults. Then all output outside of the ledger is searched for
the marks.
"""

from __future__ import annotations

import asyncio
import io
import json
import logging
import re
import secrets
import smtplib
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from shutil import rmtree
from typing import Any
from urllib.parse import unquote_plus, urlencode

import aiohttp
import structlog
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from sqlalchemy import text, update
from twilio.request_validator import RequestValidator

from gateway.app import serving
from gateway.app.app import Gateway
from gateway.app.embedded import simulated_providers
from gateway.app.embedded.simulated_providers import SimulatedProviders
from gateway.app.settings import Settings
from gateway.observability import logs, tracing
from gateway.queue.connection import connect
from gateway.storage.tables.path import deliveries, notifications
from tests.support.production import free_port
from tests.support.providers.mails import COMPLAINT
from tests.support.waiting import LIMIT_SECONDS

AT = "2026-11-24T10:00:00+08:00"
ACCOUNT = "AC" + "0" * 32
# Each is unlike anything that the gateway itself would write, and the number is reserved for fiction.
NAME, NUMBER, MAILBOX, AMOUNT, NOTE, WORDS = "Quillfeather", "9075550", "quokka", "8642.97", "wombat", "narwhal"
MARKS = re.compile("|".join((NAME, NUMBER, MAILBOX, re.escape(AMOUNT), "8,642", NOTE, WORDS)), re.IGNORECASE)
_REQUEST_LINE = re.compile(rb"(?:GET|POST|PUT|DELETE) (\S+) HTTP/1\.1\r\n")


@dataclass
class Wire:
    """A relay in front of a server, which keeps the request lines that pass through it."""

    upstream: int = 0
    port: int = 0
    lines: list[str] = field(default_factory=list)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        above, below = await asyncio.open_connection("127.0.0.1", self.upstream)

        async def pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter, keep: bool) -> None:
            with suppress(OSError):
                while chunk := await source.read(65_536):
                    if keep:
                        self.lines += [unquote_plus(each.decode()) for each in _REQUEST_LINE.findall(chunk)]
                    sink.write(chunk)
                    await sink.drain()
            sink.close()

        await asyncio.gather(pump(reader, below, True), pump(above, writer, False))

    @asynccontextmanager
    async def open(self) -> AsyncIterator[Wire]:
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        yield self
        server.close()


@dataclass
class Watched:
    """A gateway that is up, with everything that it writes down but for the ledger."""

    gateway: Gateway
    http: aiohttp.ClientSession
    key: str
    sms: Wire
    api: Wire
    mail_port: int
    log: io.StringIO
    spans: InMemorySpanExporter
    commands: list[str] = field(default_factory=list)
    pages: list[str] = field(default_factory=list)

    async def call(self, method: str, path: str, **options: Any) -> tuple[int, str]:
        """A request of the case system's; what is answered as an error is kept."""
        headers = {"Authorization": f"Bearer {self.key}", **options.pop("headers", {})}
        url = f"http://127.0.0.1:{self.api.port}{path}"
        async with self.http.request(method, url, headers=headers, **options) as response:
            body = await response.text()
            if response.status >= 400:
                self.pages.append(f"{path}: {response.status} {body} {dict(response.headers)}")
            return response.status, body

    async def send(self, number: int, route: list[Any], **changes: Any) -> tuple[int, str]:
        return await self.call("POST", "/v1/notifications", json={**_request(number, route), **changes})


def _request(number: int, route: list[Any], mail: str = "") -> dict[str, Any]:
    return {
        "borrower": {
            "id": f"B-{number}",
            "name": f"Ada {NAME}",
            "locale": "en",
            "jurisdiction": "tw",
            "time_zones": ["Asia/Taipei"],
            "addresses": {
                "sms": f"+1{NUMBER}1{number:02d}",
                "email": f"{mail or 'b'}+{MAILBOX}{number}@example.com",
                "inapp": f"B-{number}",
            },
        },
        "case": {"id": f"C-{number}", "product": "card", "due_date": "2026-11-01", "stage": "first_reminder"},
        "template": "overdue-first",
        "variables": {"amount": AMOUNT, "currency": "TWD", "due_date": "2026-11-01"},
        "metadata": {"note": NOTE},
        "route": route,
    }


@asynccontextmanager
async def _watched() -> AsyncIterator[Watched]:
    folder = Path(tempfile.mkdtemp(prefix="gw-"))  # short: the embedded Valkey's socket is in it
    log, spans = io.StringIO(), InMemorySpanExporter()
    root = logging.getLogger()
    before = root.handlers[:], root.level, logging.raiseExceptions
    logs.configure("DEBUG", stream=log)
    tracing.configure("", 1.0, "test", exporter=spans)
    try:
        async with Wire().open() as sms, Wire(free_port()).open() as api:
            outside = await _outside(api, folder)
            sms.upstream = outside.sms_port
            mail_port = free_port()
            settings = _settings(folder, sms, api, outside, mail_port)
            async with _served(settings) as gateway, aiohttp.ClientSession() as http:
                _, key = await gateway.ledger.keys.create(
                    "acme", "test", ["send", "read", "manage"], gateway.ledger.clock()
                )
                watched = Watched(gateway, http, key, sms, api, mail_port, log, spans)
                async with _monitored(gateway, watched.commands):
                    yield watched
            await outside.stop()
    finally:
        tracing.shut_down()
        root.handlers, root.level, logging.raiseExceptions = before
        logging.captureWarnings(False)
        structlog.reset_defaults()
        rmtree(folder, ignore_errors=True)


async def _outside(api: Wire, folder: Path) -> SimulatedProviders:
    offset = (datetime.fromisoformat(AT) - datetime.now(UTC)).total_seconds()
    return await simulated_providers.start(
        [
            *("--account-sid", ACCOUNT, "--token-env", "SIM_SMS", f"--clock-offset={offset:.6f}"),
            *("--dsn-url", f"http://127.0.0.1:{api.port}/v1/receipts/mail", "--dsn-token-env", "SIM_MAIL"),
        ],
        {"SIM_SMS": "sms-token", "SIM_MAIL": "mail-token"},
        folder / "world.log",
    )


def _settings(folder: Path, sms: Wire, api: Wire, outside: SimulatedProviders, mail_port: int) -> Settings:
    twilio = {
        "account_sid": ACCOUNT,
        "auth_token": "sms-token",
        "from_number": "+15005550006",
        "base_url": f"http://127.0.0.1:{sms.port}",
        "timeout_seconds": 1,
        "lookup_settle_seconds": 1,
    }
    mail = {
        "host": "127.0.0.1",
        "port": outside.smtp_port,
        "tls": "none",
        "domain": "gateway.example.com",
        "from_address": "reminders@gateway.example.com",
        "callback_token": "mail-token",
        "listen_port": mail_port,
    }
    return Settings(
        data_dir=folder,
        port=api.upstream,
        public_url=f"http://127.0.0.1:{api.port}",
        at=AT,
        time_scale=3600,
        unknown_grace_seconds=0.5,
        providers=[
            {"channel": "sms", "kind": "twilio", "name": "sms", "options": twilio},
            {"channel": "email", "kind": "smtp", "name": "mail", "options": mail},
        ],
    )


@asynccontextmanager
async def _served(settings: Settings) -> AsyncIterator[Gateway]:
    stop, ready = asyncio.Event(), asyncio.get_running_loop().create_future()

    async def announce(gateway: Gateway) -> None:
        ready.set_result(gateway)

    running = asyncio.create_task(serving.serve(settings, api=True, worker=True, ready=announce, stop=stop))
    await asyncio.wait({running, ready}, return_when=asyncio.FIRST_COMPLETED)
    if not ready.done():
        await running
    yield ready.result()
    stop.set()
    await running


@asynccontextmanager
async def _monitored(gateway: Gateway, commands: list[str]) -> AsyncIterator[None]:
    """Every command that Valkey gets, with its arguments."""
    redis = connect(gateway.redis.url)

    async def listen() -> None:
        async with redis.monitor() as monitor:
            async for command in monitor.listen():
                commands.append(str(command["command"]))

    listening = asyncio.create_task(listen())
    await asyncio.sleep(0.1)
    yield
    listening.cancel()
    await asyncio.gather(listening, return_exceptions=True)
    await redis.aclose()


async def _until_at_rest(watched: Watched) -> None:
    async with asyncio.timeout(LIMIT_SECONDS):
        while True:
            found = json.loads((await watched.call("GET", "/v1/notifications?limit=200"))[1])["notifications"]
            if not {each["state"] for each in found} & {"accepted", "sending", "retrying", "unknown"}:
                return
            await asyncio.sleep(0.2)


async def _all_outcomes(watched: Watched) -> None:
    """Every ending that the simulated provider and the mail server have, on three channels."""
    for number in (0, 90, 91, 93, 94, 95, 96, 97, 98, 99):
        assert (await watched.send(number, ["sms"]))[0] == 202
    for number, magic in enumerate(("", "bounce", "full", "dsnfail", "drop", "silent"), start=20):
        assert (await watched.call("POST", "/v1/notifications", json=_request(number, ["email"], magic)))[0] == 202
    assert (await watched.send(40, ["inapp", "sms"]))[0] == 202
    await _until_at_rest(watched)


async def _bad_requests(watched: Watched) -> None:
    """What a case system gets wrong, with a borrower's data in the very place."""
    good = _request(50, ["sms"])
    person = good["borrower"]
    wrong: list[Any] = [
        {**good, "borrower": {**person, "name": [NAME]}},
        {**good, "borrower": {**person, "name": NAME * 200}},
        {**good, "borrower": {**person, "addresses": {"sms": f"{NUMBER}x", "email": f"{MAILBOX}@@"}}},
        {**good, "borrower": {**person, "time_zones": [NAME]}},
        {**good, "borrower": {**person, "locale": NAME, "jurisdiction": NAME}},
        {**good, "variables": {"amount": NOTE, "currency": WORDS}},
        {**good, "template": WORDS},
        {**good, "route": [NAME]},
        {**good, "case": {**good["case"], "due_date": NOTE}},
        {**good, "send_at": WORDS},
        [good],
        NAME,
    ]
    for body in wrong:
        assert (await watched.call("POST", "/v1/notifications", json=body))[0] in (400, 422)
        await watched.call("POST", "/v1/decisions", json=body)
    await watched.call("POST", "/v1/notifications/batch", json={"notifications": wrong})
    for raw in (f'{{"borrower": {{"name": "{NAME}', f'"{NUMBER}"'.encode("utf-16"), f"name={NAME}"):
        assert (await watched.call("POST", "/v1/notifications", data=raw))[0] in (400, 415, 422)
    opt_out = {"channel": "sms", "address": f"{NUMBER} {NAME}", "source": WORDS}
    assert (await watched.call("POST", "/v1/borrowers/B-1/opt-outs", json=opt_out))[0] == 422
    assert (await watched.call("POST", "/v1/suppressions", json={"channel": "email", "address": NAME}))[0] == 422
    assert (await watched.call("PUT", f"/v1/borrowers/B-1/holds/{secrets.token_hex(4)}", json={"reason": NOTE}))[
        0
    ] >= 400
    assert (await watched.call("POST", "/v1/notifications", headers={"Authorization": f"Bearer {NAME}"}))[0] == 401


async def _what_comes_back(watched: Watched) -> None:
    """Replies and mail, in order and out of it."""
    url = f"http://127.0.0.1:{watched.api.port}/v1/inbound/sms"
    for body in (f"{WORDS} STOP {NAME}", f"{WORDS}, who is this?"):
        form = {
            "MessageSid": "SM" + secrets.token_hex(16),
            "From": f"+1{NUMBER}100",
            "To": "+15005550006",
            "Body": body,
        }
        signature = RequestValidator("sms-token").compute_signature(url, form)
        headers = {"X-Twilio-Signature": signature, "Content-Type": "application/x-www-form-urlencoded"}
        assert (await watched.call("POST", "/v1/inbound/sms", data=urlencode(form), headers=headers))[0] == 200
        assert (await watched.call("POST", "/v1/inbound/sms", data=urlencode(form)))[0] == 403
    report = COMPLAINT.format(kind="abuse", field=f"Original-Rcpt-To: {MAILBOX}@example.com", original=f"To: {NAME}")
    for content in (report, f"Subject: {NAME}\n\n{WORDS}", WORDS):
        mail = {"data": content.encode(), "headers": {"Authorization": "Bearer mail-token"}}
        await watched.call("POST", "/v1/receipts/mail", **mail)
    await asyncio.to_thread(_mail_to_the_listener, watched.mail_port)


def _mail_to_the_listener(port: int) -> None:
    for recipient in (f"{MAILBOX}@example.com", f"bounce+{MAILBOX}@gateway.example.com"):
        with smtplib.SMTP("127.0.0.1", port, timeout=5) as client, suppress(smtplib.SMTPException):
            client.sendmail(f"{MAILBOX}@example.com", [recipient], f"Subject: {NAME}\n\n{WORDS}")


async def _faults(watched: Watched) -> None:
    """Exceptions of our own code and of the database's driver, each with a borrower's data in its hands."""
    database = watched.gateway.ledger.database
    _, answer = await watched.send(60, ["sms"], send_at="2026-11-24T12:00:00+08:00")
    broken = json.loads(answer)["id"]
    damage = update(notifications).where(notifications.c.id == broken).values(body=f'{{"borrower": "{NAME} {NUMBER}"}}')
    due = update(deliveries).where(deliveries.c.notification_id == broken).values(due_at=watched.gateway.ledger.clock())
    await database.write(lambda connection: (connection.execute(damage), connection.execute(due)))
    await asyncio.sleep(1)  # the relay triggers it, and dispatching it fails
    assert (await watched.call("GET", f"/v1/notifications/{broken}"))[0] == 500
    gone = due.values(due_at=None)
    await database.write(lambda connection: connection.execute(gone))
    await database.write(lambda connection: connection.execute(text("ALTER TABLE events RENAME TO elsewhere")))
    assert (await watched.send(61, ["sms"]))[0] == 503
    await database.write(lambda connection: connection.execute(text("ALTER TABLE elsewhere RENAME TO events")))
    logging.getLogger("some.library").warning("could not send to %s", f"+1{NUMBER}100")
    logging.getLogger("asyncio").error("exception of %s", NAME, exc_info=ValueError(NAME))


async def test_nothing_personal_is_written_down_outside_of_the_ledger(capfd: Any) -> None:
    """Marked names, numbers, addresses, amounts and words are in no log, metric, trace, job, URL or error page."""
    async with _watched() as watched:
        await _all_outcomes(watched)
        await _bad_requests(watched)
        await _what_comes_back(watched)
        await _faults(watched)
        metrics = watched.gateway.path.metrics.render()[0].decode()
        files = {
            path.name: path.read_text("utf-8", "replace")
            for path in watched.gateway.ledger.settings.data_dir.glob("*.log")
        }
    printed = capfd.readouterr()
    # Twilio finds a message by its number, and has no way to ask but this: the one address line with a number in it,
    # and only of the messages whose outcome nobody knows.
    found_by_number = [each for each in watched.sms.lines if "Messages.json?" in each]
    written = {
        "log": watched.log.getvalue(),
        "metrics": metrics,
        "traces": "\n".join(each.to_json() for each in watched.spans.get_finished_spans()),
        "commands to Valkey": "\n".join(watched.commands),
        "address lines at the provider": "\n".join(set(watched.sms.lines) - set(found_by_number)),
        "address lines here": "\n".join(watched.api.lines),
        "error pages": "\n".join(watched.pages),
        "printed": printed.out + printed.err,
        **files,
    }
    for place, content in written.items():
        found = [line for line in content.splitlines() if MARKS.search(line)]
        assert not found, f"{place}: {found[:5]}"
    assert all(json.loads(line)["event"] for line in watched.log.getvalue().splitlines())
    _was_looked_at(written)
    assert found_by_number, "no message of unknown outcome was looked up, so this test has missed that path"


def _was_looked_at(written: dict[str, str]) -> None:
    """What was searched holds what it should, so that finding nothing means something."""
    for place, expected in {
        "log": '"dispatch failed"',
        "metrics": "gateway_attempts_total",
        "traces": '"gateway.outcome"',
        "commands to Valkey": "dispatch.v1",
        "address lines at the provider": "/Messages.json",
        "address lines here": "/v1/receipts/sms?ref=dlv_",
        "error pages": "/problems/invalid_request",
    }.items():
        assert expected in written[place], f"{place}: {written[place][:300]}"
    events = {json.loads(line)["event"] for line in written["log"].splitlines()}
    assert events >= {"accepted", "attempted", "received", "replied", "answered", "request_failed"}
