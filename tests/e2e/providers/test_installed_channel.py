"""A channel that is installed as a package: every part of the gateway takes it, and no file of the gateway knows it."""

from __future__ import annotations

import asyncio
import json
import re
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from shutil import rmtree
from typing import Any

import aiohttp
import pytest

from gateway.app import serving
from gateway.app.app import Gateway
from gateway.app.settings import Settings
from gateway.cli.doctor import outside
from gateway.identity.users import Role
from tests.support.pages.browser import PASSWORD
from tests.support.providers.installed_channel import install_example
from tests.support.storage.ledgers import begun, empty_sqlite
from tests.support.whole_gateway import REQUEST, Running

SUBJECT, TEXT = "en-US/letter.subject.liquid", "en-US/letter.txt.liquid"
WORDS = "{{ borrower.name }},\n\nplease pay {{ amount | money: currency }}.\n\n{{ lender.name }}\n"


@pytest.fixture
async def running(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Running]:
    """A gateway on whose path the package is, with the print house as its provider."""
    site, spool = tmp_path / "site", tmp_path / "spool"
    spool.mkdir()
    install_example(site)
    monkeypatch.syspath_prepend(str(site))
    folder = Path(tempfile.mkdtemp(prefix="gw-"))  # short: the embedded Valkey's socket is in it
    begun(empty_sqlite(folder))
    house = {"channel": "letter", "kind": "spool", "name": "print-house", "options": {"directory": str(spool)}}
    settings = Settings(
        data_dir=folder, port=0, at="2026-11-24T10:00:00-05:00", time_scale=3600, receipt_hours=1, providers=[house]
    )
    stop, ready = asyncio.Event(), asyncio.get_running_loop().create_future()

    async def announce(gateway: Gateway) -> None:
        ready.set_result(gateway)

    serve = asyncio.create_task(serving.serve(settings, api=True, worker=True, ready=announce, stop=stop))
    done, _ = await asyncio.wait({serve, ready}, return_when=asyncio.FIRST_COMPLETED)
    for each in done:
        each.result()
    gateway: Gateway = ready.result()
    ledger = gateway.ledger
    _, key = await ledger.keys.create("acme", "case system", ["send", "read", "manage", "admin"], ledger.clock())
    async with aiohttp.ClientSession() as http:
        url = f"http://127.0.0.1:{ledger.settings.port}"
        yield Running(url, {"Authorization": f"Bearer {key}"}, gateway, http)
    stop.set()
    await serve
    rmtree(folder, ignore_errors=True)


def _request(**changes: Any) -> dict[str, Any]:
    borrower = {**REQUEST["borrower"], "locale": "en-US", "jurisdiction": "us", "time_zones": ["America/New_York"]}
    borrower["addresses"] = {"letter": " Chen Mei\n\n1 Road "}
    return {**REQUEST, "borrower": borrower, "template": "plan-confirmed", "route": ["letter"], **changes}


async def _text(running: Running, url: str) -> str:
    async with running.http.get(f"{running.url}{url}", headers=running.headers) as answer:
        assert answer.status == 200, url
        return await answer.text()


async def _sign_in(running: Running, role: Role) -> aiohttp.ClientSession:
    ledger = running.gateway.ledger
    await ledger.users.add("acme", "Ed", f"{role}@example.com", role, PASSWORD, ledger.clock())
    session = aiohttp.ClientSession(running.url, cookie_jar=aiohttp.CookieJar(unsafe=True))
    async with session.get("/editor/sign-in") as answer:
        token = re.search(r'name="form_token" value="([0-9a-f]+)"', await answer.text())
    assert token is not None
    form = {"form_token": token[1], "email": f"{role}@example.com", "password": PASSWORD}
    async with session.post("/editor/sign-in", data=form) as answer:
        assert answer.status == 200
    return session


async def test_an_installed_channel_goes_through_every_part_of_the_gateway(running: Running, tmp_path: Path) -> None:
    """Texts, lint, editor, routing, sending, events, metrics, status page and doctor."""

    # Texts: published through the API, with the channel's own lint among the findings.
    _, live = await running.call("GET", "/v1/templates/plan-confirmed/live")
    variables = {
        name: each.value_of_example
        for name, each in running.gateway.templates.catalog.resolve(
            "acme", "plan-confirmed", None, running.gateway.ledger.clock()
        ).variables.items()
    }
    words = WORDS.replace("{{ amount | money: currency }}", "as agreed")
    files = {**live["files"], SUBJECT: "Your plan\n", TEXT: words}
    _, linted = await running.call(
        "POST", "/v1/templates/plan-confirmed/lint", {"files": {**files, TEXT: words + "long " * 30}}
    )
    assert "letter_line" in {each["rule"] for each in linted["findings"]}
    status, taken = await running.call(
        "POST",
        "/v1/templates/import",
        {"templates": {"plan-confirmed": files}, "comment": "letters", "publish": True, "confirm": True},
    )
    assert status == 200, taken

    # The editor's page has the parts under the channel's own name, in both languages, and its preview.
    session = await _sign_in(running, Role.APPROVER)
    async with session:
        async with session.get("/editor/templates/plan-confirmed") as answer:
            assert answer.status == 200
        number = taken["results"][0]["number"]
        for language, title, label in (("en", "Letter", "Subject line"), ("zh", "信函", "标题")):
            async with session.get(
                f"/editor/templates/plan-confirmed/{number}?locale=en-US", headers={"Accept-Language": language}
            ) as answer:
                page = await answer.text()
                assert answer.status == 200
            assert f'<h3 id="h-letter">{title}</h3>' in page
            assert label in page
            assert "f.en-US/letter.txt.liquid" in page
        for language, title in (("en", "Letter"), ("zh", "信函")):
            async with session.get("/ops", headers={"Accept-Language": language}) as answer:
                assert re.search(rf"<td>print-house</td><td>{title}</td>", await answer.text())
        async with session.get("/editor/new") as answer:
            assert 'name="channel.letter"' in await answer.text()

    # Accepted with a route, sent, ended.
    status, accepted = await running.call("POST", "/v1/notifications", _request(variables=variables))
    assert status == 202, accepted
    found = await running.until_at_rest(accepted["id"])
    [delivery] = found["deliveries"]
    assert (delivery["channel"], delivery["state"]) == ("letter", "delivered")
    [letter] = [json.loads(each.read_text("utf-8")) for each in (tmp_path / "spool").glob("*.json")]
    assert letter["address"] == "Chen Mei\n1 Road"
    assert letter["subject"] == "Your plan"

    # The desk says it in the reader's language, by the channel's own name.
    session = await _sign_in(running, Role.AGENT)
    async with session:
        for language, title in (("en", "Letter"), ("zh", "信函")):
            async with session.get(
                f"/desk/borrowers/{REQUEST['borrower']['id']}", headers={"Accept-Language": language}
            ) as answer:
                page = await answer.text()
                assert answer.status == 200
            assert f"<h3>{title} <span" in page
            assert ">letter<" not in page

    # Seen by whoever runs it.
    metrics = running.gateway.path.metrics.render("")[0].decode()
    assert re.search(
        r'channel="letter"[^}]*provider="print-house"|provider="print-house"[^}]*channel="letter"', metrics
    )
    checks = await outside.providers(running.gateway.ledger.settings, running.gateway.ledger.clock)
    assert {each.check for each in checks} >= {"provider.print-house"}
