"""The journey that cases of the chaos run enter: one text message, and then it is over."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

import aiohttp

from gateway.journeys.definitions.store import JourneyDefinitions
from gateway.storage.database import Database
from tests.chaos.harness.load import Kind, Note

_SOURCE = """
name = "one-message"
enter = { when = { days_overdue = { at_least = 1 } } }
pace = { at = "00:00", spread = "PT0S" }
[[step]]
id = "remind"
day = 1
template = "overdue-first"
route = ["sms"]
"""


async def define_journey(database_url: str) -> None:
    """Bring it to life for the tenant of the run, by two persons."""
    database = Database(database_url)
    definitions = JourneyDefinitions(database, lambda tenant, definition: (), lambda: datetime.now(UTC))
    made = await definitions.save("acme", _SOURCE, "user:ann")
    await definitions.submit("acme", made["name"], made["number"], "user:ann")
    await definitions.approve("acme", made["name"], made["number"], "user:bob")
    await definitions.publish("acme", made["name"], made["number"], "user:bob")
    await database.close()


async def waiting_cases(http: aiohttp.ClientSession, url: str, notes: Sequence[Note]) -> int:
    """How many cases that were fed, and not paid, have not come to the end of their journey."""
    ended, cursor = set(), ""
    while True:
        async with http.get(f"{url}/v1/journeys?state=exited&limit=500{cursor}") as answer:
            page = await answer.json()
        ended |= {each["case_id"] for each in page["journeys"]}
        if page["next_cursor"] is None:
            break
        cursor = f"&cursor={page['next_cursor']}"
    return sum(note.kind is Kind.JOURNEY and bool(note.id) and note.id not in ended for note in notes)
