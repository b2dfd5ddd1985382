"""HTTP server for ``/metrics``, ``/healthz`` and ``/readyz`` of a worker process, which has no API.

Must not know what is counted.
"""

from __future__ import annotations

from aiohttp import web

from gateway.observability.metrics import Metrics
from gateway.observability.readiness import Probe


class MetricsServer:
    """The running server."""

    def __init__(self, runner: web.AppRunner) -> None:
        self._runner = runner

    @property
    def port(self) -> int:
        return int(self._runner.addresses[0][1])

    async def close(self) -> None:
        await self._runner.cleanup()


async def serve(metrics: Metrics, readiness: Probe, port: int, host: str = "127.0.0.1") -> MetricsServer:
    """Start the server for Prometheus and for probes; port 0 picks a free one. Raises OSError if it is in use."""

    async def show(request: web.Request) -> web.Response:
        body, content_type = metrics.render(request.headers.get("Accept", ""))
        return web.Response(body=body, headers={"Content-Type": content_type})

    async def alive(_request: web.Request) -> web.Response:
        return web.json_response({"status": "ok"})

    async def ready(_request: web.Request) -> web.Response:
        # A worker needs every dependency. No balancer routes requests to it, so the status only informs.
        found = await readiness.ask()
        return web.json_response(found.document(), status=503 if found.missing else 200)

    app = web.Application()
    app.router.add_get("/metrics", show)
    app.router.add_get("/healthz", alive)
    app.router.add_get("/readyz", ready)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.5)
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port).start()
    except OSError:
        await runner.cleanup()
        raise
    return MetricsServer(runner)
