"""PostgreSQL and Valkey with the compose file's options and files: over TLS and with a password alone."""

from __future__ import annotations

import os
import pwd
import re
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psycopg
import pytest
import yaml
from redis import Redis
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError

from gateway.app.settings import Settings
from gateway.cli.doctor import queue
from gateway.cli.doctor.finding import Level
from gateway.storage.database import Database
from tests.support.production import free_port
from tests.support.waiting import LIMIT_SECONDS, eventually_blocking

DEPLOY = Path(__file__).parents[2] / "ops" / "deploy"
README = (DEPLOY / "README.md").read_text()
PASSWORD = "a-password-for-tests"


def compose(service: str) -> Mapping[str, Any]:
    found: Mapping[str, Any] = yaml.safe_load((DEPLOY / "compose" / "compose.yaml").read_text())["services"][service]
    return found


@pytest.fixture
def secrets() -> Iterator[Path]:
    """The files that compose mounts, with certificates made by the commands of the README, for the name localhost."""
    folder = Path(tempfile.mkdtemp(prefix="gwtls-", dir="/tmp"))
    [commands] = re.findall(r"```sh\n(openssl req -x509 [^\n]*gateway internal.*?)```", README, re.DOTALL)
    made = commands.replace("DNS:%s' $name", "DNS:localhost'")
    subprocess.run(["sh", "-ec", made], cwd=folder, check=True, capture_output=True)
    [rule] = re.findall(r"^user gateway .*$", README, re.MULTILINE)
    [default] = re.findall(r"`(user default .*?)`", README)
    (folder / "valkey_users.acl").write_text(f"{default}\n{rule.replace('>PASSWORD', '>' + PASSWORD)}\n")
    if os.geteuid() == 0:  # PostgreSQL does not run as root, and wants its key for itself
        for path in (folder, *folder.iterdir()):
            os.chown(path, pwd.getpwnam("nobody").pw_uid, -1)
    for path in folder.iterdir():
        path.chmod(0o600)
    yield folder
    shutil.rmtree(folder)


async def test_valkey_of_compose_takes_the_gateway_over_tls_alone(secrets: Path) -> None:
    """The documented URL works and doctor is content; without TLS, user or authority nothing but a ping is answered."""
    # Debian's Redis: the embedded Valkey is built without TLS, and the options are the same.
    program = shutil.which("redis-server")
    if program is None:
        pytest.skip("redis-server is not installed (Debian: apt install redis-server)")
    port = free_port()
    words = {"valkey-server": program, "6379": str(port)}
    command = [words.get(each, each.replace("/run/secrets", str(secrets))) for each in compose("valkey")["command"]]
    assert set(compose("valkey")["secrets"]) == {Path(each).name for each in command if str(secrets) in each}
    authority = str(secrets / "ca.pem")
    running = subprocess.Popen([*command, "--bind", "127.0.0.1"], stdout=subprocess.DEVNULL)  # noqa: ASYNC220
    anyone = Redis("localhost", port, ssl=True, ssl_ca_certs=authority)

    def up() -> bool:
        try:
            return bool(anyone.ping())
        except RedisConnectionError:
            return False

    try:
        eventually_blocking(up)  # what the health check asks
        with pytest.raises(RedisError, match="permissions"):
            anyone.get("gateway:x")
        with pytest.raises(RedisError), Redis("localhost", port) as plain:
            plain.ping()
        [url] = re.findall(r'echo "(rediss://.*?)"', README)
        url = url.replace("PASSWORD", PASSWORD).replace("@valkey:6379", f"@localhost:{port}")
        found = await queue.check(Settings(redis_url=url.replace("$CA", authority)))
        assert [(each.check, each.level) for each in found] == [("redis", Level.OK)]
        for wrong in (url.replace("$CA", "/etc/ssl/certs/ca-certificates.crt"), _elsewhere(url, authority)):
            [refused] = await queue.check(Settings(redis_url=wrong))
            assert refused.check == "redis.reachable"
    finally:
        anyone.close()
        running.kill()
        running.wait()


