"""The database: one transaction per call, in a thread pool beside the event loop, for SQLite and PostgreSQL alike.

SQLite has exactly one connection that writes and checkpoints (its WAL-reset bug, fixed in 3.51.3, needs two, and the
interpreters in use link older versions), and read-only connections beside it. PostgreSQL has a connection pool. Group
commit is not here: callers bring batches.
"""

from __future__ import annotations

import asyncio
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.exc import DataError, DBAPIError, SQLAlchemyError

from gateway.core.errors import InvalidData, Unavailable
from gateway.core.security.digests import SINGLE, DigestVersions
from gateway.core.security.private_files import private_directory, private_file
from gateway.storage.statements import BACKWARD_COMPATIBLE, Rows, Statement, execute_pipelined

T = TypeVar("T")

_POSTGRESQL_THREADS = 6  # our choice: enough to overlap accepting, dispatching and reading in one process
_OVERFLOW = 2
CONNECTIONS_PER_PROCESS = _POSTGRESQL_THREADS + _OVERFLOW
_BUSY_MS = 10_000
_CONNECT_SECONDS = 5  # our choice: a connection within a data centre takes milliseconds
# A transaction that has not ended by then hangs in a dead connection: the network drops packets, or the server is
# frozen. Our choice: ten times the slowest that was measured under load (1 s).
_STUCK_SECONDS = 10.0
_SOCKET_HANDLE = "socket_handle"  # in a connection's info: the guard's own handle for its socket
# Seconds of idleness after which a connection is tested before it is used. Our choice: longer than the second after
# which each process reads new templates, so that this one is not tested each time. The first to fail on a dead
# connection has SQLAlchemy replace all that are as old.
_TRUSTED_IDLE = 5.0


# A prepared statement's plan is made once for a connection, perhaps while the tables are small, and then kept: without
# this, it may scan whole tables until the next ANALYZE. The busy paths find their rows by index, and large reads are
# paged. Measured: two thirds of PostgreSQL's time for a message went into such plans.
#
# A connection pooler (PgBouncer in transaction mode) may give each transaction another server process: session settings
# and prepared statements do not last, and belong to other clients as well. So there are none behind a pooler, which it
# is known by: the process id that it gave to the client at the start is not that of the server process that answers.
# Statements are planned each time then, with the statistics of the moment, and need no such settings.
_PLAN_BY_INDEX = (
    "SELECT set_config(name, 'off', false) FROM unnest(ARRAY['enable_seqscan', 'enable_hashjoin', 'enable_mergejoin'])"
    " AS name WHERE pg_backend_pid() = %s"
)
_POOLED = "pooled"  # in a connection's info: whether a pooler is between


def postgresql_engine(url: str) -> Engine:
    """A pool of connections to PostgreSQL, directly or through a pooler in session or transaction mode."""
    engine = create_engine(
        url,
        pool_size=_POSTGRESQL_THREADS,
        max_overflow=_OVERFLOW,
        pool_use_lifo=True,  # as few backend processes as are needed, each with warm caches
        connect_args={"connect_timeout": _CONNECT_SECONDS},
    )

    @event.listens_for(engine, "connect")
    def _configure(connection: Any, record: Any) -> None:
        record.info[_SOCKET_HANDLE] = socket.socket(fileno=os.dup(connection.fileno()))
        record.info[_POOLED] = not connection.execute(_PLAN_BY_INDEX, [connection.info.backend_pid]).fetchall()
        if record.info[_POOLED]:
            connection.prepare_threshold = None
        connection.commit()

    @event.listens_for(engine, "close")
    def _release(_connection: Any, record: Any) -> None:
        record.info.pop(_SOCKET_HANDLE).close()

    return engine


def is_pooled(connection: Connection) -> bool:
    """Whether a pooler is between this connection and PostgreSQL."""
    return bool(connection.info.get(_POOLED))


def _sqlite_engine(url: str, *, reader: bool) -> Engine:
    engine = create_engine(url, connect_args={"check_same_thread": False, "timeout": _BUSY_MS / 1000})

    @event.listens_for(engine, "connect")
    def _configure(connection: Any, _record: Any) -> None:
        connection.isolation_level = (
            None  # BEGIN is sent below: the driver's own is deferred, and its lock can't be upgraded
        )
        cursor = connection.cursor()
        cursor.execute("PRAGMA journal_mode=WAL")
        cursor.execute("PRAGMA synchronous=FULL")  # a 202 is answered after fsync
        cursor.execute("PRAGMA mmap_size=0")
        if reader:
            cursor.execute("PRAGMA query_only=ON")
            cursor.execute("PRAGMA wal_autocheckpoint=0")
        cursor.close()

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        connection.exec_driver_sql("BEGIN" if reader else "BEGIN IMMEDIATE")

    return engine


