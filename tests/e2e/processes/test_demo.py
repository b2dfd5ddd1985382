"""``gateway demo`` as a process with a portfolio file: stdout, stderr and the data directory."""

from __future__ import annotations

import csv
import json
import os
import signal
import socket
import stat
import subprocess
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from gateway.cli import app
from gateway.core.states import State
from tests.support.forked import ForkedProcess, gateway_command, run_gateway
from tests.support.storage.ledgers import begun, empty_sqlite
from tests.support.waiting import LIMIT_SECONDS, eventually_blocking

ROOT = Path(__file__).parents[3]
SETTLED_SECONDS = 200  # far more than two dozen messages take on a loaded machine


def environment() -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("GATEWAY_")}
    return {**kept, "PYTHONPATH": str(ROOT), "COLUMNS": "120"}


def gateway(*arguments: str, timeout: float = 250) -> subprocess.CompletedProcess[str]:
    """A command in a process of its own."""
    return gateway_command(*arguments, environment=environment(), limit=timeout)


def in_process(*arguments: str) -> subprocess.CompletedProcess[str]:
    """The same command in this process, where only what it says matters: a start takes a second of a core."""
    done = CliRunner(env={"COLUMNS": "120"}).invoke(app, arguments)
    return subprocess.CompletedProcess(arguments, done.exit_code, done.stdout, done.stderr)


@pytest.fixture
def portfolio(tmp_path: Path) -> Path:
    """Two dozen rows of the shipped file (all jurisdictions and channels), a wrong one, and a repeated one."""
    with (ROOT / "ops/demo-portfolio.csv").open(encoding="utf-8", newline="") as file:
        lines = list(csv.reader(file))
    wrong = next(row for row in lines if row[-1].startswith("wrong on purpose"))
    path = tmp_path / "portfolio.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([*lines[:21], *lines[-11:-7], wrong, lines[1]])
    return path


def once(portfolio: Path, data_dir: Path) -> tuple[dict[str, Any], str]:
    if not (data_dir / "ledger.db").exists():
        begun(empty_sqlite(data_dir))
    arguments = ["--once", "--json", "--port", "0", "--file", str(portfolio), "--data-dir", str(data_dir)]
    done = gateway("demo", *arguments, "--wait", str(SETTLED_SECONDS))
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout), done.stderr


def test_a_portfolio_goes_in_and_every_message_comes_out_once(portfolio: Path, short_dir: Path) -> None:
    """One JSON object; sums agree; a second run on the same directory sends nothing again."""
    first, told = once(portfolio, short_dir)
    assert list(first) == [
        "requests",
        "accepted",
        "replayed",
        "rejected",
        "states",
        "reasons",
        "deliveries",
        "messages",
        "duplicates",
        "seconds",
    ]
    counted = (first["requests"], first["accepted"], first["replayed"], first["rejected"], first["duplicates"])
    assert counted == (26, 24, 1, 1, 0)
    assert sum(first["states"].values()) == 24
    assert first["states"].get(State.DELIVERED, 0) > 0
    assert "line 26: variables.amount" in told
    for channel, messages in first["messages"].items():
        # What a provider took was received; none of these rows has a message that it refused after taking it.
        taken = (State.SENT, State.DELIVERED, State.UNDELIVERED)
        arrived = sum(first["deliveries"].get(channel, {}).get(state, 0) for state in taken)
        assert messages == arrived > 0, channel

    kept = (short_dir / "demo-access.json").read_text()
    assert stat.S_IMODE((short_dir / "demo-access.json").stat().st_mode) == 0o600
    second, _ = once(portfolio, short_dir)
    assert (short_dir / "demo-access.json").read_text() == kept
    assert (second["accepted"], second["replayed"], second["rejected"]) == (0, 25, 1)
    assert second["messages"] == {"sms": 0, "email": 0, "whatsapp": 0, "line": 0, "inapp": 0}
    assert second["duplicates"] == 0
    assert second["states"] == first["states"]
    assert not (short_dir / "demo.json").exists()

    verified = in_process("ledger", "verify", "--json", "--data-dir", str(short_dir))
    evidence = json.loads(verified.stdout)
    assert (verified.returncode, evidence["broken"]) == (0, [])
    exported = in_process("ledger", "export", "--tenant", "demo", "--data-dir", str(short_dir))
    events = [json.loads(line) for line in exported.stdout.splitlines()]
    assert 24 < len(events) <= evidence["events"]
    assert all(len(event["hash"]) == 43 for event in events)  # SHA-256 in base64url


