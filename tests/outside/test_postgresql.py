"""A whole gateway on the oldest and on the newest PostgreSQL that is supported: migrated, accepted, sent, reported."""

from __future__ import annotations

import asyncio
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import psycopg
import pytest
from sqlalchemy import create_engine

from channels.email.sink import SmtpSink
from gateway.api.requests.notifications import NotificationIn
from gateway.app.app import open_gateway
from gateway.app.settings import Settings
from gateway.storage.upgrade.migrate import migrate
from tests.support.production import request
from tests.support.providers.fake_servers import clock
from tests.support.storage.ledgers import begun
from tests.support.storage.postgresql import PostgresServer, oldest_server
from tests.support.tried import Tried
from tests.support.waiting import eventually


@pytest.mark.parametrize("server", [oldest_server, PostgresServer], ids=["oldest", "newest"])
async def test_a_reminder_is_sent(server: Any, redis_url: str, tmp_path: Path, tried: Tried) -> None:
    """All migrations from the first on run, and a reminder is accepted, decided, sent and recorded."""
    stack = ExitStack()
    running: PostgresServer = await asyncio.to_thread(stack.enter_context, server())
    sink = SmtpSink(clock)
    try:
        await sink.start()
        engine = create_engine(running.url)
        await asyncio.to_thread(migrate, engine)
        engine.dispose()
        await asyncio.to_thread(begun, running.url)
        with psycopg.connect(running.address) as connection:
            version = connection.info.parameter_status("server_version")
        options = {"host": "127.0.0.1", "port": sink.port, "tls": "none", "domain": "lender.example"}
        options |= {"from_address": "reminders@lender.example"}
        entry = {"channel": "email", "kind": "smtp", "name": "mail", "options": options}
        settings = Settings(database_url=running.url, redis_url=redis_url, data_dir=tmp_path, providers=[entry])
        async with open_gateway(settings) as gateway:
            body = request(1, route=["email"])
            pipeline = gateway.path.pipeline
            [answer] = await pipeline.accept("acme", [NotificationIn(**body).incoming("", body)])
            await pipeline.dispatch(await gateway.path.store.due(gateway.ledger.clock(), 10))

            async def sent() -> bool:
                found = await gateway.ledger.reads.notification("acme", answer.id)
                return found is not None and found["state"] == "sent"

            await eventually(sent)
        tried(f"PostgreSQL {version}", "migrations, and a reminder", "sent", "", "its rows")
    finally:
        await sink.stop()
        await asyncio.to_thread(stack.close)
