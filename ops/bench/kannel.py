"""Kannel, a native SMS gateway in C: how fast its smsbox and bearerbox hand messages to the same fake provider.

Runs Debian's programs as whoever we are, with a configuration of our own; its services are not touched. Its queue is
in memory here, so unlike the gateway it has nothing on disk before it says yes.
"""

from __future__ import annotations

import shutil
import time
from pathlib import Path

import machine
from measuring import Measurement, Missing, of_times
from shape import outside, workspace

_CONFIGURATION = """
group = core
admin-port = {admin}
admin-password = bench
smsbox-port = {box}
log-level = 4
log-file = "{folder}/bearerbox.txt"
access-log = "{folder}/access.txt"
box-allow-ip = "127.0.0.1"

group = smsc
smsc = http
system-type = generic
smsc-id = bench
port = {incoming}
connect-allow-ip = 127.0.0.1
send-url = "http://127.0.0.1:{provider}/send?to=%P&text=%b"
status-success-regex = "sent"
max-pending-submits = 50

group = smsbox
bearerbox-host = 127.0.0.1
sendsms-port = {sendsms}
log-level = 4
log-file = "{folder}/smsbox.txt"
access-log = "{folder}/smsbox-access.txt"

group = sendsms-user
username = bench
password = bench
concatenation = true
max-messages = 5
"""
_CONNECTIONS = 32
_SECONDS = 60.0


def measure(count: int) -> Measurement:
    """Push messages through its HTTP interface as fast as it takes them. Raises Missing."""
    bearerbox, smsbox = _program("bearerbox"), _program("smsbox")
    with workspace() as folder, outside(folder) as world:
        ports = {name: machine.free_port() for name in ("admin", "box", "incoming", "sendsms")}
        configuration = folder / "kannel.conf"
        configuration.write_text(_CONFIGURATION.format(folder=folder, provider=world.http_port, **ports))
        first = machine.start([bearerbox, str(configuration)], folder / "b.log", on=machine.MEASURED)
        try:
            machine.wait_for_port(ports["box"], first)
            second = machine.start([smsbox, str(configuration)], folder / "s.log", on=machine.MEASURED)
            try:
                machine.wait_for_port(ports["sendsms"], second)
                seconds = max(4.0, count / 1000)
                machine.load(
                    port=ports["sendsms"],
                    path="/cgi-bin/sendsms",
                    key="",
                    connections=_CONNECTIONS,
                    first=0,
                    warm_up=0,
                    rounds=1,
                    seconds=seconds,
                    dialect="kannel",
                )
                _settle(world)
                times = world.seen()["times"]
                if len(times) < 100:
                    raise Missing(f"Kannel handed over {len(times)} messages only")
                return of_times(times)
            finally:
                second.stop()
        except RuntimeError as error:
            raise Missing(f"Kannel does not start: {error}") from error
        finally:
            first.stop()


def _settle(world: object) -> None:
    """Wait until nothing more comes."""
    before, until = -1, time.monotonic() + _SECONDS
    while time.monotonic() < until:
        now = world.count()  # type: ignore[attr-defined]
        if now == before:
            return
        before = now
        time.sleep(1.0)


def _program(name: str) -> str:
    for folder in ("/usr/sbin", "/usr/lib/kannel"):
        if (Path(folder) / name).exists():
            return str(Path(folder) / name)
    found = shutil.which(name)
    if found is None:
        raise Missing("Kannel is not installed (Debian: apt install kannel)")
    return found
