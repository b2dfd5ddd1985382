"""Debian's Prometheus and Alertmanager with the shipped rules, watching a gateway on this machine.

Every process is started here and ended here, by its own handle. Who is told is a server of ours that notes when.
"""

from __future__ import annotations

import asyncio
import re
import shutil
import subprocess
import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import yaml
from aiohttp import web

from tests.drills.scaling import scaled
from tests.support.production import free_port

OPS = Path(__file__).parents[2] / "ops"
RULES = ("alerts.yml", "slo.yml")
_READY_SECONDS = 30.0


class ToolNotInstalled(Exception):
    """A Debian tool is not installed."""


@dataclass
class Told:
    """Notifications of Alertmanager by receiver, with their times (monotonic clock of this machine)."""

    notes: list[tuple[float, str, str, str]] = field(default_factory=list)  # when, receiver, status, alert
    port: int = 0

    def first(self, alert: str, status: str, since: float = 0.0) -> float | None:
        """When the first notification of an alert after ``since`` arrived."""
        found = (at for at, _, what, name in self.notes if (what, name) == (status, alert) and at >= since)
        return next(found, None)


@dataclass
class Watch:
    """A running Prometheus, and Alertmanager where there is one."""

    url: str
    alertmanager: str
    told: Told
    http: aiohttp.ClientSession

    async def query(self, expression: str) -> list[dict[str, Any]]:
        """The instant vector of an expression. Raises ValueError with Prometheus' own words where it is wrong."""
        async with self.http.get(f"{self.url}/api/v1/query", params={"query": expression}) as response:
            answer = await response.json()
        if answer["status"] != "success":
            raise ValueError(f"{expression}: {answer['error']}")
        found: list[dict[str, Any]] = answer["data"]["result"]
        return found

    async def exemplars(self, expression: str) -> list[Mapping[str, str]]:
        """The labels of the exemplars of the last hour."""
        now = time.time()
        query = {"query": expression, "start": str(now - 3600), "end": str(now)}
        async with self.http.get(f"{self.url}/api/v1/query_exemplars", params=query) as response:
            found = (await response.json())["data"]
        return [each["labels"] for series in found for each in series["exemplars"]]

    async def rules(self) -> list[dict[str, Any]]:
        """Every rule as Prometheus sees it, with its health and its last error."""
        async with self.http.get(f"{self.url}/api/v1/rules") as response:
            groups = (await response.json())["data"]["groups"]
        return [rule for group in groups for rule in group["rules"]]

    async def firing(self) -> dict[str, list[Mapping[str, str]]]:
        """The active alerts by name, with their labels."""
        async with self.http.get(f"{self.alertmanager}/api/v2/alerts", params={"active": "true"}) as response:
            found: dict[str, list[Mapping[str, str]]] = {}
            for each in await response.json():
                found.setdefault(each["labels"]["alertname"], []).append(each["labels"])
            return found


def tool(name: str, package: str) -> str:
    """The path of a Debian tool. Raises ToolNotInstalled."""
    path = shutil.which(name)
    if path is None:
        raise ToolNotInstalled(f"{name} is not installed (Debian: apt install {package})")
    return path


@asynccontextmanager
async def watching(
    folder: Path, targets: Mapping[str, Sequence[int]], factor: float, *, alerting: bool = True
) -> AsyncIterator[Watch]:
    """Prometheus with the shipped rules, ``factor`` times as fast, scraping these ports of each job every second."""
    prometheus = tool("prometheus", "prometheus")
    told, ports = Told(), (free_port(), free_port())
    _write(folder, factor, _prometheus(targets, ports[1] if alerting else 0))
    arguments = [
        *("--config.file", str(folder / "prometheus.yml"), "--storage.tsdb.path", str(folder / "data")),
        *("--web.listen-address", f"127.0.0.1:{ports[0]}", "--enable-feature", "exemplar-storage"),
        *("--log.level", "warn"),
    ]
    async with _listening(told), aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=10)) as http:
        with ExitStack() as processes:
            if alerting:
                processes.enter_context(_alertmanager(folder, ports[1], told.port, factor))
            processes.enter_context(_process([prometheus, *arguments], folder / "prometheus.log"))
            urls = [f"http://127.0.0.1:{port}" for port in (ports if alerting else ports[:1])]
            await asyncio.gather(*(_ready(http, f"{url}/-/ready") for url in urls))
            yield Watch(urls[0], urls[-1], told, http)


def _write(folder: Path, factor: float, configuration: Mapping[str, Any]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name in RULES:
        (folder / name).write_text(scaled((OPS / "prometheus" / name).read_text(), factor))
    (folder / "prometheus.yml").write_text(yaml.safe_dump(configuration))


def _prometheus(targets: Mapping[str, Sequence[int]], alertmanager: int) -> dict[str, Any]:
    shipped: dict[str, Any] = yaml.safe_load((OPS / "prometheus" / "prometheus.yml").read_text())
    shipped["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s", "scrape_timeout": "1s"}
    for job in shipped["scrape_configs"]:
        job["static_configs"] = [{"targets": [f"127.0.0.1:{port}" for port in targets[job["job_name"]]]}]
    shipped["alerting"]["alertmanagers"] = [{"static_configs": [{"targets": [f"127.0.0.1:{alertmanager}"]}]}]
    if not alertmanager:
        del shipped["alerting"]
    return shipped


@contextmanager
def _alertmanager(folder: Path, port: int, receiver: int, factor: float) -> Iterator[None]:
    binary = tool("prometheus-alertmanager", "prometheus-alertmanager")
    text = scaled((OPS / "alertmanager" / "alertmanager.yml").read_text(), factor)
    (folder / "alertmanager.yml").write_text(re.sub(r"http://\w+\.invalid", f"http://127.0.0.1:{receiver}", text))
    arguments = [
        *("--config.file", str(folder / "alertmanager.yml"), "--storage.path", str(folder / "alertmanager")),
        *("--web.listen-address", f"127.0.0.1:{port}", "--cluster.listen-address", "", "--log.level", "warn"),
    ]
    with _process([binary, *arguments], folder / "alertmanager.log"):
        yield


@contextmanager
def _process(command: Sequence[str], log: Path) -> Iterator[None]:
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output)
    try:
        yield
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@asynccontextmanager
async def _listening(told: Told) -> AsyncIterator[None]:
    """The pager and the ticket system."""

    async def take(request: web.Request) -> web.Response:
        for each in (await request.json())["alerts"]:
            told.notes.append((time.monotonic(), request.path, each["status"], each["labels"]["alertname"]))
        return web.Response()

    app = web.Application()
    app.router.add_post("/{receiver}", take)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    told.port = runner.addresses[0][1]
    try:
        yield
    finally:
        await runner.cleanup()


async def _ready(http: aiohttp.ClientSession, url: str) -> None:
    async with asyncio.timeout(_READY_SECONDS):
        while True:
            try:
                async with http.get(url) as response:
                    if response.status == 200:
                        return
            except aiohttp.ClientError:
                pass
            await asyncio.sleep(0.1)
