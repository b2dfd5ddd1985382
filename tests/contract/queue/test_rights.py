"""Redis with users, and Sentinels with a password of their own: what is needed is enough, and less is named."""

from __future__ import annotations

import asyncio
import re
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

import pytest
from redis import Redis as BlockingRedis
from redis.exceptions import RedisError

from gateway.app.app import open_gateway
from gateway.app.embedded import valkey
from gateway.app.embedded.errors import CannotStart
from gateway.app.settings import Settings
from gateway.cli.doctor import queue
from gateway.cli.doctor.finding import CheckResult, Level
from gateway.queue.connection import connect, open_pool
from gateway.queue.jobs import Queue, run_worker
from gateway.queue.rights import refusal
from gateway.queue.token_buckets import TokenBuckets
from tests.support.production import free_port
from tests.support.storage.ledgers import begun, empty_sqlite
from tests.support.tried import Tried
from tests.support.waiting import eventually, eventually_blocking

README = Path(__file__).parents[3] / "ops" / "deploy" / "README.md"
PASSWORD = "a-password-for-tests"
[RULE] = re.findall(r"^user gateway .*$", README.read_text(), re.MULTILINE)
GATEWAY = RULE.replace(">PASSWORD", f">{PASSWORD}")


@contextmanager
def server(folder: Path, program: str, *lines: str, users: Sequence[str] = (), sentinel: bool = False) -> Iterator[int]:
    """A Redis or Valkey with these lines of configuration and these users; its port. It ends with the context."""
    port = free_port()
    folder.mkdir()
    (folder / "users.acl").write_text("".join(f"{each}\n" for each in users))
    acl = [f"aclfile {folder}/users.acl"] if users else []
    common = [f"port {port}", "bind 127.0.0.1", f"dir {folder}", *([] if sentinel else ['save ""']), *acl, *lines]
    (folder / "server.conf").write_text("".join(f"{each}\n" for each in common))
    command = [program, str(folder / "server.conf"), *(["--sentinel"] if sentinel else [])]
    with (folder / "server.log").open("wb") as log:
        running = subprocess.Popen(command, stdout=log, stderr=log)

    def up() -> bool:
        assert running.poll() is None, (folder / "server.log").read_text()
        with suppress(OSError, RedisError), BlockingRedis(port=port) as client:
            client.ping()
            return True
        return _refuses(port)

    try:
        eventually_blocking(up)
        yield port
    finally:
        running.kill()
        running.wait()


def _refuses(port: int) -> bool:
    """Whether a server is there that wants a password."""
    with BlockingRedis(port=port) as client:
        try:
            client.ping()
        except RedisError as error:
            return "NOAUTH" in str(error) or "uthentication" in str(error)
    return True


@pytest.fixture(params=["valkey", "redis-server"])
def program(request: pytest.FixtureRequest) -> str:
    """The Valkey that is embedded, and Debian's Redis where it is installed."""
    if request.param == "valkey":
        return str(valkey.find_binary())
    found = shutil.which("redis-server")
    if found is None:
        pytest.skip("redis-server is not installed (Debian: apt install redis-server)")
    return found


def version(program: str) -> str:
    """``Redis 7.0.15``, ``Valkey 9.1.0``."""
    said = subprocess.run([program, "--version"], capture_output=True, text=True, check=True).stdout
    [number] = re.findall(r" v=(\S+)", said)
    return f"{said.split()[0]} {number}"


def user(rule: str) -> list[str]:
    return ["user default off", rule]


async def doctors(url: str) -> list[CheckResult]:
    return await queue.check(Settings(redis_url=url, database_url="sqlite:///unused"))


async def test_the_documented_rights_are_enough(tmp_path: Path, program: str, tried: Tried) -> None:
    """With the ACL line of ops/deploy/README.md a job is queued and done, a token is taken, and doctor is content."""
    with server(tmp_path / "server", program, users=user(GATEWAY)) as port:
        url = f"redis://gateway:{PASSWORD}@127.0.0.1:{port}/0"
        assert [(each.check, each.level) for each in await doctors(url)] == [("redis", Level.OK)]
        await _works(url)
        tried(version(program), "the documented ACL line", "a job done, a token taken", "", "doctor: redis ok")


