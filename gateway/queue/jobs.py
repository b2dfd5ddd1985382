"""The job queue: the one module that knows arq. A job says "look at these deliveries now" and carries ids only.

Owns the job's name, its encoding and the workers' loop. Must not know what dispatching is. Jobs are disposable:
the truth is in the ledger, whose relay triggers again whatever was due and not done. So nothing here has to be
kept, repeated or counted, and each of arq 0.28's ways to lose or starve a job is either switched off below or
shown to be harmless in tests/contract/queue/test_arq_traps.py.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, cast
from uuid import uuid4

import msgspec
import structlog
from arq.connections import ArqRedis
from arq.constants import job_key_prefix
from arq.jobs import serialize_job
from arq.utils import timestamp_ms
from arq.worker import Worker, func
from redis.asyncio import ConnectionPool
from redis.exceptions import RedisError

from gateway.observability import logs

# Once in use a name stays registered in every later release: arq drops a job whose name it doesn't know.
JOB = "dispatch.v1"
QUEUE = "gateway:dispatch"
_WORKERS = 16  # worker processes that the queue is made for; our choice
# Where workers with nothing to do wait: one of them hears each call. Calls that nobody waited for are heard by who next
# has nothing to do, and lead to nothing, so no more are kept than there may be workers.
CALLS = "gateway:dispatch:calls"
# arq passes over a job that is dated ahead of its worker's clock, and hosts' clocks differ: a worker would be called
# and find nothing. So jobs are dated back; a clock that is further off has an alert. Our choice.
_DATED_BACK_MS = 60_000
# arq drops a job silently when its key has expired, by default after a day: less than a long weekend's outage.
EXPIRES = timedelta(days=30)

Connect = Callable[[], ConnectionPool]
Dispatch = Callable[[Sequence[str]], Awaitable[None]]

_AWAY_SECONDS = 1.0  # how long a dead Redis isn't asked again, so that it can't slow every accept; our choice
# redis-py sends through asyncio.wait_for, which in Python 3.11 loses a cancellation that meets a finished send: so
# a task is cancelled until it has ended. And a closing connection to a dead server may take its time. Neither may
# keep a worker from starting anew, or from ending.
_CANCELS, _RELEASE_SECONDS = 5, 1.0
_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 5.0  # seconds between restarts of a worker that lost its Redis; our choice

log = structlog.get_logger("gateway.queue.jobs")


@dataclass(frozen=True, slots=True)
class WorkerOptions:
    """How a worker process drains the queue. All of it our choice, with the reason beside it."""

    # A batch of 200 to the slowest provider (10 s) takes less. A crashed worker's jobs come back after this
    # plus 15 s, and its leases in the ledger end after 60.
    timeout_seconds: float = 30.0
    # Jobs at once; 4 batches of 500 were enough for 13,300 deliveries a second, and this is twice that.
    max_jobs: int = 8
    # While there is work, how often the queue is read; and while there is none and nobody calls. See ``_GentleWorker``.
    poll_seconds: float = 0.01
    idle_seconds: float = 1.0
    # How many worker processes the queue's read limit is made for. arq reads this many ids from the front of the
    # queue, and they include those in progress elsewhere: with less than all of them, a free worker starves.
    workers: int = _WORKERS


def encode(job: Any) -> bytes:
    """JSON. arq's own choice, pickle, would run whatever someone with access to Redis writes there."""
    return msgspec.json.encode(job, enc_hook=lambda value: type(value).__name__)


def decode(raw: bytes) -> dict[str, Any]:
    return msgspec.json.decode(raw, type=dict[str, Any])


