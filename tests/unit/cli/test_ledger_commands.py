"""Commands on the ledger: which data directory they use, and that read commands create no ledger."""

from __future__ import annotations

import asyncio
import json
import re
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from gateway.cli import app
from gateway.cli.ledger import acts
from gateway.storage.database import Database
from tests.support.storage.ledgers import NOW, draft, empty_sqlite, outgoing, store_on

_READING = [
    ["ledger", "audit", "--from", "2026-01-01T00:00:00Z"],
    ["ledger", "verify"],
    ["ledger", "export"],
    ["ledger", "sizes"],
    ["ledger", "holds"],
    ["ledger", "prune", "--dry-run"],
    ["key", "list"],
    ["user", "list"],
    ["user", "sessions"],
    ["policy", "backtest", "--pack", "tw.yaml", "--from", "2026-01-01T00:00:00Z", "--to", "2026-02-01T00:00:00Z"],
]
# Commands on the ledger itself that change nothing, besides those of ``_READING``; or whose act has no ledger yet.
_UNRECORDED = {"ledger vacuum", "ledger migrate"}
_PACK = Path(__file__).parents[3] / "templates" / "policies" / "tw.yaml"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory of somebody who has set nothing."""
    for name in ("GATEWAY_DATA_DIR", "GATEWAY_DATABASE_URL"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "tw.yaml").write_bytes(_PACK.read_bytes())
    monkeypatch.chdir(tmp_path)
    return tmp_path


def _empty(place: Path) -> str:
    place.mkdir(parents=True)
    return empty_sqlite(place)


async def _fill(url: str) -> None:
    """A ledger with one contact, at NOW."""
    database = Database(url)
    store = store_on(database)
    [answer] = await store.accept([draft("k1")], NOW)
    [work] = await store.claim([answer.first_delivery or ""], NOW, 60)
    await store.start([outgoing(work)], NOW, 60)
    await database.close()


@pytest.mark.parametrize("arguments", _READING, ids=lambda each: " ".join(each[:2]))
def test_a_command_that_reads_makes_no_ledger(folder: Path, arguments: list[str]) -> None:
    """Without a ledger it says so, with the remedy, fails, and leaves no file behind."""
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 1, result.output
    assert "GATEWAY_DATA_DIR" in result.output
    assert not (folder / "var").exists()


def test_the_demos_ledger_is_found_where_there_is_no_other(folder: Path) -> None:
    """Commands on the ledger and commands that ask a gateway find the same demo; a ledger of one's own comes first."""
    asyncio.run(_fill(_empty(folder / "var" / "demo")))
    audited = CliRunner().invoke(app, ["ledger", "audit", "--from", "2026-01-01T00:00:00Z", "--json"])
    assert (audited.exit_code, json.loads(audited.stdout)) == (0, {"contacts": 1, "violations": []})
    assert "var/demo" in audited.stderr
    empty_sqlite(folder / "var")
    assert CliRunner().invoke(app, ["ledger", "export"]).stdout == ""


def test_nothing_audited_is_no_success(folder: Path) -> None:
    """An audit of a time without a contact says that nothing was audited, and fails."""
    asyncio.run(_fill(_empty(folder / "var")))
    result = CliRunner().invoke(app, ["ledger", "audit", "--from", "2027-01-01T00:00:00Z"])
    assert result.exit_code == 1
    assert "nothing was audited" in result.output
    assert CliRunner().invoke(app, ["ledger", "audit", "--from", "2026-01-01T00:00:00Z"]).exit_code == 0


def _own_commands() -> set[str]:
    """The commands that open the ledger themselves, in place of asking a running gateway."""
    found = set()
    for group in typer.main.get_command(app).commands.values():  # type: ignore[attr-defined]
        for name, command in getattr(group, "commands", {}).items():
            if "data_dir" in {each.name for each in command.params} and "url" not in {
                each.name for each in command.params
            }:
                found.add(f"{group.name} {name}")
    return found


def test_every_command_that_changes_the_ledger_is_recorded() -> None:
    """Each records its own name in the administrators' log, or is listed as one that changes nothing."""
    folder = Path(acts.__file__).parents[1]
    text = "".join(each.read_text("utf-8") for each in folder.rglob("*.py"))
    recorded = set(re.findall(r'acts\.recorded\(ledger, "([a-z -]+)"', text))
    reading = {" ".join(each[:2]) for each in _READING} - {"ledger prune"}
    assert recorded == _own_commands() - reading - _UNRECORDED


def test_keys_made_and_revoked_are_in_the_administrators_log(folder: Path) -> None:
    """With the key's id and tenant; the chain holds, and verify follows it."""
    _empty(folder / "data")
    runner, place = CliRunner(), ["--data-dir", str(folder / "data")]
    made = json.loads(runner.invoke(app, ["key", "create", "--tenant", "acme", "--json", *place]).stdout)
    assert runner.invoke(app, ["key", "revoke", made["id"], *place]).exit_code == 0
    entries = json.loads(runner.invoke(app, ["admin-log", "--json", *place]).stdout)
    assert [(each["operation"], each["tenant"], each["target"]) for each in reversed(entries)] == [
        ("gateway key create", "acme", {}),
        ("gateway key revoke", "acme", {"key_id": made["id"]}),
    ]
    assert json.loads(runner.invoke(app, ["ledger", "verify", "--json", *place]).stdout)["broken"] == []
