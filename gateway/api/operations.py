"""Probes for load balancers: alive, ready. Metrics are on a port of their own (observability/metrics_server.py)."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.responses import Response

from gateway.api.http import bodies
from gateway.api.http.parts import Uses
from gateway.api.responses.operations import HealthOut, ReadinessOut
from gateway.observability.readiness import API_DOES_WITHOUT, Probe

router = APIRouter(tags=["operations"])


@router.get("/healthz", response_model=HealthOut)
async def get_health() -> Response:
    """The process answers. Says nothing of what it needs, so that an outage elsewhere restarts nothing here."""
    return bodies.answer({"status": "ok"})


@router.get("/readyz", response_model=ReadinessOut, responses={503: {"model": ReadinessOut}})
async def get_readiness(readiness: Uses[Probe]) -> Response:
    """Whether requests can be served; 503 where they can't. Each part has "" where it is fine.

    Without Redis (``degraded``) requests are taken as always, and sent once it is back.
    """
    found = await readiness.ask(API_DOES_WITHOUT)
    return bodies.answer(found.document(), 503 if found.missing else 200)