def _elsewhere(url: str, authority: str) -> str:
    """The same server by a name that its certificate does not have."""
    return url.replace("$CA", authority).replace("@localhost", "@127.0.0.1")


def debians_postgresql() -> Path:
    """The folder of the newest server's programs; skips the test where none is installed."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    if not found:
        pytest.skip("PostgreSQL's server is not installed (Debian: apt install postgresql)")
    return found[-1].parent


@contextmanager
def postgresql(folder: Path, programs: Path, port: str, settings: Mapping[str, str]) -> Iterator[str]:
    """The address of a server of Debian's package: the embedded one is built without TLS. Ends with the context."""
    user = "nobody" if os.geteuid() == 0 else None
    groups: list[int] | None = [] if user else None
    data = folder / "data"
    initdb = [str(programs / "initdb"), "-D", str(data), "--auth=trust", "--username=postgres", "--no-sync"]
    subprocess.run(initdb, user=user, extra_groups=groups, cwd=folder, check=True, capture_output=True)
    options = {"listen_addresses": "127.0.0.1", "port": port, "unix_socket_directories": str(folder), "fsync": "off"}
    words = [f"-c{name}={value}" for name, value in {**options, **settings}.items()]
    log = folder / "server.log"
    with log.open("wb") as out:
        command = [str(programs / "postgres"), "-D", str(data), *words]
        running = subprocess.Popen(command, user=user, extra_groups=groups, cwd=folder, stdout=out, stderr=out)
    address = f"host={folder} port={port} user=postgres dbname=postgres"

    def up() -> bool:
        assert running.poll() is None, log.read_text()
        with suppress(psycopg.OperationalError):
            psycopg.connect(address).close()
            return True
        return False

    try:
        eventually_blocking(up)
        yield address
    finally:
        running.send_signal(signal.SIGINT)  # PostgreSQL's fast shutdown
        running.wait(LIMIT_SECONDS)


async def test_postgresql_of_compose_takes_the_gateway_over_tls_alone(secrets: Path) -> None:
    """The documented URL works; without TLS, with another name or another authority there is no connection."""
    programs = debians_postgresql()
    port = str(free_port())
    options = dict(each[2:].split("=") for each in compose("postgresql")["command"][1:])
    tls = {name: value.replace("/run/secrets", str(secrets)) for name, value in options.items() if "ssl" in name}
    assert tls["ssl"] == "on"
    rules = (DEPLOY / "compose" / "pg_hba.conf").read_text()
    (secrets / "pg_hba.conf").write_text(re.sub(r"(?m)^(local .*)scram-sha-256$", r"\1trust", rules))
    (secrets / "pg_hba.conf").chmod(0o644)
    tls["hba_file"] = str(secrets / "pg_hba.conf")
    with postgresql(secrets, programs, port, tls) as address:
        with psycopg.connect(address, autocommit=True) as own:
            own.execute(f"CREATE ROLE gateway LOGIN PASSWORD '{PASSWORD}'")
            own.execute("CREATE DATABASE gateway OWNER gateway")
        [url] = re.findall(r'echo "(postgresql\+psycopg://.*?)"', README)
        url = url.replace("PASSWORD", PASSWORD).replace("@postgresql/", f"@localhost:{port}/")
        url = url.replace("$CA", str(secrets / "ca.pem"))
        database = Database(url)
        encrypted = "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()"
        assert await database.read(lambda connection: connection.exec_driver_sql(encrypted).scalar())
        await database.close()
        plain = url.replace("+psycopg", "")
        for wrong, why in (
            (plain.replace("verify-full", "disable"), "pg_hba.conf"),
            (plain.replace("@localhost", "@127.0.0.1"), "does not match"),
            (plain.replace(str(secrets / "ca.pem"), "/etc/ssl/certs/ca-certificates.crt"), "verify failed"),
        ):
            with pytest.raises(psycopg.OperationalError, match=why):
                psycopg.connect(wrong)
