"""The restore drill: messages sent after the backup are not sent again after the restore.

A gateway runs on the embedded default in a directory of its own. It sends some reminders; others are accepted and
paused. A backup is taken; then the others are sent as well, and the ledger is lost. Restored into an empty directory,
with the outside world remembering what it received, the gateway is started again, and second copies are counted.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_GATEWAY = [sys.executable, "-c", "from gateway.cli import app; app()"]
_AT = "2026-11-24T10:00:00+08:00"  # within permitted hours in Taipei
_EACH = 10  # reminders before the backup, and after it
_PATIENCE = 300.0
_WATCHED = 6.0  # seconds in which a restored gateway would send: its due scanner runs twice a second


def _port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def run_command(arguments: Sequence[str], environment: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    """``gateway ARGUMENTS…`` to its end."""
    return subprocess.run([*_GATEWAY, *arguments], env=environment, capture_output=True, text=True, check=False)


def start_process(arguments: Sequence[str], environment: Mapping[str, str], log: Path) -> subprocess.Popen[bytes]:
    """``gateway ARGUMENTS…`` as a process; what it says is added to ``log``."""
    with log.open("ab") as file:
        return subprocess.Popen([*_GATEWAY, *arguments], env=environment, stdout=file, stderr=file)


@dataclass
class Site:
    """One data directory, the gateway on it, and a key for it."""

    folder: Path
    port: int
    key: str = ""

    def run(self, *arguments: str) -> str:
        """Run one command of the gateway; its output. A failure ends the drill."""
        environment = {
            **os.environ,
            "GATEWAY_DATA_DIR": str(self.folder),
            "GATEWAY_URL": f"http://127.0.0.1:{self.port}",
            "GATEWAY_API_KEY": self.key,
        }
        done = run_command(arguments, environment)
        if done.returncode:
            raise SystemExit(f"gateway {' '.join(arguments)}: {done.stderr.strip()}")
        return done.stdout.strip()

    @contextmanager
    def serving(self) -> Iterator[subprocess.Popen[bytes]]:
        """A running gateway, until the block ends or the process is killed."""
        environment = {
            **os.environ,
            "GATEWAY_DATA_DIR": str(self.folder),
            "GATEWAY_PORT": str(self.port),
            "GATEWAY_AT": _AT,
            "GATEWAY_RELEASES_PER_SECOND": "0",
        }
        process = start_process(["serve"], environment, self.folder / "gateway.log")
        try:
            self._until_ready(process)
            yield process
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
                process.wait(_PATIENCE)

    def _until_ready(self, process: subprocess.Popen[bytes]) -> None:
        end = time.monotonic() + _PATIENCE
        while time.monotonic() < end and process.poll() is None:
            try:
                self.call("GET", "/healthz")
            except (urllib.error.URLError, OSError):
                time.sleep(0.1)
            else:
                return
        raise SystemExit(f"the gateway did not come up: see {self.folder}/gateway.log")

    def call(self, method: str, path: str, body: Any = None) -> Any:
        """One API request."""
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}{path}",
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Authorization": f"Bearer {self.key}", "Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=10) as answer:
            return json.loads(answer.read())

    def send(self, first: int) -> None:
        """Post reminders with these numbers."""
        self.call("POST", "/v1/notifications/batch", {"notifications": [_request(first + n) for n in range(_EACH)]})

    def received(self) -> Counter[str]:
        """How often the simulated provider received each delivery, over all restarts."""
        seen = self.folder / "simulation" / "sms-received.log"
        lines = seen.read_text().splitlines() if seen.exists() else []
        return Counter(line[2:] for line in lines if line.startswith("+"))

    def until_received(self, number: int) -> None:
        end = time.monotonic() + _PATIENCE
        while len(self.received()) < number:
            if time.monotonic() > end:
                raise SystemExit(f"only {len(self.received())} of {number} messages arrived")
            time.sleep(0.1)


def _request(number: int) -> dict[str, Any]:
    return {
        "borrower": {
            "id": f"B-{number}",
            "name": "Chen Mei",
            "locale": "zh-TW",
            "jurisdiction": "tw",
            "time_zones": ["Asia/Taipei"],
            "addresses": {"sms": f"+120255501{number:02d}"},
        },
        "case": {"id": f"C-{number}", "product": "card", "due_date": "2026-11-01", "stage": "first_reminder"},
        "template": "overdue-first",
        "variables": {"amount": "3913.00", "currency": "TWD", "due_date": "2026-11-01"},
        "route": ["sms"],
    }


def _before(site: Site, backup: Path) -> None:
    """Send some reminders while others wait; back up; send the others; kill the process."""
    with site.serving() as process:
        scopes = [part for scope in ("send", "read", "manage", "platform") for part in ("--scope", scope)]
        site.key = json.loads(site.run("key", "create", "--tenant", "acme", "--json", *scopes))["key"]
        site.send(0)
        site.until_received(_EACH)
        site.run("pause", "all", "--reason", "drill")
        site.send(_EACH)
        site.run("ledger", "backup", str(backup))
        _say(f"{_EACH} sent, {_EACH} accepted and waiting; backup taken")
        (switch,) = json.loads(site.run("controls", "--json"))
        site.run("resume", switch["id"])
        site.until_received(2 * _EACH)
        process.kill()
        process.wait()
    _say(f"{_EACH} more sent after the backup; then the ledger is lost")


def _restored(lost: Site, backup: Path, folder: Path, *, quarantine: bool) -> Site:
    """An empty data directory with the same key and the same simulators, and the ledger restored into it."""
    shutil.copyfile(lost.folder / "secret.key", folder / "secret.key")
    (folder / "secret.key").chmod(0o600)
    shutil.copytree(lost.folder / "simulation", folder / "simulation")
    site = Site(folder, _port(), lost.key)
    if quarantine:
        site.run("ledger", "restore", str(backup))
    else:
        shutil.copyfile(backup / "ledger.db", folder / "ledger.db")
    _say("restored" + ("" if quarantine else ", and nothing held"))
    return site


def _after(site: Site, *, quarantine: bool) -> int:
    """Start again; how many messages were sent twice, also after everything was resumed and reviewed."""
    with site.serving():
        time.sleep(_WATCHED)
        if quarantine:
            waiting = json.loads(site.run("review", "list", "--filter-reason", "restored", "--json"))
            _say(f"{len(waiting)} wait for review, {_copies(site)} second copies so far")
            for switch in json.loads(site.run("controls", "--json")):
                site.run("resume", switch["id"])
            time.sleep(_WATCHED / 2)
            known = site.received()
            sent = [each for each in waiting if each["id"] in known]
            for each in sent:
                site.call("POST", f"/v1/reviews/{each['id']}/refuse", {"reason": "the provider shows it as sent"})
            _say(f"resumed; {len(sent)} of them are with the provider, and refused")
            site.send(2 * _EACH)
            site.until_received(3 * _EACH)
            _say(f"{_EACH} new ones sent: business goes on")
        site.run("ledger", "verify")
    return _copies(site)


def _copies(site: Site) -> int:
    return sum(number - 1 for number in site.received().values())


def _say(line: str) -> None:
    print(f"  {line}", flush=True)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the drill with these arguments (None: the command line's). Exit status 1 if a message was sent twice."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--without-quarantine", action="store_true", help="restore by copying the file: this fails")
    options = parser.parse_args(arguments)
    quarantine = not options.without_quarantine
    began = time.monotonic()
    with (
        tempfile.TemporaryDirectory(prefix="gw-", dir="/tmp") as first,
        tempfile.TemporaryDirectory(prefix="gw-") as then,
    ):
        lost, backup = Site(Path(first), _port()), Path(first) / "backup"
        _before(lost, backup)
        restored = _restored(lost, backup, Path(then), quarantine=quarantine)
        copies = _after(restored, quarantine=quarantine)
        received = len(restored.received())
    print(f"{received} borrowers were written to, {copies} of them twice; {time.monotonic() - began:.0f} s")
    sys.exit(1 if copies else 0)


if __name__ == "__main__":
    main()
