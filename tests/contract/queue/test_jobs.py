"""The queue and its worker on a real Valkey."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from unittest.mock import Mock

import msgspec
import pytest
from redis.asyncio import Redis

from gateway.app.embedded import valkey
from gateway.queue import jobs
from gateway.queue.connection import open_pool
from gateway.queue.jobs import WAKEUPS, Queue, WorkerOptions
from tests.support.running_worker import running
from tests.support.waiting import LIMIT_SECONDS, eventually

# What runs within the limit was called: by itself it would look too late.
CALLED = WorkerOptions(timeout_seconds=LIMIT_SECONDS, idle_seconds=4 * LIMIT_SECONDS)


async def test_ids_arrive_in_chunks(redis_url: str) -> None:
    """A thousand deliveries travel as five jobs of two hundred, each exactly once, in order."""
    seen: list[list[str]] = []

    async def dispatch(ids: Sequence[str]) -> None:
        seen.append(list(ids))

    queue = Queue(partial(open_pool, redis_url), batch_size=200)
    ids = [f"dlv_{number:04d}" for number in range(1001)]
    assert await queue.enqueue(ids) is True
    async with running(redis_url, dispatch):
        await eventually(lambda: sum(map(len, seen)) >= len(ids))
    assert sorted(len(chunk) for chunk in seen) == [1, 200, 200, 200, 200, 200]
    assert sorted(one for chunk in seen for one in chunk) == ids
    assert await queue.waiting() == 0
    await queue.close()


async def test_job_holds_ids_only_and_is_json(redis: Redis, redis_url: str) -> None:
    """What lies in Redis is JSON with nothing in it but the job's name and the ids, for thirty days."""
    queue = Queue(partial(open_pool, redis_url), batch_size=200)
    await queue.enqueue(["dlv_1", "dlv_2"])
    (key,) = await redis.keys("arq:job:*")
    job = msgspec.json.decode(await redis.get(key))
    assert (job["f"], job["a"], job["k"]) == ("dispatch.v1", [["dlv_1", "dlv_2"]], {})
    assert 29.9 * 86400 < await redis.ttl(key) <= 30 * 86400
    await queue.close()


