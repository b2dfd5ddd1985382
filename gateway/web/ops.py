"""``/ops``: how the gateway does, for people without dashboards. Counts and words of closed lists, no borrower.

A user sees the numbers of their tenant. Those of all tenants are in the metrics.
"""

from __future__ import annotations

import asyncio
import time

from fastapi import APIRouter, Depends, Request
from starlette.responses import Response

from gateway.api.http.parts import ConfiguredChannels, GatewayClock, Parts, part
from gateway.identity.sessions import Session
from gateway.observability.readiness import Probe
from gateway.operations.activity import Activity
from gateway.operations.controls import Controls
from gateway.operations.processes import read_processes
from gateway.storage.database import Database
from gateway.storage.store import Store
from gateway.web.access import PageRoute, display_names, pages_of, require_role
from gateway.web.status import Status, status

_FRESH_SECONDS = 2.0  # however many look at it, the ledger is asked once in that time; our choice


router = APIRouter(route_class=PageRoute, include_in_schema=False)


class StatusCache:
    """The page's content for each tenant, and the little that it keeps from one look to the next."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._activities: dict[str, Activity] = {}
        self._seen: dict[str, tuple[float, Status]] = {}
        self._lock = asyncio.Lock()

    async def look(self, tenant: str) -> Status:
        """Raises Unavailable."""
        async with self._lock:
            read_at, seen = self._seen.get(tenant, (float("-inf"), None))
            if seen is None or time.monotonic() - read_at > _FRESH_SECONDS:
                seen = await self._read(tenant)
                self._seen[tenant] = (time.monotonic(), seen)
            return seen

    async def _read(self, tenant: str) -> Status:
        parts, now = self._parts, self._parts[GatewayClock]()
        activity = self._activities.setdefault(tenant, Activity(parts[Database], tenant))
        return status(
            now,
            await parts[Store].ages(now, tenant),
            await activity.last_hour(now),
            await read_processes(parts[Database]),
            [each for each in await parts[Controls].in_force(now) if each.tenant in ("", tenant)],
            {name: provider.channel for name, provider in parts[ConfiguredChannels].providers.items()},
            (await parts[Probe].ask()).checks,
        )


@router.get("/ops")
async def show_ops(request: Request, session: Session = Depends(require_role())) -> Response:
    return await _page(request, session, "ops.html")


@router.get("/ops/now")
async def show_now(request: Request, session: Session = Depends(require_role())) -> Response:
    """The part of the page that is asked for again every few seconds."""
    return await _page(request, session, "ops_now.html")


async def _page(request: Request, session: Session, name: str) -> Response:
    seen = await part(request, StatusCache).look(session.user.tenant)
    values = {
        "status": seen,
        "switches": seen.switches,
        "session": session,
        "who": await display_names(request, session),
    }
    return pages_of(request).respond(request, name, values)
