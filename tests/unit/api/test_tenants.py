"""Tenants are apart: a key changes nothing of another tenant and reads nothing of it, whatever its scopes there."""

from __future__ import annotations

import io
import zipfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from sqlalchemy import or_, select

from gateway.app.app import Gateway
from gateway.identity.keys import Scope
from gateway.storage.schema import metadata
from tests.support.api_gateway import Client, app_of, case_body, open_api_gateway, request, serving
from tests.support.journeys.cases import SHORT
from tests.support.operations import operations
from tests.support.storage.ledgers import NOW

OF_A_TENANT = [each for each in Scope if each is not Scope.PLATFORM]
SECRET = "of-the-other-tenant"  # in what the other tenant stored, and in no path


@pytest.fixture
async def gateway(tmp_path: Path, redis_url: str) -> AsyncIterator[Gateway]:
    """What is behind the API."""
    async with open_api_gateway(tmp_path, redis_url) as opened:
        yield opened


@pytest.fixture
async def client(gateway: Gateway) -> AsyncIterator[Client]:
    """A client of the tenant acme, with every scope that a tenant's key may have."""
    _, key = await gateway.ledger.keys.create("acme", "all", OF_A_TENANT, NOW)
    async with serving(app_of(gateway)) as url, aiohttp.ClientSession() as session:
        yield Client(session, url, key)


async def _other(gateway: Gateway, client: Client, *scopes: str) -> Client:
    _, key = await gateway.ledger.keys.create("other", SECRET, scopes or OF_A_TENANT, NOW)
    return client.holding(key)


