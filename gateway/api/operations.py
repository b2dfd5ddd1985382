"""For those who run the gateway: alive, ready, measured."""

from __future__ import annotations

from fastapi import APIRouter, Request
from starlette.responses import PlainTextResponse, Response

from gateway.api.http import bodies
from gateway.api.http.parts import Uses
from gateway.api.responses import HealthOut, ReadinessOut
from gateway.observability.metrics import Metrics
from gateway.observability.readiness import Probe

router = APIRouter(tags=["operations"])


@router.get("/healthz", response_model=HealthOut)
async def get_health() -> Response:
    """The process answers. Says nothing of what it needs, so that an outage elsewhere restarts nothing here."""
    return bodies.answer({"status": "ok"})


@router.get("/readyz", response_model=ReadinessOut, responses={503: {"model": ReadinessOut}})
async def get_readiness(readiness: Uses[Probe]) -> Response:
    """Whether requests can be served; 503 where they can't. Each part has "" where it is fine.

    Without Redis (``degraded``) requests are taken as always, and sent once it is back: to take every process out of
    the balancer for it would turn a delay into an outage.
    """
    found = await readiness.ask(can_do_without=frozenset({"redis"}))
    return bodies.answer(found.document(), 503 if found.missing else 200)


@router.get("/metrics", response_class=PlainTextResponse)
async def get_metrics(request: Request, measured: Uses[Metrics]) -> Response:
    """Prometheus' text format, or OpenMetrics for who asks for it."""
    body, content_type = measured.render(request.headers.get("accept", ""))
    return Response(body, headers={"Content-Type": content_type})
