"""Opens the ledger's database, and the clock that all processes on one database share."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path

from channels import registry
from channels.profile import Profiles, identity
from gateway.app.embedded import lock
from gateway.app.embedded.errors import CannotStart
from gateway.app.settings import Settings
from gateway.core.clock import Clock
from gateway.core.errors import Unavailable
from gateway.core.security.signing import Signer
from gateway.evidence.history import History
from gateway.identity.admin_log import AdminLog
from gateway.identity.keys import Keys
from gateway.identity.users import Users
from gateway.storage.clock import LedgerClock
from gateway.storage.database import Database
from gateway.storage.reads import Reads
from gateway.storage.upgrade.migrate import migrate


@dataclass(slots=True)
class LedgerParts:
    """The database with what needs nothing else: settings, clock, signer, read queries, API keys and users."""

    settings: Settings
    clock: Clock
    database: Database
    signer: Signer
    reads: Reads
    keys: Keys
    users: Users
    history: History
    admin_log: AdminLog


def system_clock(settings: Settings) -> Clock:
    """The system clock in UTC, shifted to begin at ``settings.at`` in a demonstration."""
    if not settings.at:
        return lambda: datetime.now(UTC)
    offset = datetime.fromisoformat(settings.at).astimezone(UTC) - datetime.now(UTC)
    return lambda: datetime.now(UTC) + offset


async def _clock(settings: Settings, database: Database) -> Clock:
    """The system clock for SQLite, which one process uses; for PostgreSQL the database's clock. Raises CannotStart."""
    system = system_clock(settings)
    if database.is_sqlite:
        return system
    shared = LedgerClock(database, system)
    try:
        await shared.synchronise()
    except Unavailable as error:
        raise CannotStart(f"the ledger can't be reached ({error}): check GATEWAY_DATABASE_URL") from error
    return shared


def _signer(settings: Settings) -> Signer:
    try:
        return Signer(settings.key(), _identity)
    except ValueError as error:
        raise CannotStart(str(error)) from None


@cache
def _profiles() -> Profiles:
    """Of the installed channels; commands that digest no address don't load them."""
    return registry.profiles(registry.discover())


def _identity(channel: str) -> str:
    return identity(_profiles(), channel)


def embedded_ledger(data_dir: Path) -> Path:
    """The file of the embedded SQLite ledger."""
    return data_dir.absolute() / "ledger.db"


@asynccontextmanager
async def open_ledger(
    settings: Settings,
    *,
    locked: bool = True,
    migrated: bool = True,
    create: bool = True,
    clock: Clock | None = None,
) -> AsyncIterator[LedgerParts]:
    """Open the ledger without Redis, providers and templates.

    Args:
        locked: take the exclusive lock on the data directory of an embedded ledger.
        migrated: bring the schema of an embedded ledger up to date.
        create: create an embedded ledger that does not exist; read-only commands pass False.
        clock: replaces the clock that the settings name, for tests.

    Raises: CannotStart where another process holds the lock, there is no ledger, or the database doesn't answer.
    """
    file = embedded_ledger(settings.data_dir)
    if not (settings.database_url or create or file.exists()):
        raise CannotStart(f"there is no ledger in {settings.data_dir}: set --data-dir or GATEWAY_DATA_DIR")
    async with AsyncExitStack() as stack:
        if not settings.database_url and locked:
            stack.enter_context(lock.lock(settings.data_dir))
        url = settings.database_url or f"sqlite:///{file}"
        signer = _signer(settings)
        database = Database(url, signer.digest_versions)
        stack.push_async_callback(database.close)
        if not settings.database_url and migrated:
            await asyncio.to_thread(migrate, database.engine)
        now = clock or await _clock(settings, database)
        yield LedgerParts(
            settings,
            now,
            database,
            signer,
            Reads(database),
            Keys(database, signer),
            Users(database),
            History(database),
            AdminLog(database, now),
        )
