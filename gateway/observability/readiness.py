"""Whether a process can do its work, part by part, for ``/readyz`` of every kind of process.

Owns how long a part may take to answer, and what a missing one means. Must not know the parts.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

_PATIENCE_SECONDS = 2.0  # below the time-outs of the probes that we ship (3 s): the answer names what is slow

Check = Callable[[], Awaitable[str]]  # "" where the part is fine, else why it is not


@dataclass(frozen=True, slots=True)
class Readiness:
    """``checks`` has "" for each part that is fine. ``missing`` are those without which nothing can be done."""

    checks: Mapping[str, str]
    missing: tuple[str, ...]

    @property
    def status(self) -> str:
        if self.missing:
            return "not_ready"
        return "degraded" if any(self.checks.values()) else "ready"

    def document(self) -> Mapping[str, object]:
        """What ``/readyz`` answers."""
        return {"status": self.status, "checks": self.checks}


class Probe:
    """Asks all parts at once. A part that hangs is asked once, however often the probe comes."""

    def __init__(self, checks: Mapping[str, Check]) -> None:
        self._checks = checks
        self._asked: dict[str, asyncio.Task[str]] = {}

    async def ask(self, can_do_without: frozenset[str] = frozenset()) -> Readiness:
        """How it is now, at most some seconds old."""
        for name, check in self._checks.items():
            if name not in self._asked or self._asked[name].done():
                self._asked[name] = asyncio.ensure_future(check())
        await asyncio.wait(self._asked.values(), timeout=_PATIENCE_SECONDS)
        found = {name: _word(task) for name, task in self._asked.items()}
        return Readiness(found, tuple(name for name, word in found.items() if word and name not in can_do_without))

    async def close(self) -> None:
        """Stop asking."""
        for task in self._asked.values():
            task.cancel()
        await asyncio.gather(*self._asked.values(), return_exceptions=True)


def _word(task: asyncio.Task[str]) -> str:
    if not task.done():
        return f"no answer within {_PATIENCE_SECONDS:g} s"
    error = task.exception()
    # Its class only: a driver's message may quote a statement's values.
    return task.result() if error is None else type(error).__name__
