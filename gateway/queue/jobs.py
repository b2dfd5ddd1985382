"""The arq job queue: a trigger is a job that asks a worker to look at some deliveries, and carries their ids only.

Owns the job's name, its encoding and the worker loop; the only module that knows arq. Must not know what dispatching
does. Jobs are disposable: the ledger is the source of truth, and the due scanner triggers again whatever is due and
not done. So nothing here needs persistence, retries or counting. Each way in which arq 0.28 can lose or starve a job is
either disabled below or shown to be harmless in tests/contract/queue/test_arq_traps.py.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from importlib.resources import files
from typing import Any, cast
from uuid import uuid4

import msgspec
import structlog
from arq.connections import ArqRedis
from arq.constants import job_key_prefix
from arq.jobs import serialize_job
from arq.utils import poll, timestamp_ms
from arq.worker import Worker, func
from redis.asyncio import ConnectionPool
from redis.exceptions import RedisError

from gateway.observability import logs

# The name stays registered in every later release: arq drops a job with an unknown function name.
JOB = "dispatch.v1"
QUEUE = "gateway:dispatch"
_WORKERS = 16  # worker processes for which the queue is sized; our choice
# Wake-up list: idle workers block on it (BLPOP), and each entry wakes one of them. Entries that no worker waited for
# wake the next idle worker for nothing, so the list is trimmed to the number of workers.
WAKEUPS = "gateway:dispatch:calls"
# Clock skew: arq skips a job whose score is ahead of the worker's clock, so a woken worker would find nothing. Jobs
# are back-dated by this much; GatewayClockOff reports clocks that differ by more than 5 s. Our choice.
_BACKDATE_MS = 60_000
# arq silently drops a job whose key has expired, by default after a day: shorter than a long weekend's outage.
EXPIRES = timedelta(days=30)
_EXPIRES_MS = EXPIRES // timedelta(milliseconds=1)

Connect = Callable[[], ConnectionPool]
Dispatch = Callable[[Sequence[str]], Awaitable[None]]

# Seconds for which an unreachable Redis is not called, so that it cannot slow every accept; our choice.
_AWAY_SECONDS = 1.0
# redis-py sends through asyncio.wait_for, which in Python 3.11 can swallow a cancellation that arrives after the send
# has finished: so a task is cancelled repeatedly until it ends. Closing a connection to a dead server may block. Both
# are bounded, so that a worker can restart or stop.
_CANCELS, _RELEASE_SECONDS = 5, 1.0
_MIN_BACKOFF, _MAX_BACKOFF = 0.1, 5.0  # seconds between restarts after a lost Redis; our choice

log = structlog.get_logger("gateway.queue.jobs")


@dataclass(frozen=True, slots=True)
class WorkerOptions:
    """How a worker process drains the queue. All values are our choice; the reason is beside each."""

    # More than a batch of 200 takes at the slowest provider (10 s). The jobs of a crashed worker are released after
    # this plus 15 s; its leases in the ledger expire after 60 s.
    timeout_seconds: float = 30.0
    # Concurrent jobs; 4 batches of 500 carried 13,300 deliveries a second (measured), and this is twice that.
    max_jobs: int = 8
    # Poll interval while there is work, and the longest wait for a wake-up while there is none; see ``_Worker``.
    poll_seconds: float = 0.01
    idle_seconds: float = 1.0
    # Worker processes for which the queue's read limit is sized. arq reads that many ids from the front of the queue,
    # including jobs in progress elsewhere: with a smaller limit a free worker starves.
    workers: int = _WORKERS


def encode(job: Any) -> bytes:
    """JSON. arq's default, pickle, would execute whatever someone with access to Redis writes there."""
    return msgspec.json.encode(job, enc_hook=lambda value: type(value).__name__)


def decode(raw: bytes) -> dict[str, Any]:
    return msgspec.json.decode(raw, type=dict[str, Any])


class Queue:
    """Enqueues triggers and wakes an idle worker for each.

    ``connect`` should open a pool with a short time-out and no retries: a trigger may be lost.
    """

    def __init__(self, connect: Connect, batch_size: int) -> None:
        self._redis = _client(connect)
        self._enqueue = self._redis.register_script(
            files("gateway.queue").joinpath("scripts/enqueue.lua").read_text("utf-8")
        )
        self._batch_size = batch_size
        self._unreachable_until = 0.0

    async def enqueue(self, ids: Sequence[str]) -> bool:
        """Trigger these deliveries. False: Redis is unreachable, and the due scanner will find them. Never raises.

        Triggering twice is harmless: the ledger's claim gives a delivery to one worker. This writes what arq's
        ``enqueue_job`` writes, by one command for all jobs instead of three round trips for each: its WATCH guards
        against reused job ids, and these ids are random.
        """
        if not ids:
            return True
        if time.monotonic() < self._unreachable_until:
            return False
        now = timestamp_ms()
        try:
            jobs: dict[str, bytes] = {}
            for start in range(0, len(ids), self._batch_size):
                chunk = list(ids[start : start + self._batch_size])
                jobs[uuid4().hex] = serialize_job(JOB, (chunk,), {}, None, now, serializer=encode)
            said: list[str | bytes | int] = [_EXPIRES_MS, now - _BACKDATE_MS, _WORKERS]
            for job_id, job in jobs.items():
                said += (job_id, job)
            await self._enqueue(keys=[QUEUE, WAKEUPS, *(job_key_prefix + job_id for job_id in jobs)], args=said)
        except (RedisError, OSError) as error:
            self._unreachable_until = time.monotonic() + _AWAY_SECONDS
            log.warning("queue unreachable", count=len(ids), **logs.describe(error))
            return False
        return True

    async def waiting(self) -> int | None:
        """How many jobs are queued or in progress; None while Redis is unreachable."""
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
    """Drain the queue until ``stop`` is set; then take no new jobs, finish the running ones, and return.

    Survives the loss of Redis: arq's worker ends with an error and is rebuilt with backoff, while running jobs go on.
    """
    options = options or WorkerOptions()
    guard = _JobShield(dispatch, options.timeout_seconds)
    pause = _MIN_BACKOFF
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
            pause = _MIN_BACKOFF if time.monotonic() - started > _MAX_BACKOFF else min(pause * 2, _MAX_BACKOFF)
            with suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await stop.wait()
    await guard.finish(options.timeout_seconds + 5)


