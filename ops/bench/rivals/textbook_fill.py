"""Puts accepted notifications where the textbook's API would have put them.

python rivals/textbook_fill.py COUNT DATABASE_URL REDIS_URL
"""

from __future__ import annotations

import asyncio
import json
import sys
import uuid
from pathlib import Path

from sqlalchemy import insert
from textbook import Base, TextbookNotification, engine_of, redis_of

sys.path.insert(0, str(Path(__file__).parents[1]))

import reminders

_AT_ONCE = 100


async def fill(count: int, database_url: str, redis_url: str) -> None:
    """Rows first, then a job for each."""
    engine, redis = engine_of(database_url), redis_of(redis_url)
    rows = [
        {"id": str(uuid.uuid4()), "idempotency_key": str(uuid.uuid4()), "body": json.loads(reminders.one(number))}
        for number in range(count)
    ]
    async with engine.begin() as connection:
        await connection.run_sync(Base.metadata.drop_all)
        await connection.run_sync(Base.metadata.create_all)
        await connection.execute(insert(TextbookNotification), rows)
    for start in range(0, count, _AT_ONCE):
        await asyncio.gather(*(redis.enqueue_job("send", row["id"]) for row in rows[start : start + _AT_ONCE]))
    await engine.dispose()


if __name__ == "__main__":
    asyncio.run(fill(int(sys.argv[1]), *sys.argv[2:]))
