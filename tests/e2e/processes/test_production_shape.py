"""Two API and two worker processes on PostgreSQL and Valkey: each message is sent once, also when a process is killed.

All tests of the file share the processes; each has a tenant of its own.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
import pytest_asyncio
from redis.asyncio import Redis
from sqlalchemy import create_engine, text

from gateway.storage.upgrade.migrate import head, migrate, pending_migration
from tests.support.production import Process, Production, answers, production, request
from tests.support.storage.postgresql import new_database
from tests.support.waiting import eventually

pytestmark = pytest.mark.asyncio(loop_scope="module")

_END = {"delivered", "undelivered", "suppressed", "failed", "expired", "cancelled"}
# Callbacks go to one process here. While that one is replaced, on a busy machine for longer than the provider calls
# again, some are lost for good: such a message is looked up, at a deadline that the test can wait for.
_RECEIPT_HOURS = 15 / 3600


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shape(
    tmp_path_factory: pytest.TempPathFactory, postgresql_url: str, tcp_valkey_url: str
) -> AsyncIterator[Production]:
    """A database of its own, whose schema the upgrade moves ahead."""
    with new_database(postgresql_url) as url:
        engine = create_engine(url)
        migrate(engine)
        engine.dispose()
        folder = tmp_path_factory.mktemp("production")
        async with production(folder, url, tcp_valkey_url, receipt_hours=_RECEIPT_HOURS) as started:
            yield started


@pytest_asyncio.fixture(loop_scope="module")
async def running(shape: Production) -> Production:
    return await shape.new_lender()


async def at_rest(running: Production) -> dict[str, int]:
    """Wait until all of the lender's notifications have ended; how many did in each state."""

    async def ended() -> dict[str, int]:
        states = await running.states()
        return {} if states.keys() - _END else states

    return await eventually(ended, every=0.2)


async def test_fifty_identical_posts_at_once_are_one_message(running: Production) -> None:
    """Fifty concurrent POSTs of one meaning through two processes: one message, forty-nine duplicates of it."""
    body = request(1, route=["sms"])
    replies = await asyncio.gather(
        *(running.post("/v1/notifications", body, api=number % 2, key=f"k{number}") for number in range(50))
    )
    assert {status for status, _ in replies} == {202}
    originals = [answer for _, answer in replies if answer["duplicate_of"] is None]
    assert len(originals) == 1
    assert {answer["duplicate_of"] for _, answer in replies} == {None, originals[0]["id"]}
    await at_rest(running)
    assert (await running.received())["messages"] == 1


async def test_fifty_posts_with_one_key_are_one_notification(running: Production) -> None:
    """Fifty concurrent POSTs under one idempotency key: one 202, forty-nine replays of the same answer."""
    body = request(2, route=["sms"])
    replies = await asyncio.gather(
        *(running.post("/v1/notifications", body, api=number % 2, key="same") for number in range(50))
    )
    assert Counter(status for status, _ in replies) == {202: 1, 200: 49}
    assert len({answer["id"] for _, answer in replies}) == 1
    assert await at_rest(running) == {"delivered": 1}


async def test_a_cap_holds_with_many_workers(running: Production) -> None:
    """Of many reminders to one borrower at once, no more go out than the pack allows; the others say until when."""
    bodies = [
        request(3, route=["sms"], case={"id": f"C-{n}", "product": "card", "due_date": "2026-11-01", "stage": "s"})
        for n in range(12)
    ]
    replies = await asyncio.gather(
        *(running.post("/v1/notifications", body, api=number % 2) for number, body in enumerate(bodies))
    )
    assert {status for status, _ in replies} == {202}

    async def settled() -> bool:
        return await running.states() == {"delivered": 1, "deferred": 11}

    await eventually(settled, every=0.2)
    assert (await running.received())["messages"] == 1  # the minimum gap is four hours
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
    states = await at_rest(running)
    summary = await running.received()
    assert sum(states.values()) == len(numbers)
    assert summary["duplicates"] == 0
    # What a killed worker had started is looked up; only what the provider never saw is sent again.
    assert (states, summary["messages"]) == ({"delivered": len(numbers)}, len(numbers))