async def _works(url: str) -> None:
    """A worker does a job that a queue was given, and a token is granted."""
    done: list[str] = []
    stop = asyncio.Event()

    async def dispatch(ids: Sequence[str]) -> None:
        done.extend(ids)

    jobs = Queue(partial(open_pool, url), 100)
    working = asyncio.create_task(run_worker(lambda: open_pool(url), dispatch, stop))
    client = connect(url)
    try:
        assert await jobs.enqueue(["dlv_1"])
        await eventually(lambda: done == ["dlv_1"])
        assert (await TokenBuckets(client).take("provider", 1, 1.0, 1)).granted == 1
    finally:
        stop.set()
        await working
        await jobs.close()
        await client.aclose()


async def test_a_user_without_dangerous_commands_can_work(tmp_path: Path, program: str, tried: Tried) -> None:
    """The worker needs no INFO; doctor warns that it can't look at the server."""
    rule = f"user gateway on >{PASSWORD} ~* &* +@all -@dangerous"
    with server(tmp_path / "server", program, users=user(rule)) as port:
        url = f"redis://gateway:{PASSWORD}@127.0.0.1:{port}/0"
        assert [(each.check, each.level) for each in await doctors(url)] == [("redis.info", Level.WARNING)]
        await _works(url)
        tried(version(program), "a user with -@dangerous", "a job done, a token taken", "", "doctor: redis.info warns")


@pytest.mark.parametrize(
    ("change", "refused"),
    [
        ("-blpop", "blpop gateway:dispatch:calls"),
        ("-evalsha", "evalsha"),
        ("-multi", "multi"),
        ("resetchannels &other:*", "publish gateway:wakeups, subscribe gateway:wakeups"),
        ("resetkeys ~gateway:* ~arq:*", "set frame:-, get frame:-"),
    ],
)
async def test_a_missing_right_is_named_at_the_start(tmp_path: Path, change: str, refused: str) -> None:
    """A process ends with what is refused, in place of restarting for ever, and doctor says the same."""
    with server(tmp_path / "server", str(valkey.find_binary()), users=user(f"{GATEWAY} {change}")) as port:
        url = f"redis://gateway:{PASSWORD}@127.0.0.1:{port}/0"
        [found] = await doctors(url)
        assert (found.check, found.level) == ("redis.rights", Level.ERROR)
        assert f"refuses {refused}" in found.what
        ledger = begun(empty_sqlite(tmp_path))
        with pytest.raises(CannotStart, match=f"Redis refuses {refused}"):
            async with open_gateway(Settings(data_dir=tmp_path, database_url=ledger, redis_url=url)):
                pass
        administrator = connect(url)
        assert await administrator.ping()
        await administrator.aclose()


async def test_a_wrong_password_is_named(tmp_path: Path) -> None:
    """A wrong password is a refusal, not an outage."""
    with server(tmp_path / "server", str(valkey.find_binary()), users=user(GATEWAY)) as port:
        [found] = await doctors(f"redis://gateway:wrong@127.0.0.1:{port}/0")
        assert found.check == "redis.rights"
        assert "the user or the password" in found.what


async def test_the_check_of_rights_changes_nothing(tmp_path: Path) -> None:
    """All commands are queued in a transaction that is discarded."""
    with server(tmp_path / "server", str(valkey.find_binary())) as port:
        client = connect(f"redis://127.0.0.1:{port}/0")
        assert await refusal(client) == ""
        assert await client.dbsize() == 0
        await client.aclose()


async def test_sentinels_may_have_a_password_of_their_own(tmp_path: Path, program: str, tried: Tried) -> None:
    """The servers' user stands before the hosts, the Sentinels' password in the query."""
    with server(
        tmp_path / "server", program, users=[*user(GATEWAY), f"user watcher on >{PASSWORD} ~* &* +@all"]
    ) as port:
        lines = [
            f"sentinel monitor ours 127.0.0.1 {port} 1",
            "sentinel auth-user ours watcher",
            f"sentinel auth-pass ours {PASSWORD}",
            "requirepass the-sentinels",
        ]
        with server(tmp_path / "sentinel", program, *lines, sentinel=True) as watched:
            url = f"sentinel://gateway:{PASSWORD}@127.0.0.1:{watched}/ours?db=0"
            assert (await doctors(url))[0].check in ("redis.rights", "redis.reachable")
            await _works(f"{url}&sentinel_password=the-sentinels")
            sent = "Sentinel with a password of its own"
            tried(version(program), sent, "a job done, a token taken", "", "the server's user, the Sentinel's password")


def test_a_misspelt_option_of_sentinel_is_refused() -> None:
    """An option that nothing reads would be silently ignored."""
    with pytest.raises(ValueError, match="sentinel_pasword"):
        open_pool("sentinel://h:1/ours?sentinel_pasword=x")