async def test_enqueue_without_redis_fails_fast_and_quietly(short_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With no Redis, enqueuing answers False a thousand times over, and asks for it once in a while."""
    monkeypatch.setattr(jobs, "_AWAY_SECONDS", 3600.0)
    queue = Queue(partial(open_pool, f"unix://{short_dir}/nobody.sock", timeout=0.5, retries=0), batch_size=200)
    asked = Mock(side_effect=queue._enqueue)
    monkeypatch.setattr(queue, "_enqueue", asked)
    assert not any([await queue.enqueue(["dlv_1"]) for _ in range(1000)])
    assert asked.call_count == 1
    assert await queue.waiting() is None
    await queue.close()


async def test_enqueue_does_not_wait_for_a_silent_redis(short_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A Redis that accepts and never answers costs one short timeout, and is then left alone for a while."""
    monkeypatch.setattr(jobs, "_AWAY_SECONDS", 3600.0)
    connections = []

    async def silent(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        connections.append(reader)
        await reader.read()

    server = await asyncio.start_unix_server(silent, short_dir / "silent.sock")
    queue = Queue(partial(open_pool, f"unix://{short_dir}/silent.sock", timeout=0.2, retries=0), batch_size=200)
    assert not any([await queue.enqueue(["dlv_1"]) for _ in range(50)])
    assert len(connections) == 1
    await queue.close()
    server.close()


async def test_a_worker_with_nothing_to_do_is_called(redis_url: str) -> None:
    """It starts long before its next look, for each job; calls from when it was busy do it no harm."""
    seen: list[str] = []

    async def dispatch(ids: Sequence[str]) -> None:
        seen.extend(ids)

    queue = Queue(partial(open_pool, redis_url), batch_size=1)
    async with running(redis_url, dispatch, CALLED, command_seconds=2 * CALLED.idle_seconds):
        for wanted in (2, 4, 6):
            await asyncio.sleep(0.3)
            await queue.enqueue([f"dlv_{wanted}_1", f"dlv_{wanted}_2"])
            await eventually(partial(_are, seen, wanted))
    await queue.close()


async def test_a_call_that_is_lost_is_not_missed_for_long(redis: Redis, redis_url: str) -> None:
    """Redis forgot it, or a worker heard it that ended: who has nothing to do looks all the same."""
    seen: list[str] = []

    async def dispatch(ids: Sequence[str]) -> None:
        seen.extend(ids)

    queue = Queue(partial(open_pool, redis_url), batch_size=200)
    await queue.enqueue(["dlv_1"])
    assert await redis.delete(WAKEUPS) == 1
    async with running(redis_url, dispatch):
        await eventually(lambda: seen == ["dlv_1"])
    await queue.close()


async def test_whose_clock_is_behind_starts_at_once_too(redis_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A job that comes from a host whose clock is half a minute ahead is no job of the future."""
    seen: list[str] = []

    async def dispatch(ids: Sequence[str]) -> None:
        seen.extend(ids)

    monkeypatch.setattr("gateway.queue.jobs.timestamp_ms", lambda: int(time.time() * 1000) + 30_000)
    queue = Queue(partial(open_pool, redis_url), batch_size=200)
    async with running(redis_url, dispatch, CALLED, command_seconds=2 * CALLED.idle_seconds):
        await asyncio.sleep(0.3)
        await queue.enqueue(["dlv_1"])
        await eventually(partial(_are, seen, 1))
    await queue.close()


async def test_calls_that_nobody_hears_are_few(redis: Redis, redis_url: str) -> None:
    """However long no worker runs."""
    queue = Queue(partial(open_pool, redis_url), batch_size=1)
    for _ in range(3):
        await queue.enqueue([f"dlv_{number}" for number in range(100)])
    assert await redis.llen(WAKEUPS) == 16
    await queue.close()


async def test_failing_dispatch_stops_nothing(redis_url: str) -> None:
    """A dispatch that raises is over; the next job runs; nothing is repeated here."""
    seen: list[str] = []

    async def dispatch(ids: Sequence[str]) -> None:
        seen.extend(ids)
        if ids[0] == "bad":
            raise ZeroDivisionError

    queue = Queue(partial(open_pool, redis_url), batch_size=1)
    async with running(redis_url, dispatch):
        await queue.enqueue(["bad", "good"])
        await eventually(lambda: "good" in seen)
        await asyncio.sleep(0.1)
    assert sorted(seen) == ["bad", "good"]
    await queue.close()


async def test_hanging_dispatch_is_cut_off(redis_url: str) -> None:
    """A dispatch that never ends is cancelled at its time limit and gives its place to the next."""
    cut: list[str] = []
    hanging = asyncio.Event()

    async def dispatch(ids: Sequence[str]) -> None:
        try:
            if ids[0] == "hangs":
                hanging.set()
                await asyncio.sleep(60)
        finally:
            cut.append(ids[0])

    queue = Queue(partial(open_pool, redis_url), batch_size=1)
    options = WorkerOptions(timeout_seconds=0.3, max_jobs=1)
    async with running(redis_url, dispatch, options):
        await queue.enqueue(["hangs"])
        await hanging.wait()  # jobs of one millisecond have no order
        await queue.enqueue(["next"])
        await eventually(lambda: cut == ["hangs", "next"])
    await queue.close()


async def test_worker_waits_for_a_redis_that_comes_late(short_dir: Path) -> None:
    """A worker started before its Redis picks up work when there is one."""
    seen: list[str] = []

    async def dispatch(ids: Sequence[str]) -> None:
        seen.extend(ids)

    url = f"unix://{short_dir}/valkey/valkey.sock"
    async with running(url, dispatch):
        await asyncio.sleep(0.3)
        server = await valkey.start(short_dir)
        queue = Queue(partial(open_pool, server.url), batch_size=1)
        await queue.enqueue(["dlv_1"])
        await eventually(lambda: seen == ["dlv_1"])
        await queue.close()
    await server.stop()


async def test_all_jobs_of_one_call_take_one_round_trip(redis: Redis, redis_url: str) -> None:
    """What a thousand deliveries are asked for with is one command, whatever the number of jobs."""
    queue = Queue(partial(open_pool, redis_url), 10)
    await queue.enqueue(["warm"])
    before = (await redis.info("commandstats"))["cmdstat_evalsha"]["calls"]
    await queue.enqueue([f"dlv_{number}" for number in range(95)])
    assert (await redis.info("commandstats"))["cmdstat_evalsha"]["calls"] - before == 1
    assert await queue.waiting() == 11
    await queue.close()


def _are(seen: Sequence[str], wanted: int) -> bool:
    return len(seen) == wanted
