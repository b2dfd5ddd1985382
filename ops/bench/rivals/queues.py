"""Job queues draining jobs that do nothing, each as one worker process tuned as its documentation suggests.

    python rivals/queues.py arq|saq|taskiq|dramatiq|celery REDIS_URL COUNT

Puts COUNT jobs into the queue, then works until all are done, and prints the instants (monotonic) at which each was
run as a JSON list. No polling pause is left at a default that would be measured in place of the queue.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from typing import Any

_AT_ONCE = 100
_POLL_SECONDS = 0.01

done: list[float] = []
wanted = 0


def run() -> None:
    """One job: it says when it ran, and the last one ends the process."""
    done.append(time.monotonic())
    if len(done) == wanted:
        print(json.dumps(done), flush=True)
        os._exit(0)


async def run_async(*_arguments: Any, **_options: Any) -> None:
    run()


async def arq(url: str, count: int) -> None:
    from arq.connections import ArqRedis
    from arq.worker import Worker, func
    from redis.asyncio import ConnectionPool

    redis = ArqRedis(ConnectionPool.from_url(url))
    for _ in range(0, count, _AT_ONCE):
        await asyncio.gather(*(redis.enqueue_job("noop") for _ in range(_AT_ONCE)))
    worker = Worker(
        functions=[func(run_async, name="noop")],
        redis_pool=redis,
        max_jobs=_AT_ONCE,
        poll_delay=_POLL_SECONDS,
        keep_result=0,
        handle_signals=False,
        log_results=False,
    )
    await worker.async_run()


async def saq(url: str, count: int) -> None:
    from redis.asyncio import Redis
    from saq import Worker
    from saq.queue.redis import RedisQueue

    queue = RedisQueue(Redis.from_url(url))
    await queue.connect()
    for _ in range(0, count, _AT_ONCE):
        await asyncio.gather(*(queue.enqueue("run_async", ttl=-1) for _ in range(_AT_ONCE)))
    await Worker(queue, [("run_async", run_async)], concurrency=_AT_ONCE, dequeue_timeout=1).start()


async def taskiq(url: str, count: int) -> None:
    from taskiq.api import run_receiver_task
    from taskiq_redis import ListQueueBroker

    broker = ListQueueBroker(url)
    task = broker.register_task(run_async, task_name="noop")
    broker.is_worker_process = True
    await broker.startup()
    for _ in range(0, count, _AT_ONCE):
        await asyncio.gather(*(task.kiq() for _ in range(_AT_ONCE)))
    await run_receiver_task(broker, max_async_tasks=_AT_ONCE)


def dramatiq(url: str, count: int) -> None:
    from dramatiq import Worker, actor, set_broker
    from dramatiq.brokers.redis import RedisBroker

    broker = RedisBroker(url=url, middleware=[])
    set_broker(broker)
    noop = actor(run, actor_name="noop", broker=broker)
    for _ in range(count):
        noop.send()
    Worker(broker, worker_threads=8).start()
    time.sleep(600)


def celery(url: str, count: int) -> None:
    from celery import Celery

    app = Celery("bench", broker=url)
    app.conf.update(task_ignore_result=True, worker_prefetch_multiplier=_AT_ONCE, worker_redirect_stdouts=False)
    noop = app.task(run, name="noop")
    for _ in range(count):
        noop.delay()
    # One process that works by itself: its pool of processes would have more than the one core of the others.
    app.worker_main(["worker", "--pool", "solo", "--loglevel", "ERROR", "--without-gossip", "--without-mingle"])


if __name__ == "__main__":
    name, where, wanted = sys.argv[1], sys.argv[2], int(sys.argv[3])
    found = {"arq": arq, "saq": saq, "taskiq": taskiq, "dramatiq": dramatiq, "celery": celery}[name](where, wanted)
    if found is not None:
        try:
            import uvloop
        except ImportError:
            asyncio.run(found)
        else:
            uvloop.run(found)
