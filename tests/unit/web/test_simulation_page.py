"""The page that simulates journeys: its job in a process, what it refuses, its calendar, and what it shows."""

from __future__ import annotations

import asyncio
import gzip
import json
import re
import time
from collections.abc import AsyncIterator
from datetime import date
from pathlib import Path

import aiohttp
import pytest

from gateway.app.app import Gateway
from gateway.cli import simulating
from gateway.identity.sessions import Sessions
from gateway.journeys.definitions.model import parse
from gateway.journeys.simulation.assumptions import Assumptions
from gateway.journeys.simulation.portfolio import latest_instant
from gateway.journeys.simulation.view import view
from gateway.web.journeys.simulation import calendar
from gateway.web.journeys.simulation_worker import MOST_CASES, SimulationJob, run
from gateway.web.journeys.simulations import SimulationBusy, SimulationFailed, Simulations
from gateway.web.journeys.uploads import read_form_with_file
from tests.support.api_gateway import app_of, case_body, open_api_gateway, serving
from tests.support.journeys.cases import FOLDER, SHORT, START
from tests.support.rules.policy_cases import PACKS
from tests.support.storage.ledgers import NOW

CATEGORIES = {"overdue-first": "collections", "plan-offer": "collections"}


def _job(**changes: object) -> SimulationJob:
    values = {"sources": (SHORT,), "days": 20, "now": START, "policies": str(FOLDER.parent / "policies")}
    return SimulationJob(**{**values, "categories": CATEGORIES, **changes})  # type: ignore[arg-type]


def _lines(number: int, **changes: object) -> bytes:
    return b"\n".join(
        json.dumps({"id": f"C-{each}", "case": case_body(each, **changes)}).encode() for each in range(number)
    )


def test_a_file_gives_the_figures_of_the_command(tmp_path: Path) -> None:
    """The same cases in a file, packed or not, give what ``gateway journey simulate`` computes."""
    lines = _lines(30)
    (tmp_path / "cases.jsonl").write_bytes(lines)
    records = simulating.read_cases(tmp_path / "cases.jsonl", None)
    start = latest_instant(records)
    ran = simulating.run(parse(SHORT), records, PACKS, Assumptions(), CATEGORIES.__getitem__, start, 20, lambda: None)
    expected = view(ran, Assumptions(), contacts=False)
    assert expected["contacts"] > 0
    for file in (lines, gzip.compress(lines)):
        assert run(_job(portfolio="file", file=file)).views == (expected,)


def test_bad_rows_are_named_and_left_out() -> None:
    """With line, field and detail, and never what stands in them."""
    bad = b'{"id": 1}\nnonsense\n' + _lines(1)
    result = run(_job(portfolio="file", file=bad))
    assert [(each.line, each.field) for each in result.bad_rows] == [(1, "/id"), (2, "")]
    assert result.views[0]["cases"] == 1


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"portfolio": "file", "file": b""}, "simulation_no_cases"),
        ({"portfolio": "file", "file": gzip.compress(_lines(2))[:-9]}, "simulation_bad_file"),
        ({"portfolio": "file", "file": gzip.compress(b" " * 50_000_001)}, "simulation_too_many_cases"),
        ({"portfolio": "file", "file": b"\n".join([_lines(1)] * (MOST_CASES + 1))}, "simulation_too_many_cases"),
        ({"sources": ("name = ",)}, "simulation_bad_definition"),
        ({"categories": {"plan-offer": "collections"}}, "simulation_no_template"),
    ],
    ids=["empty", "cut off", "a bomb", "too many", "no definition", "no template"],
)
def test_what_can_not_be_simulated_has_a_reason(changes: dict[str, object], error: str) -> None:
    """A text of the page, before anything is computed."""
    assert run(_job(**changes)).error == error


async def test_one_simulation_at_a_time_in_a_process_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """A second one is refused meanwhile; one that is stopped or fails leaves the way free, and no process."""
    simulations = Simulations("", {}, lambda tenant, name: None)
    first = asyncio.ensure_future(simulations.run(_job(portfolio="example")))
    await asyncio.sleep(0)
    with pytest.raises(SimulationBusy):
        await simulations.run(_job())
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    with pytest.raises(SimulationFailed):
        await simulations.run(_job(policies="nowhere"))
    monkeypatch.setattr("gateway.web.journeys.simulations._LIMIT_SECONDS", 0.0)
    with pytest.raises(SimulationFailed):
        await simulations.run(_job())


def test_the_calendar_has_whole_weeks() -> None:
    """From the Monday before the first day; days outside are empty, and the busiest has the strongest colour."""
    weeks = calendar(date(2026, 11, 25), 9, {"2026-11-25": 1, "2026-12-03": 8})
    assert [week[0].day for week in weeks] == [date(2026, 11, 23), date(2026, 11, 30)]
    assert [
        (each.day.day, each.number, each.level) for week in weeks for each in week if each.inside and each.number
    ] == [
        (25, 1, 1),
        (3, 8, 4),
    ]
    assert sum(each.inside for week in weeks for each in week) == 9


