"""The gateway behind PgBouncer, in both pool modes that can run transactions."""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path
from typing import Any

import pytest

from tests.support.forked import gateway_command
from tests.support.production import production, request
from tests.support.storage.pgbouncer import pgbouncer, pgbouncer_version
from tests.support.storage.postgresql import new_database
from tests.support.tried import Tried
from tests.support.waiting import eventually

_NOTIFICATIONS = 40


def command(url: str, *arguments: str) -> str:
    """The standard output of a command on the ledger at ``url``."""
    done = gateway_command(*arguments, environment={**os.environ, "GATEWAY_DATABASE_URL": url})
    assert arguments[0] == "doctor" or done.returncode == 0, done.stderr
    return done.stdout


# Fewer server connections than clients in transaction mode: a transaction gets any of them. In session mode each client
# keeps one: two processes of eight, and commands.
@pytest.mark.parametrize(("mode", "connections"), [("transaction", 4), ("session", 40)])
async def test_the_gateway_works_behind_pgbouncer(
    tmp_path: Path, postgresql_url: str, tcp_valkey_url: str, tried: Tried, mode: str, connections: int
) -> None:
    """The schema is migrated, requests are accepted and sent, and doctor says which mode it saw."""
    with new_database(postgresql_url) as direct, pgbouncer(direct, mode, connections) as url:
        await asyncio.to_thread(command, url, "ledger", "migrate")
        async with production(tmp_path, url, tcp_valkey_url, apis=1, workers=1) as started:
            running = await started.new_lender()
            replies = await asyncio.gather(
                *(running.post("/v1/notifications", request(number, route=["sms"])) for number in range(_NOTIFICATIONS))
            )
            assert [status for status, _ in replies] == [202] * _NOTIFICATIONS

            async def sent() -> bool:
                return (await running.received())["messages"] == _NOTIFICATIONS

            await eventually(sent, every=0.2)
            assert all(each.handle.poll() is None for each in (*running.apis, *running.workers))
            said: list[dict[str, Any]] = json.loads(await asyncio.to_thread(command, url, "doctor", "--json"))
        [pooler] = [each for each in said if each["check"] == "ledger.pooler"]
        assert pooler["level"] == "ok"
        assert f"{mode} mode" in pooler["what"]
        tried(pgbouncer_version(), f"migration, {_NOTIFICATIONS} reminders, {mode} mode", "sent", "", pooler["what"])
