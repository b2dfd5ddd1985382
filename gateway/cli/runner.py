"""Running a command's coroutine: the event loop, signals, and errors as one line each.

Owns the exit statuses: 0 done, 1 not done, 2 called wrongly, 130 interrupted. Must not know any command.
"""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Callable, Coroutine, Iterable
from typing import Any, TypeVar

import typer
from pydantic import ValidationError

from gateway.app.embedded.errors import CannotStart
from gateway.app.settings import Settings
from gateway.cli.client import CallFailed
from gateway.cli.portfolio.files import PortfolioError
from gateway.cli.portfolio.mapping import MappingError
from gateway.core.ports import Unavailable

T = TypeVar("T")

_SHOWN_IDS = 3  # of those that an ambiguous beginning may mean; our choice
_TOLD = (CannotStart, CallFailed, PortfolioError, MappingError, Unavailable)


def run(work: Callable[[asyncio.Event], Coroutine[Any, Any, T]]) -> T:
    """Run ``work`` with an event that SIGINT and SIGTERM set; a second one of them ends the process at once."""

    async def main() -> T:
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()

        def stopped(number: int) -> None:
            stop.set()
            loop.remove_signal_handler(number)

        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, stopped, number)
        return await work(stop)

    try:
        with asyncio.Runner(loop_factory=_loop_factory()) as runner:
            return runner.run(main())
    except KeyboardInterrupt:
        raise typer.Exit(130) from None
    except _TOLD as error:
        fail(str(error))
    except BaseExceptionGroup as group:
        told = _first_told(group)
        if told is None:
            raise
        fail(str(told))
    raise AssertionError("unreachable: fail raises")


def fail(line: str, status: int = 1) -> None:
    """Say why on stderr, and end."""
    typer.echo(f"gateway: {line}", err=True)
    raise typer.Exit(status)


def settings(**given: Any) -> Settings:
    """Settings from the environment, and over it those that the command line gives (None: not given)."""
    try:
        return Settings(**{name: value for name, value in given.items() if value is not None})
    except (OSError, ValueError) as error:
        fail(why_refused(error), 2)
    raise AssertionError("unreachable: fail raises")


def why_refused(error: OSError | ValueError) -> str:
    """What is wrong with settings that ``Settings`` refused; never their values, which may be secrets."""
    if not isinstance(error, ValidationError):
        return f"the settings can't be read: {type(error).__name__}"
    first = error.errors(include_input=False, include_url=False)[0]
    place = "GATEWAY_" + ".".join(str(part) for part in first["loc"]).upper() + ": " if first["loc"] else ""
    return place + first["msg"].removeprefix("Value error, ")


def _first_told(group: BaseExceptionGroup[BaseException]) -> BaseException | None:
    for error in group.exceptions:
        found = _first_told(error) if isinstance(error, BaseExceptionGroup) else error
        if isinstance(found, _TOLD):
            return found
    return None


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    if sys.platform == "win32":
        return None
    import uvloop

    return uvloop.new_event_loop


def full_id(given: str, known: Iterable[str], listed_by: str) -> str:
    """The one id of ``known`` that is ``given`` or begins with it. Ends the command where there are several, or none.

    ``listed_by`` is the command that lists the ids.
    """
    ids = set(known)
    found = [given] if given in ids else sorted(each for each in ids if given and each.startswith(given))
    if not found:
        fail(f"there is no {given!r}; {listed_by} lists the ids")
    if len(found) > 1:
        some = ", ".join(found[:_SHOWN_IDS]) + (", …" if len(found) > _SHOWN_IDS else "")
        fail(f"{given!r} is the beginning of {len(found)} ids ({some}); write more of it", 2)
    return found[0]
