"""Runs a command's coroutine: event loop, signals, and one-line error messages.

Owns the exit statuses: 0 success, 1 failure, 2 usage error, 130 interrupted. Must not know the commands.
"""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Callable, Coroutine, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

import typer

from gateway.app.embedded.errors import CannotStart
from gateway.cli.client import CallFailed
from gateway.cli.portfolio.files import PortfolioError
from gateway.cli.portfolio.mapping import MappingError
from gateway.cli.terminal import visible
from gateway.core.errors import Unavailable

if TYPE_CHECKING:
    from gateway.app.settings import Settings

DEMO_DIR = Path("var/demo")  # the default data directory of the demo

T = TypeVar("T")

_SHOWN_IDS = 3  # candidates shown for an ambiguous prefix; our choice
_TOLD = (CannotStart, CallFailed, PortfolioError, MappingError, Unavailable)


def run(work: Callable[[asyncio.Event], Coroutine[Any, Any, T]]) -> T:
    """Run ``work`` with an event that SIGINT and SIGTERM set; a second signal ends the process at once."""

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
        reason = _first_error(group)
        if reason is None:
            raise
        fail(str(reason))


def fail(line: str, status: int = 1) -> NoReturn:
    """Print the reason on stderr and exit."""
    typer.echo(f"gateway: {visible(line)}", err=True)
    raise typer.Exit(status)


def settings(**given: Any) -> Settings:
    """Settings from the environment, overridden by options (None: not given)."""
    from gateway.app.settings import Settings  # a third of a second, which ``--help`` avoids

    try:
        return Settings(**{name: value for name, value in given.items() if value is not None})
    except (OSError, ValueError) as error:
        fail(why_refused(error), 2)


def ledger_settings(data_dir: Path | None) -> Settings:
    """The settings of a command on the ledger itself.

    Without a data directory, and if the default one has no ledger, the demo's is used, as in commands on a running
    gateway.
    """
    from gateway.app.storage import embedded_ledger

    chosen = settings(data_dir=data_dir)
    named = chosen.database_url or "data_dir" in chosen.model_fields_set
    if named or embedded_ledger(chosen.data_dir).exists() or not embedded_ledger(DEMO_DIR).exists():
        return chosen
    typer.echo(f"gateway: the demo's ledger in {DEMO_DIR}", err=True)
    return settings(data_dir=DEMO_DIR)


def why_refused(error: OSError | ValueError) -> str:
    """The errors of invalid settings, without their values, which may be secrets."""
    from pydantic import ValidationError

    if not isinstance(error, ValidationError):
        return f"the settings can't be read: {type(error).__name__}"
    first = error.errors(include_input=False, include_url=False)[0]
    place = "GATEWAY_" + ".".join(str(part) for part in first["loc"]).upper() + ": " if first["loc"] else ""
    return place + first["msg"].removeprefix("Value error, ")


def _first_error(group: BaseExceptionGroup[BaseException]) -> BaseException | None:
    for error in group.exceptions:
        found = _first_error(error) if isinstance(error, BaseExceptionGroup) else error
        if isinstance(found, _TOLD):
            return found
    return None


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    if sys.platform == "win32":
        return None
    import uvloop

    return uvloop.new_event_loop


def full_id(given: str, known: Iterable[str], listed_by: str) -> str:
    """The id in ``known`` that equals ``given`` or begins with it. Exits where there are several or none.

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