async def _filled(other: Client, tenant: str = "other") -> dict[str, Any]:
    """Something of each kind for a tenant; the ids by the names that paths have for them."""
    body = request(7, metadata={"note": SECRET})
    body["borrower"]["name"] = SECRET
    made = await other.post("/v1/notifications", body)
    assert made.status == 202, made.raw
    held = await other.call("PUT", "/v1/borrowers/B-7/holds/dispute", {"reason": SECRET})
    out = await other.post("/v1/borrowers/B-7/opt-outs", {"channel": "email", "source": SECRET})
    agreed = {"category": "promotional", "source": SECRET, "evidence": SECRET}
    consent = await other.post("/v1/borrowers/B-7/consents", agreed)
    control = await other.post("/v1/controls", {"scope": "tenant", "value": tenant, "reason": SECRET})
    hook = await other.post("/v1/webhook-endpoints", {"url": f"https://example.com/{SECRET}"})
    draft = await other.post("/v1/templates/overdue-first/versions", {"comment": SECRET})
    case = await other.call("PUT", "/v1/cases/C-7", case_body(7, variables={"note": SECRET}))
    course = await other.post("/v1/journey-definitions", {"source": f"# {SECRET}\n{SHORT}"})
    made_all = (held, out, consent, control, hook, draft, case, course)
    assert [each.status // 100 for each in made_all] == [2] * 8
    found = (await other.get("/v1/borrowers/B-7")).json
    return {
        "notification_id": made.json["id"],
        "item": made.json["id"],
        "case_id": "C-7",
        "borrower_id": "B-7",
        "kind": "dispute",
        "category": "promotional",
        "opt_out_id": found["opt_outs"][0]["id"],
        "control_id": control.json["id"],
        "endpoint_id": hook.json["id"],
        "template": "overdue-first",
        "number": 1,
        "provider": "sim",
        "locale": "en-US",
        "name": "short",
        "journey_id": "none",
        "act": "end",
    }


async def _rows(gateway: Gateway) -> dict[str, list[tuple[Any, ...]]]:
    """Every row of the other tenant, and every one of no tenant that holds for it, by table."""
    owned = [each for each in metadata.sorted_tables if "tenant" in each.c]
    queries = {each.name: select(each).where(or_(each.c.tenant == "other", each.c.tenant == "")) for each in owned}

    def read(connection: Any) -> dict[str, list[tuple[Any, ...]]]:
        return {name: sorted(map(tuple, connection.execute(query)), key=repr) for name, query in queries.items()}

    return await gateway.ledger.database.read(read)


def _unpacked(raw: bytes) -> bytes:
    """An answer's content; of an archive, its files'."""
    if not raw.startswith(b"PK"):
        return raw
    with zipfile.ZipFile(io.BytesIO(raw)) as archive:
        return b"".join(archive.read(name) for name in archive.namelist())


async def test_a_tenants_key_changes_and_reads_nothing_of_another(client: Client, gateway: Gateway) -> None:
    """Every operation, with the other tenant's ids: no row of it changes, and no answer has a word of it."""
    ids = await _filled(await _other(gateway, client))
    before = await _rows(gateway)
    assert sum(len(rows) for rows in before.values()) > 10
    called = await operations(client)
    assert len(called) > 50
    for operation in called:
        answer = await operation.call(client, ids)
        assert answer.status < 500, (operation, answer.raw)
        assert SECRET.encode() not in _unpacked(answer.raw), operation
        assert await _rows(gateway) == before, operation


@pytest.mark.parametrize(
    "body",
    [
        {"scope": "all", "everywhere": True},
        {"scope": "tenant", "value": "other"},
        {"scope": "channel", "value": "sms", "everywhere": True},
        {"scope": "provider", "value": "twilio", "kind": "pin", "everywhere": True},
    ],
    ids=str,
)
async def test_no_tenants_administrator_controls_others(client: Client, gateway: Gateway, body: dict[str, Any]) -> None:
    """The scope admin is for one tenant: what stops or pins others takes platform, which no scope includes."""
    body = {**body, "reason": "a test"}
    refused = await client.post("/v1/controls", body)
    assert (refused.status, "platform" in refused.json["detail"]) == (403, True)
    platform = await _other(gateway, client, "platform")
    made = await platform.post("/v1/controls", body)
    assert made.status == 201
    path = f"/v1/controls/{made.json['id']}"
    assert (await client.call("DELETE", path)).status == 403
    assert [each["id"] for each in (await platform.get("/v1/controls")).json["controls"]] == [made.json["id"]]
    assert (await platform.call("DELETE", path)).status == 200


async def test_an_administrator_stops_their_own_tenant(client: Client, gateway: Gateway) -> None:
    """And ends it again; another tenant neither sees it nor can end it, nor can the platform."""
    made = await client.post("/v1/controls", {"scope": "tenant", "value": "acme", "reason": "a test"})
    assert made.status == 201
    path = f"/v1/controls/{made.json['id']}"
    for other in (await _other(gateway, client), await _other(gateway, client, "platform")):
        assert (await other.get("/v1/controls")).json["controls"] == []
        assert (await other.call("DELETE", path)).status == 404
    assert (await client.call("DELETE", path)).status == 200


async def test_what_the_platform_stops_for_one_tenant_stays_stopped(client: Client, gateway: Gateway) -> None:
    """That tenant's administrator sees it and can't end it; a third tenant is not told of it."""
    platform = await _other(gateway, client, "platform")
    made = await platform.post("/v1/controls", {"scope": "tenant", "value": "acme", "reason": "runaway"})
    assert (made.status, made.json["everywhere"]) == (201, False)
    assert [each["id"] for each in (await client.get("/v1/controls")).json["controls"]] == [made.json["id"]]
    assert (await (await _other(gateway, client)).get("/v1/controls")).json["controls"] == []
    assert (await client.call("DELETE", f"/v1/controls/{made.json['id']}")).status == 403
    assert (await client.post("/v1/notifications", request(route=["sms"]))).json["paused"]["reason"] == "runaway"
    assert (await platform.call("DELETE", f"/v1/controls/{made.json['id']}")).status == 200


async def test_the_platform_has_no_right_to_a_tenants_data(client: Client, gateway: Gateway) -> None:
    """With the scope platform alone, every operation but those on controls and the administrators' log is refused."""
    ids = await _filled(client, "acme")
    _, key = await gateway.ledger.keys.create("acme", "platform", ["platform"], NOW)
    platform = client.holding(key)
    for operation in await operations(client):
        if operation.path.startswith(("/v1/controls", "/v1/admin-log")):
            continue
        assert (await operation.call(platform, ids)).status == 403, operation
    own = {"scope": "channel", "value": "sms", "reason": "a test"}
    assert (await platform.post("/v1/controls", own)).status == 403
    for path in ("/v1/controls", "/v1/admin-log"):
        assert SECRET not in (await platform.get(path)).raw.decode()
