"""Jasmin, an SMS gateway on Twisted: what it costs to take a message by HTTP and hand it over by SMPP.

Runs Jasmin from PyPI with RabbitMQ from Debian's archives, unpacked and not installed, and a Valkey of ours for its
Redis, all on loopback. Its queues are not durable and it stores nothing, so that it does less than the gateway.
https://docs.jasminsms.com/
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import machine
from measuring import Missing
from redis import Redis
from shape import Outside, redis_server
from sqlalchemy import make_url

_SECTIONS = {
    "http-api": {"port": "{http}", "bind": "127.0.0.1", "log_level": "ERROR", "access_log": "{folder}/access.log"},
    "amqp-broker": {"port": "{amqp}", "spec": "{specification}"},
    "redis-client": {"port": "{redis}"},
    "client-management": {"port": "{management}", "store_path": "{folder}"},
    "router": {"port": "{router}", "store_path": "{folder}"},
    "smpp-server": {"port": "{smpp}"},
    "smpp-server-pb": {"port": "{bridge}"},
    "jcli": {"port": "{console}", "authentication": "False"},
    "sm-listener": {"log_level": "ERROR"},
    **{name: {} for name in ("service-smppclient", "deliversm-thrower", "dlr-thrower")},
}
_PORTS = ("http", "management", "router", "smpp", "bridge", "console")
# One user without a quota, and one connector without a limit of its rate, to which everything goes.
_CONSOLE = """group -a|gid bench|ok
user -a|username bench|password bench|gid bench|uid bench|mt_messaging_cred quota http_throughput none|ok
smppccm -a|cid smsc|host 127.0.0.1|port {smsc}|username bench|password bench|submit_throughput 0|ok
mtrouter -a|type defaultroute|connector smppc(smsc)|rate 0.0|ok
smppccm -1 smsc"""
# jasmind locks /tmp/jasmind, which no option names, so that a second one on a machine ends at once: two must not share
# ports and stores (Jasmin's issue 265). Ours has its own of each, and so its lock is in its own folder.
_JASMIND = """
import runpy, sys, lockfile
folder, program = sys.argv[1:3]
taken = lockfile.FileLock
lockfile.FileLock = lambda path: taken(f"{folder}/jasmind")
sys.argv[:3] = [program]
runpy.run_path(program, run_name="__main__")
"""
_READY_SECONDS = 60.0


@dataclass(frozen=True)
class Jasmin:
    """A Jasmin that takes messages at ``port``."""

    port: int
    gateway: machine.MeasuredProcess
    broker: machine.MeasuredProcess
    redis_url: str

    def cpu_seconds(self) -> Mapping[str, float]:
        """What each part has used so far."""
        with Redis.from_url(self.redis_url) as client:
            used = client.info("cpu")
        return {
            "jasmin_ms": machine.cpu_seconds(self.gateway.pid),
            "rabbitmq_ms": machine.tree_cpu_seconds(self.broker.pid),
            "valkey_ms": float(used["used_cpu_user"]) + float(used["used_cpu_sys"]),
        }


@contextmanager
def jasmin(folder: Path, world: Outside) -> Iterator[Jasmin]:
    """Jasmin and what it needs; it hands over to ``world``. Raises Missing."""
    python = Path(os.environ.get("BENCH_JASMIN_PYTHON", ""))
    if not (python.parent / "jasmind.py").is_file():
        raise Missing("Jasmin is not installed: see ops/bench/run")
    with ExitStack() as stack:
        redis_url = stack.enter_context(redis_server())
        amqp, broker = stack.enter_context(_rabbitmq(folder))
        ports = {name: machine.free_port() for name in _PORTS}
        places = {"folder": folder, "specification": _specification(python), "amqp": amqp, **ports}
        configuration = folder / "jasmin.cfg"
        configuration.write_text(_written({**places, "redis": make_url(redis_url).port}))
        process = machine.start(
            [str(python), "-c", _JASMIND, str(folder), str(python.parent / "jasmind.py"), "-c", str(configuration)],
            folder / "jasmin.log",
            on=machine.MEASURED,
            environment={"ROOT_PATH": str(folder), "LOG_PATH": str(folder)},
        )
        stack.callback(process.stop)
        _wait(ports["console"], process)
        _configure(ports["console"], world.smpp_port)
        _wait(ports["http"], process)
        yield Jasmin(ports["http"], process, broker, redis_url)


def _written(places: Mapping[str, object]) -> str:
    lines = []
    for name, options in _SECTIONS.items():
        lines += [f"[{name}]", f"log_file = {places['folder']}/{name}.log"]
        lines += [f"{option} = {value.format(**places)}" for option, value in options.items()]
    return "\n".join(lines) + "\n"


def _specification(python: Path) -> Path:
    """AMQP's, as txamqp has it: Jasmin's own is beside its package and not in it."""
    [found] = python.parents[1].glob("lib/*/site-packages/txamqp/specs/standard/amqp0-9-1*.xml")
    return found


def _configure(port: int, smsc: int) -> None:
    """Type the commands into Jasmin's console, each after the prompt of the one before. Raises Missing."""
    with socket.create_connection(("127.0.0.1", port), timeout=_READY_SECONDS) as console:
        _until(console, b"\n")  # its greeting, after which comes no prompt
        for line in _CONSOLE.format(smsc=smsc).replace("\n", "|").split("|"):
            console.sendall(line.encode() + b"\r\n")
            said = _until(console, b": ", b"> ")
            if b"rror" in said or b"nknown" in said:
                raise Missing(f"Jasmin does not take {line!r}: {said.decode('utf-8', 'replace')}")


