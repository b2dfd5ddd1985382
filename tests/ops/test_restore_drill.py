"""The restore drill, as an operator runs it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

DRILL = Path(__file__).parents[2] / "ops" / "deploy" / "restore_drill.py"


def test_nobody_is_written_to_twice_after_a_restore() -> None:
    """Backup, more messages, loss, restore: messages sent in between are held and not sent again."""
    done = subprocess.run([sys.executable, str(DRILL)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "10 wait for review, 0 second copies so far" in done.stdout
    assert "30 borrowers were written to, 0 of them twice" in done.stdout
