"""Callbacks of providers that have one URL for everything: handshakes, acknowledgements, secrets in the path."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Sequence
from datetime import datetime
from pathlib import Path

import aiohttp
import pytest

from channels.base import (
    Accepted,
    CallbackEvents,
    CallbackRequest,
    Capability,
    LookupAnswer,
    LookupResult,
    MalformedCallback,
    Message,
    Receipt,
    ReceiptStatus,
    Reply,
)
from gateway.app.app import Gateway
from gateway.storage.tables.borrowers import addresses
from tests.support.api_gateway import Client, app_of, open_api_gateway, request, serving

PHONE = "+12025550123"


class OneUrl:
    """A provider whose callbacks are JSON lists of anything, without a signature."""

    name, channel, capability = "one-url", "sms", Capability()

    async def send(self, message: Message) -> Accepted:
        raise NotImplementedError

    async def lookup(self, message: Message, provider_message_id: str, since: datetime) -> LookupAnswer:
        return LookupAnswer(LookupResult.UNSUPPORTED)

    def read_receipts(self, request: CallbackRequest) -> Sequence[Receipt]:
        return self.read_events(request).receipts

    def read_events(self, request: CallbackRequest) -> CallbackEvents:
        request.require_secret("a secret of the path")
        if request.method == "GET":
            return CallbackEvents(body=request.query["challenge"].encode())
        try:
            events = json.loads(request.body)
            receipts = [
                Receipt(self.name, ReceiptStatus(each["status"]), each["id"]) for each in events if "status" in each
            ]
            replies = [Reply(self.name, each["id"], each["from"], each["text"]) for each in events if "text" in each]
        except (ValueError, KeyError):
            raise MalformedCallback("events") from None
        return CallbackEvents(receipts, replies, body=b'{"code":0}', media_type="application/json")

    async def close(self) -> None:
        """Nothing is open."""


@pytest.fixture
async def gateway(tmp_path: Path, redis_url: str) -> AsyncIterator[Gateway]:
    async with open_api_gateway(tmp_path, redis_url) as opened:
        providers = opened.providers.by_name
        assert isinstance(providers, dict)
        providers["one-url"] = OneUrl()
        yield opened


@pytest.fixture
async def client(gateway: Gateway) -> AsyncIterator[Client]:
    _, key = await gateway.ledger.keys.create("acme", "t", ["send", "read", "manage"], gateway.ledger.clock())
    async with serving(app_of(gateway)) as url, aiohttp.ClientSession() as session:
        yield Client(session, url, key)


URL = "/v1/receipts/one-url/a%20secret%20of%20the%20path"


async def test_a_handshake_is_answered_with_its_challenge(client: Client) -> None:
    """Without the secret it is refused; a provider that has no handshake is not found by GET."""
    answer = await client.holding("").get(f"{URL}?challenge=12345")
    assert (answer.status, answer.raw) == (200, b"12345")
    assert (await client.get("/v1/receipts/one-url?challenge=1")).problem == "bad_signature"
    assert (await client.get("/v1/receipts/one-url/wrong?challenge=1")).problem == "bad_signature"
    assert (await client.get("/v1/receipts/twilio")).problem == "not_found"
    assert (await client.post("/v1/receipts/twilio/secret", data={"a": "b"})).problem == "not_found"


async def test_one_callback_has_receipts_replies_and_what_nobody_knows(client: Client, gateway: Gateway) -> None:
    """All are taken, the unknown kind is no error, and the answer is the acknowledgement that the provider wants."""
    assert (await client.post("/v1/notifications", request())).status == 202
    events = [
        {"id": "m1", "status": "delivered"},
        {"id": "m2", "from": PHONE, "text": "STOP"},
        {"id": "m3", "something": "new"},
    ]
    for _ in range(2):  # and a repeated one is acknowledged again
        answer = await client.holding("").post(URL, events)
        assert (answer.status, answer.raw) == (200, b'{"code":0}')
    query = addresses.select().where(addresses.c.opted_out_at.is_not(None))
    rows = await gateway.ledger.database.read(lambda connection: connection.execute(query).all())
    assert [row.tenant for row in rows] == ["acme"]


async def test_a_malformed_or_unproven_callback_is_refused(client: Client) -> None:
    """400 and 403, and nothing is taken."""
    assert (await client.holding("").post(URL, data=b"not JSON")).problem == "malformed_callback"
    assert (await client.holding("").post("/v1/receipts/one-url", [])).problem == "bad_signature"
