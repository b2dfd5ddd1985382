"""The operators' commands with a running API: id prefixes, reasons, and bulk decisions of reviews."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import aiohttp
import pytest
import typer
from rich.console import Console

from gateway.app.app import Gateway
from gateway.cli import console
from gateway.cli.runner import full_id
from gateway.core.reasons import PolicyReason
from gateway.core.verdicts import Verdict, VerdictKind
from tests.support.api_gateway import app_of, open_api_gateway, serving
from tests.support.forked import gateway_command
from tests.support.storage.ledgers import NOW, draft

Run = Callable[..., Awaitable[tuple[int, str]]]
HELD = Verdict(VerdictKind.REVIEW, PolicyReason.HOLD)


@pytest.fixture
async def gateway(tmp_path: Path, redis_url: str) -> AsyncIterator[Gateway]:
    """What is behind the API."""
    async with open_api_gateway(tmp_path, redis_url) as opened:
        yield opened


@pytest.fixture
async def command(gateway: Gateway) -> AsyncIterator[Run]:
    """Runs a command as an operator of the tenant acme does; its exit status, and all that it printed."""
    _, key = await gateway.ledger.keys.create("acme", "test", ("send", "read", "words", "manage"), NOW)
    async with serving(app_of(gateway)) as url, aiohttp.ClientSession():

        async def run(*arguments: str) -> tuple[int, str]:
            done = await asyncio.to_thread(gateway_command, *arguments, "--url", url, "--key", key)
            return done.returncode, done.stdout + done.stderr

        yield run


async def test_what_was_not_sent_is_listed_with_its_reason(command: Run, gateway: Gateway) -> None:
    """By state, borrower or case; a beginning that is no id's says how ids are found."""
    refused = Verdict(VerdictKind.SUPPRESS, PolicyReason.OPTED_OUT)
    await gateway.path.store.accept(
        [draft("k1", borrower="B-1", verdict=refused), draft("k2", borrower="B-2", verdict=refused)], NOW
    )
    status, said = await command("notifications", "--state", "suppressed", "--borrower", "B-1", "--json")
    assert (status, [each["reason"] for each in json.loads(said)]) == (0, ["opted_out"])
    assert json.loads((await command("notifications", "--state", "delivered", "--json"))[1]) == []
    status, said = await command("status", "no-id")
    assert (status, "gateway notifications lists the ids" in said) == (2, True)


async def test_a_wrong_field_is_said_in_one_sentence(command: Run) -> None:
    """What is wrong and where; a length is counted in characters, not in "items"."""
    status, said = await command("pause", "channel", "sms", "--reason", "x")
    assert status == 1
    assert "The request is not valid. Fix these fields: reason: must have at least 3 characters" in said


async def test_evidence_overwrites_no_file(command: Run, tmp_path: Path) -> None:
    """The file of one borrower is not replaced by the next one's."""
    there = tmp_path / "evidence.zip"
    there.write_bytes(b"another borrower's")
    status, said = await command("evidence", "B-1", "--output", str(there))
    assert (status, "--output" in said, there.read_bytes()) == (1, True, b"another borrower's")


async def test_a_pause_is_ended_by_the_beginning_of_its_id(command: Run, gateway: Gateway) -> None:
    """Which is enough while it is the only one; without a reason nothing is paused."""
    assert (await command("pause", "channel", "sms"))[0] == 2
    assert (await command("pause", "channel", "sms", "--reason", "wrong amounts", "--until", "2h"))[0] == 0
    [pause] = await gateway.path.controls.listed("acme", ended=False)
    status, said = await command("resume", "nothing")
    assert (status, "gateway controls lists the ids" in said) == (1, True)
    status, said = await command("resume", str(pause["id"])[:7])
    assert (status, str(pause["id"]) in said) == (0, True)
    assert await gateway.path.controls.listed("acme", ended=False) == []


async def test_a_pause_is_ended_as_it_was_set(command: Run, gateway: Gateway) -> None:
    """By its scope and value, which an operator remembers and an id not; what is not paused is said."""
    assert (await command("pause", "channel", "sms", "--reason", "wrong amounts"))[0] == 0
    status, printed = await command("resume", "channel", "email")
    assert (status, "channel email is neither paused nor pinned" in printed) == (1, True)
    assert (await command("resume", "channel", "sms"))[0] == 0
    assert await gateway.path.controls.listed("acme", ended=False) == []


async def test_a_notification_is_shown_by_the_beginning_of_its_id(command: Run, gateway: Gateway) -> None:
    """As long as no other one begins so; the whole id stands in the answer."""
    [accepted] = await gateway.path.store.accept([draft("k1", borrower="B-1")], NOW)
    status, printed = await command("status", accepted.id[:12])
    assert (status, accepted.id in printed) == (0, True)
    status, printed = await command("status", "ntf_0000")
    assert (status, "there is no 'ntf_0000'" in printed) == (1, True)


