"""PgBouncer between tests and a PostgreSQL server, from Debian's package. No system service is started."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import make_url

from tests.support.production import free_port
from tests.support.waiting import eventually_blocking

_UNPRIVILEGED = "nobody"  # PgBouncer refuses to run as root; this user exists on every Unix (LSB 5.0, 22.2)


def _program() -> str:
    """Its path; skips the test where it is not installed."""
    program = shutil.which("pgbouncer") or shutil.which("pgbouncer", path="/usr/sbin")
    if program is None:
        pytest.skip("pgbouncer is not installed (Debian: apt install pgbouncer)")
    return program


def pgbouncer_version() -> str:
    """As it says it: ``PgBouncer 1.18.0``."""
    return subprocess.run([_program(), "--version"], capture_output=True, text=True, check=True).stdout.splitlines()[0]


@contextmanager
def pgbouncer(url: str, mode: str, server_connections: int) -> Iterator[str]:
    """The URL of the database at ``url`` through a PgBouncer of its own in this ``pool_mode``.

    Skips the test where PgBouncer is not installed.
    """
    program = _program()
    target = make_url(url)
    server = {
        "host": target.host or target.query["host"],
        "port": target.port or 5432,
        "user": target.username,
        "password": target.password,
    }
    port = free_port()
    folder = Path(tempfile.mkdtemp(prefix="gwpgb-", dir="/tmp"))
    settings = folder / "pgbouncer.ini"
    settings.write_text(
        f"[databases]\n* = {' '.join(f'{name}={value}' for name, value in server.items() if value)}\n"
        f"[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\nauth_type = any\n"
        f"pool_mode = {mode}\ndefault_pool_size = {server_connections}\nmax_client_conn = 200\n"
    )
    user = _UNPRIVILEGED if os.geteuid() == 0 else None
    if user:
        os.chown(folder, pwd.getpwnam(user).pw_uid, -1)
    with (folder / "pgbouncer.log").open("wb") as log:
        running = subprocess.Popen(
            [program, str(settings)],
            user=user,
            extra_groups=[] if user else None,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    through = target.set(host="127.0.0.1", port=port, query={})

    def accepts() -> bool:
        assert running.poll() is None, (folder / "pgbouncer.log").read_text()
        with suppress(psycopg.OperationalError):
            psycopg.connect(through.set(drivername="postgresql").render_as_string(hide_password=False)).close()
            return True
        return False

    try:
        eventually_blocking(accepts)
        yield through.render_as_string(hide_password=False)
    finally:
        running.kill()
        running.wait()
        shutil.rmtree(folder, ignore_errors=True)