def test_the_shipped_portfolio_comes_to_the_same_table_every_day(short_dir: Path) -> None:
    """Each outcome that the simulators know, in numbers that depend on neither the date nor the machine's speed."""
    shown, _ = once(ROOT / "ops/demo-portfolio.csv", short_dir)
    counted = (shown["requests"], shown["accepted"], shown["replayed"], shown["rejected"], shown["duplicates"])
    assert counted == (326, 319, 1, 6, 0)
    assert shown["states"] == {"delivered": 317, "suppressed": 2}
    assert shown["deliveries"] == {
        "email": {"delivered": 85, "failed": 5, "sent": 3, "undelivered": 3},
        "inapp": {"delivered": 77},
        "line": {"failed": 3, "sent": 6},
        "sms": {"delivered": 150, "failed": 7, "sent": 3, "undelivered": 22},
        "whatsapp": {"delivered": 5, "suppressed": 3, "undelivered": 6},
    }
    assert shown["messages"] == {"sms": 175, "email": 91, "whatsapp": 11, "line": 6, "inapp": 77}


@pytest.fixture
def running(portfolio: Path, short_dir: Path) -> Iterator[tuple[ForkedProcess, dict[str, Any], Path]]:
    """A demo that stays up, once it has shown its table."""
    begun(empty_sqlite(short_dir))
    told = short_dir / "stderr"
    command = ["demo", "--port", "0", "--file", str(portfolio), "--data-dir", str(short_dir)]
    process = ForkedProcess(run_gateway, command, environment(), short_dir / "stdout", told)
    try:
        wait_for(lambda: told.exists() and "Ctrl-C" in told.read_text(), process)
        yield process, json.loads((short_dir / "demo.json").read_text()), short_dir
    finally:
        process.kill()
        process.wait()


def wait_for(condition: Callable[[], bool], process: ForkedProcess) -> None:
    eventually_blocking(lambda: process.poll() is not None or condition(), SETTLED_SECONDS, every=0.1)
    assert process.poll() is None, "the demo ended"


def answer(*arguments: str) -> Any:
    done = in_process(*arguments)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_the_commands_find_the_demo_that_is_up(
    running: tuple[ForkedProcess, dict[str, Any], Path], tmp_path: Path
) -> None:
    """send, status, timeline and decide work without an option but the directory, and SIGTERM ends all of it."""
    process, demo, data_dir = running
    assert stat.S_IMODE((data_dir / "demo.json").stat().st_mode) == 0o600
    assert demo["pid"] == process.pid
    assert demo["borrower_token"].startswith("bt_")
    assert demo["editor"]["url"] == f"{demo['url']}/editor"
    people = answer("user", "list", "--json", "--data-dir", str(data_dir))
    assert sorted(each["email"] for each in people) == sorted(demo["editor"]["users"])
    where = ["--data-dir", str(data_dir)]
    printed = (data_dir / "stderr").read_text()
    for page in ("/", "/editor", "/desk", "/ops", "/journeys", "/docs", "/desk/borrowers/", "/inbox#token=bt_"):
        assert f"{demo['url']}{page}" in printed
    shown = in_process("show", printed.partition("gateway show ")[2].split()[0], *where)
    assert "attempt 1 by" in shown.stdout
    hook = answer("webhook", "create", "http://127.0.0.1:9/hooks", *where)
    assert "unreachable" in in_process("webhook", "test", hook["id"], *where).stderr  # and not forbidden

    request = {
        "borrower": {
            "id": "B-1",
            "name": "Chen Mei",
            "locale": "zh-TW",
            "jurisdiction": "tw",
            "time_zones": ["Asia/Taipei"],
            "addresses": {"inapp": "B-1"},
        },
        "case": {"id": "C-1", "product": "card", "due_date": "2026-10-31", "stage": "first_reminder"},
        "template": "overdue-first",
        "variables": {"amount": "3913.00", "currency": "TWD", "due_date": "2026-10-31"},
        "route": ["inapp"],
        "idempotency_key": "one",
    }
    assert_what_is_submitted_is_approved(where)

    file = tmp_path / "one.jsonl"
    file.write_text(json.dumps(request) + "\n{}\n")
    sent = gateway("send", str(file), "--json", *where)
    assert sent.returncode == 1  # the second line is no request
    tally = json.loads(sent.stdout)
    assert (tally["requests"], tally["accepted"], tally["rejected"]) == (2, 1, 1)
    assert {error["line"] for error in tally["errors"]} == {2}
    assert "borrower" in {error["field"] for error in tally["errors"]}

    events = answer("timeline", "B-1", "--json", *where)
    assert events[0]["kind"] == "accepted"
    found = answer("status", events[0]["notification_id"], "--json", *where)
    assert found["borrower_id"] == "B-1"
    assert events[0]["notification_id"] in in_process("status", found["id"], *where).stdout
    assert "accepted" in in_process("timeline", "B-1", *where).stdout

    file.write_text(json.dumps(request) + "\n")
    verdicts = answer("decide", str(file), "--json", *where)["verdicts"]
    assert sum(each["number"] for each in verdicts) == 1

    missing = in_process("status", f"ntf_{0:032}", *where)
    assert (missing.returncode, missing.stderr.count("\n")) == (1, 1)
    assert_one_line(["demo", "--port", "0", *where], "another gateway")
    assert_one_line(["key", "revoke", "nobody", *where], "there is no 'nobody'")

    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=LIMIT_SECONDS) == 0
    assert not (data_dir / "demo.json").exists()
    assert in_process("status", found["id"], *where).stderr.startswith("gateway: --url")


