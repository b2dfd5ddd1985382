"""Limits on what a request may hold, judged before anything is built from it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import urlencode

import aiohttp
import pytest

from channels.email.parsing import LARGEST
from gateway.app.app import Gateway
from gateway.pipeline import Pipeline
from tests.support.api_gateway import Client, app_of, open_api_gateway, serving
from tests.support.ledgers import NOW


@pytest.fixture
async def gateway(tmp_path: Path, redis_url: str) -> AsyncIterator[Gateway]:
    """What is behind the API."""
    async with open_api_gateway(tmp_path, redis_url) as opened:
        yield opened


@pytest.fixture
async def client(gateway: Gateway) -> AsyncIterator[Client]:
    """A case system's client, of the tenant acme."""
    _, key = await gateway.keys.create("acme", "test", ("send", "read", "manage"), NOW)
    async with serving(app_of(gateway)) as url, aiohttp.ClientSession() as session:
        yield Client(session, url, key)


@pytest.fixture
def unread(monkeypatch: pytest.MonkeyPatch) -> None:
    """The pipeline fails the test when it is given a callback."""

    async def never(*_arguments: object) -> None:
        raise AssertionError("the callback was handed on")

    monkeypatch.setattr(Pipeline, "receive", never)
    monkeypatch.setattr(Pipeline, "reply", never)


# ── callbacks ──────────────────────────────────────────────────────────────────────────────────────────────────────

FORM = {"Content-Type": "application/x-www-form-urlencoded"}
SIGNED = {**FORM, "X-Twilio-Signature": "x"}


@pytest.mark.parametrize("path", ["receipts", "inbound"])
@pytest.mark.usefixtures("unread")
async def test_a_large_callback_is_refused_unparsed(client: Client, gateway: Gateway, path: str) -> None:
    """A form of 64 kB and one byte is 413 and counted, whether its length is declared or it comes in chunks."""
    body = b"a=" + b"x" * 65_535

    async def chunks() -> AsyncIterator[bytes]:
        yield body

    for data in (body, chunks()):
        refused = await client.holding("").post(f"/v1/{path}/twilio", data=data, headers=SIGNED)
        assert (refused.status, refused.problem) == (413, "too_large")
    assert b'gateway_callbacks_refused_total{provider="twilio",reason="too_large"} 2.0' in gateway.metrics.render()[0]


@pytest.mark.parametrize("path", ["receipts", "inbound"])
@pytest.mark.usefixtures("unread")
async def test_a_callback_of_many_fields_is_refused_unparsed(client: Client, path: str) -> None:
    """A form of 201 fields is 400 before a provider sees it."""
    body = urlencode({f"f{number}": "" for number in range(201)})
    refused = await client.holding("").post(f"/v1/{path}/twilio", data=body, headers=SIGNED)
    assert (refused.status, refused.problem) == (400, "malformed_callback")


@pytest.mark.parametrize("path", ["receipts", "inbound"])
async def test_a_callback_of_an_unknown_provider_is_not_read(client: Client, path: str) -> None:
    """404 although the body is larger than any provider may send: it is not looked at."""
    refused = await client.holding("").post(f"/v1/{path}/no-such", data=b"x" * 6_000_000, headers=FORM)
    assert (refused.status, refused.problem) == (404, "not_found")


async def test_a_mail_may_be_larger_than_a_form(client: Client) -> None:
    """A mail provider's callback is read up to 1 MB: it fails for its missing token, and above that for its size."""
    for size, problem in ((LARGEST, "bad_signature"), (LARGEST + 1, "too_large")):
        refused = await client.holding("").post("/v1/receipts/relay", data=b"x" * size)
        assert refused.problem == problem
