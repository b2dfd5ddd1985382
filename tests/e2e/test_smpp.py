"""A whole gateway on an SMSC: a reminder goes out over SMPP, its receipt and the borrower's stop come back."""

from __future__ import annotations

import asyncio
import tempfile
from functools import partial
from pathlib import Path
from shutil import rmtree

from channels.base import Listens
from gateway.api.schemas import NotificationIn
from gateway.ports import Incoming
from gateway.settings import Settings
from gateway.wiring import Gateway, open_gateway
from tests.gateways import request
from tests.smsc import Smsc


def _incoming(case: str) -> Incoming:
    body = request(route=["sms"])
    body["borrower"]["addresses"]["sms"] = "+12025550100"
    body["case"]["id"] = case
    return NotificationIn(**body).incoming("", body)


async def _until(gateway: Gateway, notification_id: str, state: str) -> None:
    async with asyncio.timeout(15):
        while True:
            found = await gateway.reads.notification("acme", notification_id)
            assert found is not None
            if found["state"] == state:
                return
            await asyncio.sleep(0.05)


async def test_a_receipt_and_a_stop_come_back_on_the_connection() -> None:
    """The receipt ends the delivery, and after the borrower's stop nothing is sent to that number any more."""
    smsc, stop = Smsc(), asyncio.Event()
    await smsc.start()
    options = {"host": "127.0.0.1", "port": smsc.port, "system_id": "lender", "password": "secret"}
    entry = {"channel": "sms", "kind": "smpp", "name": "smsc", "options": options | {"source_address": "12345"}}
    folder = Path(tempfile.mkdtemp(prefix="gw-"))
    settings = Settings(data_dir=folder, at="2026-11-24T10:00:00+08:00", providers=[entry])
    try:
        async with open_gateway(settings) as gateway:
            await gateway.keys.create("acme", "test", ["send"], gateway.clock())
            provider = gateway.providers["smsc"]
            assert isinstance(provider, Listens)
            listening = asyncio.create_task(provider.listen(partial(gateway.pipeline.hear, "smsc"), stop))
            [answer] = await gateway.pipeline.accept("acme", [_incoming("C-1")])
            await gateway.pipeline.dispatch(await gateway.store.due(gateway.clock(), 10))
            await _until(gateway, answer.id, "delivered")
            await smsc.says(b"STOP")
            async with asyncio.timeout(15):
                while not (await gateway.reads.borrower("acme", "B-1") or {})["opt_outs"]:  # noqa: ASYNC110
                    await asyncio.sleep(0.05)
            [second] = await gateway.pipeline.accept("acme", [_incoming("C-2")])
            assert (second.state, second.reason) == ("suppressed", "opted_out")
            stop.set()
            await listening
    finally:
        await smsc.stop()
        rmtree(folder, ignore_errors=True)
