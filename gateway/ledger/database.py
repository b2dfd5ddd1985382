"""How the ledger reaches SQL: one transaction per call, off the event loop, the same for SQLite and PostgreSQL.

SQLite has exactly one connection that writes and checkpoints (its WAL-reset bug, fixed in 3.51.3, needs two,
and the interpreters in use link older versions), and readers that are told to be readers. PostgreSQL has a
pool. Group commit is not here: callers already bring batches.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from gateway.ports import Unavailable

T = TypeVar("T")

_POSTGRESQL_THREADS = 6  # our choice: enough to overlap accepting, dispatching and reading in one process
_BUSY_MS = 10_000


def _sqlite_engine(url: str, *, reader: bool) -> Engine:
    engine = create_engine(url, connect_args={"check_same_thread": False, "timeout": _BUSY_MS / 1000})

    @event.listens_for(engine, "connect")
    def _configure(connection: Any, _record: Any) -> None:
        connection.isolation_level = None  # we say BEGIN ourselves: the driver's default upgrades badly
        cursor = connection.cursor()
        cursor.execute("PRAGMA journal_mode=WAL")
        cursor.execute("PRAGMA synchronous=FULL")  # a 202 is given after the disk has it
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

    def __init__(self, url: str) -> None:
        self.is_sqlite = url.startswith("sqlite")
        if self.is_sqlite:
            path = url.removeprefix("sqlite:///")
            Path(path).parent.mkdir(parents=True, exist_ok=True)
            self.engine = _sqlite_engine(url, reader=False)
            self._read_engine = _sqlite_engine(url, reader=True)
            self._writer = ThreadPoolExecutor(1, thread_name_prefix="ledger-write")
            self._readers = ThreadPoolExecutor(2, thread_name_prefix="ledger-read")
        else:
            self.engine = create_engine(url, pool_size=_POSTGRESQL_THREADS, max_overflow=2, pool_pre_ping=True)
            self._read_engine = self.engine
            self._writer = ThreadPoolExecutor(_POSTGRESQL_THREADS, thread_name_prefix="ledger")
            self._readers = self._writer
        self.statements = 0  # SQL round trips so far, for the bench that counts them
        for each in {self.engine, self._read_engine}:
            event.listen(each, "before_cursor_execute", self._count)

    def _count(self, *_arguments: Any) -> None:
        self.statements += 1

    async def write(self, work: Callable[[Connection], T]) -> T:
        """Run ``work`` in one transaction, committed (synced to disk) when this returns.

        Raises: Unavailable when the database can't be reached or written; nothing of ``work`` remains then.
        """
        return await self._run(self._writer, self.engine, work)

    async def read(self, work: Callable[[Connection], T]) -> T:
        """Run ``work`` against a snapshot; it must not write. Raises Unavailable."""
        return await self._run(self._readers, self._read_engine, work)

    async def _run(self, pool: ThreadPoolExecutor, engine: Engine, work: Callable[[Connection], T]) -> T:
        def transaction() -> T:
            try:
                with engine.begin() as connection:
                    return work(connection)
            except DBAPIError as error:
                # The driver's text can hold parameters, and those are personal data: keep its class only.
                raise Unavailable(f"ledger: {type(error.orig).__name__}") from None
            except SQLAlchemyError as error:
                raise Unavailable(f"ledger: {type(error).__name__}") from None

        return await asyncio.get_running_loop().run_in_executor(pool, transaction)

    async def close(self) -> None:
        """Finish what runs, then release the connections."""
        for pool in {self._writer, self._readers}:
            await asyncio.to_thread(pool.shutdown)
        self._read_engine.dispose()
        self.engine.dispose()