def assert_what_is_submitted_is_approved(where: Sequence[str]) -> None:
    """The simulated provider takes what an editor submits."""
    place = ["due-soon", "0", "whatsapp-simulator", "en-GB"]
    entered = in_process("template", "providers", "enter", *place, "--reference", "due_soon_gb", *where)
    assert "Example Bank" in entered.stdout
    assert in_process("template", "providers", "submit", *place, *where).returncode == 0

    def approved() -> bool:
        listed = answer("template", "providers", "list", "due-soon", "0", "--json", *where)
        return {each["locale"]: each["status"] for each in listed}["en-GB"] == "approved"

    eventually_blocking(approved, every=0.5)


def assert_one_line(arguments: Sequence[str], words: str) -> None:
    done = gateway(*arguments)
    assert done.returncode == 1
    assert words in done.stderr
    assert done.stderr.count("\n") == 1, done.stderr


def test_what_is_in_the_way_is_one_line(short_dir: Path, tmp_path: Path) -> None:
    """A taken port, an absent file, a wrong instant, a directory that can't be written, a database that is set."""
    where = ["--data-dir", str(short_dir)]
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        assert_one_line(["demo", "--once", "--port", str(taken.getsockname()[1]), *where], "cannot listen")
    assert_one_line(["demo", "--once", "--file", str(tmp_path / "absent.csv"), *where], "cannot read")
    blocked = tmp_path / "file"
    blocked.write_text("")
    assert_one_line(["demo", "--once", "--port", "0", "--data-dir", str(blocked / "below")], "data directory")
    wrong = gateway("demo", "--at", "tomorrow", *where)
    assert (wrong.returncode, wrong.stderr.count("\n")) == (2, 1)
    outside = {**environment(), "GATEWAY_DATABASE_URL": "postgresql+psycopg://nobody@127.0.0.1:1/none"}
    refused = gateway_command("demo", *where, environment=outside)
    assert (refused.returncode, refused.stderr.count("\n")) == (2, 1)
    assert "embedded default only" in refused.stderr


def test_keys_are_made_listed_and_revoked(short_dir: Path) -> None:
    """The key is on stdout alone; a list never shows it; a revoked key is revoked once."""
    where = ["--data-dir", str(short_dir)]
    made = answer("key", "create", "--tenant", "acme", "--name", "case system", "--json", *where)
    assert made["key"].startswith(f"ndg_{made['id']}_")
    listed = in_process("key", "list", "--json", *where).stdout
    assert [(key["id"], key["tenant"], key["scopes"]) for key in json.loads(listed)] == [
        (made["id"], "acme", "read send")
    ]
    assert made["key"] not in listed
    assert in_process("key", "create", "--tenant", "acme", "--scope", "everything", *where).returncode == 2
    assert in_process("key", "revoke", made["id"], *where).returncode == 0
    assert in_process("key", "revoke", made["id"], *where).returncode == 1
