"""Quotas over HTTP: what is refused, what it costs, and what the response says."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from redis import Redis

from tests.support.api_gateway import Client, app_of, open_api_gateway, request, serving
from tests.support.storage.ledgers import NOW
from tests.support.waiting import clear_of_midnight

SLOW = 0.001  # a second: what a test takes is not back while it runs


@pytest.fixture(autouse=True)
def _one_day() -> None:
    """The day does not end in the middle of a test."""
    clear_of_midnight()


@asynccontextmanager
async def limited(directory: Path, redis_url: str, **quota: Any) -> AsyncIterator[tuple[Client, Any]]:
    """A client of the tenant acme, which has this quota."""
    async with open_api_gateway(directory, redis_url, quotas={"acme": quota}) as gateway:
        _, key = await gateway.ledger.keys.create("acme", "test", ("send", "read"), NOW)
        async with serving(app_of(gateway)) as url, aiohttp.ClientSession() as session:
            yield Client(session, url, key), gateway


def holding(requests: int, notifications: int = 0) -> dict[str, Any]:
    """A quota whose buckets hold so much, and fill so slowly that a test can't see it."""
    quota: dict[str, Any] = {"requests_per_second": requests * SLOW, "burst_seconds": 1 / SLOW}
    return {**quota, "notifications_per_second": notifications * SLOW}


async def test_too_many_requests_get_429(tmp_path: Path, redis_url: str) -> None:
    """The request over the limit is answered with a problem that says which limit, and when there is room again."""
    async with limited(tmp_path, redis_url, **holding(2)) as (client, gateway):
        first = await client.get("/v1/notifications")
        assert first.status == 200
        assert first.headers["RateLimit-Policy"] == '"tenant_requests_per_second";q=2;w=1000'
        assert first.headers["RateLimit"].startswith('"tenant_requests_per_second";r=1;t=')
        assert (await client.post("/v1/notifications", request())).status == 202
        refused = await client.post("/v1/notifications", request(2))
        assert (refused.status, refused.problem) == (429, "quota_exceeded")
        assert refused.json["violated-policies"] == ["tenant_requests_per_second"]
        assert 0 < int(refused.headers["Retry-After"]) <= 500
        assert '"tenant_requests_per_second";r=0' in refused.headers["RateLimit"]
        scraped = gateway.path.metrics.render()[0].decode()
    assert 'gateway_quota_refused_total{limit="tenant_requests_per_second"} 1.0' in scraped
    assert 'gateway_quota_used_ratio{limit="tenant_requests_per_second",tenant="other"} 1.0' in scraped
    assert 'gateway_refused_total{reason="quota_exceeded"} 1.0' in scraped


async def test_another_tenant_is_not_concerned(tmp_path: Path, redis_url: str) -> None:
    """One tenant's empty bucket leaves the others as they are; callbacks and health have no quota."""
    async with limited(tmp_path, redis_url, **holding(1)) as (client, gateway):
        assert (await client.get("/v1/notifications")).status == 200
        assert (await client.get("/v1/notifications")).status == 429
        _, key = await gateway.ledger.keys.create("other", "test", ("read",), NOW)
        assert (await client.holding(key).get("/v1/notifications")).status == 200
        assert (await client.get("/healthz")).status == 200
        assert (await client.post("/v1/receipts/twilio", data="x=1")).problem == "bad_signature"


async def test_a_keys_own_limit(tmp_path: Path, redis_url: str) -> None:
    """A limit of each key stops the key that used it up, and not the tenant's others."""
    quota = {"requests_per_second": 0, "key": holding(1)}
    async with limited(tmp_path, redis_url, **quota) as (client, gateway):
        assert (await client.get("/v1/notifications")).status == 200
        refused = await client.get("/v1/notifications")
        assert refused.json["violated-policies"] == ["key_requests_per_second"]
        _, key = await gateway.ledger.keys.create("acme", "second", ("read",), NOW)
        assert (await client.holding(key).get("/v1/notifications")).status == 200


async def test_a_batch_counts_its_items_and_takes_all_or_nothing(tmp_path: Path, redis_url: str) -> None:
    """A batch that does not fit is refused whole: one that fits finds as much room as before, requests included."""
    async with limited(tmp_path, redis_url, **holding(3, 5)) as (client, _):

        async def send(*numbers: int) -> Any:
            return await client.post("/v1/notifications/batch", {"notifications": [request(each) for each in numbers]})

        assert (await send(1, 2, 3)).json["accepted"] == 3
        for _attempt in range(4):
            refused = await send(4, 5, 6)
            assert refused.problem == "quota_exceeded"
            assert refused.json["violated-policies"] == ["tenant_notifications_per_second"]
        assert (await send(4, 5)).json["accepted"] == 2


async def test_a_batch_that_can_never_fit_is_an_error_of_its_own(tmp_path: Path, redis_url: str) -> None:
    """Waiting would not help, so the answer is no 429: it names the field, and the size that fits."""
    async with limited(tmp_path, redis_url, notifications_per_day=2) as (client, _):
        items = [request(each) for each in range(3)]
        refused = await client.post("/v1/notifications/batch", {"notifications": items})
    assert (refused.status, refused.problem) == (422, "invalid_request")
    [error] = refused.json["errors"]
    assert error["pointer"] == "/notifications"
    assert "at most 2" in error["detail"]