@pytest.fixture
async def gateway(tmp_path: Path, redis_url: str) -> AsyncIterator[Gateway]:
    async with open_api_gateway(tmp_path, redis_url) as opened:
        yield opened


async def test_an_editor_compares_two_definitions(gateway: Gateway) -> None:
    """A file against two built-in definitions: calendar, reasons, load, cost and comparison, in English and Chinese.

    A form without a journey is refused; a viewer may not run it.
    """
    async with serving(app_of(gateway)) as url, await _visitor(gateway, url, "editor") as visitor:
        async with visitor.get("/journeys/simulation") as answer:
            token = re.search(r'name="form_token" value="([^"]+)"', await answer.text())
            assert token is not None
        status, said = await _post(visitor, token[1], definition="")
        assert (status, "Choose a journey" in said) == (422, True)
        status, said = await _post(visitor, token[1])
        assert status == 200, said
        for words in ("Comparison", "Contacts per day", "Contacts by hour of day", "Held back by rules", "level-4"):
            assert words in said
        async with visitor.get("/language/zh?back=/journeys", allow_redirects=False) as answer:
            visitor.cookie_jar.update_cookies(answer.cookies)
        status, said = await _post(visitor, token[1], against="")
        assert status == 200
        assert "每日联系次数" in said
        assert "+886912345678" not in said
        async with await _visitor(gateway, url, "viewer") as viewer, viewer.get("/journeys/simulation") as answer:
            assert "<form class" not in await answer.text()


async def _visitor(gateway: Gateway, url: str, role: str) -> aiohttp.ClientSession:
    email = f"{role}@acme.example.com"
    user = await gateway.ledger.users.add("acme", role, email, role, "correct horse battery staple", NOW)
    cookie = await Sessions(gateway.ledger.database, gateway.ledger.signer).open(user, NOW)
    return aiohttp.ClientSession(url, cookies={"gateway_session": cookie})


async def _post(visitor: aiohttp.ClientSession, token: str, **changes: str) -> tuple[int, str]:
    values = {
        "definition": "shipped:card-overdue",
        "against": "shipped:plan-reminders",
        "portfolio": "file",
        "days": "45",
    }
    form = aiohttp.FormData()
    for name, value in {"form_token": token, **values, **changes}.items():
        form.add_field(name, value)
    form.add_field("file", _lines(20), filename="cases.jsonl")
    async with visitor.post("/journeys/simulation", data=form) as answer:
        return answer.status, await answer.text()


def test_a_form_is_split_as_a_browser_sends_it() -> None:
    """Fields, the first of each name, and the file as it is; the last line break belongs to the boundary."""
    head = 'Content-Disposition: form-data; name="{}"\r\n\r\n{}\r\n'
    parts = [head.format("days", "45"), head.format("days", "9"), head.format("file", "one\r\ntwo\n")]
    body = "".join(f"--x\r\n{each}" for each in parts) + "--x--\r\n"
    assert read_form_with_file('multipart/form-data; boundary="x"', body.encode()) == ({"days": "45"}, b"one\r\ntwo\n")


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("multipart/form-data; boundary=x", b"--x\r\n\r\n\r\n" * 100_000 + b"--x--\r\n"),
        ("multipart/form-data; boundary=x", b"--x\r\nname\r\n--x--\r\n"),
        ("multipart/form-data; boundary=x", b"--x\r\n" + b"a" * 2_001 + b"\r\n\r\n\r\n--x--\r\n"),
        ("multipart/form-data; boundary=x", b"--x\r\nContent-Disposition: form-data; name=a\r\n\r\n"),
        ("multipart/form-data", b"--x--"),
        ("multipart/mixed; boundary=x", b"--x\r\n\r\n\r\n--x--\r\n"),
        ("multipart/form-data; boundary=\u00e9", b"--x--"),
        ("multipart/form-data; " + ";" * 10_000, b"--x--"),
    ],
    ids=["parts", "no headers", "long headers", "cut off", "no boundary", "another type", "no ASCII", "long type"],
)
def test_a_hostile_form_with_a_file_is_refused_at_once(kind: str, body: bytes) -> None:
    """A hundred thousand parts took fifteen seconds in the parser of mail, in which no request was answered."""
    began = time.process_time()
    with pytest.raises(ValueError):  # noqa: PT011 – its words are for nobody
        read_form_with_file(kind, body)
    assert time.process_time() - began < 3  # it takes some milliseconds


async def test_nobodys_file_is_read(gateway: Gateway) -> None:
    """Who is not signed in gets the sign-in before what they send is split or decoded."""
    async with serving(app_of(gateway)) as url, aiohttp.ClientSession(url) as stranger:
        kind = {"Content-Type": "multipart/form-data; boundary=x"}
        for body in (b"--x\r\n\r\n\r\n" * 100_000 + b"--x--\r\n", b"nonsense"):
            async with stranger.post("/journeys/simulation", data=body, headers=kind) as answer:
                assert (answer.status, "Sign in" in await answer.text()) == (401, True)
