"""Runs the simulated providers in one process: an SMS provider, a mail server, and a summary of received messages.

    python -m channels.simulation --account-sid AC… --token-env NAME [--dsn-url URL --dsn-token-env NAME]

Owns the process: its ports, its readiness line, its end. Must not know the gateway. Prints one JSON line when it is
ready: ``{"sms_port", "smtp_port", "control_port", "pid"}``. ``GET /_simulator/summary`` on the control port returns
the counts. Ends on SIGTERM or SIGINT, and on Linux when its parent process ends.
"""

from __future__ import annotations

import argparse
import asyncio
import ctypes
import json
import os
import signal
import sys
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

from aiohttp import web

from channels.email.sink import SmtpSink
from channels.received import Received
from channels.sms.simulator import SmsSimulator

_PR_SET_PDEATHSIG = 1  # linux/prctl.h
_MAIL_KEPT = 1000  # messages kept; our choice: enough for an inspection, and bounded while the demo runs


def main(arguments: Sequence[str] | None = None) -> int:
    """Run until SIGTERM or SIGINT. Returns the exit status."""
    options = _parse(arguments)
    missing = [name for name in (options.token_env, options.dsn_token_env) if name and name not in os.environ]
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
    sms, email = _build(options)
    runner = web.AppRunner(_control(sms, email), access_log=None, shutdown_timeout=0.1)
    try:
        await sms.start()
        await email.start()
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", options.control_port).start()
        ports = {"sms_port": sms.port, "smtp_port": email.port, "control_port": runner.addresses[0][1]}
        print(json.dumps(ports | {"pid": os.getpid()}), flush=True)  # noqa: T201 – its parent reads it
        await stop.wait()
    finally:
        await runner.cleanup()
        await sms.stop()
        await email.stop()
        sms.received.close()
        email.received.close()


def _build(options: argparse.Namespace) -> tuple[SmsSimulator, SmtpSink]:
    offset = timedelta(seconds=options.clock_offset)

    def clock() -> datetime:
        return datetime.now(UTC) + offset

    directory: Path | None = options.state_dir
    sms = SmsSimulator(
        account_sid=options.account_sid,
        auth_token=os.environ[options.token_env],
        clock=clock,
        received=Received(directory / "sms-received.log" if directory else None),
        delay_seconds=options.delay_ms / 1000,
        slow_seconds=options.slow_ms / 1000,
        port=options.sms_port,
    )
    email = SmtpSink(
        clock=clock,
        received=Received(directory / "email-received.log" if directory else None),
        dsn_url=options.dsn_url,
        dsn_token=os.environ.get(options.dsn_token_env, ""),
        delay_seconds=options.delay_ms / 1000,
        port=options.smtp_port,
        keep_messages=_MAIL_KEPT,
    )
    return sms, email


def _control(sms: SmsSimulator, email: SmtpSink) -> web.Application:
    async def summary(request: web.Request) -> web.Response:
        return web.json_response({"sms": sms.summary(), "email": email.summary()})

    app = web.Application()
    app.router.add_get("/_simulator/summary", summary)
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
