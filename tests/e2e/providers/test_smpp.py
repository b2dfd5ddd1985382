"""A whole gateway with an SMSC: a reminder is sent over SMPP; its receipt and the borrower's stop are received."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from shutil import rmtree
from typing import Any

from sqlalchemy import select

from channels.base import Listens
from gateway.api.requests.notifications import NotificationIn
from gateway.app.app import Gateway, open_gateway
from gateway.app.settings import Settings
from gateway.core.requests import NotificationRequest
from gateway.storage.tables.path import receipts
from tests.support.api_gateway import request
from tests.support.providers.smsc import Smsc, WireSmsc
from tests.support.storage.ledgers import begun, empty_sqlite
from tests.support.waiting import LIMIT_SECONDS

ANSWERED, UNANSWERED = "+12025550100", "+12025550194"


def _incoming(case: str, phone: str = ANSWERED) -> NotificationRequest:
    body = request(route=["sms"])
    body["borrower"]["addresses"]["sms"] = phone
    body["case"]["id"] = case
    return NotificationIn(**body).incoming("", body)


async def _until(gateway: Gateway, notification_id: str, state: str) -> dict[str, Any]:
    async with asyncio.timeout(LIMIT_SECONDS):
        while True:
            found = await gateway.ledger.reads.notification("acme", notification_id)
            assert found is not None
            if found["state"] == state:
                return found
            await asyncio.sleep(0.05)


async def _orphan(gateway: Gateway) -> None:
    """Until a receipt is in the ledger."""
    async with asyncio.timeout(LIMIT_SECONDS):
        while not await gateway.ledger.database.read(lambda each: each.execute(select(receipts)).first()):  # noqa: ASYNC110
            await asyncio.sleep(0.05)


@asynccontextmanager
async def _on(smsc: Smsc | WireSmsc, **settings: Any) -> AsyncIterator[Gateway]:
    """A whole gateway that sends by the SMSC, and hears it."""
    stop = asyncio.Event()
    await smsc.start()
    options = {"host": "127.0.0.1", "port": smsc.port, "system_id": "lender", "password": "secret"}
    options |= {"source_address": "12345", "timeout_seconds": 1}
    entry = {"channel": "sms", "kind": "smpp", "name": "smsc", "options": options}
    folder = Path(tempfile.mkdtemp(prefix="gw-"))
    begun(empty_sqlite(folder))
    try:
        chosen = Settings(data_dir=folder, at="2026-11-24T10:00:00+08:00", providers=[entry], **settings)
        async with open_gateway(chosen) as gateway:
            await gateway.ledger.keys.create("acme", "test", ["send"], gateway.ledger.clock())
            provider = gateway.providers.by_name["smsc"]
            assert isinstance(provider, Listens)
            listening = asyncio.create_task(
                provider.listen(partial(gateway.path.receiver.handle_provider_push, "smsc"), stop)
            )
            yield gateway
            stop.set()
            await listening
    finally:
        await smsc.stop()
        rmtree(folder, ignore_errors=True)


async def _work(gateway: Gateway) -> None:
    """Once, what a worker does all the time."""
    await gateway.path.pipeline.dispatch(await gateway.path.store.due(gateway.ledger.clock(), 10))
    await gateway.path.receiver.match_parked()


async def _unanswered(gateway: Gateway) -> str:
    """The id of a reminder that was handed over, and nobody knows what became of it."""
    [answer] = await gateway.path.pipeline.accept("acme", [_incoming("C-1", UNANSWERED)])
    await _work(gateway)
    await _until(gateway, answer.id, "unknown")
    return answer.id


async def test_a_receipt_and_a_stop_come_back_on_the_connection() -> None:
    """The receipt ends the delivery, and after the borrower's stop nothing is sent to that number any more."""
    smsc = Smsc()
    async with _on(smsc) as gateway:
        [answer] = await gateway.path.pipeline.accept("acme", [_incoming("C-1")])
        await _work(gateway)
        await _until(gateway, answer.id, "delivered")
        await smsc.says(b"STOP")
        async with asyncio.timeout(LIMIT_SECONDS):
            while not (await gateway.ledger.reads.borrower("acme", "B-1") or {})["opt_outs"]:  # noqa: ASYNC110
                await asyncio.sleep(0.05)
        [second] = await gateway.path.pipeline.accept("acme", [_incoming("C-2")])
        assert (second.state, second.reason) == ("suppressed", "opted_out")


