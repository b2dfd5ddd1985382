"""``gateway`` for shells: a program on the PATH that has each command forked from a process with all imports.

The program hands its arguments, environment, folder and standard streams to that process, and ends as the command did.
"""

from __future__ import annotations

import gc
import json
import os
import random
import signal
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.forked import ForkedProcess, run_gateway
from tests.support.waiting import eventually_blocking

_MOST_BYTES = 1 << 20  # of arguments and environment
_PROGRAM = """#!{python} -IS
import json, os, socket, sys
with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as server:
    server.connect({path!r})
    given = json.dumps([sys.argv[1:], dict(os.environ), os.getcwd()]).encode()
    socket.send_fds(server, [given], [0, 1, 2])
    sys.exit(int(server.recv(16) or 1))
"""


@contextmanager
def gateway_program(folder: Path) -> Iterator[Path]:
    """A folder for the PATH with the program ``gateway``, below ``folder``, whose path is short."""
    where, made = folder / "commands.sock", folder / "bin"
    made.mkdir()
    program = made / "gateway"
    program.write_text(_PROGRAM.format(python=sys.executable, path=str(where)))
    program.chmod(0o755)
    server = ForkedProcess(_serve, [str(where)], os.environ, folder / "commands.log")
    try:
        eventually_blocking(where.exists)
        yield made
    finally:
        os.killpg(server.pid, signal.SIGKILL)  # with what it runs, as all have its session
        server.wait()


def _serve(path: str) -> None:
    """Run commands until killed, each in a child of its own."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as server:
        server.bind(f"{path}.new")
        server.listen()
        os.rename(f"{path}.new", path)  # there only when it listens
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)
        while True:
            client, _ = server.accept()
            with client:
                if os.fork() == 0:
                    _answer(client)


def _answer(client: socket.socket) -> None:
    """Run what the client asks for, tell it the exit status, and end."""
    try:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        given, streams, _, _ = socket.recv_fds(client, _MOST_BYTES, 3)
        child = os.fork()
        if child == 0:
            arguments, environment, folder = json.loads(given)
            _become(arguments, environment, folder, streams)
        client.send(str(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])).encode())
    finally:
        os._exit(0)


def _become(arguments: list[str], environment: dict[str, str], folder: str, streams: list[int]) -> None:
    status: object = 1
    try:
        for number, stream in enumerate(streams):
            os.dup2(stream, number)
        os.chdir(folder)
        os.environ.clear()
        os.environ.update(environment)
        random.seed()
        gc.freeze()
        run_gateway(*arguments)
        status = 0
    except SystemExit as ended:
        status = ended.code or 0
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status if isinstance(status, int) else 1)
