"""The ways in which arq 0.28 loses, repeats or starves jobs: each is shown not to happen here, or to do no harm.

Every test plants in a real Valkey what springs the trap in arq's default settings.
"""

from __future__ import annotations

import asyncio
import os
import pickle
import signal
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path

from arq.connections import ArqRedis
from redis.asyncio import Redis

from gateway.app.embedded import valkey
from gateway.queue import jobs
from gateway.queue.connection import open_pool
from gateway.queue.jobs import QUEUE, Queue, WorkerOptions, decode, encode, run_worker
from tests.support.running_worker import PATIENT, running
from tests.support.waiting import LIMIT_SECONDS, eventually


def _arq(url: str) -> ArqRedis:
    """A client like any release's, that may enqueue what ours would not."""
    return ArqRedis(open_pool(url), job_serializer=encode, job_deserializer=decode, default_queue_name=QUEUE)


async def _gone(redis: Redis, key: str) -> bool:
    return not await redis.exists(key)


async def _workers_are(redis: Redis, count: int) -> bool:
    return len(await redis.keys("gateway:worker:*:health")) == count


async def test_job_cancelled_on_what_arq_takes_for_the_last_try_still_runs(redis: Redis, redis_url: str) -> None:
    """A job that was cut off a thousand times (arq drops it silently after five) is run all the same."""
    seen: list[str] = []

    async def dispatch(ids: Sequence[str]) -> None:
        seen.extend(ids)

    client = _arq(redis_url)
    job = await client.enqueue_job("dispatch.v1", ["dlv_1"])
    assert job is not None
    await redis.set(f"arq:retry:{job.job_id}", 1000)
    async with running(redis_url, dispatch):
        await eventually(lambda: seen == ["dlv_1"])
    await client.aclose(close_connection_pool=True)


async def test_unknown_job_name_is_dropped_and_stops_nothing(redis: Redis, redis_url: str) -> None:
    """A job of a release that is not this one is dropped (the relay finds its work); the next one runs."""
    seen: list[str] = []

    async def dispatch(ids: Sequence[str]) -> None:
        seen.extend(ids)

    client = _arq(redis_url)
    await client.enqueue_job("dispatch.v0", ["old"])
    await client.enqueue_job("dispatch.v1", ["new"])
    async with running(redis_url, dispatch):
        await eventually(lambda: seen == ["new"])
    assert await redis.zcard(QUEUE) == 0
    assert await redis.keys("arq:result:*") == []
    await client.aclose(close_connection_pool=True)


async def test_no_result_stands_in_the_way_of_the_same_id(redis: Redis, redis_url: str) -> None:
    """After a job, done or failed, its very id can be enqueued again at once, because no result is kept."""
    seen: list[str] = []

    async def dispatch(ids: Sequence[str]) -> None:
        seen.extend(ids)
        if ids[0] == "fails":
            raise ZeroDivisionError

    client = _arq(redis_url)
    async with running(redis_url, dispatch):
        for content in ("fails", "works", "fails", "works"):
            assert await client.enqueue_job("dispatch.v1", [content], _job_id=content) is not None
            await eventually(partial(_gone, redis, f"arq:job:{content}"))
    assert seen == ["fails", "works", "fails", "works"]
    assert await redis.keys("arq:result:*") == []
    await client.aclose(close_connection_pool=True)


async def test_free_worker_is_not_starved_by_jobs_in_progress_elsewhere(redis_url: str) -> None:
    """With 120 jobs in progress at one worker (arq reads 100 ids), a second worker finds the jobs behind them."""
    release = asyncio.Event()
    held: list[str] = []
    done: list[str] = []

    async def hold(ids: Sequence[str]) -> None:
        held.extend(ids)
        await release.wait()

    async def do(ids: Sequence[str]) -> None:
        done.extend(ids)

    queue = Queue(partial(open_pool, redis_url), batch_size=1)
    await queue.enqueue([f"held_{number}" for number in range(120)])
    async with running(redis_url, hold, WorkerOptions(timeout_seconds=LIMIT_SECONDS, max_jobs=120)):
        await eventually(lambda: len(held) == 120)
        async with running(redis_url, do):
            await queue.enqueue([f"free_{number}" for number in range(10)])
            await eventually(lambda: len(done) == 10)
        release.set()
    await queue.close()


