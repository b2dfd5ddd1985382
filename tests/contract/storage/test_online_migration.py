"""Migrations beside a running gateway: what they may do, and that they give way (upgrade/online_migration.py)."""

from __future__ import annotations

import ast
import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import Engine, create_engine, inspect, text
from sqlalchemy.exc import OperationalError

from gateway.storage.database import Database
from gateway.storage.upgrade.migrate import current, head, migrate, pending_migration

VERSIONS = sorted((Path(__file__).parents[3] / "gateway/storage/migrations/versions").glob("*.py"))
# Each of them holds a lock on a table in use for as long as the table is large, or breaks the version before.
FORBIDDEN = {
    "alter_column",
    "drop_column",
    "drop_table",
    "rename_table",
    "create_unique_constraint",
    "create_check_constraint",
    "create_foreign_key",
    "create_primary_key",
    "drop_constraint",
    "bulk_insert",
    "drop_index",
}


def _calls(tree: ast.AST) -> Iterator[tuple[str, list[str]]]:
    """Every ``op.something(…)`` with what it is called with, as written."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and ast.unparse(node.func).startswith("op."):
            yield ast.unparse(node.func).removeprefix("op."), [ast.unparse(each) for each in node.args]


@pytest.mark.parametrize("script", VERSIONS[1:], ids=lambda script: script.stem)
def test_a_migration_only_adds(script: Path) -> None:
    """No change that locks a table in use for long; indexes by ``op.create_index`` only on its own new tables."""
    calls = list(_calls(ast.parse(script.read_text("utf-8"))))
    made = {arguments[0] for name, arguments in calls if name == "create_table"}
    assert not FORBIDDEN & {name for name, _ in calls}
    on = {arguments[1] for name, arguments in calls if name == "create_index"}
    assert on <= made, f"use gateway.storage.upgrade.online_migration.add_index for {on - made}"


def test_the_files_names_are_the_revisions() -> None:
    """In one line: what a start takes from the names of the files is what Alembic finds in them."""
    config = Config()
    config.set_main_option("script_location", str(VERSIONS[0].parents[1]))
    scripts = list(ScriptDirectory.from_config(config).walk_revisions())
    assert [script.revision for script in scripts] == [file.name.split("_")[0] for file in reversed(VERSIONS)]
    assert scripts[0].revision == head()


@pytest.fixture
def engine(new_postgresql: str) -> Iterator[Engine]:
    """A PostgreSQL with the schema as first released."""
    engine = create_engine(new_postgresql)
    config = Config()
    config.set_main_option("script_location", str(VERSIONS[0].parents[1]))
    with engine.connect() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "0001")
        connection.commit()
    yield engine
    engine.dispose()


async def test_a_migration_that_cannot_have_a_table_gives_up_and_can_be_repeated(engine: Engine) -> None:
    """A long report reads a table: the migration stops within seconds, so that nobody waits behind it for long; run
    again when the report is done, it ends as if nothing had been, with every index whole."""
    with engine.connect() as report:
        report.execute(text("SELECT count(*) FROM deliveries"))
        with pytest.raises(OperationalError, match="lock timeout"):
            await asyncio.to_thread(migrate, engine)
        assert current(engine) == "0001"
    await asyncio.to_thread(migrate, engine)
    assert current(engine) == head()
    unfinished = text("SELECT count(*) FROM pg_index WHERE NOT indisvalid")
    with engine.connect() as connection:
        assert connection.execute(unfinished).scalar_one() == 0
    names = {each["name"] for each in inspect(engine).get_indexes("receipts")}
    assert names == {"receipts_waiting", "receipts_by_delivery", "receipts_tagged"}


def test_an_older_schema_stops_the_start(tmp_path: Path) -> None:
    """A database that lacks what this version needs is told apart from one that has more."""
    database = Database(f"sqlite:///{tmp_path}/ledger.db")
    assert "run gateway ledger migrate" in pending_migration(database.engine)
