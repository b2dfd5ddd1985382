"""The API for operators: pauses, pins and dead letters, over HTTP on a real ledger."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from gateway.app.app import Gateway
from tests.support.api_gateway import Client, app_of, open_api_gateway, request, serving
from tests.support.storage.ledgers import NOW


@pytest.fixture
async def gateway(tmp_path: Path, redis_url: str) -> AsyncIterator[Gateway]:
    """What is behind the API."""
    async with open_api_gateway(tmp_path, redis_url) as opened:
        yield opened


@pytest.fixture
async def client(gateway: Gateway) -> AsyncIterator[Client]:
    """An operator of the tenant acme, who is no administrator of all."""
    _, key = await gateway.ledger.keys.create("acme", "test", ("send", "read", "manage"), NOW)
    async with serving(app_of(gateway)) as url, aiohttp.ClientSession() as session:
        yield Client(session, url, key)


async def _key(gateway: Gateway, client: Client, tenant: str, *scopes: str) -> Client:
    _, key = await gateway.ledger.keys.create(tenant, "test", scopes, NOW)
    return client.holding(key)


async def test_a_pause_is_told_to_who_sends(client: Client) -> None:
    """The 202 says that the message waits, for whose pause and why; after the resume it doesn't."""
    pause = {"scope": "channel", "value": "sms", "reason": "wrong amounts"}
    made = await client.post("/v1/controls", pause)
    assert (made.status, made.json["scope"], made.json["everywhere"]) == (201, "channel", False)
    answer = await client.post("/v1/notifications", request(route=["sms"]))
    assert answer.status == 202
    told = {"scope": "channel", "value": "sms", "reason": "wrong amounts", "until": None, "channels": ["sms"]}
    assert answer.json["paused"] == told
    [listed] = (await client.get("/v1/controls")).json["controls"]
    assert listed["id"] == made.json["id"]
    ended = await client.call("DELETE", f"/v1/controls/{made.json['id']}")
    assert (ended.status, ended.json["released"]) == (200, 0)
    assert (await client.get("/v1/controls")).json["controls"] == []
    again = request(route=["sms"], case={**request()["case"], "id": "C-2"})
    assert (await client.post("/v1/notifications", again)).json["paused"] is None


async def test_a_duration_is_counted_by_the_gateways_clock(client: Client) -> None:
    """Two hours are two hours from the gateway's now, whatever the caller's clock says."""
    made = await client.post("/v1/controls", {"scope": "all", "reason": "a test", "duration": "PT2H"})
    assert made.json["until"] == "2026-11-24T12:00:00.000Z"


async def test_stopping_every_tenant_takes_the_platforms_administrator(client: Client, gateway: Gateway) -> None:
    """A tenant's operator stops their own messages only, and can't end what stops everybody's."""
    everything = {"scope": "all", "everywhere": True, "reason": "incident 7"}
    assert (await client.post("/v1/controls", everything)).status == 403
    admin = await _key(gateway, client, "operations", "platform")
    made = await admin.post("/v1/controls", everything)
    assert made.status == 201
    assert [each["everywhere"] for each in (await client.get("/v1/controls")).json["controls"]] == [True]
    path = f"/v1/controls/{made.json['id']}"
    assert (await client.call("DELETE", path)).status == 403
    assert (await admin.call("DELETE", path)).status == 200
    assert (await admin.call("DELETE", path)).status == 404


async def test_the_platforms_administrator_stops_one_tenant(client: Client, gateway: Gateway) -> None:
    """The tenant sees by whom and why, is told so with every 202, and can't end it; others send on."""
    stop = {"scope": "tenant", "value": "acme", "reason": "runaway case system"}
    assert (await client.post("/v1/controls", stop)).status == 403
    admin = await _key(gateway, client, "operations", "platform")
    made = await admin.post("/v1/controls", stop)
    assert made.status == 201
    answer = await client.post("/v1/notifications", request(route=["sms"]))
    assert (answer.json["paused"]["scope"], answer.json["paused"]["reason"]) == ("tenant", "runaway case system")
    other = await _key(gateway, client, "other", "send")
    assert (await other.post("/v1/notifications", request(route=["sms"]))).json["paused"] is None
    assert [each["id"] for each in (await client.get("/v1/controls")).json["controls"]] == [made.json["id"]]
    path = f"/v1/controls/{made.json['id']}"
    assert (await client.call("DELETE", path)).status == 403
    assert (await admin.call("DELETE", path)).status == 200