class Database:
    """Runs functions of a Connection, each in one transaction, in threads of its own."""

    def __init__(self, url: str, digests: DigestVersions = SINGLE) -> None:
        """``digests`` are the versions of address digests that rows are found by; see ``digests_of``."""
        self.digests = digests
        self.is_sqlite = url.startswith("sqlite")
        if self.is_sqlite:
            path = url.removeprefix("sqlite:///")
            private_directory(Path(path).parent)
            for name in (
                path,
                f"{path}-wal",
                f"{path}-shm",
            ):  # SQLite gives new ones of the latter the first one's mode
                if name == path or Path(name).exists():
                    private_file(Path(name))
            self.engine = _sqlite_engine(url, reader=False)
            self._read_engine = _sqlite_engine(url, reader=True)
            self._writer = ThreadPoolExecutor(1, thread_name_prefix="ledger-write")
            self._readers = ThreadPoolExecutor(2, thread_name_prefix="ledger-read")
        else:
            self.engine = postgresql_engine(url)
            self._read_engine = self.engine
            self._writer = ThreadPoolExecutor(_POSTGRESQL_THREADS, thread_name_prefix="ledger")
            self._readers = self._writer
        for each in {self.engine, self._read_engine}:
            each.update_execution_options(digest_versions=digests)
        self.statements = 0  # SQL round trips so far without BEGIN and COMMIT; for tests and the bench
        # One statement is a snapshot by itself: on PostgreSQL it needs no BEGIN and no COMMIT.
        alone = {} if self.is_sqlite else {"isolation_level": "AUTOCOMMIT"}
        self._asked_engine = self._read_engine.execution_options(**alone)
        self.backward_compatible = False
        for each in {self.engine, self._read_engine}:
            event.listen(each, "before_cursor_execute", self._count)

    @property
    def backward_compatible(self) -> bool:
        """Whether what is written must be readable by the previous version: it runs here, or may be rolled back to."""
        return self._backward_compatible

    @backward_compatible.setter
    def backward_compatible(self, value: bool) -> None:
        self._backward_compatible = value
        for each in (self.engine, self._read_engine, self._asked_engine):
            each.update_execution_options(**{BACKWARD_COMPATIBLE: value})

    def _count(self, *_arguments: Any) -> None:
        self.statements += 1

    async def write(self, work: Callable[[Connection], T]) -> T:
        """Run ``work`` in one transaction, committed (synced to disk) when this returns.

        Raises: InvalidData when a value can't be stored, Unavailable when the database can't be reached or written.
        Nothing of ``work`` remains then, unless it was the answer to the commit that got lost: so whatever is written
        here can be asked for again.
        """
        return await self._run(self._writer, self.engine, work)

    async def write_alone(self, work: Callable[[Connection], T]) -> T:
        """Run ``work``, which writes by one statement, without a transaction around it; PostgreSQL only.

        Raises what ``write`` does.
        """
        return await self._run(self._writer, self._asked_engine, work)

    async def read(self, work: Callable[[Connection], T]) -> T:
        """Run ``work`` against a snapshot; it must not write. Raises Unavailable."""
        return await self._run(self._readers, self._read_engine, work)

    async def query(self, question: Callable[[Connection], Statement]) -> Rows:
        """The rows of one statement: one round trip without a transaction. Raises Unavailable."""
        [answer] = await self._run(
            self._readers, self._asked_engine, lambda each: execute_pipelined(each, [question(each)])
        )
        return answer

    async def _run(self, pool: ThreadPoolExecutor, engine: Engine, work: Callable[[Connection], T]) -> T:
        guard = _SocketGuard()
        driver_error = engine.dialect.loaded_dbapi.Error
        driver_data_error = engine.dialect.loaded_dbapi.DataError

        def transaction() -> T:
            try:
                with _validated_connection(engine, guard) as connection, connection.begin():
                    return work(connection)
            except (DataError, driver_data_error, UnicodeEncodeError) as error:
                raise InvalidData(f"ledger: {type(getattr(error, 'orig', error)).__name__}") from None
            except DBAPIError as error:
                # The driver's message can contain parameters, which are personal data: only its class is kept.
                raise Unavailable(_named(error.orig)) from None
            except driver_error as error:  # of pipelined statements, which bypass SQLAlchemy
                raise Unavailable(_named(error)) from None
            except SQLAlchemyError as error:
                raise Unavailable(f"ledger: {type(error).__name__}") from None
            finally:
                guard.release()

        running = asyncio.get_running_loop().run_in_executor(pool, transaction)
        while not self.is_sqlite:
            done, _ = await asyncio.wait({running}, timeout=_STUCK_SECONDS)
            if done:
                break
            guard.cut()  # the thread gets an error and ends
        return await running

    async def close(self) -> None:
        """Finish what runs, then release the connections."""
        for pool in {self._writer, self._readers}:
            await asyncio.to_thread(pool.shutdown)
        self._read_engine.dispose()
        self.engine.dispose()


def _named(error: BaseException | None) -> str:
    """The class of a driver's error, and the code that it has: SQLite's name of it, or PostgreSQL's SQLSTATE."""
    code = getattr(error, "sqlite_errorname", None) or getattr(error, "sqlstate", None)
    return f"ledger: {type(error).__name__}" + (f" ({code})" if code else "")


class _SocketGuard:
    """Another thread's handle on the socket of a transaction's connection, to end a wait on a dead one.

    The socket is shut down, not closed: the driver keeps its file descriptor and reads the end of the stream. The
    handle is a duplicate descriptor, so it never names another socket, whenever the driver closes its own.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._socket: socket.socket | None = None

    def hold(self, connection: Connection) -> None:
        with self._lock:
            self._socket = connection.info.get(_SOCKET_HANDLE)  # None for SQLite, which has no network to wait for

    def release(self) -> None:
        with self._lock:
            self._socket = None

    def cut(self) -> None:
        with self._lock, suppress(OSError):
            if self._socket is not None:
                self._socket.shutdown(socket.SHUT_RDWR)


@contextmanager
def _validated_connection(engine: Engine, guard: _SocketGuard) -> Iterator[Connection]:
    """A live connection: one that has been idle is tested first, and replaced if it is dead."""
    while True:
        connection = engine.connect()
        guard.hold(connection)
        known = connection.info.get("used")
        if known is None or time.monotonic() - known < _TRUSTED_IDLE or engine.dialect.name == "sqlite":
            break
        try:
            connection.exec_driver_sql("SELECT 1")
            connection.rollback()
            break
        except DBAPIError:
            connection.invalidate()  # this one, and where the server went away all that are as old
            connection.close()
            guard.release()
    try:
        yield connection
        connection.info["used"] = time.monotonic()
    finally:
        connection.close()
