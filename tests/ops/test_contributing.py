"""The steps of ops/CONTRIBUTING.md, done in a copy: each page's result works, and touches the files that it lists."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.ops.promtool import OPS
from tests.support.waiting import LIMIT_SECONDS

ROOT = OPS.parent
PAGES = dict(re.findall(r"^## (A .+?)\n(.*?)(?=^## |\Z)", (OPS / "CONTRIBUTING.md").read_text("utf-8"), re.M | re.S))
COPIED = ("channels", "gateway", "templates", "pyproject.toml", "tests")
# A step creates a file, adds lines to one below a given line, replaces a phrase in one, or copies a file or a folder.
_STEP = re.compile(
    r"^Create `(?P<new>[^`]+)`:\n\n```\w+\n(?P<content>.*?)^```$"
    r"|^Add to `(?P<list>[^`]+)`, below `(?P<line>[^`]+)`:\n\n```\w+\n(?P<added>.*?)^```$"
    r"|^Replace in `(?P<changed>[^`]+)`: `(?P<old>[^`]+)` with\s+`(?P<by>[^`]+)`"
    r"|^Copy `(?P<source>[^`]+)` to `(?P<target>[^`]+)`",
    re.MULTILINE | re.DOTALL,
)


def _do(step: re.Match[str], root: Path) -> None:
    if step["new"]:
        (root / step["new"]).parent.mkdir(parents=True, exist_ok=True)
        (root / step["new"]).write_text(step["content"], "utf-8")
    elif step["list"]:
        _change(root / step["list"], f"{step['line']}\n", f"{step['line']}\n{step['added']}")
    elif step["changed"]:
        _change(root / step["changed"], step["old"], step["by"])
    elif (root / step["source"]).is_dir():
        shutil.copytree(root / step["source"], root / step["target"])
    else:
        (root / step["target"]).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(root / step["source"], root / step["target"])


def _change(path: Path, old: str, new: str) -> None:
    text = path.read_text("utf-8")
    assert old in text, f"{path.name} has no {old!r}"
    path.write_text(text.replace(old, new), "utf-8")


def _files(root: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(root)): path.read_bytes()
        for name in COPIED
        for path in ([root / name] if (root / name).is_file() else (root / name).rglob("*"))
        if path.is_file() and path.suffix != ".pyc"
    }


@pytest.fixture
def follow(tmp_path: Path) -> Callable[[str], Path]:
    """Do the steps of a page in a copy of the project; the copy."""
    for name in COPIED:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns(".*"))
        else:
            shutil.copy(ROOT / name, tmp_path / name)
    before = _files(tmp_path)

    def done(page: str) -> Path:
        for step in _STEP.finditer(PAGES[page]):
            _do(step, tmp_path)
        after = _files(tmp_path)
        touched = {name for name in after if after[name] != before.get(name)}
        listed = re.findall(r"^\| `([^`]+)` \|", PAGES[page], re.MULTILINE)
        assert touched, "the page has no steps"
        assert {name for name in touched if not name.startswith(tuple(listed))} == set()
        return tmp_path

    return done


def _run(root: Path, *command: str, **environment: str) -> str:
    done = subprocess.run(
        command,
        cwd=root,
        env={**os.environ, "PYTHONPATH": str(root), **environment},
        capture_output=True,
        text=True,
        timeout=LIMIT_SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def _python(root: Path, code: str) -> str:
    return _run(root, sys.executable, "-c", code)


_LINT_AND_TEST = """
import pytest, sys
from gateway.cli import app
sys.exit(app({lint}, standalone_mode=False) or pytest.main({tests}))
"""


def _lint_and_test(root: Path, lint: list[str], tests: list[str], **environment: str) -> str:
    """``gateway LINT…`` and then ``pytest TESTS…`` in one process, as most of their time is what they import."""
    code = _LINT_AND_TEST.format(lint=lint, tests=[*tests, "-p", "no:cacheprovider"])
    return _run(root, sys.executable, "-c", code, **environment)


_SMS = """
import asyncio, hmac
from datetime import UTC, datetime
from aiohttp import web
from channels.base import BadSignature, CallbackRequest, Content, Message, ReceiptStatus
from channels.sms import CHANNEL

