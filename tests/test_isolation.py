"""The tests change nothing outside the checkout and the temporary folder, and stand each for itself."""

from __future__ import annotations

import ast
import os
import stat
from pathlib import Path

import psycopg

from tests.support.storage.postgresql import PostgresServer, programs

ROOT = Path(__file__).parents[1]


def _imported(script: Path) -> set[str]:
    """Every module that a file imports, or may import by ``from package import name``."""
    found = set()
    for node in ast.walk(ast.parse(script.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            found |= {each.name for each in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{each.name}" for each in node.names)}
    return found


def test_no_test_file_is_imported() -> None:
    """What tests share is in support modules, so that a test file can be changed, moved and deleted by itself."""
    scripts = [*(ROOT / "tests").rglob("*.py"), *(ROOT / "ops").rglob("*.py")]
    tests = {
        ".".join(each.relative_to(ROOT).with_suffix("").parts)
        for each in scripts
        if each.name.startswith("test_") or each.name == "conftest.py"
    }
    assert len(tests) > 100
    found = {str(each.relative_to(ROOT)): imported for each in scripts if (imported := _imported(each) & tests)}
    assert found == {}


def test_a_postgresql_server_opens_nothing_and_leaves_nothing() -> None:
    """It runs without root's rights, no permission above its binaries changes, and its folder goes with it."""
    above = [programs(), *programs().parents]
    before = [(each, stat.S_IMODE(each.stat().st_mode)) for each in above]
    users = Path("/etc/passwd").read_bytes()
    with PostgresServer() as server:
        assert server.handle is not None
        assert os.stat(f"/proc/{server.handle.pid}").st_uid != 0
        with psycopg.connect(server.address) as connection:
            assert connection.execute("SELECT 1").fetchone() == (1,)
    assert [(each, stat.S_IMODE(each.stat().st_mode)) for each in above] == before
    assert Path("/etc/passwd").read_bytes() == users
    assert not server.folder.exists()


def test_a_postgresql_server_keeps_its_data_when_it_is_started_again() -> None:
    """Stopped or killed, the next start recovers what was there."""
    with PostgresServer(durable=True) as server:
        with psycopg.connect(server.address, autocommit=True) as connection:
            connection.execute("CREATE TABLE kept AS SELECT 1 AS number")
        assert server.handle is not None
        server.handle.kill()
        server.handle.wait()
        server.start()
        with psycopg.connect(server.address) as connection:
            assert connection.execute("SELECT number FROM kept").fetchone() == (1,)
