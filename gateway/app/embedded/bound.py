"""Run a command that ends when its parent ends, however the parent ends. Started as a script, never imported.

    python -I -S bound.py exec|watch PARENT_PID COMMAND [ARGUMENT ...]

``exec``: Linux tells the command by SIGTERM when its parent dies (prctl(2), PR_SET_PDEATHSIG; the setting
survives execve(2)), and this program becomes the command. ``watch``: where that does not exist, or where the
parent thread is not the main one (the signal follows the *thread* that forked), this program stays, looks
twice a second whether its parent is still there, and passes SIGTERM on.

A program of its own because the alternative, ``preexec_fn``, is documented as unsafe in a process with threads.
Uses nothing but the standard library and no site-packages, so it costs some 15 ms.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from types import FrameType

_PR_SET_PDEATHSIG = 1  # <linux/prctl.h>
_LOOK_SECONDS = 0.5  # how long an orphan may live; our choice


def _exec(parent: int, command: list[str]) -> int:
    import ctypes

    if ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0) != 0:
        return _watch(parent, command)
    # Had the parent died before the request was made, no signal would ever come.
    return os.execv(command[0], command) if os.getppid() == parent else 1


def _watch(parent: int, command: list[str]) -> int:
    child = subprocess.Popen(command)

    def stop(_number: int, _frame: FrameType | None) -> None:
        child.terminate()

    signal.signal(signal.SIGTERM, stop)
    while True:
        try:
            return child.wait(timeout=_LOOK_SECONDS)
        except subprocess.TimeoutExpired:
            if os.getppid() != parent:
                child.terminate()
                return child.wait()


if __name__ == "__main__":
    run = _exec if sys.argv[1] == "exec" else _watch
    sys.exit(run(int(sys.argv[2]), sys.argv[3:]))
