"""Two API and two worker processes on PostgreSQL and Valkey: exactly once, however many are at it, whoever dies."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis
from sqlalchemy import text

from gateway.storage.database import Database
from tests.support.production import Production, production, request

_END = {"delivered", "undelivered", "suppressed", "failed", "expired", "cancelled"}


@pytest.fixture
async def running(tmp_path: Path, empty_postgresql: str, tcp_valkey_url: str) -> AsyncIterator[Production]:
    async with production(tmp_path, empty_postgresql, tcp_valkey_url) as started:
        yield started


async def _states(database: Database) -> Counter[str]:
    query = text("SELECT state, count(*) FROM notifications GROUP BY state")
    rows = await database.read(lambda connection: connection.execute(query).all())
    return Counter({row[0]: row[1] for row in rows})


async def _at_rest(database: Database, within: float = 60) -> Counter[str]:
    async with asyncio.timeout(within):
        while True:
            states = await _states(database)
            if states and not states.keys() - _END:
                return states
            await asyncio.sleep(0.2)


async def test_fifty_identical_posts_at_once_are_one_message(running: Production) -> None:
    """Fifty concurrent POSTs of one meaning through two processes: one message, forty-nine duplicates of it."""
    body = request(1, route=["sms"])
    answers = await asyncio.gather(
        *(running.post("/v1/notifications", body, api=number % 2, key=f"k{number}") for number in range(50))
    )
    assert {status for status, _ in answers} == {202}
    originals = [answer for _, answer in answers if answer["duplicate_of"] is None]
    assert len(originals) == 1
    assert {answer["duplicate_of"] for _, answer in answers} == {None, originals[0]["id"]}
    await _at_rest(running.database)
    assert (await running.outside.summary())["sms"]["messages"] == 1


async def test_fifty_posts_with_one_key_are_one_notification(running: Production) -> None:
    """Fifty concurrent POSTs under one idempotency key: one 202, forty-nine replays of the same answer."""
    body = request(2, route=["sms"])
    answers = await asyncio.gather(
        *(running.post("/v1/notifications", body, api=number % 2, key="same") for number in range(50))
    )
    assert Counter(status for status, _ in answers) == {202: 1, 200: 49}
    assert len({answer["id"] for _, answer in answers}) == 1


async def test_a_cap_holds_with_many_workers(running: Production) -> None:
    """Of many reminders to one borrower at once, no more go out than the pack allows; the others say until when."""
    bodies = [
        request(3, route=["sms"], case={"id": f"C-{n}", "product": "card", "due_date": "2026-11-01", "stage": "s"})
        for n in range(12)
    ]
    answers = await asyncio.gather(
        *(running.post("/v1/notifications", body, api=number % 2) for number, body in enumerate(bodies))
    )
    assert {status for status, _ in answers} == {202}
    async with asyncio.timeout(30):
        while await _states(running.database) != {"delivered": 1, "deferred": 11}:  # noqa: ASYNC110 – a database has no event
            await asyncio.sleep(0.2)
    assert (await running.outside.summary())["sms"]["messages"] == 1  # the minimum gap is four hours
    listed = await running.get("/v1/notifications?state=deferred&limit=50")
    assert all(each["reason"] == "min_gap" and each["defer_until"] for each in listed["notifications"])


async def test_killing_workers_and_emptying_valkey_loses_and_repeats_nothing(
    running: Production, tcp_valkey_url: str
) -> None:
    """A worker killed with -9 mid-run and Valkey emptied: every 202 ends, and nobody hears twice."""
    numbers = list(range(100, 400))
    batches = [numbers[at : at + 50] for at in range(0, len(numbers), 50)]

    async def send(position: int, batch: list[int]) -> list[dict[str, Any]]:
        body = {"notifications": [request(number, route=["sms"]) for number in batch]}
        status, answer = await running.post("/v1/notifications/batch", body, api=position % 2)
        assert status == 202
        results: list[dict[str, Any]] = answer["results"]
        return results

    client = Redis.from_url(tcp_valkey_url)
    accepted: list[dict[str, Any]] = []
    for position, batch in enumerate(batches):
        accepted += await send(position, batch)
        if position == 2:
            running.workers[0].kill()
        if position == 3:
            await client.flushall()
            running.workers[0].start()
    await client.aclose()
    assert all(result["status"] == 202 for result in accepted)
    states = await _at_rest(running.database)
    summary = (await running.outside.summary())["sms"]
    assert states.total() == len(numbers)
    assert summary["duplicates"] == 0
    # What a killed worker had started is looked up; only what the provider never saw is sent again.
    assert (states, summary["messages"]) == ({"delivered": len(numbers)}, len(numbers))


async def test_a_published_text_is_everywhere_within_seconds(running: Production) -> None:
    """Published through one process, another one's requests get it, and workers that never saw it send it."""
    files = (await running.get("/v1/templates/overdue-first/live"))["files"]
    files["zh-TW/sms.liquid"] = (
        "{% render 'sign-sms' %}{{ borrower.name }}您好，請與我們聯絡。{% render 'opt-out-sms' %}\n"
    )
    body = {"templates": {"overdue-first": files}, "comment": "reviewed elsewhere", "publish": True}
    status, answer = await running.post("/v1/templates/import", body, api=0)
    assert (status, answer["results"][0]["outcome"]) == (200, "published"), answer
    accepted = []
    async with asyncio.timeout(5):
        while not accepted or not accepted[-1].startswith("e1-"):
            number = 500 + len(accepted)
            _, made = await running.post("/v1/notifications", request(number, route=["sms"]), api=1)
            accepted.append((await running.get(f"/v1/notifications/{made['id']}", api=1))["template_version"])
    assert await _at_rest(running.database) == {"delivered": len(accepted)}