async def test_a_repeated_request_counts_no_second_notification(tmp_path: Path, redis_url: str) -> None:
    """A replay takes a request and gives its notification back, alone and in a batch."""
    async with limited(tmp_path, redis_url, requests_per_second=0, notifications_per_day=3) as (client, _):
        for _attempt in range(5):
            answer = await client.post("/v1/notifications", request(), headers={"Idempotency-Key": "one"})
            assert answer.status in (200, 202)
        items = [{**request(1), "idempotency_key": "one"}, {**request(2), "idempotency_key": "two"}]
        for _attempt in range(3):
            answer = await client.post("/v1/notifications/batch", {"notifications": items[: 1 + _attempt // 2]})
            assert answer.status == 202
        assert (await client.post("/v1/notifications", request(3))).status == 202
        assert (await client.post("/v1/notifications", request(4))).status == 429


async def test_a_request_costs_one_round_trip(tmp_path: Path, redis_url: str) -> None:
    """However many limits it falls under; a batch costs a second one for its items, and a replay to give them back."""
    quota = {"notifications_per_day": 99, "key": {"notifications_per_day": 99, "requests_per_second": 99}}
    async with limited(tmp_path, redis_url, **quota) as (client, gateway):
        buckets, trips = gateway.redis.quota_buckets, []
        script = buckets._script

        async def counted(*given: Any) -> Any:
            trips.append(given)
            return await script(*given)

        buckets._script = counted
        once, two = {"Idempotency-Key": "one"}, {"notifications": [request(2), request(3)]}
        for cost, status, sent in (
            (1, 202, client.post("/v1/notifications", request(), headers=once)),
            (2, 200, client.post("/v1/notifications", request(), headers=once)),
            (1, 200, client.get("/v1/notifications")),
            (2, 202, client.post("/v1/notifications/batch", two)),
            (0, 200, client.get("/healthz")),
        ):
            trips.clear()
            assert (await sent).status == status
            assert len(trips) == cost


async def test_the_fields_of_both_limits_are_in_the_response(tmp_path: Path, redis_url: str) -> None:
    """A single request and a batch say what is left of requests and of notifications."""
    async with limited(tmp_path, redis_url, notifications_per_day=9) as (client, _):
        alone = await client.post("/v1/notifications", request())
        batch = await client.post("/v1/notifications/batch", {"notifications": [request(2), request(3)]})
    for answer, left in ((alone, 8), (batch, 6)):
        assert '"tenant_requests_per_second";q=15000;w=5' in answer.headers["RateLimit-Policy"]
        assert '"tenant_notifications_per_day";q=9;w=86400' in answer.headers["RateLimit-Policy"]
        assert f'"tenant_notifications_per_day";r={left};t=' in answer.headers["RateLimit"]


async def test_a_key_without_the_scope_is_charged_and_one_request_only_once(tmp_path: Path, redis_url: str) -> None:
    """403 costs a request, and a route that looks at two scopes takes one."""
    async with limited(tmp_path, redis_url, **holding(2)) as (client, gateway):
        _, key = await gateway.ledger.keys.create("acme", "manager", ("manage",), NOW)
        body = {"kind": "pause", "scope": "all", "value": "", "everywhere": True, "reason": "test"}
        manager = client.holding(key)
        assert (await manager.post("/v1/controls", body)).status == 403
        assert (await client.get("/v1/notifications")).status == 200
        assert (await client.get("/v1/notifications")).status == 429


async def test_a_borrowers_app_has_a_limit_of_its_own(tmp_path: Path, redis_url: str) -> None:
    """One borrower's app that asks too often gets 429, another's does not; no key in Redis names a borrower."""
    async with limited(tmp_path, redis_url, borrower_requests_per_second=SLOW) as (client, gateway):
        tokens = [
            gateway.ledger.signer.borrower_token("acme", each, NOW + timedelta(hours=1)) for each in ("B-17", "B-18")
        ]
        first, second = (client.holding(token) for token in tokens)
        assert [(await first.get("/v1/inbox")).status for _ in range(2)] == [200, 429]
        assert (await second.get("/v1/inbox")).status == 200
        with Redis.from_url(redis_url) as redis:
            keys = redis.keys("gateway:quota:*")
    assert len(keys) == 2
    assert not any(b"B-1" in each for each in keys)


@pytest.mark.parametrize("path", ["/v1/notifications", "/v1/templates"])
async def test_requests_are_answered_while_redis_is_away(tmp_path: Path, redis_url: str, path: str) -> None:
    """Without Redis the process counts by itself: within the limit as before, over it 429, never 500."""
    async with limited(tmp_path, redis_url, **holding(2)) as (client, gateway):
        _, key = await gateway.ledger.keys.create("acme", "reader", ("read", "templates:read"), NOW)

        async def away(*_: object) -> None:
            raise ConnectionError("Redis is away")

        gateway.redis.quota_buckets._script = away
        statuses = [(await client.holding(key).get(path)).status for _ in range(3)]
    assert statuses == [200, 200, 429]
