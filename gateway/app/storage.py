"""The ledger by itself, and the clock that all processes on it share."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime

from gateway.app.embedded import lock
from gateway.app.embedded.errors import CannotStart
from gateway.app.settings import Settings
from gateway.core.ports import Clock, Unavailable
from gateway.core.signing import Signer
from gateway.evidence.history import History
from gateway.identity.keys import Keys
from gateway.identity.users import Users
from gateway.storage.clock import LedgerClock
from gateway.storage.database import Database
from gateway.storage.migrate import migrate
from gateway.storage.reads import Reads


@dataclass(slots=True)
class LedgerParts:
    """The ledger by itself."""

    settings: Settings
    clock: Clock
    database: Database
    signer: Signer
    reads: Reads
    keys: Keys
    users: Users
    history: History


def system_clock(settings: Settings) -> Clock:
    """The system's clock in UTC; moved to ``settings.at`` for a demonstration."""
    if not settings.at:
        return lambda: datetime.now(UTC)
    offset = datetime.fromisoformat(settings.at).astimezone(UTC) - datetime.now(UTC)
    return lambda: datetime.now(UTC) + offset


async def _clock(settings: Settings, database: Database) -> Clock:
    """This machine's clock where there is only this process; the ledger's, where others share it."""
    system = system_clock(settings)
    if database.is_sqlite:
        return system
    shared = LedgerClock(database, system)
    try:
        await shared.synchronise()
    except Unavailable as error:
        raise CannotStart(f"the ledger can't be reached ({error}): check GATEWAY_DATABASE_URL") from error
    return shared


@asynccontextmanager
async def open_ledger(
    settings: Settings, *, locked: bool = True, migrated: bool = True, clock: Clock | None = None
) -> AsyncIterator[LedgerParts]:
    """The ledger alone. The embedded one belongs to one process: it is locked, and migrated.

    ``clock`` replaces the clock that the settings name, for tests.

    Raises: CannotStart where another process has it.
    """
    async with AsyncExitStack() as stack:
        if not settings.database_url and locked:
            stack.enter_context(lock.lock(settings.data_dir))
        url = settings.database_url or f"sqlite:///{settings.data_dir.absolute()}/ledger.db"
        database = Database(url)
        stack.push_async_callback(database.close)
        if not settings.database_url and migrated:
            await asyncio.to_thread(migrate, database.engine)
        signer = Signer(settings.key())
        yield LedgerParts(
            settings,
            clock or await _clock(settings, database),
            database,
            signer,
            Reads(database),
            Keys(database, signer),
            Users(database),
            History(database),
        )
