"""The simulated providers as a process: start, counts, stored state, and the end with its parent."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from channels.base import TemplateCall
from channels.email import CHANNEL as EMAIL
from channels.line import CHANNEL as LINE
from channels.received import Received, delivery_of
from channels.sms import CHANNEL as SMS
from channels.whatsapp import CHANNEL as WHATSAPP
from tests.support.providers.fake_servers import clock, closed_port, message
from tests.support.waiting import LIMIT_SECONDS, eventually_blocking

ROOT = Path(__file__).parents[3]
COMMAND = [sys.executable, "-m", "channels.simulation", "--account-sid", "AC1", "--token-env", "SIM_TOKEN"]
SOCIAL = ["--social-secret-env", "SIM_SOCIAL"]
ENVIRONMENT = os.environ | {"SIM_TOKEN": "secret-token", "SIM_SOCIAL": "secret-of-both", "PYTHONPATH": str(ROOT)}


def _start(*options: str) -> tuple[subprocess.Popen[str], dict[str, Any]]:
    process = subprocess.Popen(
        [*COMMAND, *options], env=ENVIRONMENT, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    return process, json.loads(process.stdout.readline())


def _end(process: subprocess.Popen[str]) -> int:
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=LIMIT_SECONDS)
    return process.returncode


def _summary(ports: dict[str, Any]) -> Any:
    with urllib.request.urlopen(
        f"http://127.0.0.1:{ports['control_port']}/_simulator/summary", timeout=LIMIT_SECONDS
    ) as answer:
        return json.load(answer)


def _submit(ports: dict[str, Any], channel: str) -> None:
    body = {"reference": "due", "language": "en", "text": "Pay {{amount}}."}
    url = f"http://127.0.0.1:{ports['control_port']}/_simulator/templates/{channel}"
    request = urllib.request.Request(url, json.dumps(body).encode(), {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=LIMIT_SECONDS) as answer:
        assert answer.status == 202


async def _send_one_of_each(ports: dict[str, Any]) -> None:
    sms_options = {"account_sid": "AC1", "auth_token": "secret-token", "from_number": "+15005550006"}
    sms_options["base_url"] = f"http://127.0.0.1:{ports['sms_port']}"
    sms = SMS.build("twilio", "tw", sms_options, {"clock": clock})
    mail_options = {"host": "127.0.0.1", "port": ports["smtp_port"], "tls": "none", "domain": "lender.example"}
    mail_options["from_address"] = "no-reply@lender.example"
    mail = EMAIL.build("smtp", "relay", mail_options, {"clock": clock})
    await sms.send(message("+12025550100", callback_url="http://127.0.0.1:1/"))
    await mail.send(message("chen@example.com"))
    secret = ENVIRONMENT["SIM_SOCIAL"]
    meta_options = {"phone_number_id": "111", "business_account_id": "111", "access_token": secret,
                    "app_secret": secret, "verify_token": secret}  # fmt: skip
    line_options = {"channel_access_token": secret, "channel_secret": secret}
    meta = WHATSAPP.build("cloud", "meta", meta_options | _at(ports, "whatsapp"), {"clock": clock})
    line = LINE.build("messaging", "line", line_options | _at(ports, "line"), {"clock": clock})
    call = TemplateCall("due", "en", (("amount", "$3"),))
    templated = message("+12025550101")
    await meta.send(replace(templated, content=replace(templated.content, template=call)))
    await line.send(message(f"U{0:032}"))
    for each in (sms, mail, meta, line):
        await each.close()


def _at(ports: dict[str, Any], channel: str) -> dict[str, str]:
    return {"base_url": f"http://127.0.0.1:{ports['social_ports'][channel]}"}


def test_it_counts_and_remembers_over_a_restart(tmp_path: Path) -> None:
    """A message sent again after both sides were restarted is still seen to be a duplicate."""
    for duplicates in (0, 1):
        process, ports = _start("--state-dir", str(tmp_path), *SOCIAL)
        _submit(ports, "whatsapp")
        with pytest.raises(urllib.error.HTTPError, match="404"):
            _submit(ports, "line")  # it has no templates
        asyncio.run(_send_one_of_each(ports))
        for channel in ("sms", "email", "whatsapp", "line"):
            found = _summary(ports)[channel]
            assert (found["messages"], found["duplicates"]) == (1, duplicates)
        assert _end(process) == 0


@pytest.mark.skipif(sys.platform != "linux", reason="the parent's death is told by Linux only")
def test_it_dies_with_its_parent() -> None:
    """A parent killed with -9 leaves no simulator behind."""
    script = (
        "import json, os, subprocess, sys, time\n"
        f"command = {COMMAND!r} + ['--parent-pid', str(os.getpid())]\n"
        "child = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)\n"
        "print(child.stdout.readline(), end='', flush=True)\n"
        "time.sleep(60)\n"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", script], env=ENVIRONMENT, cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    assert parent.stdout is not None
    child = json.loads(parent.stdout.readline())["pid"]
    assert Path(f"/proc/{child}").exists()
    parent.kill()
    parent.communicate(timeout=LIMIT_SECONDS)
    eventually_blocking(lambda: not _alive(child))


def _alive(pid: int) -> bool:
    try:
        # A zombie that nobody has reaped yet is dead.
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_a_parent_that_is_gone_already_is_noticed() -> None:
    """Started too late for a parent that died at once, it ends by itself."""
    run = subprocess.run(
        [*COMMAND, "--parent-pid", "1"],
        env=ENVIRONMENT,
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=LIMIT_SECONDS,
    )
    assert (run.returncode, run.stdout) == (0, "")


def test_a_taken_port_and_a_missing_secret_are_one_line_each() -> None:
    """What is wrong is said in one line, without a traceback and without the secret."""
    process, ports = _start()
    taken = subprocess.run(
        [*COMMAND, "--sms-port", str(ports["sms_port"])],
        env=ENVIRONMENT, cwd=ROOT, capture_output=True, text=True, timeout=LIMIT_SECONDS,
    )  # fmt: skip
    _end(process)
    assert taken.returncode == 1
    assert len(taken.stderr.strip().splitlines()) == 1
    assert "in use" in taken.stderr
    bare = {name: value for name, value in ENVIRONMENT.items() if name != "SIM_TOKEN"}
    missing = subprocess.run(COMMAND, env=bare, cwd=ROOT, capture_output=True, text=True, timeout=LIMIT_SECONDS)
    assert (missing.returncode, missing.stderr.strip()) == (2, "environment variable SIM_TOKEN is not set")


async def test_the_port_asked_for_is_the_port_used() -> None:
    """A fixed port stays the same over restarts, so that a gateway's settings stay true."""
    port = await closed_port()
    process, ports = _start("--smtp-port", str(port))
    assert ports["smtp_port"] == port
    _end(process)


def test_what_was_seen(tmp_path: Path) -> None:
    """A duplicate is what may have reached the borrower twice; a retry follows a failure; both over restarts."""
    path = tmp_path / "seen.log"
    first = Received(path)
    assert [first.came("a"), first.came("b")] == [False, False]
    first.failed("b")
    assert [first.came("a"), first.came("b")] == [True, False]
    assert first.summary() == {"messages": 4, "duplicates": 1, "retries": 1}
    first.close()
    second = Received(path)
    assert [second.came("b"), second.came("c")] == [True, False]
    second.close()


@pytest.mark.parametrize(("reference", "delivery"), [("dlv_1.2.ab", "dlv_1"), ("odd", "odd"), ("", "")])
def test_the_delivery_in_a_reference(reference: str, delivery: str) -> None:
    """Attempts of one delivery have one key."""
    assert delivery_of(reference) == delivery
