"""A journey at its gate, behind a whole gateway without a worker, for tests of the API and the pages."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from gateway.app.app import Gateway
from gateway.identity.users import User
from gateway.journeys.cases.record import CaseRecord
from tests.support.journeys.cases import snapshot
from tests.support.storage.ledgers import NOW

GATED = """
name = "gated"
enter = { when = { days_overdue = { at_least = 1 } } }
pace = { spread = "PT0S", least = "PT0S" }
[[step]]
id = "offer"
day = 1
template = "plan-offer"
route = ["inapp"]
offer = { instalments = 3 }
[[step]]
id = "legal"
after = "PT0S"
gate = { approvals = 2, expires = "P5D", needs = ["plan_offered", "no_hold"] }
emits = "case.legal_step_approved"
"""


async def run_journeys(gateway: Gateway) -> None:
    """All that journeys have to do now."""
    runner = gateway.journeys.runner
    while due := await runner.due(gateway.ledger.clock(), 1000):
        await runner.run(due)


async def at_gate(gateway: Gateway, *, offered: bool = True) -> str:
    """The id of a journey of acme's that waits for approvals. ``offered``: its plan's offer reached the borrower."""
    definitions = gateway.journeys.definitions
    await definitions.save("acme", GATED, "user:ann")
    await definitions.submit("acme", "gated", 1, "user:ann")
    await definitions.approve("acme", "gated", 1, "user:bob")
    await definitions.publish("acme", "gated", 1, "user:bob")
    borrower = replace(snapshot().borrower, addresses={"inapp": "B-1"})
    for minutes in (1, 0):  # the clock stands still: each news of the case is a look
        news = snapshot(as_of=NOW - timedelta(minutes=minutes), borrower=borrower)
        await gateway.journeys.cases.feed("acme", [CaseRecord("C-9", news)], "key:1")
        await run_journeys(gateway)
    [journey] = await gateway.journeys.reads.listed("acme", case_id="C-9", definition="gated", limit=1)
    assert journey["state"] == "gate", journey
    if offered:
        await offer_reached(gateway)
    return str(journey["id"])


async def offer_reached(gateway: Gateway) -> None:
    """Have the path say that every message was sent."""
    sent = "UPDATE notifications SET state = 'sent'"
    await gateway.ledger.database.write(lambda connection: connection.exec_driver_sql(sent))


async def person(gateway: Gateway, name: str, role: str = "supervisor") -> User:
    """A user of acme's."""
    users = gateway.ledger.users
    return await users.add("acme", name, f"{name}@acme.example.com", role, "correct horse battery staple", NOW)


async def key_of(gateway: Gateway, owner: User | None, scope: str = "manage") -> str:
    """A key of a person's, or with None a system's."""
    _, key = await gateway.ledger.keys.create("acme", "key", [scope, "read"], NOW, owner=owner)
    return key
