"""The command line's part of the administrators' log: commands that change the ledger itself, and showing the log."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gateway.cli import console
from gateway.cli.runner import ledger_settings, run

if TYPE_CHECKING:
    from gateway.app.storage import LedgerParts


def actor() -> str:
    """The account of the operating system that runs the command, by its number: its name may be a person's."""
    number = getattr(os, "getuid", None)
    return f"cli:{number()}" if number is not None else "cli"


@asynccontextmanager
async def recorded(ledger: LedgerParts, command: str, tenant: str = "", **target: str) -> AsyncIterator[None]:
    """Record ``gateway <command>`` before the block is run, and again where it raises.

    ``tenant`` "": it concerns no single tenant. ``target`` names what it is done to, by ids. Raises Unavailable where
    the entry can't be written, and the block is not run.
    """
    from gateway.identity.admin_log import ActOutcome, AdminAct

    act = AdminAct(tenant, actor(), f"gateway {command}", {name: each for name, each in target.items() if each})
    await ledger.admin_log.record(act, log_line=False)
    try:
        yield
    except (typer.Exit, ValueError):  # of ``fail``: the command was called wrongly
        await ledger.admin_log.record(act.ended(ActOutcome.REFUSED, "invalid_request"), log_line=False)
        raise
    except Exception:
        await ledger.admin_log.record(act.ended(ActOutcome.FAILED, "internal"), log_line=False)
        raise


def admin_log(
    tenant: Annotated[str | None, typer.Option(help="Only this tenant's; default: of all.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=100_000, help="At most so many, the latest.")] = 100,
    as_json: Annotated[bool, typer.Option("--json", help="The answer as JSON on stdout.")] = False,
    data_dir: Annotated[
        Path | None, typer.Option(help="The data directory of the embedded ledger (GATEWAY_DATA_DIR).")
    ] = None,
) -> None:
    """Who used an administrative right, on what, and when; the latest first."""
    from gateway.app.storage import open_ledger

    async def work(stop: asyncio.Event) -> list[dict[str, Any]]:
        async with open_ledger(ledger_settings(data_dir), locked=False, create=False) as ledger:
            return await ledger.admin_log.listed(tenant, limit)

    found = run(work)
    if not as_json:
        for each in found:
            each["target"] = " ".join(f"{name}={value}" for name, value in each["target"].items())
    columns = ("seq", "at", "tenant", "actor", "operation", "target", "outcome", "reason", "request_id")
    console.listing(found, columns, as_json=as_json)
