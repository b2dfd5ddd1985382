"""The gate before a legal step, by the API: persons alone, each once, what it needs, its time, and a race."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import aiohttp
import pytest

from gateway.app.app import Gateway
from tests.support.api_gateway import Client, app_of, open_api_gateway, serving
from tests.support.journeys.gate import at_gate, key_of, offer_reached, person, run_journeys
from tests.support.storage.ledgers import NOW

CHECKED = {"reason": "papers checked"}


class _GateClock:
    now = NOW

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture
def clock() -> _GateClock:
    return _GateClock()


@pytest.fixture
async def gateway(tmp_path: Path, redis_url: str, clock: _GateClock) -> AsyncIterator[Gateway]:
    async with open_api_gateway(tmp_path, redis_url, clock=clock) as opened:
        yield opened


@pytest.fixture
async def system(gateway: Gateway) -> AsyncIterator[Client]:
    """A case system's key, which may manage."""
    async with serving(app_of(gateway)) as url, aiohttp.ClientSession() as session:
        yield Client(session, url, await key_of(gateway, None, "admin"))


async def _events(system: Client, journey: str, kind: str) -> int:
    course = (await system.get(f"/v1/journeys/{journey}")).json
    return [each["kind"] for each in course["events"]].count(kind)


async def test_each_refusal_has_its_own_problem(gateway: Gateway, system: Client) -> None:
    """A system's key 403, a need 422 by its name, the same person again 409, also by another key of theirs."""
    journey = await at_gate(gateway, offered=False)
    path = f"/v1/journeys/{journey}/approve"
    owner = await person(gateway, "ann")
    ann, anns_other = system.holding(await key_of(gateway, owner)), system.holding(await key_of(gateway, owner))
    unmet = await ann.post(path, CHECKED)
    assert (unmet.status, unmet.problem, unmet.pointers) == (422, "gate_needs", ["/needs/plan_offered"])
    await offer_reached(gateway)
    machine = await system.post(path, CHECKED)
    assert (machine.status, machine.problem) == (403, "person_needed")
    editor = system.holding(await key_of(gateway, await person(gateway, "eva", "editor")))
    refused = await editor.post(path, CHECKED)
    assert (refused.status, refused.problem) == (403, "forbidden")
    assert (await ann.post(path, CHECKED)).json["approvals"] == 1
    for again in (ann, anns_other):
        twice = await again.post(path, CHECKED)
        assert (twice.status, twice.problem) == (409, "same_approver")
    await gateway.ledger.users.disable(owner.email, NOW)
    assert (await system.holding(await _cached_out(gateway, owner.id)).post(path, CHECKED)).status == 401


async def _cached_out(gateway: Gateway, user_id: str) -> str:
    """A key of a disabled user that no process has seen: made while the user was enabled."""
    owner = next(each for each in await gateway.ledger.users.list("acme") if each.id == user_id)
    _, key = await gateway.ledger.keys.create("acme", "old", ["manage"], NOW, owner=replace(owner, disabled_at=None))
    return key


async def test_a_race_of_persons_makes_one_event(gateway: Gateway, system: Client) -> None:
    """Of three who approve at once two are counted, the third finds the gate passed; the case system is told once."""
    journey = await at_gate(gateway)
    people = [await person(gateway, name) for name in ("ann", "bob", "eve")]
    clients = [system.holding(await key_of(gateway, each)) for each in people]
    answers = await asyncio.gather(*(each.post(f"/v1/journeys/{journey}/approve", CHECKED) for each in clients))
    assert sorted(each.status for each in answers) == [200, 200, 409]
    assert await _events(system, journey, "case.legal_step_approved") == 1
    assert await _events(system, journey, "journey_gate_approval") == 2


async def test_a_gate_lapses_into_review_and_takes_no_more_approvals(
    gateway: Gateway, system: Client, clock: _GateClock
) -> None:
    """One approval and its time over: review, with the event; then 409 until a person opens it again."""
    journey = await at_gate(gateway)
    ann = system.holding(await key_of(gateway, await person(gateway, "ann")))
    assert (await ann.post(f"/v1/journeys/{journey}/approve", CHECKED)).status == 200
    clock.now += timedelta(days=6)
    await run_journeys(gateway)
    course = (await system.get(f"/v1/journeys/{journey}")).json
    assert (course["state"], course["reason"]) == ("review", "gate_lapsed")
    assert await _events(system, journey, "case.gate_lapsed") == 1
    late = await ann.post(f"/v1/journeys/{journey}/approve", CHECKED)
    assert (late.status, late.problem) == (409, "wrong_state")
    assert (await ann.post(f"/v1/journeys/{journey}/reopen", CHECKED)).json["state"] == "gate"
    assert (await ann.post(f"/v1/journeys/{journey}/approve", CHECKED)).json["approvals"] == 1
