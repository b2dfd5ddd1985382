"""Readiness probe: whether each dependency of a process is usable, for ``/readyz``.

Owns the time-out of a check and the meaning of a failed one. Must not know the dependencies themselves.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

_TIMEOUT_SECONDS = 2.0  # below the time-out of the shipped probes (3 s), so that the answer names the slow check
# Requests are accepted without it and sent once it is back: to take every API process out of the balancer for an outage
# of Redis would turn a delay into an outage.
API_DOES_WITHOUT = frozenset({"redis"})

Check = Callable[[], Awaitable[str]]  # "" if the dependency is usable, else the reason


@dataclass(frozen=True, slots=True)
class Readiness:
    """``checks`` has "" for each usable dependency, else the reason. ``missing`` are failed and required."""

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
    """Runs all checks concurrently. A check that hangs is not started again by the next probe."""

    def __init__(self, checks: Mapping[str, Check]) -> None:
        self._checks = checks
        self._asked: dict[str, asyncio.Task[str]] = {}

    async def ask(self, can_do_without: frozenset[str] = frozenset()) -> Readiness:
        """The state of all dependencies, at most a few seconds old. ``can_do_without`` are not required."""
        for name, check in self._checks.items():
            if name not in self._asked or self._asked[name].done():
                self._asked[name] = asyncio.ensure_future(check())
        await asyncio.wait(self._asked.values(), timeout=_TIMEOUT_SECONDS)
        found = {name: _word(task) for name, task in self._asked.items()}
        return Readiness(found, tuple(name for name, word in found.items() if word and name not in can_do_without))

    async def close(self) -> None:
        """Cancel running checks."""
        for task in self._asked.values():
            task.cancel()
        await asyncio.gather(*self._asked.values(), return_exceptions=True)


def _word(task: asyncio.Task[str]) -> str:
    if not task.done():
        return f"no answer within {_TIMEOUT_SECONDS:g} s"
    error = task.exception()
    # The class name only: a driver's message may contain parameter values.
    return task.result() if error is None else type(error).__name__