def _until(console: socket.socket, *ends: bytes) -> bytes:
    said = b""
    while not said.endswith(ends):
        more = console.recv(4096)
        if not more:
            raise Missing("Jasmin's console ended")
        said += more
    return said


@contextmanager
def _rabbitmq(folder: Path) -> Iterator[tuple[int, machine.MeasuredProcess]]:
    """RabbitMQ on loopback alone: its port, and its process. Raises Missing."""
    root = Path(os.environ.get("BENCH_DEBIAN", "")).absolute()
    erlang, servers = root / "usr/lib/erlang", list(root.glob("usr/lib/rabbitmq/lib/rabbitmq_server-*"))
    if not servers:
        raise Missing("RabbitMQ is not unpacked: see ops/bench/run")
    [binaries] = erlang.glob("erts-*/bin")
    amqp, distribution, names = (machine.free_port() for _ in range(3))
    # Debian's own ``erl`` knows only the place where it would be installed.
    program = folder / "bin" / "erl"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexport BINDIR={binaries} EMU=beam PROGNAME=erl\nexec {binaries}/erlexec "$@"\n')
    program.chmod(0o755)
    data = folder / "rabbitmq"
    data.mkdir()
    (data / "plugins").write_text("[].")
    environment = {
        "PATH": f"{program.parent}:{erlang}/bin:{root}/usr/bin:{os.environ['PATH']}",
        "LD_LIBRARY_PATH": f"{root}/usr/lib/x86_64-linux-gnu:{root}/lib/x86_64-linux-gnu",
        "HOME": str(data),  # the cookie that its own commands sign in with
        "ROOTDIR": str(erlang),
        "ERL_EPMD_PORT": str(names),
        "RABBITMQ_NODENAME": "bench@localhost",
        "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
        "RABBITMQ_NODE_PORT": str(amqp),
        "RABBITMQ_DIST_PORT": str(distribution),
        "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "-kernel inet_dist_use_interface {127,0,0,1}",
        "RABBITMQ_MNESIA_BASE": str(data / "mnesia"),
        "RABBITMQ_LOG_BASE": str(data / "log"),
        "RABBITMQ_CONFIG_FILE": str(data / "none"),
        "RABBITMQ_ENABLED_PLUGINS_FILE": str(data / "plugins"),
    }
    with ExitStack() as stack:
        for port, command in (
            (names, [str(binaries / "epmd"), "-port", str(names), "-address", "127.0.0.1"]),
            (amqp, [str(servers[0] / "sbin" / "rabbitmq-server")]),
        ):
            process = machine.start(command, folder / "rabbitmq.log", on=machine.OTHERS, environment=environment)
            stack.callback(process.stop)
            _wait(port, process)
        yield amqp, process


def _wait(port: int, process: machine.MeasuredProcess) -> None:
    """Erlang takes longer to start than what ``machine.wait_for_port`` waits for. Raises Missing."""
    until = time.monotonic() + _READY_SECONDS
    while True:
        try:
            machine.wait_for_port(port, process)
        except RuntimeError as error:
            if process.handle.poll() is None and time.monotonic() < until:
                continue
            raise Missing(f"it does not start: {error}") from error
        return