async def test_worker_outlives_redis_and_what_it_had_in_hand_goes_on(short_dir: Path) -> None:
    """Killing Redis with -9 cancels no dispatch, and work enqueued at its successor is run by the same worker."""
    server = await valkey.start(short_dir)
    release = asyncio.Event()
    begun: list[str] = []
    ended: list[str] = []

    async def dispatch(ids: Sequence[str]) -> None:
        begun.extend(ids)
        if ids[0] == "slow":
            await release.wait()
        ended.extend(ids)

    queue = Queue(partial(open_pool, server.url, timeout=0.5, retries=0), batch_size=1)
    async with running(server.url, dispatch):
        await queue.enqueue(["slow"])
        await eventually(lambda: begun == ["slow"])
        os.kill(server.pid, signal.SIGKILL)
        await eventually(lambda: not server.running)
        await asyncio.sleep(0.3)  # the worker notices, dies and is built anew a few times
        assert await queue.enqueue(["lost"]) is False

        server = await valkey.start(short_dir)
        await eventually(lambda: queue.enqueue(["after"]))
        await eventually(lambda: ended == ["after"])
        release.set()
        await eventually(lambda: sorted(ended) == ["after", "slow"])
    assert begun == ["slow", "after"]  # nothing was begun twice, nor cut off
    await queue.close()
    await server.stop()


async def test_lost_cancellation_does_not_keep_a_worker_from_ending(redis_url: str) -> None:
    """A task that loses its first cancellation, as Python 3.11's wait_for makes redis-py do, is cancelled again."""

    async def dispatch(_ids: Sequence[str]) -> None:
        return None

    async def deaf_once() -> None:
        with suppress(asyncio.CancelledError):
            await asyncio.sleep(60)
        await asyncio.sleep(60)

    worker = jobs._build(partial(open_pool, redis_url), jobs._JobShield(dispatch, 5), PATIENT)
    worker.tasks["deaf"] = deaf = asyncio.create_task(deaf_once())
    await asyncio.sleep(0)
    await asyncio.wait_for(worker.dispose(), LIMIT_SECONDS)
    assert deaf.cancelled()


class _Bomb:
    """What someone with access to Redis would plant: reading it with pickle creates a file."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str, int]]:
        return os.mkdir, (self.path, 0o700)


async def test_planted_pickle_is_not_run(redis: Redis, redis_url: str, short_dir: Path) -> None:
    """Code planted in Redis as a pickled job (arq's own encoding) is dropped unread; the next job runs."""
    seen: list[str] = []

    async def dispatch(ids: Sequence[str]) -> None:
        seen.extend(ids)

    target = short_dir / "pwned"
    await redis.psetex("arq:job:bomb", 60_000, pickle.dumps(_Bomb(str(target))))
    await redis.zadd(QUEUE, {"bomb": 1})
    queue = Queue(partial(open_pool, redis_url), batch_size=1)
    await queue.enqueue(["good"])
    async with running(redis_url, dispatch):
        await eventually(lambda: seen == ["good"])
    assert not target.exists()
    assert await redis.zcard(QUEUE) == 0
    await queue.close()


async def test_stop_finishes_what_is_in_hand_and_takes_no_more(redis: Redis, redis_url: str) -> None:
    """After ``stop`` the running dispatch ends by itself, and jobs not yet begun stay in the queue."""
    begun: list[str] = []
    ended: list[str] = []
    release = asyncio.Event()

    async def dispatch(ids: Sequence[str]) -> None:
        begun.extend(ids)
        await release.wait()
        ended.extend(ids)

    queue = Queue(partial(open_pool, redis_url), batch_size=1)
    async with running(redis_url, dispatch, WorkerOptions(timeout_seconds=LIMIT_SECONDS, max_jobs=1)) as stop:
        await queue.enqueue(["first", "second"])
        await eventually(lambda: len(begun) == 1)
        stop.set()
        await asyncio.sleep(0.3)  # time in which it could cut off the first, or begin the second
        assert (len(begun), ended) == (1, [])
        release.set()
    assert begun == ended
    assert len(begun) == 1
    assert await redis.zcard(QUEUE) == 1
    assert await redis.keys("arq:in-progress:*") == []  # the next worker need not wait for a lock to expire
    await queue.close()


_PROGRAM = """
import asyncio, signal, sys
from contextlib import suppress
from functools import partial
from gateway.queue.connection import open_pool
from gateway.queue.jobs import WorkerOptions, run_worker

async def dispatch(ids):
    print("begun", flush=True)
    await asyncio.sleep(0.7)
    print("ended", flush=True)

async def main():
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    await run_worker(partial(open_pool, sys.argv[1]), dispatch, stop, options=WorkerOptions(timeout_seconds=60))

asyncio.run(main())
"""


async def test_sigterm_lets_a_worker_process_finish(redis: Redis, redis_url: str) -> None:
    """A worker process that gets SIGTERM in the middle of a dispatch ends it, takes it off the queue, and exits 0."""
    queue = Queue(partial(open_pool, redis_url), batch_size=1)
    await queue.enqueue(["dlv_1"])
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", _PROGRAM, redis_url, stdout=subprocess.PIPE, env=environment
    )
    assert process.stdout is not None
    assert await asyncio.wait_for(process.stdout.readline(), LIMIT_SECONDS) == b"begun\n"
    process.terminate()
    assert await asyncio.wait_for(process.stdout.readline(), LIMIT_SECONDS) == b"ended\n"
    assert await asyncio.wait_for(process.wait(), LIMIT_SECONDS) == 0
    assert await redis.zcard(QUEUE) == 0
    await queue.close()


