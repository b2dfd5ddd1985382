"""For those who run the gateway: alive, ready, measured."""

from __future__ import annotations

from fastapi import APIRouter, Request
from starlette.responses import Response

from gateway.api import bodies
from gateway.api.context import gateway_of

router = APIRouter(tags=["operations"])


@router.get("/healthz")
async def healthz() -> Response:
    """The process answers. Says nothing of what it needs, so that an outage elsewhere restarts nothing here."""
    return bodies.answer({"status": "ok"})


@router.get("/readyz")
async def readyz(request: Request) -> Response:
    """Whether requests can be served; 503 names what is missing, each with "" where it is fine."""
    checks = await gateway_of(request).ready()
    ready = not any(checks.values())
    return bodies.answer({"status": "ready" if ready else "not_ready", "checks": checks}, 200 if ready else 503)


@router.get("/metrics")
async def metrics(request: Request) -> Response:
    """Prometheus' text format, or OpenMetrics for who asks for it."""
    body, content_type = gateway_of(request).metrics.render(request.headers.get("accept", ""))
    return Response(body, headers={"Content-Type": content_type})
