"""Bringing a database to the schema that this version of the code needs. Forward only, and safe to repeat."""

from __future__ import annotations

import logging
from functools import lru_cache
from pathlib import Path

from sqlalchemy import Connection, Engine, inspect, text

from gateway.storage.statements import StatementTemplate

FOLDER = Path(__file__).parents[1] / "migrations"
_VERSION_TABLE = "alembic_version"
_REVISION_QUERY = f"SELECT version_num FROM {_VERSION_TABLE}"
# What a database is at that has been migrated: readiness asks it every few seconds, and Alembic's own way is three
# statements.
REVISION = StatementTemplate(lambda _: _REVISION_QUERY)


# Indexes that this version doesn't ask for: see 0075. Changes of their columns can't be made in place.
RETIRED = ("deliveries_due", "deliveries_by_message")
_IS_THERE = text("SELECT to_regclass(:name) IS NOT NULL")
# A process says every few seconds that it is alive; one that has not for a minute is gone. Our choice.
_OTHERS = text(
    "SELECT count(*) FROM processes WHERE version != :release AND seen_at > (extract(epoch FROM now()) - 60) * 1000000"
)


@lru_cache
def _revisions() -> tuple[str, ...]:
    """The revisions that this code knows, the newest first: the numbers that the names of their files begin with.

    Alembic would import every file, and its own import is a tenth of the processor time of a start (measured).
    """
    return tuple(sorted((file.name.split("_")[0] for file in FOLDER.glob("versions/*.py")), reverse=True))


def head() -> str:
    """The newest revision that this code knows."""
    return _revisions()[0]


def current(engine: Engine) -> str:
    """The revision that the database is at; "" for an empty one."""
    with engine.connect() as connection:
        return _current(connection)


def _current(connection: Connection) -> str:
    if not inspect(connection).has_table(_VERSION_TABLE):
        return ""
    return str(connection.exec_driver_sql(_REVISION_QUERY).scalar() or "")


def pending_migration(engine: Engine) -> str:
    """See ``pending_migration_at``."""
    with engine.connect() as connection:
        return pending_migration_on(connection)


def pending_migration_on(connection: Connection) -> str:
    """See ``pending_migration_at``."""
    return pending_migration_at(_current(connection))


def pending_migration_at(at: str) -> str:
    """What keeps this code from working on a schema of this revision, "" where nothing does.

    A revision that this code doesn't know is a newer one: migrations only add what the version before can do
    without, so that it goes on beside the new one while an upgrade is rolled out.
    """
    if at == head() or (at and at not in _revisions()):
        return ""
    return f"the ledger is at {at or 'nothing'}, this version needs {head()}: run gateway ledger migrate"


def retire(engine: Engine, release: str = "") -> tuple[str, ...]:
    """Drop the indexes that only earlier versions need; answers those that have to stay for the time being.

    They stay while a process of another version than ``release`` is alive, which would have to read whole tables.
    """
    if engine.dialect.name != "postgresql":
        return ()
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        there = tuple(name for name in RETIRED if connection.execute(_IS_THERE, {"name": name}).scalar())
        if there and connection.execute(_OTHERS, {"release": release}).scalar():
            return there
        for name in there:
            connection.execute(text(f"DROP INDEX CONCURRENTLY IF EXISTS {name}"))
    return ()


def rollback_possible(connection: Connection) -> bool:
    """Whether ``retire`` has not dropped yet what the previous version needs, so that it may be started again."""
    if connection.dialect.name != "postgresql":
        return False
    return any(connection.execute(_IS_THERE, {"name": name}).scalar() for name in RETIRED)


def migrate(engine: Engine) -> tuple[str, str]:
    """Upgrade to ``head()``, and drop what no running process needs; answers the revisions before and after."""
    changed = _upgrade(engine)
    retire(engine)
    return changed


def _upgrade(engine: Engine) -> tuple[str, str]:
    before = current(engine)
    if before == head():
        return before, before
    # A process that finds nothing to migrate, as nearly all do, needs no Alembic.
    from alembic import command
    from alembic.config import Config

    logging.getLogger("alembic").setLevel(logging.WARNING)
    config = Config()
    config.set_main_option("script_location", str(FOLDER))
    with engine.connect() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
        connection.commit()
    return before, current(engine)