async def test_a_receipt_says_what_became_of_a_message_whose_answer_was_lost() -> None:
    """It came before anybody asked, under our reference: nobody has to decide, and nothing is sent again."""
    smsc = Smsc()
    async with _on(smsc, unknown_grace_seconds=0) as gateway:
        reminder = await _unanswered(gateway)
        await smsc.report(9_000_001, "DELIVRD", smsc.submitted[-1])
        await _orphan(gateway)
        await _work(gateway)
        found = await _until(gateway, reminder, "delivered")
        assert "unresolved" not in {event["kind"] for event in found["events"]}
        assert [event.registered_delivery for event in smsc.submitted].count(1) == 1


async def test_a_receipt_that_comes_after_the_question_takes_the_message_out_of_review() -> None:
    """Who would decide finds nothing to decide any more."""
    smsc = Smsc()
    async with _on(smsc, unknown_grace_seconds=0) as gateway:
        reminder = await _unanswered(gateway)
        await _work(gateway)
        await _until(gateway, reminder, "review")
        await smsc.report(9_000_001, "UNDELIV", smsc.submitted[-1])
        await _until(gateway, reminder, "undelivered")


async def test_without_our_reference_a_person_decides() -> None:
    """An SMSC that doesn't repeat it leaves a receipt that might be about anything."""
    smsc = Smsc(echoes=False)
    async with _on(smsc, unknown_grace_seconds=0) as gateway:
        reminder = await _unanswered(gateway)
        await smsc.report(9_000_001, "DELIVRD", smsc.submitted[-1])
        await _orphan(gateway)
        await _work(gateway)
        await _until(gateway, reminder, "review")


async def test_a_stop_is_confirmed_over_the_connection() -> None:
    """As by Twilio: once, where the pack says so, to who wrote; a repeated stop is not answered again."""
    smsc = Smsc()
    async with _on(smsc) as gateway:
        body = request(route=["sms"])
        body["borrower"] |= {"jurisdiction": "us", "locale": "en", "time_zones": ["America/New_York"]}
        body["borrower"]["addresses"]["sms"] = ANSWERED
        await gateway.path.pipeline.accept("acme", [NotificationIn(**body).incoming("", body)])
        async with asyncio.timeout(LIMIT_SECONDS):
            while smsc.session is None:  # noqa: ASYNC110
                await asyncio.sleep(0.05)
            await smsc.says(b"STOP")
            while not smsc.submitted:  # noqa: ASYNC110
                await asyncio.sleep(0.05)
            await smsc.says(b"STOP")
            await smsc.says(b"HELP")
            while len(smsc.submitted) < 2:  # noqa: ASYNC110
                await asyncio.sleep(0.05)
        confirmed, helped = (bytes(each.short_message) for each in smsc.submitted)
        assert b"Example Bank" in confirmed
        assert b"Example Bank" in helped
        assert confirmed != helped
        assert [each.registered_delivery for each in smsc.submitted] == [0, 0]


async def test_a_refused_bind_puts_nothing_in_doubt() -> None:
    """Forty wait while the SMSC refuses to bind: all are tried again, and none is unknown or in review."""
    smsc = WireSmsc(bind_status=0x0D)
    async with _on(smsc) as gateway:
        bodies = [request(number, route=["sms"]) for number in range(40)]
        for number, body in enumerate(bodies):
            body["borrower"]["addresses"]["sms"] = f"+12025550{100 + number}"
        requests = [NotificationIn(**body).incoming("", body) for body in bodies]
        answers = await gateway.path.pipeline.accept("acme", requests)
        await gateway.path.pipeline.dispatch(await gateway.path.store.due(gateway.ledger.clock(), 100))
        for answer in answers:
            found = await _until(gateway, answer.id, "retrying")
            assert [each["reason"] for each in found["deliveries"]] == ["provider_config"]
        assert smsc.submitted == []
