"""Runbooks as programs: the commands of a page, run one after the other as a person would type them."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tests.support.forked import ForkedProcess
from tests.support.waiting import LIMIT_SECONDS

PAGES = Path(__file__).parents[2] / "ops" / "runbooks"


def _shell(folder: str, line: str) -> None:
    os.chdir(folder)  # where a command writes the file that it names
    os.execvp("bash", ["bash", "-c", line])


class CommandFailed(Exception):
    """A command of a runbook failed; the message has the command and its output."""


def commands(alert: str, *sections: str) -> list[str]:
    """The command lines of a page's sections (Check, Fix), in order."""
    text = (PAGES / f"{alert}.md").read_text("utf-8")
    parts = dict(re.findall(r"^## (.+)\n([\s\S]*?)(?=^## |\Z)", text, re.MULTILINE))
    blocks = [block for section in sections for block in re.findall(r"```sh\n([\s\S]*?)```", parts[section])]
    return [line for block in blocks for line in block.splitlines() if line.strip()]


@dataclass
class Hand:
    """Runs the commands of a runbook in a shell, with the variables $SWITCH and $NOTIFICATION looked up.

    ``programs`` is a folder with ``gateway``.
    """

    environment: Mapping[str, str]
    folder: Path
    programs: Path
    notification: str = ""
    said: list[tuple[str, str]] = field(default_factory=list)  # each command, and what it printed

    async def follow(self, alert: str, *sections: str, choose: Callable[[str], bool] = lambda line: True) -> None:
        """Run the commands of the page that ``choose`` selects. Raises CommandFailed."""
        for line in commands(alert, *sections):
            if choose(line):
                await self.run(line)

    async def run(self, line: str) -> str:
        """Run one command line; its output. Raises CommandFailed."""
        known = {**os.environ, **self.environment, "NOTIFICATION": self.notification, "COLUMNS": "200"}
        known["PATH"] = f"{self.programs}{os.pathsep}{known['PATH']}"
        if "$SWITCH" in line:
            known["SWITCH"] = self._switch()
        log = self.folder / f"said-{len(self.said)}"
        process = ForkedProcess(_shell, [str(self.folder), line], known, log)
        try:
            status = await asyncio.to_thread(process.wait, LIMIT_SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)  # with what a shell started
            raise CommandFailed(f"{line}\nhas not ended after {LIMIT_SECONDS:.0f} s") from None
        self.said.append((line, log.read_text(errors="replace")))
        if status:
            raise CommandFailed(f"{line}\nended with {status}:\n{self.said[-1][1]}")
        return self.said[-1][1]

    def _switch(self) -> str:
        """The id of the newest pause, from the output of ``gateway pause``."""
        found = re.findall(r"\bswi_\w+", "\n".join(printed for _, printed in self.said))
        if not found:
            raise CommandFailed("nothing was paused that could be ended")
        return str(max(found))