async def test_a_pause_of_the_only_provider_is_told_to_who_sends(client: Client) -> None:
    """Which provider carries a message is chosen later; when each that could is stopped, the 202 says so now."""
    await client.post("/v1/controls", {"scope": "provider", "value": "twilio", "reason": "wrong sender"})
    answer = await client.post("/v1/notifications", request(route=["sms"]))
    assert (answer.json["paused"]["scope"], answer.json["paused"]["value"]) == ("provider", "twilio")


async def test_a_pause_of_a_later_step_is_told_to_who_sends(client: Client) -> None:
    """The first step goes out, so the channels say which don't; of two pauses the earlier step's is told."""
    await client.post("/v1/controls", {"scope": "channel", "value": "inapp", "reason": "wrong logo"})
    answer = await client.post("/v1/notifications", request(route=["sms", "inapp"]))
    assert (answer.json["paused"]["reason"], answer.json["paused"]["channels"]) == ("wrong logo", ["inapp"])
    await client.post("/v1/controls", {"scope": "channel", "value": "sms", "reason": "wrong amounts"})
    both = request(route=["sms", "inapp"], case={**request()["case"], "id": "C-2"})
    answer = await client.post("/v1/notifications", both)
    assert (answer.json["paused"]["reason"], answer.json["paused"]["channels"]) == ("wrong amounts", ["sms", "inapp"])


@pytest.mark.parametrize(
    ("changes", "pointer"),
    [
        ({"scope": "channel", "value": "pigeon"}, "/value"),
        ({"scope": "tenant"}, "/value"),
        ({"scope": "tenant", "value": "acme", "everywhere": True}, "/everywhere"),
        ({"scope": "provider", "value": "nobody"}, "/value"),
        ({"scope": "channel"}, "/value"),
        ({"scope": "all", "value": "sms"}, "/value"),
        ({"scope": "nonsense"}, "/scope"),
        ({"scope": "all", "reason": ""}, "/reason"),
        ({"kind": "pin", "scope": "channel", "value": "sms"}, "/scope"),
        ({"scope": "all", "until": "2020-01-01T00:00:00Z"}, "/until"),
        ({"scope": "all", "duration": "2 hours"}, "/duration"),
        ({"scope": "all", "duration": "-PT1H"}, "/duration"),
        ({"scope": "all", "duration": "PT1H", "until": "2099-01-01T00:00:00Z"}, "/duration"),
    ],
)
async def test_a_switch_without_sense_names_the_field(client: Client, changes: dict[str, Any], pointer: str) -> None:
    """What is wrong with a pause or a pin is said at its field, and nothing is stopped by it."""
    answer = await client.post("/v1/controls", {"reason": "a test", **changes})
    assert (answer.status, [each["pointer"] for each in answer.json["errors"]]) == (422, [pointer])
    assert (await client.get("/v1/controls")).json["controls"] == []


async def test_dead_letters_are_listed_and_need_a_filter_to_be_redriven(client: Client, gateway: Gateway) -> None:
    """Nothing is tried again by mistake: a redrive names what, and why."""
    assert (await client.get("/v1/dead-letters")).json == {"dead_letters": [], "next_cursor": None}
    assert (await client.post("/v1/dead-letters/redrive", {"reason": "a test"})).status == 422
    assert (await client.post("/v1/dead-letters/redrive", {"filter_reason": "timeout"})).status == 422
    which = {"filter_reason": "timeout", "reason": "a test"}
    answer = await client.post("/v1/dead-letters/redrive", {**which, "dry_run": True})
    assert answer.json == {"dry_run": True, "outcomes": {}, "dead_letters": []}
    reader = await _key(gateway, client, "acme", "read")
    assert (await reader.post("/v1/dead-letters/redrive", which)).status == 403


async def test_giving_up_names_each_one(client: Client, gateway: Gateway) -> None:
    """There is no filter for what can't be taken back; what is no dead letter is passed over."""
    which = {"ids": ["ntf_of_nobody"], "reason": "moved abroad"}
    for wrong in ({"reason": "moved abroad"}, {**which, "ids": []}, {"ids": which["ids"]}):
        assert (await client.post("/v1/dead-letters/give-up", wrong)).status == 422
    answer = await client.post("/v1/dead-letters/give-up", which)
    assert answer.json == {"outcomes": {}, "dead_letters": []}
    reader = await _key(gateway, client, "acme", "read")
    assert (await reader.post("/v1/dead-letters/give-up", which)).status == 403
