"""``/ops``: how the gateway does, for people without dashboards. Counts and words of closed lists, no borrower.

A user sees the numbers and pauses of their tenant, and one with the role ``platform`` those of all tenants together.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict

from fastapi import APIRouter, Depends, Request
from starlette.responses import Response

from gateway.api.http.parts import ConfiguredChannels, GatewayClock, Parts, part
from gateway.evidence.audit.auditor import Auditor
from gateway.identity.sessions import Session
from gateway.identity.users import Role
from gateway.observability.readiness import Probe
from gateway.operations.activity import Activity
from gateway.operations.controls import Controls
from gateway.operations.processes import read_processes
from gateway.storage.database import Database
from gateway.storage.store import Store
from gateway.web.access import PageRoute, display_names, pages_of, require_role
from gateway.web.ops.page import menu_of
from gateway.web.ops.status import Status, status
from gateway.webhooks.endpoints import WebhookEndpoints

_FRESH_SECONDS = 2.0  # however many look at it, the ledger is asked once in that time; our choice
_MAX_VIEWS = 50  # tenants whose counts of the last hour are kept, some 100 kB each; our choice
_MAX_READS = 2  # views read at once, of the 8 connections that a process has to its ledger; our choice

router = APIRouter(route_class=PageRoute, include_in_schema=False)


class _View:
    """The page of one tenant, or (None) of all: what was read last, and the counts that the next read adds to."""

    def __init__(self, parts: Parts, tenant: str | None) -> None:
        self._parts = parts
        self._tenant = tenant
        self._activity = Activity(parts[Database], tenant)
        self._read_at = float("-inf")
        self._seen: Status | None = None
        self._lock = asyncio.Lock()

    async def look(self, reads: asyncio.Semaphore) -> Status:
        """Raises Unavailable."""
        async with self._lock:
            if self._seen is None or time.monotonic() - self._read_at > _FRESH_SECONDS:
                async with reads:
                    self._seen = await self._read()
                self._read_at = time.monotonic()
            return self._seen

    async def _read(self) -> Status:
        parts, tenant = self._parts, self._tenant
        now = parts[GatewayClock]()
        switches = await parts[Controls].in_force(now)
        return status(
            now,
            await parts[Store].ages(now, tenant),
            await self._activity.last_hour(now),
            await read_processes(parts[Database]),
            [each for each in switches if tenant is None or each.concerns(tenant)],
            {name: provider.channel for name, provider in parts[ConfiguredChannels].providers.items()},
            (await parts[Probe].ask()).checks,
            max((each.oldest_seconds(now) for each in await parts[WebhookEndpoints].waiting(tenant)), default=0.0),
            await parts[Auditor].lately(now, tenant),
        )


class StatusCache:
    """The views that were looked at last. A slow read delays those who look at the same view only."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._views: OrderedDict[str | None, _View] = OrderedDict()
        self._reads = asyncio.Semaphore(_MAX_READS)

    async def look(self, tenant: str | None) -> Status:
        """The page of a tenant, or (None) of all. Raises Unavailable."""
        view = self._views.get(tenant)
        if view is None:
            view = self._views[tenant] = _View(self._parts, tenant)
        self._views.move_to_end(tenant)
        if len(self._views) > _MAX_VIEWS:
            self._views.popitem(last=False)
        return await view.look(self._reads)


@router.get("/ops")
async def show_ops(request: Request, session: Session = Depends(require_role())) -> Response:
    return await _page(request, session, "ops.html")


@router.get("/ops/now")
async def show_now(request: Request, session: Session = Depends(require_role())) -> Response:
    """The part of the page that is asked for again every few seconds."""
    return await _page(request, session, "ops_now.html")


async def _page(request: Request, session: Session, name: str) -> Response:
    tenant = None if session.user.role.may(Role.PLATFORM) else session.user.tenant
    seen = await part(request, StatusCache).look(tenant)
    values = {
        "tenant": tenant,
        "menu": menu_of(session),
        "status": seen,
        "switches": seen.switches,
        "session": session,
        "who": await display_names(request, session),
    }
    return pages_of(request).respond(request, name, values)
