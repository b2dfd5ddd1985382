"""The status page of a whole gateway: access control, pauses, and work that no process does."""

from __future__ import annotations

import asyncio
from collections import Counter
from datetime import datetime

import aiohttp
import pytest
from sqlalchemy import text

from gateway.app.http import http_parts
from gateway.core.controls import SwitchKind, SwitchScope
from gateway.identity.sessions import Sessions
from gateway.operations.activity import Activity, Minutes
from gateway.web.ops.routes import StatusCache
from tests.support.api_gateway import request
from tests.support.app_client import AppClient

PASSWORD = "correct horse battery staple"


async def _signed_in(app_client: AppClient, tenant: str = "acme", role: str = "viewer") -> aiohttp.ClientSession:
    gateway = app_client.gateway
    email = f"{role}@{tenant}.example.com"
    user = await gateway.ledger.users.add(tenant, "Ada", email, role, PASSWORD, gateway.ledger.clock())
    sessions = Sessions(gateway.ledger.database, gateway.ledger.signer)
    cookie = await sessions.open(user, gateway.ledger.clock())
    return aiohttp.ClientSession(app_client.url, cookies={"gateway_session": cookie})


async def test_nobody_sees_it_who_is_not_signed_in(app_client: AppClient) -> None:
    """The page sends to the sign-in, and its part says so; an API key opens no page."""
    page = await app_client.get("/ops", allow_redirects=False)
    assert (page.status, page.headers["Location"]) == (303, "/editor/sign-in?back=/ops")
    assert (await app_client.get("/ops/now", headers={"HX-Request": "true"})).status == 401


@pytest.mark.parametrize("path", ["/ops", "/ops/now"])
async def test_it_counts_what_was_accepted_and_says_that_no_worker_runs(app_client: AppClient, path: str) -> None:
    """An accepted request is in the plot; without a worker the page names the runbook."""
    assert (await app_client.post("/v1/notifications", request())).status == 202
    async with await _signed_in(app_client) as visitor, visitor.get(path) as answer:
        text = await answer.text()
    assert answer.status == 200
    assert "accepted: 1; sent to providers: 0." in text
    assert "GatewayWorkerAbsent" in text
    assert "sms-simulator" in text


async def test_a_tenants_numbers_are_its_own(app_client: AppClient) -> None:
    """What one tenant has accepted, and what is due of it, is not counted on another tenant's page."""
    assert (await app_client.post("/v1/notifications", request())).status == 202
    for tenant, accepted in (("acme", 1), ("other", 0)):
        async with await _signed_in(app_client, tenant) as visitor, visitor.get("/ops") as answer:
            assert f"accepted: {accepted}; sent to providers: 0." in await answer.text()
    gateway = app_client.gateway
    found = [(await gateway.path.store.ages(gateway.ledger.clock(), tenant)).due for tenant in ("acme", "other", None)]
    assert found == [1, 0, 1]


async def test_the_platform_sees_all_tenants_together(app_client: AppClient) -> None:
    """A user with the role platform gets the sums and every tenant's pauses; a viewer of the same tenant does not."""
    for tenant in ("acme", "other"):
        _, key = await app_client.gateway.ledger.keys.create(
            tenant, "test", ["send"], app_client.gateway.ledger.clock()
        )
        assert (await app_client.holding(key).post("/v1/notifications", request())).status == 202
    await app_client.gateway.path.controls.set(
        SwitchKind.PAUSE, SwitchScope.ALL, "", "acme", "wrong amounts", "key:x", None
    )
    for role, accepted, whose in (("platform", 2, "all lenders"), ("viewer", 0, "operations")):
        async with await _signed_in(app_client, "operations", role) as visitor, visitor.get("/ops") as answer:
            text = await answer.text()
        assert f"accepted: {accepted}; sent to providers: 0." in text
        assert f"Figures of {whose}." in text
        assert ("wrong amounts" in text) is (role == "platform")


async def test_a_slow_view_delays_nobody_else(app_client: AppClient, monkeypatch: pytest.MonkeyPatch) -> None:
    """While one tenant's figures are read, another's page answers; two who look at the same one cause one read."""
    began, may_end, reads = asyncio.Event(), asyncio.Event(), Counter[str | None]()
    last_hour = Activity.last_hour

    async def slow(self: Activity, now: datetime) -> Minutes:
        reads[self._tenant] += 1
        if self._tenant == "acme":
            began.set()
            await may_end.wait()
        return await last_hour(self, now)

    monkeypatch.setattr(Activity, "last_hour", slow)
    cache = StatusCache(http_parts(app_client.gateway))
    async with asyncio.timeout(60):
        waiting = [asyncio.create_task(cache.look("acme")) for _ in range(2)]
        await began.wait()
        assert (await cache.look("other")).alive == []
        may_end.set()
        first, second = await asyncio.gather(*waiting)
    assert first is second
    assert reads == {"acme": 1, "other": 1}


async def test_views_are_few(app_client: AppClient, monkeypatch: pytest.MonkeyPatch) -> None:
    """The view that nobody has looked at for longest is forgotten, and read anew when somebody does."""
    monkeypatch.setattr("gateway.web.ops.routes._MAX_VIEWS", 2)
    cache = StatusCache(http_parts(app_client.gateway))
    first = await cache.look("a")
    await cache.look("b")
    assert await cache.look("a") is first
    await cache.look("c")
    assert await cache.look("a") is first
    assert len(cache._views) == 2


async def test_a_pause_is_told_to_whom_it_concerns(app_client: AppClient) -> None:
    """One tenant's reasons are not shown to another; what stops everybody is."""
    controls = app_client.gateway.path.controls
    for tenant, why in (("acme", "wrong amounts"), ("", "provider moves")):
        await controls.set(SwitchKind.PAUSE, SwitchScope.ALL, "", tenant, why, "key:x", None)
    await controls.set(SwitchKind.PAUSE, SwitchScope.TENANT, "third", "", "has not paid us", "user:platform", None)
    for tenant, told in (("acme", True), ("other", False)):
        async with await _signed_in(app_client, tenant) as visitor, visitor.get("/ops") as answer:
            text = await answer.text()
        assert ("wrong amounts" in text) is told
        assert "provider moves" in text
        assert "has not paid us" not in text
        assert "API key x" in text


async def test_a_ledger_that_falls_behind_is_told(app_client: AppClient) -> None:
    """A process that was ready says so when its ledger is set back under it, and what is to be done."""
    assert (await app_client.get("/readyz")).status == 200
    back = text("UPDATE alembic_version SET version_num = '0001'")
    await app_client.gateway.ledger.database.write(lambda connection: connection.execute(back))
    answer = await app_client.get("/readyz")
    assert answer.status == 503
    assert "run gateway ledger migrate" in answer.json["checks"]["migrations"]
