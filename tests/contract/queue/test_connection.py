"""How Redis is reached: by URL, directly or through Sentinel."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from redis.exceptions import RedisError

from gateway.app.embedded import processes
from gateway.app.embedded.valkey import find_binary
from gateway.queue.connection import connect, open_pool
from gateway.queue.jobs import Queue
from tests.support.production import free_port
from tests.support.waiting import LIMIT_SECONDS, eventually


@pytest.mark.parametrize("url", ["http://localhost", "valkey+unix:///x", "localhost:6379", ""])
def test_unknown_kind_is_refused_without_repeating_it(url: str) -> None:
    """A URL of another kind is refused with the kinds there are; it may hold a password, so it isn't quoted."""
    with pytest.raises(ValueError, match="redis://, rediss://, unix://, sentinel:// or sentinels://") as caught:
        open_pool(f"{url}?password=hunter2")
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("url", ["sentinel://a:1,b:2", "sentinel:///name", "sentinel://a,,b/name"])
def test_sentinel_needs_hosts_and_a_name(url: str) -> None:
    """A Sentinel URL without hosts or without the service's name says what is expected."""
    with pytest.raises(ValueError, match="sentinel://host:port,host:port/name expected"):
        open_pool(url)


async def test_every_command_has_a_time_limit(short_dir: Path) -> None:
    """A server that accepts and stays silent costs the timeout and no more."""

    async def silent(_reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(30)

    server = await asyncio.start_unix_server(silent, short_dir / "silent.sock")
    client = connect(f"unix://{short_dir}/silent.sock", timeout=0.2, retries=0)
    with pytest.raises(Exception, match="Timeout"):
        await asyncio.wait_for(client.ping(), LIMIT_SECONDS)
    await client.aclose()
    server.close()


@pytest.fixture
def sentinel(short_dir: Path) -> Iterator[tuple[int, int]]:
    """The ports of a Sentinel and of the master it watches."""
    master_port, sentinel_port = free_port(), free_port()
    binary = str(find_binary())
    config = short_dir / "sentinel.conf"
    config.write_text(
        f"port {sentinel_port}\nbind 127.0.0.1\ndir {short_dir}\nsentinel monitor ours 127.0.0.1 {master_port} 1\n"
    )
    options = ["--bind", "127.0.0.1", "--save", "", "--dir", str(short_dir)]
    children = [
        processes.spawn([binary, "--port", str(master_port), *options], errors=subprocess.DEVNULL),
        processes.spawn([binary, str(config), "--sentinel"], errors=subprocess.DEVNULL),
    ]
    yield sentinel_port, master_port
    for child in children:
        asyncio.run(child.stop())


async def test_master_is_found_through_sentinel(sentinel: tuple[int, int]) -> None:
    """A Sentinel URL leads to the present master, past a Sentinel that is down; the job queue works through it."""
    sentinel_port, master_port = sentinel
    url = f"sentinel://127.0.0.1:{free_port()},127.0.0.1:{sentinel_port}/ours?db=1"
    client = connect(url, retries=0)

    async def up() -> bool:
        try:
            return bool(await client.ping())
        except (RedisError, OSError):
            return False

    await eventually(up)
    queue = Queue(lambda: open_pool(url), batch_size=10)
    assert await queue.enqueue(["dlv_1"]) is True
    direct = connect(f"redis://127.0.0.1:{master_port}/1")
    assert len(await direct.keys("arq:job:*")) == 1
    for each in (client, direct):
        await each.aclose()
    await queue.close()