class Queue:
    """The way into the queue, and the call to a worker that has nothing to do.

    ``connect`` should make a pool with a short timeout and no retries: nobody waits for a trigger.
    """

    def __init__(self, connect: Connect, batch_size: int) -> None:
        self._redis = _client(connect)
        self._batch_size = batch_size
        self._away_until = 0.0

    async def enqueue(self, ids: Sequence[str]) -> bool:
        """Ask for these deliveries to be looked at. False: Redis is away, and the relay will find them. Never raises.

        Asking twice is harmless, for the ledger's claim gives a delivery to one worker. What is written is what
        arq's ``enqueue_job`` writes, in one round trip for all jobs where it makes three for each: its watch for
        another job of the same id is for ids that are not random.
        """
        if not ids:
            return True
        if time.monotonic() < self._away_until:
            return False
        now = timestamp_ms()
        try:
            async with self._redis.pipeline(transaction=True) as pipe:
                for start in range(0, len(ids), self._batch_size):
                    job_id, chunk = uuid4().hex, list(ids[start : start + self._batch_size])
                    job = serialize_job(JOB, (chunk,), {}, None, now, serializer=encode)
                    pipe.psetex(job_key_prefix + job_id, EXPIRES, job)
                    pipe.zadd(QUEUE, {job_id: now - _DATED_BACK_MS})
                    pipe.lpush(CALLS, job_id)
                pipe.ltrim(CALLS, 0, _WORKERS - 1)
                await pipe.execute()
        except (RedisError, OSError) as error:
            self._away_until = time.monotonic() + _AWAY_SECONDS
            log.warning("queue unreachable", count=len(ids), **logs.describe(error))
            return False
        return True

    async def waiting(self) -> int | None:
        """How many jobs are queued or in progress; None while Redis is away."""
        try:
            return int(await self._redis.zcard(QUEUE))
        except (RedisError, OSError):
            return None

    async def close(self) -> None:
        await self._redis.aclose(close_connection_pool=True)


async def run_worker(
    connect: Connect,
    dispatch: Dispatch,
    stop: asyncio.Event,
    *,
    options: WorkerOptions | None = None,
) -> None:
    """Drain the queue until ``stop`` is set; then take no more, finish what is in hand, and return.

    Survives the loss of Redis: arq's worker dies of it and is built anew, while what it had in hand goes on.
    """
    options = options or WorkerOptions()
    guard = _Guard(dispatch, options.timeout_seconds)
    pause = _FIRST_PAUSE
    while not stop.is_set():
        worker = _build(connect, guard, options)
        started = time.monotonic()
        running = asyncio.create_task(worker.async_run(), name="arq")
        stopping = asyncio.create_task(stop.wait())
        try:
            await asyncio.wait({running, stopping}, return_when=asyncio.FIRST_COMPLETED)
            if stop.is_set() and not running.done():
                await worker.finish(options.timeout_seconds + 5)
            elif not running.cancelled() and (error := running.exception()) is not None:
                log.warning("worker restarts", **logs.describe(error))
        finally:
            stopping.cancel()
            await worker.dispose()
        if not stop.is_set():
            pause = _FIRST_PAUSE if time.monotonic() - started > _LONGEST_PAUSE else min(pause * 2, _LONGEST_PAUSE)
            with suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await stop.wait()
    await guard.finish(options.timeout_seconds + 5)


class _Guard:
    """Stands between arq and the dispatch: arq's cancellations don't reach it, and its exceptions don't reach arq.

    arq cancels a job when its worker closes, and a provider call cut off in the middle is an unknown outcome.
    So the work runs in a task of ours, with our own time limit; arq may then give the job to another worker, to
    which the ledger's claim leaves nothing to do.
    """

    def __init__(self, dispatch: Dispatch, timeout_seconds: float) -> None:
        self._dispatch = dispatch
        self._timeout = timeout_seconds
        self._running: set[asyncio.Task[None]] = set()

    async def run(self, _context: dict[Any, Any], ids: list[str]) -> None:
        task = asyncio.create_task(self._limited(ids))
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        await asyncio.shield(task)

    async def _limited(self, ids: list[str]) -> None:
        try:
            async with asyncio.timeout(self._timeout):
                await self._dispatch(ids)
        except Exception as error:
            # arq does not run a failed job again, and need not: the relay does, from what the ledger says.
            log.error("dispatch failed", count=len(ids), **logs.describe(error))

    async def finish(self, within: float) -> None:
        """Wait for what is in hand, and cut off what takes longer."""
        if self._running:
            _, late = await asyncio.wait(self._running, timeout=within)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)