class _JobShield:
    """Runs a job in a task of its own: shields it from arq's cancellations, and arq from its exceptions.

    arq cancels jobs when its worker closes, and cancelling a provider call leaves an unknown outcome. So a job has its
    own task and time limit. arq may give the same job to another worker; the ledger's claim leaves it nothing to do.
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
            # arq does not retry a failed job. The due scanner triggers the deliveries again.
            log.error("dispatch failed", count=len(ids), **logs.describe(error))

    async def finish(self, within: float) -> None:
        """Wait at most ``within`` seconds for running jobs, then cancel them."""
        if self._running:
            _, late = await asyncio.wait(self._running, timeout=within)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)


class _Worker(Worker):
    """arq's worker with graceful shutdown, and a blocking wait for wake-ups while it is idle.

    arq only polls: at 0.05 s that costs 1.9 % of a core (2 cores, uvloop, Valkey included) and delays a single job by
    25 ms (measured). A wake-up can be lost with Redis or a dying worker, so the wait ends after ``idle_seconds``.
    """

    idle_seconds = 0.0

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._picking = asyncio.Lock()

    async def main(self) -> None:
        """arq's loop without the INFO before it, which Redis users without @dangerous may not send."""
        async for _ in poll(self.poll_delay_s):
            await self._poll_iteration()

    async def start_jobs(self, job_ids: list[bytes]) -> None:
        async with self._picking:
            if self.allow_pick_jobs:
                await super().start_jobs(job_ids)

    async def _poll_iteration(self) -> None:
        await super()._poll_iteration()
        if not self.tasks and self.allow_pick_jobs:
            # redis-py 5 has no type for this call, and its ``blpop`` takes whole seconds only.
            await self.pool.execute_command("BLPOP", WAKEUPS, self.idle_seconds)  # type: ignore[no-untyped-call]

    async def finish(self, within: float) -> None:
        """Take no new jobs, and wait at most ``within`` seconds for the running ones."""
        # Under the lock: a job that is half taken would stay locked until its time-out.
        async with self._picking:
            self.allow_pick_jobs = False
        if self.tasks:
            await asyncio.wait(list(self.tasks.values()), timeout=within)

    async def dispose(self) -> None:
        """Like arq's ``close``, but works while Redis is unreachable."""
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


def _build(connect: Connect, guard: _JobShield, options: WorkerOptions) -> _Worker:
    worker = _Worker(
        # An explicit name: the default is the function's name, and renaming that would drop queued jobs.
        # The shield enforces the time limit; arq's limit is later and is never reached.
        functions=[func(cast(Any, guard.run), name=JOB, timeout=options.timeout_seconds + 5)],
        redis_pool=_client(connect),
        queue_name=QUEUE,
        burst=False,
        handle_signals=False,  # arq's handlers cancel jobs; the command line's handler sets ``stop``
        max_jobs=options.max_jobs,
        poll_delay=options.poll_seconds,
        # Twice what all workers can have in progress; see WorkerOptions.workers.
        queue_read_limit=2 * options.max_jobs * options.workers,
        # arq silently drops a job that is cancelled on its last try; attempts are counted in the ledger instead.
        max_tries=1_000_000,
        # Set on the worker, because a failed job ignores its function's setting. Results are not used.
        keep_result=0,
        log_results=False,
        # arq's default health key is shared by all workers, and deleted by the first that stops.
        health_check_key=f"gateway:worker:{secrets.token_hex(8)}:health",
        job_serializer=encode,
        job_deserializer=decode,
        expires_extra_ms=_EXPIRES_MS,
        # No hooks: an exception in one ends the worker. No cron: its unique jobs can run twice.
    )
    worker.idle_seconds = options.idle_seconds
    return worker


def _client(connect: Connect) -> ArqRedis:
    return ArqRedis(
        connect(),
        job_serializer=encode,
        job_deserializer=decode,
        default_queue_name=QUEUE,
        expires_extra_ms=_EXPIRES_MS,
    )