async def main():
    async def take(request):
        taken.append(await request.json())
        return web.json_response({"id": "m1"})
    taken, app = [], web.Application()
    app.router.add_post("/", take)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    options = {"url": f"http://127.0.0.1:{runner.addresses[0][1]}/", "token": "t0ken"}
    provider = CHANNEL.build("acme", "acme", options, {})
    message = Message("dlv_1", 1, "bank", "B-1", "+12025550123", Content("text"), "dlv_1.1.x", "", None, "service")
    assert (await provider.send(message)).provider_message_id == "m1"
    assert taken[0]["to"] == "+12025550123"
    body = b'{"id": "m1", "status": "delivered"}'
    signature = hmac.new(b"t0ken", body, "sha256").hexdigest()
    [receipt] = provider.read_receipts(CallbackRequest("", {"x-acme-signature": signature}, {}, body))
    assert receipt.status is ReceiptStatus.DELIVERED
    try:
        provider.read_receipts(CallbackRequest("", {}, {}, body))
        raise AssertionError("an unsigned callback was accepted")
    except BadSignature:
        pass
    await provider.close()
    await runner.cleanup()

asyncio.run(main())
"""


def test_the_steps_for_a_provider_add_a_provider(follow: Callable[[str], Path]) -> None:
    """It is built by its kind, sends to an HTTP server, and reads its signed callback."""
    root = follow("A provider")
    _python(root, _SMS)
    _run(root, "ruff", "check", "channels")


_LETTER = """
import tomllib
from importlib.metadata import EntryPoint
from pathlib import Path
from channels.registry import GROUP, load, profiles
from gateway.templates import Catalog, Lender
points = tomllib.loads(Path("pyproject.toml").read_text())["project"]["entry-points"][GROUP]
channels = load(EntryPoint(name, value, GROUP) for name, value in points.items())
assert channels["letter"].normalise(" Chen Mei\\n\\n1 Road ") == "Chen Mei\\n1 Road"
lender = Lender("Bank", "+1 202 555 0100", "https://example.com")
catalog = Catalog.load(Path("templates"), lender=lender, profiles=profiles(channels))
[version] = [each for each in catalog.live() if each.id == "due-soon"]
assert "letter" in version.channels
variables = {"amount": "12.00", "currency": "USD", "due_date": "2026-11-01"}
content = version.render("letter", "en-US", variables, "Alex")
assert content.subject == "Your payment"
assert "Alex,\\n\\nyour payment of $12.00 is due on November 1, 2026." in content.text, content.text
"""


def test_the_steps_for_a_channel_add_a_channel(follow: Callable[[str], Path]) -> None:
    """It is found by its entry point, a template has its texts, and the layers' contracts hold."""
    root = follow("A channel")
    _python(root, _LETTER)
    _run(root, "ruff", "check", "channels")
    _run(root, "lint-imports")


_GRACE = """
from datetime import UTC, date, datetime
from pathlib import Path
from gateway.core.facts import Facts
from gateway.core.notifications import Borrower, Case, Category, Notification, Step
from gateway.core.reasons import PolicyReason
from gateway.core.verdicts import VerdictKind
from gateway.policy import decide, load_packs
packs = load_packs(Path("templates/policies"))

def verdict(day):
    at = datetime(2026, 11, day, 12, tzinfo=UTC)
    notification = Notification(
        id="n", tenant="", idempotency_key="", dedup_key="", borrower=Borrower("", "", "en-GB", "", ("UTC",), {}),
        case=Case("", "", date(2026, 11, 2), ""), template="", template_version="", variables={},
        route=(Step("sms"),), category=Category.COLLECTIONS, accepted_at=at,
    )
    return decide(notification, "sms", Facts(), packs, at, text="text", address_digest="")

early, late = verdict(3), verdict(5)
assert (early.kind, early.reason) == (VerdictKind.DEFER, PolicyReason.GRACE_PERIOD), early
assert early.until.date() == date(2026, 11, 5)
assert late.kind is VerdictKind.SEND, late
"""


def test_the_steps_for_a_policy_rule_add_a_rule(follow: Callable[[str], Path]) -> None:
    """A reminder within the grace period is deferred to its end, for the new reason."""
    root = follow("A policy rule")
    _python(root, _GRACE)
    _run(root, "ruff", "check", "gateway/policy")


def test_the_steps_for_a_template_add_a_template(follow: Callable[[str], Path]) -> None:
    """The page's own commands: the lint has no errors, and the golden messages are recorded."""
    root = follow("A template")
    lint, record = re.findall(
        r"^(gateway template lint.*|REWRITE_GOLDEN=1 pytest.*)$", PAGES["A template"], re.MULTILINE
    )
    _lint_and_test(root, lint.split()[1:], record.split()[2:], REWRITE_GOLDEN="1")
    assert len(list((root / "tests" / "golden").glob("moved-office.*.txt"))) == 4


def test_the_steps_for_a_journey_add_a_journey(follow: Callable[[str], Path]) -> None:
    """The lint of what ships finds it by itself, and it is clean."""
    root = follow("A journey")
    lint = ["journey", "lint", "templates/journeys/gentle.toml"]
    found = _lint_and_test(root, lint, ["-p", "no:randomly", "tests/unit/journeys/test_lint.py", "-k", "gentle"])
    assert "1 passed" in found
