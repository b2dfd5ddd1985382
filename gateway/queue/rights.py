"""What the user of GATEWAY_REDIS_URL must be permitted to do (Redis' ACLs), and a check that executes none of it.

Owns the list of commands, keys and channels; ops/deploy/README.md has the ACL rule that permits them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from arq.constants import in_progress_key_prefix, job_key_prefix, retry_key_prefix
from redis.asyncio import Redis
from redis.exceptions import AuthenticationError, NoPermissionError, RedisError, ResponseError

from gateway.core.errors import Unavailable
from gateway.queue.jobs import QUEUE, WAKEUPS
from gateway.queue.subscriptions import CHANNEL
from gateway.queue.token_buckets import KEY_PREFIX

_JOB, _RUNNING, _RETRY = (f"{prefix}-" for prefix in (job_key_prefix, in_progress_key_prefix, retry_key_prefix))
_TOKENS, _DIGEST = f"{KEY_PREFIX}-", "0" * 40
# One of each command with each kind of key; the values do not matter.
_NEEDED: tuple[tuple[str, ...], ...] = (
    *(("ZADD", QUEUE, "1", "-"), ("ZCARD", QUEUE), ("ZSCORE", QUEUE, "-"), ("ZREM", QUEUE, "-")),
    *(("ZRANGEBYSCORE", QUEUE, "0", "1"), ("ZINCRBY", QUEUE, "1", "-")),
    *(("LPUSH", WAKEUPS, "-"), ("LTRIM", WAKEUPS, "0", "1"), ("BLPOP", WAKEUPS, "1")),
    *(("PSETEX", _JOB, "1", "-"), ("GET", _JOB), ("DEL", _JOB), ("PSETEX", _RUNNING, "1", "-"), ("EXISTS", _RUNNING)),
    *(("INCR", _RETRY), ("EXPIRE", _RETRY, "1"), ("SETEX", _RETRY, "1", "-")),
    *(("EVALSHA", _DIGEST, "1", _TOKENS), ("SCRIPT", "LOAD", "return 1"), ("TIME",)),
    ("EVALSHA", _DIGEST, "3", QUEUE, WAKEUPS, _JOB),
    *(("HMGET", _TOKENS, "-"), ("HSET", _TOKENS, "-", "-"), ("PEXPIRE", _TOKENS, "1")),
    *(("SET", "frame:-", "-", "EX", "1"), ("GET", "frame:-"), ("PSETEX", "gateway:worker:-", "1", "-")),
    *(("PUBLISH", CHANNEL, "-"), ("SUBSCRIBE", CHANNEL), ("WATCH", _RUNNING), ("UNWATCH",), ("PING",)),
)


async def refusal(redis: Redis) -> str:
    """What the server refuses us, like ``publish gateway:wakeups`` or ``the user or the password``; "" for nothing.

    Raises Unavailable where the server does not answer.
    """
    try:
        return ", ".join(await _refused(redis))
    except AuthenticationError:
        return "the user or the password"
    except (RedisError, OSError) as error:
        raise Unavailable(f"Redis: {type(error).__name__}") from error


async def server_info(redis: Redis) -> Mapping[str, Any] | None:
    """What the server says of itself; None where the user may not ask. Raises Unavailable."""
    try:
        said: Mapping[str, Any] = await redis.info()
    except NoPermissionError:
        return None
    except (RedisError, OSError) as error:
        raise Unavailable(f"Redis: {type(error).__name__}") from error
    return said


async def _refused(redis: Redis) -> list[str]:
    # Redis checks the rights of a command when it is queued in a transaction, and this one is discarded.
    connection = await redis.connection_pool.get_connection()
    refused: list[str] = []
    try:
        for command in (("MULTI",), *_NEEDED, ("DISCARD",)):
            await connection.send_command(*command)
            try:
                await connection.read_response()
            except NoPermissionError:
                refused.append(" ".join(command[:2]).lower())
                if command == ("MULTI",):
                    break  # without a transaction the others would be executed
            except ResponseError:
                pass  # WATCH is refused within a transaction, after its rights were checked
    finally:
        # Not returned to the pool: it may be in a transaction, or subscribed.
        await connection.disconnect()
        await redis.connection_pool.release(connection)
    return list(dict.fromkeys(refused))
