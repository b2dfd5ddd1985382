"""``gateway user``: people are let in and out, and no password is ever an argument."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from gateway.cli import app
from tests.support.storage.ledgers import empty_sqlite

PASSWORD = "correct horse battery staple\n"


def run(data_dir: Path, *arguments: str, typed: str = "") -> tuple[int, str, str]:
    done = CliRunner().invoke(app, ["user", *arguments, "--data-dir", str(data_dir)], input=typed)
    return done.exit_code, done.stdout, done.stderr


def test_people_are_let_in_and_out(tmp_path: Path) -> None:
    """Added with a piped password, listed, disabled, and let in again by a new one."""
    mei = ("mei@acme.example", "--tenant", "acme", "--name", "Mei Lin", "--role", "editor")
    code, _, said = run(tmp_path, "add", *mei, "--test-address", "sms=+1 202 555 0123", typed=PASSWORD)
    assert code == 0, said
    assert "/editor" in said
    (listed,) = json.loads(run(tmp_path, "list", "--json")[1])
    assert (listed["email"], listed["role"], listed["disabled_at"]) == ("mei@acme.example", "editor", "")
    assert "password" not in listed
    assert run(tmp_path, "add", *mei, typed=PASSWORD)[0] == 2  # the address is taken
    assert run(tmp_path, "disable", "mei@acme.example")[0] == 0
    assert run(tmp_path, "disable", "mei@acme.example")[0] == 1
    assert run(tmp_path, "set-password", "mei@acme.example", typed=PASSWORD)[0] == 0
    assert json.loads(run(tmp_path, "list", "--json")[1])[0]["disabled_at"] == ""
    assert run(tmp_path, "set-password", "nobody@acme.example", typed=PASSWORD)[0] == 1


def test_each_change_is_an_entry_of_the_administrators_log(tmp_path: Path) -> None:
    """By the account of the operating system, with the user's id; no address, no name."""
    mei = ("mei@acme.example", "--tenant", "acme", "--name", "Mei Lin", "--role", "editor")
    run(tmp_path, "add", *mei, typed=PASSWORD)
    run(tmp_path, "add", *mei, typed=PASSWORD)
    run(tmp_path, "set-password", "mei@acme.example", typed=PASSWORD)
    run(tmp_path, "disable", "mei@acme.example")
    shown = CliRunner().invoke(app, ["admin-log", "--json", "--data-dir", str(tmp_path)])
    entries = json.loads(shown.stdout)
    (user,) = json.loads(run(tmp_path, "list", "--json")[1])
    assert [(each["operation"], each["outcome"], each["target"]) for each in reversed(entries)] == [
        ("gateway user add", "begun", {}),
        ("gateway user add", "begun", {}),
        ("gateway user add", "refused", {}),
        ("gateway user set-password", "begun", {"user_id": user["id"]}),
        ("gateway user disable", "begun", {"user_id": user["id"]}),
    ]
    assert {each["tenant"] for each in entries} == {"acme"}
    assert all(each["actor"].startswith("cli") for each in entries)
    assert "mei" not in shown.stdout.lower()


@pytest.mark.parametrize(
    ("changes", "typed", "word"),
    [
        ((), "short\n", "15"),
        (("--role", "emperor"), PASSWORD, "viewer, editor, approver"),
        (("--test-address", "fax=1"), PASSWORD, "no channel"),
        (("--test-address", "sms=12"), PASSWORD, "--test-address sms"),
    ],
)
def test_what_can_not_be_is_refused_with_the_remedy(
    tmp_path: Path, changes: tuple[str, ...], typed: str, word: str
) -> None:
    """Exit status 2, and nobody is added."""
    empty_sqlite(tmp_path)
    mei = ("mei@acme.example", "--tenant", "acme", "--name", "Mei Lin", "--role", "editor", *changes)
    code, _, said = run(tmp_path, "add", *mei, typed=typed)
    assert (code, word in said) == (2, True), said
    assert json.loads(run(tmp_path, "list", "--json")[1]) == []