async def test_the_timeline_of_nobody_is_an_error(command: Run, gateway: Gateway) -> None:
    """An id that was mistyped must not look like a borrower whom nobody wrote to."""
    await gateway.path.store.accept([draft("k1", borrower="B-1")], NOW)
    status, printed = await command("timeline", "B-1")
    assert (status, "at (UTC)" in printed) == (0, True)
    status, printed = await command("timeline", "B-2")
    assert (status, "there is no borrower 'B-2'" in printed) == (1, True)
    status, printed = await command("evidence", "B-2")
    assert (status, "there is no borrower 'B-2'" in printed) == (1, True)


async def test_reviews_are_decided_by_ids_or_by_their_reason(command: Run, gateway: Gateway) -> None:
    """One is refused by its id, the rest is approved at once; redrive takes none of them."""
    await gateway.path.store.accept(
        [draft(f"k{number}", borrower=f"B-{number}", verdict=HELD) for number in range(3)], NOW
    )
    first, *_ = await gateway.operations.reviews.waiting("acme", None, 10)
    assert (await command("review", "approve", "--reason", "both, or neither"))[0] == 2
    status, said = await command("redrive", "--filter-reason", "hold", "--reason", "try")
    assert (status, "redriven" in said) == (0, False)
    assert (await command("review", "refuse", str(first["id"]), "--reason", "in hospital"))[0] == 0
    assert len(await gateway.operations.reviews.waiting("acme", None, 10)) == 2
    status, said = await command("review", "approve", "--filter-reason", "hold", "--reason", "the holds were wrong")
    assert (status, said.count("approved")) == (0, 2)
    assert await gateway.operations.reviews.waiting("acme", None, 10) == []


def test_the_help_loads_no_server() -> None:
    """``gateway --help`` and a shell's completion answer at once: they load no framework, client or settings."""
    heavy = ("aiohttp", "fastapi", "pydantic", "redis", "sqlalchemy")
    program = f"import sys, gateway.cli; print(*[each for each in {heavy} if each in sys.modules])"
    answer = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert answer.stdout.split() == []


@pytest.mark.parametrize(
    ("module", "unwanted"),
    [
        ("gateway.app.storage", ("aiohttp", "alembic", "babel", "fastapi", "liquid", "prometheus_client", "redis")),
        ("gateway.app.serving", ("alembic", "authlib", "fastapi", "joserfc", "opentelemetry", "starlette")),
    ],
)
def test_a_process_loads_no_more_than_it_needs(module: str, unwanted: tuple[str, ...]) -> None:
    """Commands on the ledger load no client or renderer, a worker no web framework, and neither loads migrations."""
    program = f"import sys, {module}; print(*[each for each in {unwanted} if each in sys.modules])"
    answer = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert answer.stdout.split() == []


@pytest.mark.parametrize(
    ("given", "found"), [("ntf_1a", "ntf_1a"), ("ntf_1ab", "ntf_1ab"), ("ntf_2", "ntf_2c"), ("ntf_2c", "ntf_2c")]
)
def test_an_id_is_accepted_whole_or_by_its_unique_beginning(given: str, found: str) -> None:
    """A whole id is meant even where a longer one begins with it."""
    assert full_id(given, ["ntf_1a", "ntf_1ab", "ntf_2c"], "gateway list") == found


@pytest.mark.parametrize(
    ("given", "status", "words"),
    [
        ("ntf_", 2, "is the beginning of 4 ids (ntf_1a, ntf_1b, ntf_1c, …); write more of it"),
        ("ntf_9", 1, "there is no 'ntf_9'; gateway list lists the ids"),
        ("", 1, "there is no ''; gateway list lists the ids"),
    ],
)
def test_an_ambiguous_or_unknown_id_is_refused(
    given: str, status: int, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """With what to do about it, and without guessing."""
    with pytest.raises(typer.Exit) as ended:
        full_id(given, ["ntf_1a", "ntf_1b", "ntf_1c", "ntf_2"], "gateway list")
    assert ended.value.exit_code == status
    assert words in " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize("width", [40, 80, 120, 200])
def test_nothing_is_cut(width: int) -> None:
    """However narrow the terminal is, ids and instants stand on one line, all else is there, and the zone is said."""
    identifier, since, reason = (
        "ntf_" + "0123456789abcdef" * 2,
        "2026-11-24T02:00:00.000Z",
        "wrong amounts in the texts",
    )
    row = (identifier, reason, "key:b40ddc814e43", since, True)
    narrow = Console(width=width, highlight=False)
    with narrow.capture() as captured:
        narrow.print(console.table(None, ("notification_id", "reason", "actor", "since", "everywhere"), [row]))
    printed = captured.get()
    for each in ("notification_id", identifier, "key:b40ddc814e43", since, "yes"):
        assert each in printed.replace("\n", " ") or width < len(each) + len("notification_id  ")
    assert set(reason.split()) <= set(printed.split())
    assert "(UTC)" in printed
    assert "…" not in printed
