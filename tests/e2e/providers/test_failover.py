"""Two providers for one channel: when one is down, the other sends its messages, each once."""

from __future__ import annotations

import asyncio
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from shutil import rmtree
from typing import Any

from channels.sms.simulator import SmsSimulator
from gateway.api.requests.notifications import NotificationIn
from gateway.app.app import open_gateway
from gateway.app.settings import Settings
from gateway.core.requests import NotificationRequest
from tests.support.api_gateway import request
from tests.support.providers.fake_servers import closed_port
from tests.support.storage.ledgers import begun, empty_sqlite
from tests.support.waiting import LIMIT_SECONDS

ACCOUNT = "AC" + "0" * 32


def _incoming(number: int) -> NotificationRequest:
    body = request(number, route=["sms"])
    body["borrower"]["addresses"]["sms"] = f"+1{202 + number // 80}55501{number % 80:02d}"
    return NotificationIn(**body).incoming("", body)


def _twilio(name: str, url: str) -> dict[str, Any]:
    options = {"account_sid": ACCOUNT, "auth_token": "t", "from_number": "+15005550006", "base_url": url}
    return {"channel": "sms", "kind": "twilio", "name": name, "weight": 1, "options": options}


async def test_what_one_provider_cannot_take_the_other_does() -> None:
    """Sixty reminders, half of them for a provider that is not there: all go out by the other, and none twice."""
    sms = SmsSimulator(ACCOUNT, "t", lambda: datetime.now(UTC))
    await sms.start()
    folder = Path(tempfile.mkdtemp(prefix="gw-"))
    begun(empty_sqlite(folder))
    providers = [_twilio("gone", f"http://127.0.0.1:{await closed_port()}"), _twilio("there", sms.url)]
    # Waits are a hundred times shorter, so that the retries come within the test.
    settings = Settings(data_dir=folder, at="2026-11-24T10:00:00+08:00", time_scale=100, providers=providers)
    try:
        async with open_gateway(settings) as gateway:
            await gateway.path.pipeline.accept("acme", [_incoming(number) for number in range(60)])
            async with asyncio.timeout(LIMIT_SECONDS):
                while sms.received.messages < 60:
                    await gateway.path.pipeline.dispatch(await gateway.path.store.due(gateway.ledger.clock(), 100))
                    await asyncio.sleep(0.05)
            assert sms.received.summary() == {"messages": 60, "duplicates": 0, "retries": 0}
            health = gateway.providers.router.health(gateway.ledger.clock())
            assert {name: each.share for name, each in health.items()} == {"gone": 0, "there": 1, "feed": 1}
    finally:
        await sms.stop()
        rmtree(folder, ignore_errors=True)
