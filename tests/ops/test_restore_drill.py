"""The restore drill, as an operator runs it, with its gateways and commands forked."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType

import pytest

from tests.support.forked import ForkedProcess, gateway_command, run_gateway

DRILL = Path(__file__).parents[2] / "ops" / "deploy" / "restore_drill.py"


@pytest.fixture
def drill(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The program: its processes are the command line's own, without the time that their imports take."""
    spec = importlib.util.spec_from_file_location("restore_drill", DRILL)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, spec.name, module)  # where dataclasses look for their types
    spec.loader.exec_module(module)

    def start(arguments: Sequence[str], environment: Mapping[str, str], log: Path) -> ForkedProcess:
        return ForkedProcess(run_gateway, arguments, environment, log)

    monkeypatch.setattr(module, "start_process", start)
    monkeypatch.setattr(module, "run_command", lambda arguments, given: gateway_command(*arguments, environment=given))
    return module


def test_nobody_is_written_to_twice_after_a_restore(drill: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    """Backup, more messages, loss, restore: messages sent in between are held and not sent again."""
    with pytest.raises(SystemExit) as ended:
        drill.main([])
    said = capsys.readouterr()
    assert ended.value.code == 0, said.out + said.err
    assert "10 wait for review, 0 second copies so far" in said.out
    assert "30 borrowers were written to, 0 of them twice" in said.out
