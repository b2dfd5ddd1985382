"""API keys over HTTP: they expire, and are refused from networks that they were not made for."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from ipaddress import ip_network
from pathlib import Path

import aiohttp
import pytest
from typer.testing import CliRunner

from gateway.api.app import create_app
from gateway.api.http.parts import GatewayClock, Parts
from gateway.app.app import Gateway
from gateway.app.http import http_parts
from gateway.cli import app
from gateway.identity.keys import ApiKey
from tests.support.api_gateway import Client, app_of, open_api_gateway, serving
from tests.support.storage.ledgers import NOW, empty_sqlite


@pytest.fixture
async def gateway(tmp_path: Path, redis_url: str) -> AsyncIterator[Gateway]:
    """What is behind the API."""
    async with open_api_gateway(tmp_path, redis_url) as opened:
        yield opened


async def test_a_key_works_until_it_expires(gateway: Gateway) -> None:
    """401 from that instant on, with a detail that names the key's id; a wrong secret is told nothing of it."""
    time = [NOW]
    parts = [each for each in http_parts(gateway) if not isinstance(each, GatewayClock)]
    clocked = create_app(Parts(*parts, GatewayClock(lambda: time[0])))
    end = NOW + timedelta(days=90)
    identifier, key = await gateway.ledger.keys.create("acme", "test", ["read"], NOW, expires_at=end)
    async with serving(clocked) as url, aiohttp.ClientSession() as session:
        client = Client(session, url, key)
        time[0] = end - timedelta(microseconds=1)
        assert (await client.get("/v1/notifications")).status == 200
        time[0] = end
        refused = await client.get("/v1/notifications")
        assert (refused.status, refused.problem) == (401, "unauthorized")
        assert f"{identifier} has expired" in refused.json["detail"]
        wrong = await client.holding(key[:-4] + "0000").get("/v1/notifications")
        assert (wrong.status, "expired" in wrong.json["detail"]) == (401, False)


@pytest.mark.parametrize(
    ("proxies", "networks", "status"),
    [
        ("10.9.9.9", (), 200),
        ("10.9.9.9", ("127.0.0.0/8",), 200),
        ("10.9.9.9", ("10.0.0.0/8",), 403),  # the header of somebody who is no proxy of ours is not believed
        ("127.0.0.1", ("10.0.0.0/8", "2001:db8::/32"), 200),
        ("127.0.0.1", ("127.0.0.0/8",), 403),
    ],
)
async def test_a_key_works_from_its_networks_alone(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch, proxies: str, networks: tuple[str, ...], status: int
) -> None:
    """The client's address is the connection's, or what a proxy of FORWARDED_ALLOW_IPS says; refused by name."""
    monkeypatch.setenv("FORWARDED_ALLOW_IPS", proxies)
    _, key = await gateway.ledger.keys.create("acme", "test", ["read", "send"], NOW, networks=networks)
    async with serving(app_of(gateway)) as url, aiohttp.ClientSession() as session:
        headers = {"X-Forwarded-For": "10.1.2.3"}
        answer = await Client(session, url, key).get("/v1/notifications", headers=headers)
        sent = await Client(session, url, key).post("/v1/notifications", {}, headers=headers)
    assert answer.status == status
    assert sent.status == (422 if status == 200 else 403)
    if status == 403:
        assert {answer.problem, sent.problem} == {"network_not_allowed"}


@pytest.mark.parametrize(
    ("host", "allowed"),
    [
        ("10.1.2.3", True),
        ("11.1.2.3", False),
        ("::ffff:10.1.2.3", True),
        ("2001:db8::1", True),
        ("2001:db9::1", False),
        ("", False),
        ("unix:", False),
        ("10.1.2.3.4", False),
    ],
)
def test_which_addresses_are_in_a_keys_networks(host: str, allowed: bool) -> None:
    """IPv4 also in its IPv6 form; what is no address is in no network."""
    networks = (ip_network("10.0.0.0/8"), ip_network("2001:db8::/32"))
    key = ApiKey("id", "acme", "", "", frozenset(), NOW, None, None, networks)
    assert key.allows_from(host) is allowed


def _command(folder: Path, *arguments: str) -> tuple[int, str, str]:
    done = CliRunner().invoke(app, ["key", *arguments, "--data-dir", str(folder)])
    return done.exit_code, done.stdout, done.stderr


def test_expiry_and_networks_are_given_and_listed(tmp_path: Path) -> None:
    """Days or an instant; networks as often as needed; without them a key has neither."""
    empty_sqlite(tmp_path)
    bounds = ("--expires", "90d", "--network", "10.0.0.0/8", "--network", "2001:db8::/32")
    for options in (bounds, ("--expires", "2099-01-01T00:00:00Z"), ()):
        assert _command(tmp_path, "create", "--tenant", "acme", *options)[0] == 0
    listed = json.loads(_command(tmp_path, "list", "--json")[1])
    found = {(each["expires_at"][:10], each["networks"]) for each in listed}
    made = datetime.fromisoformat(listed[0]["created_at"])
    end = f"{made + timedelta(days=90):%Y-%m-%d}"
    assert found == {(end, "10.0.0.0/8 2001:db8::/32"), ("2099-01-01", ""), ("", "")}


@pytest.mark.parametrize(
    ("options", "word"),
    [
        (("--expires", "soon"), "--expires"),
        (("--expires", "0d"), "future"),
        (("--expires", "2001-01-01T00:00:00Z"), "future"),
        (("--network", "10.0.0.1/8"), "10.0.0.1/8 has host bits set"),
        (("--network", "office"), "'office' does not appear to be an IPv4 or IPv6 network"),
        (tuple(x for n in range(60) for x in ("--network", f"10.{n}.0.0/16")), "500 characters"),
    ],
    ids=lambda each: str(each)[:40],
)
def test_bounds_that_make_no_sense_are_refused(tmp_path: Path, options: tuple[str, ...], word: str) -> None:
    """Exit status 2 with what is wrong, and no key is made."""
    empty_sqlite(tmp_path)
    code, _, said = _command(tmp_path, "create", "--tenant", "acme", *options)
    assert (code, word in said) == (2, True), said
    assert json.loads(_command(tmp_path, "list", "--json")[1]) == []
