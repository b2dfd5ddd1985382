"""The journey endpoints: a definition's life, what runs, an approved legal step, and a dry migration."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest

from gateway.app.app import Gateway
from tests.support.api_gateway import Client, app_of, case_body, open_api_gateway, serving
from tests.support.journeys.gate import GATED, key_of, offer_reached, person, run_journeys


@pytest.fixture
async def gateway(tmp_path: Path, redis_url: str) -> AsyncIterator[Gateway]:
    """What is behind the API; no worker runs, so that each test says when journeys do."""
    async with open_api_gateway(tmp_path, redis_url) as opened:
        yield opened


@pytest.fixture
async def client(gateway: Gateway) -> AsyncIterator[Client]:
    """The first person's key; ``second`` makes another one's."""
    key = await key_of(gateway, await person(gateway, "ann"), "admin")
    async with serving(app_of(gateway)) as url, aiohttp.ClientSession() as session:
        yield Client(session, url, key)


async def second(gateway: Gateway, client: Client) -> Client:
    return client.holding(await key_of(gateway, await person(gateway, "bob"), "admin"))


async def test_from_a_text_to_an_approved_legal_step(gateway: Gateway, client: Client) -> None:
    """Two persons for the definition, two for the gate; once approved it ends and is reported."""
    other = await second(gateway, client)
    base = "/v1/journey-definitions"
    made = await client.post(base, {"source": GATED})
    assert (made.status, made.json["state"], made.json["number"]) == (201, "draft", 1)
    assert (await client.post(f"{base}/gated/1/submit")).json["state"] == "submitted"
    assert (await client.post(f"{base}/gated/1/approve")).problem == "same_person"
    assert (await other.post(f"{base}/gated/1/approve")).json["state"] == "approved"
    assert (await other.post(f"{base}/gated/1/publish")).json["state"] == "published"

    for minute in range(2):  # the clock stands still: each news of the case has its journey looked at again
        body = case_body(as_of=f"2026-11-23T10:0{minute}:00Z")
        assert (await client.call("PUT", "/v1/cases/C-1", body)).status == 200
        await run_journeys(gateway)
    [journey] = (await client.get("/v1/journeys?case_id=C-1")).json["journeys"]
    assert (journey["state"], journey["definition"]) == ("gate", "gated")
    sent = (await client.get("/v1/notifications?case_id=C-1")).json["notifications"]
    assert [(each["template"], each["stage"]) for each in sent] == [("plan-offer", "offer")]

    act = f"/v1/journeys/{journey['id']}"
    await offer_reached(gateway)
    assert (await client.post(f"{act}/approve", {"reason": "checked"})).json["approvals"] == 1
    assert (await other.post(f"{act}/approve", {"reason": "checked"})).status == 200
    await client.call("PUT", "/v1/cases/C-1", case_body(as_of="2026-11-23T11:00:00Z"))
    await run_journeys(gateway)
    course = (await client.get(act)).json
    assert (course["state"], course["reason"]) == ("exited", "completed")
    assert course["steps"][0]["message"] == {"notification_id": sent[0]["id"], "state": "sent", "reason": None}
    kinds = [each["kind"] for each in course["events"]]
    assert kinds.count("case.legal_step_approved") == 1
    lines = (await client.get(f"{base}/gated/report")).json["lines"]
    assert [(each["number"], each["entered"], each["too_few_to_tell"]) for each in lines] == [(1, 1, True)]


async def test_a_migration_shows_each_next_step_before_and_after(gateway: Gateway, client: Client) -> None:
    """Dry by default; then the journey goes on by the other version."""
    other = await second(gateway, client)
    base = "/v1/journey-definitions"
    later = GATED.replace(
        '[[step]]\nid = "legal"', '[[step]]\nid = "call"\nday = 9\nemits = "case.call_due"\n[[step]]\nid = "legal"'
    )
    for number, source in enumerate((GATED.replace('PT0S"\ngate', 'P9D"\ngate'), later), start=1):
        await client.post(base, {"source": source})
        await client.post(f"{base}/gated/{number}/submit")
        await other.post(f"{base}/gated/{number}/approve")
        await other.post(f"{base}/gated/{number}/publish")
        if number == 1:
            await client.call("PUT", "/v1/cases/C-1", case_body())
            await run_journeys(gateway)
    dry = (await client.post(f"{base}/gated/1/migrate", {"to": 2})).json
    assert [(each["before"]["step"], each["after"]["step"]) for each in dry["rows"]] == [("legal", "call")]
    moved = (await client.post(f"{base}/gated/1/migrate", {"to": 2, "dry_run": False})).json
    assert (moved["journeys"], moved["missed"]) == (1, 0)
    await run_journeys(gateway)
    two = (await client.get(f"{base}/gated/2")).json
    assert (await client.get("/v1/journeys")).json["journeys"][0]["version"] == two["version"]


async def test_a_definition_with_errors_stays_a_draft(client: Client) -> None:
    """The findings are answered; a text that is no definition is refused with the place."""
    base = "/v1/journey-definitions"
    wrong = GATED.replace("plan-offer", "nothing")
    found = (await client.post(f"{base}/lint", {"source": wrong})).json["findings"]
    assert [each["rule"] for each in found] == ["unknown_template"]
    await client.post(base, {"source": wrong})
    refused = await client.post(f"{base}/gated/1/submit")
    assert (refused.problem, refused.json["findings"][0]["place"]) == ("lint_errors", "offer")
    assert (await client.post(base, {"source": "name = 1"})).pointers == ["/source"]
    assert "properties" in str((await client.get(f"{base}/schema")).json)
    assert (await client.get(f"{base}/none")).problem == "not_found"
