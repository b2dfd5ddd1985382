"""HTTP server for ``/metrics``, ``/healthz`` and ``/readyz`` of any process, on a port of its own.

The figures are not for the API's clients, and probes must be answered while the API's limit of open connections is
reached. Must not know what is counted.
"""

from __future__ import annotations

import socket

from aiohttp import web

from gateway.observability.metrics import Metrics
from gateway.observability.readiness import Probe


class MetricsServer:
    """The running server."""

    def __init__(self, runner: web.AppRunner) -> None:
        self._runner = runner

    async def close(self) -> None:
        await self._runner.cleanup()


async def serve(
    metrics: Metrics,
    readiness: Probe,
    listener: socket.socket,
    can_do_without: frozenset[str] = frozenset(),
) -> MetricsServer:
    """Start the server for Prometheus and for probes on ``listener``, a bound socket.

    ``can_do_without`` names the dependencies without which this process is ready all the same.
    """

    async def show(request: web.Request) -> web.Response:
        body, content_type = metrics.render(request.headers.get("Accept", ""))
        return web.Response(body=body, headers={"Content-Type": content_type})

    async def alive(_request: web.Request) -> web.Response:
        return web.json_response({"status": "ok"})

    async def ready(_request: web.Request) -> web.Response:
        found = await readiness.ask(can_do_without)
        return web.json_response(found.document(), status=503 if found.missing else 200)

    app = web.Application()
    app.router.add_get("/metrics", show)
    app.router.add_get("/healthz", alive)
    app.router.add_get("/readyz", ready)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.5)
    await runner.setup()
    await web.SockSite(runner, listener).start()
    return MetricsServer(runner)
