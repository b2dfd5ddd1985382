"""Connection pool to Redis or Valkey, from one URL, with time-outs on every operation.

Owns the meaning of GATEWAY_REDIS_URL: standalone, TLS, Unix socket or Sentinel. Must not know what is stored.

    redis://[user:password@]host:port/db      rediss://…      unix:///path?db=0
    sentinel://[user:password@]host:port,host:port/name?db=0&sentinel_username=…&sentinel_password=…
    sentinels://…?ssl_ca_certs=/path      the same with TLS to the Sentinels and to the servers

The user before the hosts is the servers'; the Sentinels have their own.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from redis.asyncio import ConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import Sentinel, SentinelConnectionPool
from redis.backoff import ExponentialBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

_CONNECT_SECONDS = 1.0  # a handshake within one region takes milliseconds; our choice
_HEALTH_SECONDS = 15  # finds idle connections that a firewall dropped before they are used; our choice
_SENTINEL_PORT = 26379  # Sentinel's documented default


def open_pool(url: str, *, timeout: float = 5.0, retries: int = 2) -> ConnectionPool:
    """A pool that connects on first use.

    ``timeout`` (seconds) is per command and must exceed the time-out of any blocking command. ``retries`` after lost
    connections and time-outs, with exponential backoff; 0 for callers that must not wait.
    Raises ValueError for an unknown URL scheme.
    """
    options: dict[str, Any] = {
        "socket_timeout": timeout,
        "socket_connect_timeout": min(timeout, _CONNECT_SECONDS),
        "health_check_interval": _HEALTH_SECONDS,
        "retry": Retry(ExponentialBackoff(cap=1.0, base=0.05), retries),
        "retry_on_error": [RedisConnectionError, RedisTimeoutError] if retries else [],
    }
    if url.startswith(("sentinel://", "sentinels://")):
        return _sentinel_pool(url, options)
    if not url.startswith(("redis://", "rediss://", "unix://")):
        # The message does not repeat the URL, which may contain a password.
        raise ValueError("GATEWAY_REDIS_URL must begin with redis://, rediss://, unix://, sentinel:// or sentinels://")
    if url.startswith("rediss://"):
        options["ssl_check_hostname"] = True  # redis-py 5 checks the certificate alone by default
    pool: ConnectionPool = ConnectionPool.from_url(url, **options)
    return pool


def connect(url: str, *, timeout: float = 5.0, retries: int = 2) -> Redis:
    """A client with a pool of its own; see ``open_pool``. Close it with ``aclose``."""
    client: Redis = Redis.from_pool(open_pool(url, timeout=timeout, retries=retries))
    return client


def _sentinel_pool(url: str, options: dict[str, Any]) -> ConnectionPool:
    parts = urlsplit(url)
    name = parts.path.strip("/")
    hosts = parts.netloc.rpartition("@")[2].split(",")
    if not name or not all(hosts):
        raise ValueError("GATEWAY_REDIS_URL: sentinel://host:port,host:port/name expected")
    addresses = [(host, int(port or _SENTINEL_PORT)) for host, _, port in (each.partition(":") for each in hosts)]
    query = {key: values[0] for key, values in parse_qs(parts.query).items()}
    unknown = query.keys() - {"db", "sentinel_username", "sentinel_password", "ssl_ca_certs"}
    if unknown:
        raise ValueError(f"GATEWAY_REDIS_URL: Sentinel knows no {', '.join(sorted(unknown))}")
    tls: dict[str, object] = {}
    if parts.scheme == "sentinels":
        tls = {"ssl": True, "ssl_ca_certs": query.get("ssl_ca_certs"), "ssl_check_hostname": True}
    # redis-py 5 has no types for Sentinel.
    sentinel = Sentinel(  # type: ignore[no-untyped-call]
        addresses,
        sentinel_kwargs={
            "socket_timeout": _CONNECT_SECONDS,
            "socket_connect_timeout": _CONNECT_SECONDS,
            "username": query.get("sentinel_username"),
            "password": query.get("sentinel_password"),
            **tls,
        },
    )
    user, _, password = parts.netloc.rpartition("@")[0].partition(":")
    pool: ConnectionPool = SentinelConnectionPool(  # type: ignore[no-untyped-call]
        name,
        sentinel,
        db=int(query.get("db", "0")),
        username=unquote(user) or None,
        password=unquote(password) or None,
        **options,
        **tls,
    )
    return pool