async def test_a_published_text_is_soon_everywhere(running: Production) -> None:
    """Published through one process, another one's requests get it, and workers that never saw it send it."""
    files = (await running.get("/v1/templates/overdue-first/live"))["files"]
    files["zh-TW/sms.liquid"] = (
        "{% render 'sign-sms' %}{{ borrower.name }}您好，請與我們聯絡。{% render 'opt-out-sms' %}\n"
    )
    body = {"templates": {"overdue-first": files}, "comment": "reviewed elsewhere", "publish": True}
    status, answer = await running.post("/v1/templates/import", body, api=0)
    assert (status, answer["results"][0]["outcome"]) == (200, "published"), answer
    accepted: list[str] = []

    async def has_the_new_text() -> bool:
        _, made = await running.post("/v1/notifications", request(500 + len(accepted), route=["sms"]), api=1)
        accepted.append((await running.get(f"/v1/notifications/{made['id']}", api=1))["template_version"])
        return accepted[-1].startswith("e1-")

    await eventually(has_the_new_text, every=0.1)
    assert await at_rest(running) == {"delivered": len(accepted)}


def _to_the_next_version(connection: Any) -> None:
    """What the next version's migration would do: a column with a default, an index, and its own revision."""
    for statement in (
        "ALTER TABLE deliveries ADD COLUMN of_the_next_version VARCHAR(8) NOT NULL DEFAULT 'x'",
        "CREATE INDEX of_the_next_version ON deliveries (of_the_next_version)",
        "UPDATE alembic_version SET version_num = 'next'",
    ):
        connection.execute(text(statement))


def _back(connection: Any) -> None:
    connection.execute(text("ALTER TABLE deliveries DROP COLUMN of_the_next_version"))
    connection.execute(text("UPDATE alembic_version SET version_num = :head"), {"head": head()})


class _CaseSystem:
    """Posts about ten requests a second to both APIs in turn; a request that gets no answer is not repeated."""

    def __init__(self, running: Production) -> None:
        self._running = running
        self.accepted = 0
        self.done = asyncio.Event()

    async def post(self) -> None:
        for number in range(1_280):  # as many borrowers as there are
            if self.done.is_set():
                return
            body = request(number, route=["sms"])
            try:
                status, _ = await self._running.post("/v1/notifications", body, api=number % 2, key=f"k{number}")
            except (OSError, aiohttp.ClientError):
                status = 0  # that process is being replaced: the client asks the next one
            self.accepted += status == 202
            await asyncio.sleep(0.1)

    async def accepted_more(self, count: int) -> None:
        wanted = self.accepted + count
        await eventually(lambda: self.accepted >= wanted)


async def test_a_rolling_upgrade_loses_and_repeats_nothing(running: Production) -> None:
    """The older code works on, and even starts, beside the newer schema; each request that got a 202 arrives once."""
    load = _CaseSystem(running)
    loading = asyncio.create_task(load.post())
    await load.accepted_more(10)
    await running.database.write(_to_the_next_version)

    async def replace(process: Process) -> None:
        await asyncio.to_thread(process.stop)
        process.start()
        await load.accepted_more(10)  # the others carry the load meanwhile

    for worker in running.workers:
        await replace(worker)
    for api, url in zip(running.apis, running.urls, strict=True):
        await replace(api)
        await answers(running.http, url)
    load.done.set()
    await loading
    assert pending_migration(running.database.engine) == ""
    states, summary = await at_rest(running), await running.received()
    await running.database.write(_back)
    assert set(states) == {"delivered"}
    assert load.accepted >= 50
    assert summary["duplicates"] == 0
    assert summary["messages"] >= load.accepted  # an answer that was lost on the way had been accepted, too
