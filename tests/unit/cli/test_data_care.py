"""The commands for the ledger's data: retention, holds, backup and restore."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from typer.testing import CliRunner

from gateway.cli import app
from gateway.storage.database import Database
from tests.support.storage.ledgers import NOW, draft, empty_sqlite, store_on

SHIPPED = Path(__file__).parents[3] / "templates"
Command = Callable[..., Result]


@pytest.fixture
def gateway(tmp_path: Path) -> Command:
    """Runs a command on a ledger in which one reminder waits."""

    async def fill() -> None:
        (tmp_path / "data").mkdir()
        database = Database(empty_sqlite(tmp_path / "data"))
        await store_on(database).accept([draft("k1")], NOW)
        await database.close()

    asyncio.run(fill())
    environment = {"GATEWAY_DATA_DIR": str(tmp_path / "data"), "USER": "ann"}

    def run(*arguments: str, data_dir: Path | None = None) -> Result:
        chosen = {**environment, "GATEWAY_DATA_DIR": str(data_dir)} if data_dir else environment
        return CliRunner().invoke(app, ["ledger", *arguments], env=chosen)

    return run


def _json(result: Result) -> Any:
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def test_legal_holds_are_put_listed_and_released(gateway: Command) -> None:
    """Who held what and why is on the list, also when it is over; what is not in force can't be released."""
    put = gateway("hold", "--tenant", "acme", "--borrower", "B-1", "--reason", "lawsuit")
    identifier = put.stdout.strip()
    (found,) = _json(gateway("holds", "--json"))
    assert (found["id"], found["borrower_id"], found["reason"], found["actor"]) == (
        identifier,
        "B-1",
        "lawsuit",
        "cli:ann",
    )
    assert gateway("release", identifier).exit_code == 0
    assert _json(gateway("holds", "--json")) == []
    assert len(_json(gateway("holds", "--all", "--json"))) == 1
    assert gateway("release", identifier).exit_code == 1


def test_pruning_wants_to_know_where_copies_go(gateway: Command, tmp_path: Path) -> None:
    """Neither or both of the two ways is refused; a dry run needs none and changes nothing."""
    assert gateway("prune").exit_code == 2
    assert gateway("prune", "--archive", str(tmp_path), "--no-archive").exit_code == 2
    assert _json(gateway("prune", "--dry-run", "--json"))["records"] == 0
    assert _json(gateway("prune", "--archive", str(tmp_path / "archive"), "--json"))["records"] == 0
    assert not (tmp_path / "archive").exists()


def test_a_backup_is_made_and_restored(gateway: Command, tmp_path: Path) -> None:
    """Into an empty place with the same key, and what was due is held; with another key, or over a ledger, refused."""
    backup, place = tmp_path / "backup", tmp_path / "restored"
    assert gateway("backup", str(backup)).exit_code == 0
    assert gateway("backup", str(backup)).exit_code == 1
    refused = gateway("restore", str(backup), data_dir=place)
    assert (refused.exit_code, "GATEWAY_SECRET_KEY" in refused.output) == (1, True)
    (place / "secret.key").write_bytes((tmp_path / "data" / "secret.key").read_bytes())
    restored = gateway("restore", str(backup), data_dir=place)
    assert restored.exit_code == 0, restored.output
    assert "1 deliveries and 0 next steps wait for review" in restored.output
    assert gateway("restore", str(backup), data_dir=place).exit_code == 1
    assert gateway("verify", data_dir=place).exit_code == 0
    assert gateway("quarantine", "--reason", "again", "--all").exit_code == 0


def test_room_is_told_and_given_back(gateway: Command) -> None:
    """Every table with its bytes; a vacuum runs where nobody uses the ledger."""
    sizes = {each["table"]: each for each in _json(gateway("sizes", "--json"))}
    assert sizes["notifications"]["rows"] == 1
    assert sizes["events"]["index_bytes"] > 0
    assert "bytes for one of 1 notifications" in gateway("sizes").output
    assert gateway("vacuum").exit_code == 0


def test_records_that_caps_count_are_not_removed(
    gateway: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A contact that is removed too early would be made again: how early is too early follows from the packs in use."""
    templates = shutil.copytree(SHIPPED, tmp_path / "templates")
    pack = templates / "policies" / "us_ma.yaml"
    text = pack.read_text("utf-8").replace("period: 7,", "period: 90,")
    monkeypatch.setenv("GATEWAY_KEEP_RECORDS_DAYS", "91")
    assert gateway("prune", "--dry-run").exit_code == 0  # by the shipped packs nine days are enough
    monkeypatch.setenv("GATEWAY_TEMPLATES_DIR", str(templates))
    pack.write_text(text, "utf-8")
    refused = gateway("prune", "--dry-run")
    assert refused.exit_code == 2
    assert "GATEWAY_KEEP_RECORDS_DAYS" in refused.output
    assert "caps" in refused.output
    for days in ("93", "0"):
        monkeypatch.setenv("GATEWAY_KEEP_RECORDS_DAYS", days)
        assert gateway("prune", "--dry-run").exit_code == 0
