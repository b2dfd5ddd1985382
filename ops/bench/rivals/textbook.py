"""The textbook design: FastAPI, one SQL transaction and one ``enqueue_job`` per request; one arq job per message.

    python rivals/textbook.py api PORT DATABASE_URL REDIS_URL
    python rivals/textbook.py worker PROVIDER_URL DATABASE_URL REDIS_URL

What one finds in most guides: the ORM, a session per request, a job that loads its row, calls the provider by its
SDK, and updates the row. No policy, no claims, no events, no receipts; so it does less than the gateway.
"""

from __future__ import annotations

import sys
import uuid
from contextlib import asynccontextmanager
from typing import Any

import uvicorn
import uvloop
from arq.connections import ArqRedis
from arq.worker import Worker, func
from bare import Reminder
from fastapi import FastAPI, Request
from redis.asyncio import ConnectionPool
from sqlalchemy import JSON, String, event
from sqlalchemy.ext.asyncio import AsyncEngine, async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from twilio.http.async_http_client import AsyncTwilioHttpClient
from twilio.rest import Client

_JOBS_AT_ONCE = 100
_POLL_SECONDS = 0.01  # arq's own half second would make it far slower


class Base(DeclarativeBase):
    pass


class TextbookNotification(Base):
    __tablename__ = "textbook"

    id: Mapped[str] = mapped_column(String(36), primary_key=True)
    idempotency_key: Mapped[str] = mapped_column(String(255), unique=True)
    state: Mapped[str] = mapped_column(String(16), default="accepted")
    provider_message_id: Mapped[str] = mapped_column(String(64), default="")
    body: Mapped[dict[str, Any]] = mapped_column(JSON)


def engine_of(url: str) -> AsyncEngine:
    """The engine, with SQLite's full sync where it is SQLite; PostgreSQL has it by default."""
    engine = create_async_engine(url.replace("sqlite:", "sqlite+aiosqlite:"), pool_size=20)
    if url.startswith("sqlite"):

        @event.listens_for(engine.sync_engine, "connect")
        def configure(connection: Any, _record: Any) -> None:
            cursor = connection.cursor()
            cursor.execute("PRAGMA journal_mode=WAL")
            cursor.execute("PRAGMA synchronous=FULL")
            cursor.close()

    return engine


def redis_of(url: str) -> ArqRedis:
    return ArqRedis(ConnectionPool.from_url(url))


def api(port: int, database_url: str, redis_url: str) -> None:
    @asynccontextmanager
    async def lifespan(app: FastAPI) -> Any:
        engine = engine_of(database_url)
        async with engine.begin() as connection:
            await connection.run_sync(Base.metadata.create_all)
        app.state.sessions = async_sessionmaker(engine, expire_on_commit=False)
        app.state.redis = redis_of(redis_url)
        yield
        await engine.dispose()

    app = FastAPI(lifespan=lifespan)

    @app.post("/v1/notifications", status_code=202)
    async def accept(reminder: Reminder, request: Request) -> dict[str, str]:
        key = str(uuid.uuid4())
        async with app.state.sessions() as session, session.begin():
            body = reminder.model_dump()
            session.add(TextbookNotification(id=key, idempotency_key=request.headers["idempotency-key"], body=body))
        await app.state.redis.enqueue_job("send", key)
        return {"id": key, "state": "accepted"}

    uvicorn.run(app, host="127.0.0.1", port=port, log_level="warning", access_log=False)


async def work(provider_url: str, database_url: str, redis_url: str) -> None:
    """Drain jobs until killed."""
    sessions = async_sessionmaker(engine_of(database_url), expire_on_commit=False)
    http = AsyncTwilioHttpClient(pool_connections=True)
    direct = http.request

    async def redirected(method: str, url: str, **rest: Any) -> Any:  # the SDK has no base URL of its own
        return await direct(method, url.replace("https://api.twilio.com", provider_url), **rest)

    http.request = redirected
    client = Client("AC" + "0" * 32, "sms-token", http_client=http)

    async def send(_context: dict[Any, Any], key: str) -> None:
        async with sessions() as session:
            row = await session.get_one(TextbookNotification, key)
            text = f"Payment of {row.body['variables']['amount']} is due. Reply STOP to opt out."
            to = row.body["borrower"]["addresses"]["sms"]
            sent = await client.messages.create_async(to=to, from_="+15005550006", body=text)
            row.state, row.provider_message_id = "sent", sent.sid
            await session.commit()

    worker = Worker(
        functions=[func(send, name="send")],
        redis_pool=redis_of(redis_url),
        max_jobs=_JOBS_AT_ONCE,
        poll_delay=_POLL_SECONDS,
        keep_result=0,
        handle_signals=False,
    )
    await worker.async_run()


if __name__ == "__main__":
    if sys.argv[1] == "api":
        api(int(sys.argv[2]), *sys.argv[3:])
    else:
        uvloop.run(work(*sys.argv[2:]))
