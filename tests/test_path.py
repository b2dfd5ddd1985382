"""The executable README: one reminder goes in, comes out once, and its receipt comes back. Read this first.

A whole gateway with its embedded parts: SQLite, Valkey, the HTTP server, the worker, and outside of it the simulated
SMS provider and a real SMTP server, in a process of their own.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest

from gateway.cli.ledger.evidence import verify
from tests.support.waiting import LIMIT_SECONDS
from tests.support.whole_gateway import REQUEST, Running, up


@pytest.fixture
async def morning() -> AsyncIterator[Running]:
    """Ten in the morning in Taipei."""
    async with up("2026-11-24T10:00:00+08:00") as running:
        yield running


@pytest.fixture
async def night() -> AsyncIterator[Running]:
    """Eleven at night in Taipei."""
    async with up("2026-11-24T23:00:00+08:00") as running:
        yield running


async def test_a_reminder_goes_out_once_and_its_receipt_comes_back(morning: Running) -> None:
    """POST, 202, SMS at the provider, receipt, delivered: and each step of it can be read afterwards."""
    status, answer = await morning.call("POST", "/v1/notifications", REQUEST, **{"Idempotency-Key": "c77-first"})
    assert (status, answer["state"]) == (202, "accepted")
    found = await morning.until_at_rest(answer["id"])
    assert found["state"] == "delivered"
    assert [(each["channel"], each["state"], each["attempt"]) for each in found["deliveries"]] == [
        ("sms", "delivered", 1)
    ]
    kinds = [event["kind"] for event in found["events"]]
    assert kinds[:2] == ["accepted", "attempt_started"]
    assert "receipt" in kinds
    assert found["verdict"]["verdict"] == "send"
    assert {rule["authority"].split(":")[0] for rule in found["verdict"]["rules"]} <= {
        "law",
        "guidance",
        "vendor",
        "recalled",
        "our_choice",
    }
    assert morning.gateway.providers.simulators is not None
    assert (await morning.gateway.providers.simulators.summary())["sms"]["messages"] == 1


async def test_the_same_request_again_is_the_same_answer(morning: Running) -> None:
    """Under the same key it is replayed; under another key it is a duplicate; nobody hears of it twice."""
    _, first = await morning.call("POST", "/v1/notifications", REQUEST, **{"Idempotency-Key": "one"})
    status, again = await morning.call("POST", "/v1/notifications", REQUEST, **{"Idempotency-Key": "one"})
    assert (status, again["id"]) == (200, first["id"])
    _, other = await morning.call("POST", "/v1/notifications", REQUEST, **{"Idempotency-Key": "two"})
    assert (other["state"], other["reason"], other["duplicate_of"]) == ("suppressed", "duplicate", first["id"])
    await morning.until_at_rest(first["id"])
    assert morning.gateway.providers.simulators is not None
    assert (await morning.gateway.providers.simulators.summary())["sms"]["messages"] == 1


async def test_at_night_it_waits_until_the_window_opens(night: Running) -> None:
    """Outside the permitted hours the caller learns at once why, and until when."""
    _, answer = await night.call("POST", "/v1/notifications", REQUEST)
    assert (answer["state"], answer["reason"]) == ("deferred", "outside_window")
    assert answer["defer_until"] == "2026-11-25T00:00:00.000Z"  # eight in the morning in Taipei


async def test_what_can_not_be_delivered_goes_on_to_the_next_channel(morning: Running) -> None:
    """A handset that does not exist: the SMS fails for good, and the e-mail goes out instead."""
    borrower = {**REQUEST["borrower"], "addresses": {**REQUEST["borrower"]["addresses"], "sms": "+12025550199"}}
    _, answer = await morning.call("POST", "/v1/notifications", {**REQUEST, "borrower": borrower})
    found = await morning.until_at_rest(answer["id"])
    assert [(each["channel"], each["state"]) for each in found["deliveries"]] == [
        ("sms", "undelivered"),
        ("email", "delivered"),
    ]
    assert found["state"] == "delivered"


async def test_an_opt_out_is_obeyed_from_its_answer_on(morning: Running) -> None:
    """After the borrower said no to SMS, the route goes on without it, and the record says why."""
    path = "/v1/borrowers/B-1001/opt-outs"
    status, _ = await morning.call("POST", path, {"channel": "sms", "source": "phone call"})
    assert status == 201
    _, answer = await morning.call("POST", "/v1/notifications", REQUEST)
    found = await morning.until_at_rest(answer["id"])
    assert [(each["channel"], each["state"], each["reason"]) for each in found["deliveries"]] == [
        ("sms", "suppressed", "opted_out"),
        ("email", "delivered", "delivered"),
    ]


async def test_a_paid_case_is_left_in_peace(night: Running) -> None:
    """Payment between acceptance and the morning cancels what waits, and later requests for the case."""
    _, waiting = await night.call("POST", "/v1/notifications", REQUEST)
    status, answer = await night.call("POST", "/v1/cases/C-77/close", {"reason": "paid"})
    assert (status, answer["cancelled"]) == (200, 1)
    assert (await night.until_at_rest(waiting["id"]))["state"] == "cancelled"
    _, later = await night.call("POST", "/v1/notifications", {**REQUEST, "dedup_key": "another"})
    assert (later["state"], later["reason"]) == ("suppressed", "case_closed")


async def test_an_unknown_outcome_is_resolved_and_never_sent_blindly(morning: Running) -> None:
    """The provider took the message and never answered: it is found there, and no second copy is made."""
    borrower = {**REQUEST["borrower"], "addresses": {**REQUEST["borrower"]["addresses"], "sms": "+12025550194"}}
    one_channel = [{"channel": "sms", "wait": None, "until": "delivered"}]
    _, answer = await morning.call("POST", "/v1/notifications", {**REQUEST, "borrower": borrower, "route": one_channel})
    async with asyncio.timeout(LIMIT_SECONDS):
        while "attempt_unknown" not in [event["kind"] for event in (await morning.read(answer["id"]))["events"]]:  # noqa: ASYNC110
            await asyncio.sleep(0.1)
    assert (await morning.until_at_rest(answer["id"]))["state"] == "delivered"
    assert morning.gateway.providers.simulators is not None
    sms = (await morning.gateway.providers.simulators.summary())["sms"]
    assert (sms["messages"], sms["duplicates"]) == (1, 0)


async def test_the_feed_holds_the_message_for_the_borrower(morning: Running) -> None:
    """In-app: delivered when it is in the feed, unread until the borrower's own token reads it."""
    _, answer = await morning.call("POST", "/v1/notifications", {**REQUEST, "route": ["inapp"]})
    await morning.until_at_rest(answer["id"])
    now = morning.gateway.ledger.clock()
    token = morning.gateway.ledger.signer.borrower_token("acme", "B-1001", now + timedelta(hours=1))
    own = {"Authorization": f"Bearer {token}"}
    _, feed = await morning.call("GET", "/v1/inbox", **own)
    assert feed["unread_count"] == 1
    status, after = await morning.call("POST", f"/v1/inbox/{feed['items'][0]['id']}/read", **own)
    assert (status, after["unread_count"]) == (200, 0)
    _, found = await morning.call("GET", f"/v1/notifications/{answer['id']}")
    assert found["deliveries"][0]["read_at"] is not None


async def test_every_event_is_sealed(morning: Running) -> None:
    """The ledger's hash chains hold after all of it."""
    _, answer = await morning.call("POST", "/v1/notifications", REQUEST)
    await morning.until_at_rest(answer["id"])
    findings = await verify(morning.gateway.ledger.database)
    assert not findings.broken
