"""A ledger with many borrowers, and each page that people open, asked in this process: what it costs.

Statements and steps of SQLite's virtual machine depend on the code and the ledger and not on the machine, so that a
test can hold them; ops/bench/pages.py adds the processor time.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
from sqlalchemy import event

from channels.base import Accepted, Content
from gateway.app.app import Gateway
from gateway.identity.sessions import Sessions
from gateway.identity.users import Role
from tests.support.api_gateway import app_of, open_api_gateway
from tests.support.storage.ledgers import NOW, draft, ended, outgoing
from tests.support.storage.settling import RECORDER

TENANT = "acme"
BATCH = 200  # borrowers in one transaction
_STEPS = 100  # of SQLite's virtual machine between two calls of the counter


@dataclass(frozen=True)
class PageCost:
    """Statements, hundreds of steps of SQLite's virtual machine, and seconds of this process's processor."""

    statements: int
    steps: int
    seconds: float


@dataclass
class StepCounter:
    """Counts the steps of all connections while it is on."""

    steps: int = 0

    def step(self) -> int:
        self.steps += 1
        return 0


@asynccontextmanager
async def filled(directory: Path, redis_url: str, borrowers: int, contacts: int) -> AsyncIterator[Gateway]:
    """A gateway whose ledger has so many borrowers with an SMS each, the first with ``contacts`` of them."""
    async with open_api_gateway(directory, redis_url) as gateway:
        names = [f"B-{number}" for number in range(borrowers)] + ["B-0"] * (contacts - 1)
        for begin in range(0, len(names), BATCH):
            await _contacted(gateway, names[begin : begin + BATCH], begin)
        yield gateway


async def _contacted(gateway: Gateway, names: list[str], begin: int) -> None:
    store, at = gateway.path.store, NOW - timedelta(hours=2)
    drafts = [draft(f"k{begin + n}", borrower=name, case=f"C-{begin + n}", now=at) for n, name in enumerate(names)]
    accepted = await store.accept(drafts, at)
    claimed = await store.claim([each.first_delivery or "" for each in accepted], at, 60)
    content = Content("Your payment was due.")
    going = [replace(outgoing(work), content=content) for work in claimed]
    begun = await store.start(going, at, 60)
    ends = [ended(work, Accepted(f"SM-{work.delivery.id}"), at) for work in claimed if work.delivery.id in begun]
    await store.settle(ends, RECORDER.after_attempt, RECORDER.after_receipt)


@contextmanager
def counting(gateway: Gateway) -> Iterator[StepCounter]:
    """Count what the ledger's connections do. The pools are emptied: those that are open don't count."""
    counter, database = StepCounter(), gateway.ledger.database
    engines = (database.engine, database._read_engine)

    def count_steps(connection: Any, _: Any) -> None:
        connection.set_progress_handler(counter.step, _STEPS)

    for engine in engines:
        event.listen(engine, "connect", count_steps)
        engine.dispose()
    yield counter
    for engine in engines:
        event.remove(engine, "connect", count_steps)


async def ask_pages(gateway: Gateway, counter: StepCounter) -> Mapping[str, PageCost]:
    """Ask each page twice, as people who may, and give the second one's cost. Raises AssertionError for an error."""
    found: dict[str, PageCost] = {}
    transport = httpx.ASGITransport(app_of(gateway))
    async with httpx.AsyncClient(transport=transport, base_url="http://gateway.example") as client:
        cookies = {role: await _signed_in(gateway, role) for role in (Role.COMPLIANCE, Role.APPROVER)}
        for name, (role, path) in (await _pages(gateway)).items():
            headers = {"Cookie": f"gateway_session={cookies[role]}"} if role else {}
            for _ in range(2):
                steps, statements, began = counter.steps, gateway.ledger.database.statements, time.process_time()
                answer = await client.get(path, headers=headers)
                seconds = time.process_time() - began
                assert answer.status_code == 200, (name, answer.status_code)
                found[name] = PageCost(gateway.ledger.database.statements - statements, counter.steps - steps, seconds)
    return found


async def _signed_in(gateway: Gateway, role: Role) -> str:
    ledger, email = gateway.ledger, f"{role}@acme.example"
    await ledger.users.add(TENANT, str(role), email, role, "correct horse battery staple", ledger.clock())
    [user] = [each for each in await ledger.users.list(TENANT) if each.email == email]
    return await Sessions(ledger.database, ledger.signer).open(user, ledger.clock())


async def _pages(gateway: Gateway) -> dict[str, tuple[Role | None, str]]:
    desk, editor = Role.COMPLIANCE, Role.APPROVER
    before = await _position(gateway)
    return {
        "desk": (desk, "/desk"),
        "a borrower's record": (desk, "/desk/borrowers/B-0"),
        "an earlier page of it": (desk, f"/desk/borrowers/B-0?before={before}"),
        "another borrower's record": (desk, "/desk/borrowers/B-1"),
        "reviews": (desk, "/desk/reviews"),
        "how it does": (editor, "/ops"),
        "journeys": (editor, "/journeys"),
        "templates": (editor, "/editor"),
        **{f"a borrower's own {name or 'page'}": (None, path) for name, path in (await _own_pages(gateway)).items()},
    }


async def _position(gateway: Gateway) -> int:
    found = await gateway.ledger.reads.timeline(TENANT, "B-0", 500, 0)
    return int(found[-1]["seq"])


async def _own_pages(gateway: Gateway) -> dict[str, str]:
    found = await gateway.ledger.reads.borrower(TENANT, "B-0")
    assert found is not None
    token = gateway.ledger.signer.message_token(found["recent_contacts"][0]["delivery_id"])
    pages = {name: f"/m/{token}/{name}".rstrip("/") for name in ("", "messages", "preferences", "help")}
    return pages | {"way to decline": f"/v1/unsubscribe/{token}"}