async def test_job_of_a_dead_worker_comes_back_soon(redis: Redis, redis_url: str) -> None:
    """A job's lock lasts no longer than its time limit and fifteen seconds, against arq's 310."""
    locks: list[int] = []

    async def dispatch(_ids: Sequence[str]) -> None:
        (key,) = await redis.keys("arq:in-progress:*")
        locks.append(await redis.pttl(key))

    queue = Queue(partial(open_pool, redis_url), batch_size=1)
    async with running(redis_url, dispatch, PATIENT):
        await queue.enqueue(["dlv_1"])
        await eventually(lambda: bool(locks))
    assert PATIENT.timeout_seconds * 1000 < locks[0] <= (PATIENT.timeout_seconds + 15) * 1000
    await queue.close()


async def test_expired_job_is_dropped_and_stops_nothing(redis: Redis, redis_url: str) -> None:
    """An id in the queue whose job has expired is dropped (the relay finds its work); the next one runs."""
    seen: list[str] = []

    async def dispatch(ids: Sequence[str]) -> None:
        seen.extend(ids)

    await redis.zadd(QUEUE, {"expired": 1})
    queue = Queue(partial(open_pool, redis_url), batch_size=1)
    await queue.enqueue(["good"])
    async with running(redis_url, dispatch):
        await eventually(lambda: seen == ["good"])
    assert await redis.zcard(QUEUE) == 0
    await queue.close()


async def test_health_keys_are_each_workers_own(redis: Redis, redis_url: str) -> None:
    """Two workers have two health keys, and one that stops leaves the other's alone."""

    async def dispatch(_ids: Sequence[str]) -> None:
        return None

    stop = asyncio.Event()
    first = asyncio.create_task(run_worker(partial(open_pool, redis_url), dispatch, stop, options=PATIENT))
    async with running(redis_url, dispatch):
        await eventually(partial(_workers_are, redis, 2))
        stop.set()
        await first
        assert await _workers_are(redis, 1)


async def test_flushall_in_the_middle_stops_no_worker(redis: Redis, redis_url: str) -> None:
    """Emptying Redis while jobs run kills nothing, and what is enqueued afterwards runs."""
    seen: list[str] = []

    async def dispatch(ids: Sequence[str]) -> None:
        await asyncio.sleep(0.05)
        seen.extend(ids)

    queue = Queue(partial(open_pool, redis_url), batch_size=1)
    async with running(redis_url, dispatch):
        await queue.enqueue([f"dlv_{number}" for number in range(50)])
        await eventually(lambda: len(seen) >= 5)
        await redis.flushall()
        await queue.enqueue(["after"])
        await eventually(lambda: "after" in seen)
    await queue.close()
