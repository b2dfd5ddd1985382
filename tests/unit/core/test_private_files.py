"""What the gateway writes is its owner's alone, from the first byte on, whatever the umask and whatever was there."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from gateway.cli import app
from gateway.core.security.private_files import exposed, open_private, private_directory, private_file


@pytest.fixture(autouse=True)
def open_umask() -> Iterator[None]:
    """Nothing is taken from a new file's mode by itself."""
    before = os.umask(0)
    yield
    os.umask(before)


def _mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_new_and_old_files_and_directories_are_closed_to_others(tmp_path: Path) -> None:
    """Modes are 0700 and 0600, also where an earlier version left them open."""
    old, new = tmp_path / "old", tmp_path / "new"
    old.mkdir(0o755)
    assert [_mode(private_directory(each)) for each in (old, new)] == [0o700, 0o700]
    (old / "file").touch(0o644)
    assert [_mode(private_file(old / each)) for each in ("file", "other")] == [0o600, 0o600]
    (old / "log").touch(0o644)
    for name in ("log", "fresh"):
        with open_private(old / name, "a", "utf-8") as file:
            file.write("x")
        assert not exposed(old / name)


def test_a_directory_that_others_use_keeps_its_permissions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A data directory of /tmp or of the working directory must not lock everybody else out; its files are private."""
    sticky, working = tmp_path / "sticky", tmp_path / "working"
    for directory, mode in ((sticky, 0o1777), (working, 0o755)):
        directory.mkdir()
        directory.chmod(mode)
    monkeypatch.chdir(working)
    assert [_mode(private_directory(each)) for each in (sticky, working)] == [0o1777, 0o755]
    assert not exposed(private_file(sticky / "ledger.db"))


def test_a_first_command_makes_a_private_ledger(tmp_path: Path) -> None:
    """``gateway key create`` on nothing: the data directory 0700, every file in it 0600; so is an export."""
    place, export = tmp_path / "data", tmp_path / "events.jsonl"
    run = CliRunner()
    arguments = ["--tenant", "acme", "--name", "t", "--data-dir", str(place)]
    assert run.invoke(app, ["key", "create", *arguments]).exit_code == 0
    assert run.invoke(app, ["ledger", "export", "--output", str(export), "--data-dir", str(place)]).exit_code == 0
    assert _mode(place) == 0o700
    assert {each.name: oct(_mode(each)) for each in [export, *place.iterdir()] if exposed(each)} == {}