class _GentleWorker(Worker):
    """arq's worker, which can be stopped without cutting jobs off, and waits to be called while there is nothing to do.

    arq polls: at 0.05 s that is 1.9 per cent of a core (2 cores, uvloop, with Valkey's share) and 25 ms for each job
    that comes alone. A call may be lost with Redis or with a worker that ends, so who hears none looks all the same.
    """

    idle_seconds = 0.0

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._picking = asyncio.Lock()

    async def start_jobs(self, job_ids: list[bytes]) -> None:
        async with self._picking:
            if self.allow_pick_jobs:
                await super().start_jobs(job_ids)

    async def _poll_iteration(self) -> None:
        await super()._poll_iteration()
        if not self.tasks and self.allow_pick_jobs:
            # redis-py 5 has no type for this one, and its own ``blpop`` takes whole seconds only.
            await self.pool.execute_command("BLPOP", CALLS, self.idle_seconds)  # type: ignore[no-untyped-call]

    async def finish(self, within: float) -> None:
        """Take no more jobs and wait for those in hand."""
        # Under the lock, so that no job is left half taken: it would stay locked until its timeout.
        async with self._picking:
            self.allow_pick_jobs = False
        if self.tasks:
            await asyncio.wait(list(self.tasks.values()), timeout=within)

    async def dispose(self) -> None:
        """What arq's ``close`` does, without its assumption that Redis is there."""
        tasks = {task for task in (self.main_task, *self.tasks.values()) if task is not None and not task.done()}
        for _ in range(_CANCELS):
            for task in tasks:
                task.cancel()
            if not tasks:
                break
            _, tasks = await asyncio.wait(tasks, timeout=1)
        for release in (self._forget, self._disconnect):
            with suppress(RedisError, OSError):
                async with asyncio.timeout(_RELEASE_SECONDS):
                    await release()

    async def _forget(self) -> None:
        await self.pool.delete(self.health_check_key)

    async def _disconnect(self) -> None:
        await self.pool.aclose(close_connection_pool=True)


def _build(connect: Connect, guard: _Guard, options: WorkerOptions) -> _GentleWorker:
    worker = _GentleWorker(
        # A name of its own: by default a job is called like its function, and a rename drops what is queued.
        # The time limit is the guard's; arq's comes later and never strikes.
        functions=[func(cast(Any, guard.run), name=JOB, timeout=options.timeout_seconds + 5)],
        redis_pool=_client(connect),
        queue_name=QUEUE,
        burst=False,
        handle_signals=False,  # arq's own handlers cut jobs off; the command line's handler sets ``stop``
        max_jobs=options.max_jobs,
        poll_delay=options.poll_seconds,
        # Twice what all workers together can have in progress; see WorkerOptions.workers.
        queue_read_limit=2 * options.max_jobs * options.workers,
        # A job cancelled on its last try is dropped without a word; attempts are counted in the ledger.
        max_tries=1_000_000,
        # On the worker, for a failed job ignores its function's own setting; and results are nobody's business.
        keep_result=0,
        log_results=False,
        # arq's key for a queue's health is shared, and deleted by whichever worker stops first.
        health_check_key=f"gateway:worker:{secrets.token_hex(8)}:health",
        job_serializer=encode,
        job_deserializer=decode,
        expires_extra_ms=int(EXPIRES.total_seconds() * 1000),
        # No hooks: an exception in one kills the worker. No cron: unique jobs can run twice; the relay has a timer.
    )
    worker.idle_seconds = options.idle_seconds
    return worker


def _client(connect: Connect) -> ArqRedis:
    return ArqRedis(
        connect(),
        job_serializer=encode,
        job_deserializer=decode,
        default_queue_name=QUEUE,
        expires_extra_ms=int(EXPIRES.total_seconds() * 1000),
    )
