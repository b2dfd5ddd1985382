"""Both keys are changed while two API and two worker processes are in use: nothing fails, and nothing is forgotten."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections import Counter
from collections.abc import MutableMapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import aiohttp
from sqlalchemy import create_engine

from gateway.core.security.signing import Signer
from gateway.storage.database import Database
from gateway.storage.upgrade.migrate import migrate
from gateway.storage.upgrade.redigest import DigestsByVersion, Redigest
from tests.support.production import SECRET, Process, Production, answers, production, request
from tests.support.storage.postgresql import new_database
from tests.support.waiting import eventually

NEW, DIGEST = "second-key-of-a-test-0002", "third-key-of-a-test-0003"
# As ops/deploy/README.md says; each is given to one process after the other.
STEPS = (
    f"{SECRET}\n{NEW}\ndigest:{SECRET}\ndigest2:{DIGEST}",
    f"{NEW}\n{SECRET}\ndigest2:{DIGEST}\ndigest:{SECRET}",
    f"{NEW}\ndigest2:{DIGEST}\ndigest:{SECRET}",
)
# Callbacks go to one process, which is replaced: what the provider has given up by then is looked up at a deadline.
RECEIPT_HOURS = 15 / 3600
_END = {"delivered", "undelivered", "suppressed", "failed", "expired", "cancelled"}
_OUT, _LINKS = 900, 1000  # from which numbers on borrowers opt out, by letter and by an old link


@dataclass
class _BalancedClient:
    """Posts to both APIs in turn, and to the other one where one is being replaced, as a load balancer would."""

    running: Production
    statuses: Counter[int] = field(default_factory=Counter)
    redirected: int = 0
    wrong: list[Any] = field(default_factory=list)
    opted_out: list[int] = field(default_factory=list)
    done: asyncio.Event = field(default_factory=asyncio.Event)

    async def call(self, path: str, body: Any, number: int, key: str = "") -> tuple[int, Any]:
        for attempt in itertools.count():
            try:
                status, answer = await self.running.post(path, body, api=(number + attempt) % 2, key=key)
            except (OSError, aiohttp.ClientError):
                self.redirected += 1
                await asyncio.sleep(0.05)
                continue
            self.statuses[status] += 1
            if status >= 400:
                self.wrong.append((path, status, answer))
            return status, answer
        raise AssertionError

    async def post(self) -> None:
        """A message, an opt-out, and a question about an earlier opt-out, again and again."""
        for number in itertools.count():
            if self.done.is_set():
                return
            await self.call("/v1/notifications", _reminder(number), number, f"k{number}")
            await self._opt_out(_OUT + number % 100)
            await self.is_found(self.opted_out[number % len(self.opted_out)])
            await asyncio.sleep(0.2)  # five rounds a second: what counts is when a request falls, not how many do

    async def _opt_out(self, borrower: int) -> None:
        if borrower in self.opted_out:
            return
        address = request(borrower)["borrower"]["addresses"]["sms"]
        body = {"channel": "sms", "address": address, "source": "letter"}
        status, _ = await self.call(f"/v1/borrowers/B-{borrower}/opt-outs", body, borrower)
        assert status == 201
        self.opted_out.append(borrower)

    async def is_found(self, borrower: int) -> None:
        _, answer = await self.call("/v1/decisions", request(borrower, route=["sms"]), borrower)
        if (answer.get("verdict"), answer.get("reason")) != ("suppress", "opted_out"):
            self.wrong.append(("lost", borrower, answer))

    async def answered_more(self, count: int) -> None:
        wanted = self.statuses.total() + count
        await eventually(lambda: self.statuses.total() >= wanted)


def _reminder(number: int) -> dict[str, Any]:
    """Each is another reminder, also where a slow machine has all borrowers reminded a second time."""
    return request(number % 880, route=["sms"], dedup_key=f"k{number}")


async def test_both_keys_change_under_load(tmp_path: Path, postgresql_url: str, tcp_valkey_url: str) -> None:
    """No request fails, every opt-out is found in every step, every callback and old link is accepted."""
    with new_database(postgresql_url) as url:
        engine = create_engine(url)
        migrate(engine)
        engine.dispose()
        async with production(tmp_path, url, tcp_valkey_url, receipt_hours=RECEIPT_HOURS) as started:
            running = await started.new_lender()
            load = _BalancedClient(running)
            links = await _old_links(running)
            loading = asyncio.create_task(load.post())
            await load.answered_more(30)
            for secret in STEPS[:2]:
                await _give(running, load, secret)
            changed, left = await _redigest(url, STEPS[1])
            await load.answered_more(15)
            for link in links:
                async with running.http.post(f"{running.urls[1]}/v1/unsubscribe/{link}") as response:
                    assert response.status == 200
            await _give(running, load, STEPS[2])
            again, left = await _redigest(url, STEPS[2])
            load.done.set()
            await loading
            for borrower in load.opted_out:
                await load.is_found(borrower)
            for number in range(len(links)):
                await load.is_found(_LINKS + number)
            states = await eventually(lambda: _ended(running), limit=120, every=0.2)
            summary = await running.received()
        print(
            f"requests {dict(load.statuses)}, sent to the other API {load.redirected}, wrong {len(load.wrong)}, "
            f"opt-outs found {len(load.opted_out) + len(links)}, states {states}, digests changed {changed}+{again}"
        )
        assert load.wrong == []
        assert _refused(tmp_path) == 0
        assert left.total == 0
        assert changed > 0
        assert summary["duplicates"] == 0
        assert set(states) <= {"delivered", "deferred"}


def _refused(folder: Path) -> int:
    """How many callbacks the APIs have refused: by their logs, since a process's metrics end with it."""
    logs = [each.read_text() for each in sorted(folder.glob("api-*.log"))]
    lines = [json.loads(line) for log in logs for line in log.splitlines() if line.startswith("{")]
    callbacks = [each for each in lines if each.get("route", "").startswith("/v1/receipts/")]
    refused = [each for each in lines if each["event"] == "reference refused"]
    assert callbacks  # else nothing was looked at
    return len(refused) + sum(400 <= each["status_code"] < 500 for each in callbacks)


