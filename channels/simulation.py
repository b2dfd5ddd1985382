"""Runs the simulated providers in one process: an SMS provider, a mail server, WhatsApp and LINE.

    python -m channels.simulation --account-sid AC… --token-env NAME [--dsn-url URL --dsn-token-env NAME]
        [--receipts-url URL --social-secret-env NAME]

Owns the process: its ports, its readiness line, its end. Must not know the gateway. Prints one JSON line when it is
ready: ``{"sms_port", "smtp_port", "control_port", "pid"}``, and ``"social_ports"`` by channel, which are there where
their secret is given. On the control port, ``GET /_simulator/summary`` returns the counts by channel, and ``POST
/_simulator/templates/CHANNEL`` submits a provider's template (``{"reference", "language", "text"}``), which is
approved. Ends on SIGTERM or SIGINT, and on Linux when its parent process ends.
"""

from __future__ import annotations

import argparse
import asyncio
import ctypes
import json
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Protocol

from aiohttp import web

from channels.email.sink import SmtpSink
from channels.line.simulator import LineSimulator
from channels.options import Clock
from channels.received import Received
from channels.sms.simulator import SmsSimulator
from channels.whatsapp.simulator import WhatsAppSimulator

_PR_SET_PDEATHSIG = 1  # linux/prctl.h
_MAIL_KEPT = 1000  # messages kept; our choice: enough for an inspection, and bounded while the demo runs


class Simulator(Protocol):
    """What the simulated providers have in common."""

    port: int
    received: Received

    async def start(self) -> None:
        """Listen on loopback."""
        ...

    async def stop(self) -> None:
        """Stop listening and cancel what is pending."""
        ...

    def summary(self) -> dict[str, int]:
        """The counts."""
        ...


def main(arguments: Sequence[str] | None = None) -> int:
    """Run until SIGTERM or SIGINT. Returns the exit status."""
    options = _parse(arguments)
    secrets = (options.token_env, options.dsn_token_env, options.social_secret_env)
    missing = [name for name in secrets if name and name not in os.environ]
    if missing:
        print(f"environment variable {missing[0]} is not set", file=sys.stderr)  # noqa: T201 – its parent reads it
        return 2
    if not _die_with_parent(options.parent_pid):
        return 0
    try:
        _run(options)
    except OSError as error:
        print(f"cannot start: {error.strerror or error}", file=sys.stderr)  # noqa: T201 – its parent reads it
        return 1
    return 0


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="channels.simulation", description="The simulated outside world.")
    parser.add_argument("--sms-port", type=int, default=0)
    parser.add_argument("--smtp-port", type=int, default=0)
    parser.add_argument("--control-port", type=int, default=0)
    parser.add_argument("--account-sid", required=True)
    parser.add_argument("--token-env", required=True, help="environment variable with the SMS auth token")
    parser.add_argument("--dsn-url", default="", help="where mail reports are posted; none without it")
    parser.add_argument("--dsn-token-env", default="", help="environment variable with their bearer token")
    parser.add_argument("--receipts-url", default="", help="where /CHANNEL-simulator takes the webhooks of a channel")
    parser.add_argument("--social-secret-env", default="", help="environment variable: their token and signing key")
    parser.add_argument("--whatsapp-sender", default="111", help="the id of its number")
    parser.add_argument("--delay-ms", type=float, default=0, help="before each callback and report")
    parser.add_argument("--slow-ms", type=float, default=5000, help="for the magic slow number")
    parser.add_argument("--clock-offset", type=float, default=0, help="seconds added to this process's clock")
    parser.add_argument("--state-dir", type=Path, help="remember here what was seen, for the next run")
    parser.add_argument("--parent-pid", type=int, default=0, help="end at once if this is not the parent")
    return parser.parse_args(arguments)


def _run(options: argparse.Namespace) -> None:
    try:
        import uvloop
    except ImportError:
        asyncio.run(_serve(options))
    else:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_serve(options))


async def _serve(options: argparse.Namespace) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    offset = timedelta(seconds=options.clock_offset)
    classic = _sms_and_mail(options, lambda: datetime.now(UTC) + offset)
    social = _social(options) if options.social_secret_env else {}
    simulators: Mapping[str, Simulator] = {**classic, **social}
    runner = web.AppRunner(_control(simulators), access_log=None, shutdown_timeout=0.1)
    try:
        for each in simulators.values():
            await each.start()
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", options.control_port).start()
        ports = {"sms_port": simulators["sms"].port, "smtp_port": simulators["email"].port}
        ports |= {"control_port": runner.addresses[0][1], "pid": os.getpid()}
        social_ports = {channel: each.port for channel, each in social.items()}
        print(json.dumps({**ports, "social_ports": social_ports}), flush=True)  # noqa: T201 – its parent reads it
        await stop.wait()
    finally:
        await runner.cleanup()
        for each in simulators.values():
            await each.stop()
            each.received.close()


def _sms_and_mail(options: argparse.Namespace, clock: Clock) -> dict[str, Simulator]:
    sms = SmsSimulator(
        account_sid=options.account_sid,
        auth_token=os.environ[options.token_env],
        clock=clock,
        received=_received(options, "sms"),
        delay_seconds=options.delay_ms / 1000,
        slow_seconds=options.slow_ms / 1000,
        port=options.sms_port,
    )
    email = SmtpSink(
        clock=clock,
        received=_received(options, "email"),
        dsn_url=options.dsn_url,
        dsn_token=os.environ.get(options.dsn_token_env, ""),
        delay_seconds=options.delay_ms / 1000,
        port=options.smtp_port,
        keep_messages=_MAIL_KEPT,
    )
    return {"sms": sms, "email": email}


def _social(options: argparse.Namespace) -> dict[str, Simulator]:
    secret, delay = os.environ[options.social_secret_env], options.delay_ms / 1000

    def webhook(channel: str) -> str:
        return f"{options.receipts_url}/{channel}-simulator" if options.receipts_url else ""

    whatsapp = WhatsAppSimulator(
        options.whatsapp_sender,
        secret,
        secret,
        webhook("whatsapp"),
        _received(options, "whatsapp"),
        delay,
        options.slow_ms / 1000,
    )
    line = LineSimulator(secret, secret, webhook("line"), _received(options, "line"), delay)
    return {"whatsapp": whatsapp, "line": line}


def _received(options: argparse.Namespace, channel: str) -> Received:
    directory: Path | None = options.state_dir
    return Received(directory / f"{channel}-received.log" if directory else None)


def _control(simulators: Mapping[str, Simulator]) -> web.Application:
    async def summary(request: web.Request) -> web.Response:
        return web.json_response({channel: each.summary() for channel, each in simulators.items()})

    async def submit(request: web.Request) -> web.Response:
        simulator, asked = simulators.get(request.match_info["channel"]), await request.json()
        if not isinstance(simulator, WhatsAppSimulator):
            raise web.HTTPNotFound  # the others have no templates of a provider
        simulator.submit_template(asked["reference"], asked["language"], asked["text"])
        return web.json_response({}, status=202)

    app = web.Application()
    app.router.add_get("/_simulator/summary", summary)
    app.router.add_post("/_simulator/templates/{channel}", submit)
    return app


def _die_with_parent(parent: int) -> bool:
    """Make Linux send SIGTERM when the parent ends. Returns False if it has ended already."""
    if sys.platform == "linux":
        with suppress(OSError, AttributeError):
            ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
    # If the parent ended before prctl, another process has adopted this one.
    return not parent or os.getppid() == parent


if __name__ == "__main__":
    sys.exit(main())
