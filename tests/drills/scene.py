"""The environment of a drill: the production shape under steady traffic, with Prometheus and Alertmanager."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import aiohttp

from tests.chaos.harness.fleet import Fleet, fleet
from tests.drills.monitoring import Watch, watching
from tests.drills.runbook import Hand
from tests.support.production import answers, free_port, request
from tests.support.shell_commands import gateway_program

_PHONES = 640  # as many as tests.support.production has


@dataclass
class SteadyTraffic:
    """Case systems that post at a steady rate and retry each request until it is accepted."""

    urls: list[str]
    http: aiohttp.ClientSession
    per_second: float
    taken: list[tuple[str, str, str]] = field(default_factory=list)  # (notification, case, phone)
    refused: int = 0
    _numbers: count[int] = field(default_factory=lambda: count(1))
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)

    async def run(self) -> None:
        """Post until cancelled. ``per_second`` may change meanwhile."""
        while True:
            task = asyncio.create_task(self._post(next(self._numbers)))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
            await asyncio.sleep(1 / self.per_second)

    async def answered(self, seconds: float) -> int:
        """Wait at most ``seconds`` until every request made by now is accepted; how many are not."""
        if not self._tasks:
            return 0
        _, waiting = await asyncio.wait(set(self._tasks), timeout=seconds)
        return len(waiting)

    async def stop(self) -> None:
        """Cancel the requests that are not accepted yet."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _post(self, number: int) -> None:
        body = request(number % _PHONES, route=["sms"])
        body["borrower"]["id"], body["case"]["id"] = f"B-{number}", f"C-{number}"
        headers = {"Idempotency-Key": f"drill-{number}"}
        while True:
            with suppress(aiohttp.ClientError, TimeoutError):
                url = f"{self.urls[number % 2]}/v1/notifications"
                async with self.http.post(url, json=body, headers=headers) as response:
                    if response.status in (200, 202):
                        phone = body["borrower"]["addresses"]["sms"]
                        self.taken.append(((await response.json())["id"], body["case"]["id"], phone))
                        return
                    self.refused += 1
            await asyncio.sleep(1)


@dataclass
class Scene:
    """All that a drill can reach."""

    fleet: Fleet
    watch: Watch
    hand: Hand
    load: SteadyTraffic
    http: aiohttp.ClientSession


@asynccontextmanager
async def scene(folder: Path, factor: float, per_second: float) -> AsyncIterator[Scene]:
    """Start it all and the load; end it all."""
    metrics_ports = {kind: [free_port(), free_port()] for kind in ("api", "worker")}
    async with fleet(folder, random.Random(1), "", metrics_ports) as running:
        headers = {"Authorization": f"Bearer {running.key}"}
        urls = [f"http://127.0.0.1:{port}" for port in running.api_ports]
        targets = {f"gateway-{kind}": ports for kind, ports in metrics_ports.items()}
        timeout = aiohttp.ClientTimeout(total=5)
        async with (
            aiohttp.ClientSession(headers=headers, timeout=timeout) as http,
            watching(folder / "watch", targets, factor) as watch,
        ):
            await asyncio.gather(*(answers(http, url) for url in urls))
            with gateway_program(folder) as programs:
                hand = Hand(_environment(running, urls[0], watch), folder, programs)
                load = SteadyTraffic(urls, http, per_second)
                posting = asyncio.create_task(load.run())
                try:
                    yield Scene(running, watch, hand, load, http)
                finally:
                    posting.cancel()
                    await load.stop()


def _environment(running: Fleet, url: str, watch: Watch) -> dict[str, Any]:
    ledger = dict(running.apis[0].environment)
    return {
        **ledger,
        "GATEWAY_URL": url,
        "GATEWAY_API_KEY": running.key,
        "PROMETHEUS_URL": watch.url,
        "YESTERDAY": "2020-01-01T00:00:00Z",
    }