async def _ended(running: Production) -> dict[str, int]:
    states = await running.states()
    return {} if states.keys() - _END - {"deferred"} else states


async def _old_links(running: Production) -> list[str]:
    """Unsubscribe links of messages that were sent before the change."""
    links = []
    for number in range(_LINKS, _LINKS + 5):
        _, made = await running.post("/v1/notifications", request(number, route=["sms"]), key=f"link{number}")

        async def delivered(identifier: str = made["id"]) -> dict[str, Any]:
            found = await running.get(f"/v1/notifications/{identifier}")
            return found if found["state"] == "delivered" else {}

        found = await eventually(delivered, limit=120, every=0.2)
        links.append(Signer(SECRET.encode()).message_token(found["deliveries"][0]["id"]))
    return links


async def _give(running: Production, load: _BalancedClient, secret: str) -> None:
    """The secret to all processes, one after the other, while the others work on."""
    for process, url in [
        *((each, "") for each in running.workers),
        *zip(running.apis, running.urls, strict=True),
    ]:
        await _replace(process, secret)
        if url:
            await answers(running.http, url)
        await load.answered_more(5)


async def _replace(process: Process, secret: str) -> None:
    await asyncio.to_thread(process.stop)
    cast("MutableMapping[str, str]", process.environment)["GATEWAY_SECRET_KEY"] = secret
    process.start()


async def _redigest(url: str, secret: str) -> tuple[int, DigestsByVersion]:
    """What ``gateway ledger redigest`` does, until nothing is left."""
    database = Database(url, Signer(secret.encode()).digest_versions)
    try:
        work, changed = Redigest(database), 0
        async with asyncio.timeout(120):
            while True:
                changed += await work.run()
                if not (left := await work.remaining()).total:
                    return changed, left
    finally:
        await database.close()
