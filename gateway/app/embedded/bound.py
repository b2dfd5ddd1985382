"""Runs a command that ends when its parent process ends, also by SIGKILL. Started as a script, never imported.

    python -I -S bound.py exec|watch PARENT_PID COMMAND [ARGUMENT ...]

``exec``: Linux sends SIGTERM when the parent dies (prctl(2), PR_SET_PDEATHSIG; the setting survives execve(2)), and
this program execs the command. ``watch``: for other systems, and where the parent thread is not the main one (the
signal is bound to the *thread* that forked), this program keeps running, checks twice a second whether its parent
runs, and forwards SIGTERM.

A separate program because the alternative, ``preexec_fn``, is documented as unsafe in a process with threads.
Uses nothing but the standard library and no site-packages, so it costs some 15 ms.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from types import FrameType

_PR_SET_PDEATHSIG = 1  # <linux/prctl.h>
_LOOK_SECONDS = 0.5  # the longest time that an orphan runs; our choice


def _exec(parent: int, command: list[str]) -> int:
    import ctypes

    if ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0) != 0:
        return _watch(parent, command)
    # If the parent died before prctl, no signal will come.
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
